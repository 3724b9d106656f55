"""The tools of the benchmarks: what each is given, and what is known when one has ended."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from benchmarks import environments, running
from benchmarks.peers.job import KINDS, Job, tool
from benchmarks.ptq import TOOLS
from benchmarks.remote import Remote, TorchServer
from benchmarks.running import Done
from benchmarks.subjects import find, names

from tersor.errors import EngineError
from tersor.testing import onnx_models


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Tersor is to quantize a small network."""
    monkeypatch.setattr(running, "_WAIT_S", 0.0)
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (source / "model.onnx").write_bytes(onnx_models.convolutional())
    return Job("tersor", "quantize", "image", str(source), str(target))


@pytest.mark.parametrize("name", TOOLS)
def test_every_tool_has_settings_for_every_kind_of_network(name):
    assert set(tool(name).SETTINGS) == set(KINDS)
    assert all(tool(name).SETTINGS.values())
    assert {find(subject).kind for subject in names()} <= set(KINDS)


@pytest.mark.parametrize("name", TOOLS)
def test_reading_the_settings_needs_none_of_the_tools(name):
    source = Path(tool(name).__file__).read_text()
    top = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
    roots = {line.split()[1].split(".")[0] for line in top}
    assert roots <= {"benchmarks", "numpy", *sys.stdlib_module_names}


@pytest.mark.parametrize("peer", environments.PEERS)
def test_every_peer_has_packages_and_a_place_of_its_own(peer):
    assert environments.packages(peer)
    assert environments.python(peer).parts[-4:] == (".venv-bench", peer, "bin", "python")


def test_samples_come_in_order_and_the_rest_too(job):
    x = np.arange(7)[:, None]
    np.savez(Path(job.source) / "calibration.npz", x=x)
    assert [feed["x"].ravel().tolist() for feed in job.feeds(3)] == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_job_leaves_a_network_and_what_it_took(job):
    (port,) = onnx.load(Path(job.source) / "model.onnx").graph.input
    shape = [d.dim_value or 8 for d in port.type.tensor_type.shape.dim]
    x = np.random.default_rng(0).normal(size=(8, *shape[1:])).astype(np.float32)
    np.savez(Path(job.source) / "calibration.npz", **{port.name: x})
    running.run(job, patience_s=120)
    done = Done("tersor", "quantize", Path(job.target))
    assert done.why_not is None
    assert done.facts["seconds"] > 0
    assert done.facts["peak_bytes"] >= done.facts["import_bytes"] > 20e6
    assert done.facts["versions"]["numpy"] == np.__version__
    written = onnx.load(done.folder / "model.onnx")
    assert "QuantizeLinear" in {node.op_type for node in written.graph.node}
    assert (done.folder / "model.tsr").stat().st_size > 0


def test_a_job_that_fails_says_why(job, monkeypatch):
    monkeypatch.setattr(environments, "python", lambda _: Path(sys.executable))
    running.run(replace(job, tool="absent"), patience_s=60)
    why = Done("absent", "quantize", Path(job.target)).why_not
    assert why.startswith("ended with code 1: ModuleNotFoundError")
    assert "by_absent" in why


def test_a_job_that_takes_too_long_is_stopped(job):
    running.run(job, patience_s=0.01)
    assert Done("tersor", "quantize", Path(job.target)).why_not == "took longer than 0.01 s"


def test_a_tool_without_an_environment_says_so(job, tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "_FOLDER", tmp_path)
    running.run(Job("nncf", "openvino", "image", job.source, job.target), patience_s=1)
    assert "no environment" in Done("nncf", "openvino", Path(job.target)).why_not


def test_facts_add_up_and_a_folder_without_any_is_not_finished(tmp_path):
    done = Done("nncf", "openvino", tmp_path)
    assert not done.is_finished
    done.note(seconds=1.5)
    done.note(drop=0.25)
    assert done.facts == {"seconds": 1.5, "drop": 0.25}
    assert done.is_finished
    done.fail("x" * 400)
    assert done.why_not == "x" * 300
    assert not done.is_finished  # and so it is tried again


def test_the_last_error_tells_more_than_the_last_line(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("start\na.b.SomeError: first\nValueError: second\n\n  a hint at the end\n")
    assert running.last_words(log) == "ValueError: second"
    log.write_text("start\nKilled\n")
    assert running.last_words(log) == "Killed"
    log.write_text("")
    assert running.last_words(log) == "it said nothing"


def test_the_server_tells_what_it_refuses_and_goes_on(tmp_path):
    with TorchServer(1, Path(sys.executable)) as server:
        for _ in range(2):
            with pytest.raises(EngineError, match=r"FileNotFoundError|ModuleNotFoundError"):
                Remote(server, tmp_path / "absent.pt2", {"x": np.zeros(1, np.float32)})


def test_a_server_that_ends_is_told_of():
    with (
        TorchServer(1, Path("/bin/true")) as server,
        pytest.raises(EngineError, match="ended without an answer"),
    ):
        server.ask(do="burst", id=0, runs=1)


def test_a_server_without_an_environment_says_how_to_make_it(tmp_path):
    with (
        TorchServer(1, tmp_path / "python") as server,
        pytest.raises(EngineError, match=r"benchmarks\.environments"),
    ):
        server.ask(do="burst", id=0, runs=1)


def test_arrays_go_through_files_as_they_are():
    with TorchServer(1) as server:
        path = server.put({"x": np.arange(3)})
        with np.load(path) as arrays:
            assert arrays["x"].tolist() == [0, 1, 2]
    assert not path.exists()
