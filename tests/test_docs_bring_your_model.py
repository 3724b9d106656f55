"""The guide runs, block by block, in an empty folder."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from tersor.cli import main

TEXT = (Path(__file__).parents[1] / "docs" / "bring-your-model.md").read_text()
BLOCKS = re.findall(r"```(\w+)(?: file=(\S+))?\n(.*?)```", TEXT, re.DOTALL)
NEEDED = {"transformers", "tokenizers"}

pytestmark = pytest.mark.usefixtures("made_up_memory")


def run(kind, file, code, names):
    """Write the block to its file, or run it."""
    if file:
        Path(file).write_text(code)
    elif kind == "python":
        exec(compile(code, "bring-your-model.md", "exec"), names)  # noqa: S102
    else:
        assert kind == "sh"
        for line in code.splitlines():
            command = shlex.split(line)
            assert command[0] == "tersor"
            assert main(command[1:]) == 0, line


def test_the_guide_has_blocks_of_every_kind():
    assert {kind for kind, _, _ in BLOCKS} == {"python", "sh", "toml"}
    assert TEXT.count("```") == 2 * len(BLOCKS)


def test_every_block_of_the_guide_runs(tmp_path, monkeypatch, capsys):
    for package in sorted(NEEDED):
        pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before, names = set(sys.modules), {}
    try:
        for kind, file, code in BLOCKS:
            run(kind, file, code, names)
    finally:
        for name in set(sys.modules) - before:
            if name.startswith("my_"):
                del sys.modules[name]
    printed = capsys.readouterr().out
    assert "('batch', 3, 'height', 'width')" in printed
    assert "photos 40 {'image': (40, 3, 16, 16)}" in printed
    assert "'attention_mask': (80, 12)" in printed
    assert "sounds 6 {'audio': (6, 40, 98)}" in printed
    assert "of 64 samples, 16, drawn evenly over their order (seed 0), calibrate" in printed
    assert "the loader shuffles" in printed
    assert "(2, 2)" in printed
    assert (tmp_path / "scores.npz").is_file()
    assert (tmp_path / "small" / "report.html").is_file()
