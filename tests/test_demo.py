"""The demonstration: its data, its network, and the whole way."""

import json
import sys

import numpy as np
import pytest
import torch

import tersor
from tersor import demo
from tersor.errors import TersorError

EVERYTHING = 1797  # digits


@pytest.fixture(scope="module")
def trained():
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    told = []
    before = torch.random.get_rng_state()
    made = demo.train(on_progress=lambda phase, done: told.append((phase, done)))
    assert torch.equal(torch.random.get_rng_state(), before)
    return *made, told


def test_the_parts_are_all_digits_and_share_none(trained):
    _, *parts, _ = trained
    assert [len(part) for part in parts] == [1078, 359, 360]
    pixels = np.concatenate([part.inputs["image"] for part in parts])
    assert pixels.shape == (EVERYTHING, 1, 8, 8)
    assert (pixels.dtype, pixels.min(), pixels.max()) == (np.float32, 0.0, 1.0)
    assert len(np.unique(pixels, axis=0)) == EVERYTHING
    for part in parts:
        assert set(part.labels) == set(range(10))


def test_the_division_is_always_the_same(trained):
    _, *parts, _ = trained
    for part, again in zip(parts, demo.digits(), strict=True):
        assert np.array_equal(part.inputs["image"], again.inputs["image"])
        assert np.array_equal(part.labels, again.labels)


def test_the_network_learns_digits_that_it_never_saw(trained):
    module, _, _, test, _ = trained
    with torch.no_grad():
        found = module(torch.from_numpy(test.inputs["image"])).argmax(1).numpy()
    assert np.mean(found == test.labels) >= 0.97


def test_progress_ends_at_the_end(trained):
    told = trained[-1]
    assert {phase for phase, _ in told} == {"train"}
    assert [done for _, done in told] == sorted(done for _, done in told)
    assert told[-1] == ("train", 1.0)


@pytest.mark.usefixtures("trained")
def test_the_seed_alone_decides_the_weights(monkeypatch):
    few = [part.take(0, 64) for part in demo.digits()]
    monkeypatch.setattr(demo, "digits", lambda: few)
    monkeypatch.setattr(demo, "_EPOCHS", 1)
    first, again, other = (demo.train(seed)[0].head.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_missing_package_is_told_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(
        TersorError, match=r'not installed. Install .*: pip install "tersor\[demo'
    ):
        demo.train()


@pytest.mark.slow
def test_the_whole_way_ends_in_files_that_run(trained, tmp_path, monkeypatch):
    def train(on_progress):
        on_progress("train", 1.0)
        return trained[:-1]

    monkeypatch.setattr(demo, "train", train)
    told = set()
    result = demo.run(tmp_path / "demo", on_progress=lambda phase, _: told.add(phase))
    assert "train" in told
    assert len(told) > 1
    report = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert report["compression"] == result.report["compression"] > 3
    assert report["data"]["test"] == 360
    for side in ("original", "compressed"):  # two processes tell it, with Python and numpy
        assert 20e6 < report[side]["peak_memory_bytes"] < 2e9
    session = tersor.open(tmp_path / "demo" / "model.tsr")
    test = trained[3]
    (outputs,) = session.run({"image": test.inputs["image"]}).values()
    assert np.mean(outputs.argmax(1) == test.labels) >= 0.97
