"""Races of networks with fewer channels: who takes part, what is told of layers."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from benchmarks import outputs, records, slim_speed

from tersor.data.samples import Samples
from tersor.data.split import Split
from tersor.measure import Ratio, Timing
from tersor.methods.prune.channels import PruneChannels
from tersor.methods.prune.layers import PruneLayers
from tersor.network.cost import cost
from tersor.testing.networks import convolutional, samples_for


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(slim_speed, "_PTQ", tmp_path / "ptq")


@pytest.fixture
def samples():
    labels = np.arange(40) % 5
    return Samples(samples_for(convolutional(), 40).inputs, labels)


@pytest.fixture
def slower(monkeypatch):
    """Races take no time: a network's is given by the name of its folder and its engine."""
    times = {}
    monkeypatch.setattr(
        outputs,
        "contestant",
        lambda folder, engine, feeds, _: SimpleNamespace(
            ms=times[folder.name, engine], batch=len(feeds["x"])
        ),
    )

    def race(contestants, **_):
        return [
            Timing(c.ms, c.ms, c.ms, 1, quiet=True, rounds_ms=(c.ms,) * 3) for c in contestants
        ]

    monkeypatch.setattr(slim_speed, "race", race)
    monkeypatch.setattr(
        slim_speed, "ratio", lambda a, b: Ratio(a.median_ms / b.median_ms, 1.0, 2.0)
    )
    return times


def test_each_is_judged_on_its_fastest_engine_against_the_fastest_of_the_original(
    tmp_path, samples, slower
):
    for name in ("original", "slim"):
        slim_speed.written(convolutional(), tmp_path / name)
    slower |= {("original", "openvino"): 3.0, ("original", "onnxruntime"): 4.0}
    slower |= {("slim", "openvino"): 2.5, ("slim", "onnxruntime"): 2.0}
    racers = {name: tmp_path / name for name in ("original", "slim")}
    found = slim_speed.raced(racers, samples, 16, 1.0)
    assert found["original"]["engine"] == "openvino"
    assert found["slim"]["engine"] == "onnxruntime"
    assert found["slim"]["speedup"]["median"] == 1.5
    assert found["slim"]["ms"] == 2.0


def test_a_line_holds_errors_and_times_of_all_that_are_there(
    tmp_path, samples, slower, monkeypatch
):
    original = convolutional()
    small = PruneChannels(score="l2", repair=False).apply(original, samples)
    parts = Split(samples, samples, samples, "made up", samples)
    monkeypatch.setattr(slim_speed, "original", lambda _: (original, parts))
    monkeypatch.setattr(slim_speed, "layers", lambda *given: ([{"on": given[2]}], ["slow"]))
    for name, ms in {"original": 3.0, "slim": 2.0, "int8": 1.0}.items():
        slower |= {(name, "openvino"): ms, (name, "onnxruntime"): ms + 1}
    slim_speed.written(small, tmp_path / "net")
    slim_speed.measure("resnet20-50", 1, tmp_path / "net", 1.0)
    rows = records.read("slim_speed")
    assert [row["batch"] for row in rows] == [1, 16]
    assert rows[0]["macs"] == cost(small).macs / cost(original).macs < 1
    assert list(rows[0]["times"]) == ["original", "slim", "slim int8"]
    assert rows[0]["times"]["slim int8"]["speedup"]["median"] == 3.0
    assert rows[1]["layers"] == [{"on": "openvino"}]
    assert rows[1]["lagging"] == ["slow"]
    wrong = [
        np.argmax(small.run({"x": samples.inputs["x"][i : i + 1]})["scores"]) != label
        for i, label in enumerate(samples.labels)
    ]
    assert rows[0]["error"] == pytest.approx(100 * np.mean(wrong))


def test_layers_are_paired_by_name_also_where_some_are_gone(samples, monkeypatch, tmp_path):
    """A table of made-up times: a millisecond for each million of MACs, 10 at least."""
    original = convolutional()
    small = PruneLayers(count=1).apply(original, samples)
    made_up = {"folder": tmp_path, "measure": lambda work: 0.01 + work.macs / 1e6}
    monkeypatch.setattr(slim_speed, "Table", partial(slim_speed.Table, **made_up))
    rows, words = slim_speed.layers(original, small, "onnxruntime", 2)
    gone = [row for row in rows if row["macs"] and not row["macs_left"]]
    assert sum(row["macs"] for row in rows) == 2 * cost(original).macs
    assert sum(row["macs_left"] for row in rows) == 2 * cost(small).macs
    assert gone
    assert all(row["ms_left"] == 0 for row in gone)
    assert words == []  # what is left takes as long as before
