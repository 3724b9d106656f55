"""Cuts without labels: what they may look at, what chooses among them, what is told."""

from dataclasses import replace

import numpy as np
import pytest
from benchmarks import records, slim_unlabelled
from benchmarks.slim_unlabelled import Case, judge, outputs
from benchmarks.subject import Published, Subject

from tersor.data.samples import Samples
from tersor.testing.networks import convolutional, samples_for

SEEDS = {"calibration": 0, "validation": 1, "test": 2}


class Scaled:
    """A cut that adds noise to the last layer, and notes what it saw."""

    def __init__(self, noise):
        self.noise, self.seen = noise, None

    def apply(self, network, samples=None):
        self.seen, result = samples, network.copy()
        weight = network.tensor("head.weight").detach()
        drawn = np.random.default_rng(0).standard_normal(tuple(weight.shape))
        result.set_tensor("head.weight", weight + self.noise * weight.new_tensor(drawn))
        result.module.recompile()
        return result


def data(split):
    samples = samples_for(convolutional(), 60, SEEDS[split])
    right = convolutional().run(samples.inputs)["scores"].argmax(1)
    return Samples(samples.inputs, right)  # the original is always right


@pytest.fixture
def subject(tmp_path, monkeypatch):
    """A subject whose original gets every sample right; races give made-up times."""
    made = Subject(
        name="tiny",
        title="Tiny",
        kind="image",
        metric="top1",
        inputs=("x",),
        outputs=("scores",),
        published=Published(100.0, 0.1, 60, "made up"),
        module=lambda: convolutional().module,
        data=data,
    )
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(slim_unlabelled, "WORK", tmp_path / "build")
    monkeypatch.setattr(slim_unlabelled.subjects, "find", {"tiny": made}.__getitem__)
    monkeypatch.setattr(slim_unlabelled, "capture", lambda *_: convolutional())

    def raced(places, samples, batch, seconds):
        del samples, seconds
        return {name: {"speedup": {"median": 1.0 + batch}} for name in places}

    monkeypatch.setattr(slim_unlabelled, "raced", raced)
    return made


@pytest.mark.parametrize("by_agreement", [False, True])
@pytest.mark.usefixtures("subject")
def test_the_hardest_cut_that_validation_data_allow_is_the_one_that_counts(
    monkeypatch, by_agreement
):
    cuts = {str(noise): Scaled(noise) for noise in (0.0, 0.003, 1.0)}
    case = Case(
        "tiny",
        {name: (cut,) for name, cut in cuts.items()},
        most=20.0,
        by_agreement=by_agreement,
    )
    monkeypatch.setattr(slim_unlabelled, "CASES", {"tiny": case})
    slim_unlabelled.measure("tiny", 1.0)
    rows = records.read("slim_unlabelled")
    assert [row["batch"] for row in rows] == [1, 1, 1, 16, 16, 16]
    assert [row["cut"] for row in rows[:3]] == list(cuts)
    assert [row["is_chosen"] for row in rows[3:]] == [False, True, False]
    losses = [row["loss"] for row in rows[:3]]
    assert losses[0] == 0 < losses[1] <= 20 < losses[2]
    test, found = data("test"), cuts["0.003"].apply(convolutional())
    same = outputs(found, test)["scores"].argmax(1) == test.labels
    told = rows[1]["test"]
    assert told["agreement"] == told["score"] == 100 * same.mean()
    assert told["drop"] == pytest.approx(100 - 100 * same.mean())
    assert rows[1]["macs"] == 1.0
    assert rows[4]["times"]["speedup"]["median"] == 17.0


@pytest.mark.usefixtures("subject")
def test_cuts_see_calibration_samples_without_labels(monkeypatch):
    cut = Scaled(0.0)
    case = Case("tiny", {"only": (Scaled(0.0), cut)}, most=1.0)
    monkeypatch.setattr(slim_unlabelled, "CASES", {"tiny": case})
    slim_unlabelled.measure("tiny", 1.0)
    assert cut.seen.labels is None
    assert np.array_equal(cut.seen.inputs["x"], data("calibration").inputs["x"])


def test_outputs_that_are_no_classes_have_no_agreement(subject):
    samples = samples_for(convolutional(), 40)
    labelled = Samples(samples.inputs, np.repeat(np.arange(20.0), 2))
    pair = (outputs(convolutional(), labelled),) * 2
    found = judge(replace(subject, metric="spearman"), pair, labelled)
    assert found["agreement"] is None
    assert found["drop"] == 0
    assert found["low"] <= 0 <= found["high"]


def test_cases_go_from_the_mildest_cut_to_the_hardest():
    for case in slim_unlabelled.CASES.values():
        assert case.cuts
    layers = slim_unlabelled.CASES["minilm"].cuts
    assert [cut.count for (cut,) in layers.values()][1:] == [2, 3]
