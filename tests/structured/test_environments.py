"""Environments of other tools: what is installed where, and when it is done again."""

import subprocess

import pytest
from benchmarks import coverage, environments

TOOLS = environments.CODERS + environments.CUTTERS


def test_no_tool_is_named_twice_and_the_one_that_cuts_is_there():
    named = environments.PEERS + environments.CODERS + environments.CUTTERS
    assert len(set(named)) == len(named)
    assert coverage.PEER in environments.CUTTERS


@pytest.mark.parametrize("tool", TOOLS)
def test_every_coder_and_cutter_has_packages_and_a_place_of_its_own(tool):
    named = [package.split(">=")[0] for package in environments.packages(tool)]
    assert tool.replace("_", "-") in named
    assert environments.python(tool).parts[-4:] == (".venv-bench", tool, "bin", "python")


@pytest.mark.parametrize("tool", TOOLS)
def test_tersor_is_not_installed_beside_a_tool(tool):
    assert not [p for p in environments.packages(tool) if p.startswith("tersor")]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Environments go elsewhere; what the installer is told, instead of installing."""
    told = []
    monkeypatch.setattr(environments, "_FOLDER", tmp_path / "envs")
    monkeypatch.setattr(environments, "_CONSTRAINTS", tmp_path / "constraints.txt")
    (tmp_path / "constraints.txt").write_text("torch==1\n")

    def create(folder, *, with_pip, clear):
        assert with_pip
        assert clear
        folder.mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(environments.venv, "create", create)
    monkeypatch.setattr(environments.subprocess, "run", lambda words, **_: told.append(words))
    return told


def test_a_tool_is_installed_once_within_the_constraints(installed, tmp_path):
    for _ in range(2):
        environments.make("torch_pruning")
    (words,) = installed
    python = tmp_path / "envs" / "torch_pruning" / "bin" / "python"
    assert words[:4] == [str(python), "-m", "pip", "install"]
    assert words[words.index("--constraint") + 1] == str(tmp_path / "constraints.txt")
    wanted = environments.packages("torch_pruning")
    assert words[-len(wanted) :] == wanted


def test_other_constraints_install_it_anew(installed, tmp_path):
    environments.make("torch_pruning")
    (tmp_path / "constraints.txt").write_text("torch==2\n")
    environments.make("torch_pruning")
    environments.make("nncodec")
    assert len(installed) == 3


@pytest.mark.usefixtures("installed")
def test_what_could_not_be_installed_is_tried_again(monkeypatch):
    def fail(words, *, check):
        assert check
        raise subprocess.CalledProcessError(1, words)

    with monkeypatch.context() as patch:
        patch.setattr(environments.subprocess, "run", fail)
        with pytest.raises(subprocess.CalledProcessError):
            environments.make("torch_pruning")
    told = []
    monkeypatch.setattr(environments.subprocess, "run", lambda words, **_: told.append(words))
    environments.make("torch_pruning")
    assert len(told) == 1
