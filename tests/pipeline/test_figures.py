"""Entries of the report that are computed from verdicts."""

import types

import numpy as np
import pytest

from tersor.arrays.intervals import smallest_difference
from tersor.data.samples import Samples
from tersor.network.branches import branches, without
from tersor.network.channels import channels
from tersor.network.fold import fold_batch_norm
from tersor.network.network import WHOLE, Note
from tersor.network.surgery import cut
from tersor.pipeline import figures
from tersor.testing.networks import convolutional
from tersor.verify import compare

N = 100
LABELS = np.arange(N) % 3


def answers(wrong):
    """A model of three classes that is wrong on the first samples."""
    scores = np.eye(3, dtype=np.float32)[LABELS]
    scores[:wrong] = np.roll(scores[:wrong], 1, axis=1)
    return lambda feeds: {"y": scores[np.asarray(feeds["i"])]}


def outcome_of(verdict, *others):
    entries = [types.SimpleNamespace(verdict=v) for v in (verdict, *others)]
    return types.SimpleNamespace(winner=entries[0], entries=entries)


def verdict_of(wrong, metric=None):
    samples = Samples({"i": np.arange(N)}, None if metric else LABELS)
    return compare(answers(0), answers(wrong), samples, metric=metric)


def test_a_limit_is_fine_enough_if_the_samples_tell_losses_of_that_size():
    found = figures.resolution(outcome_of(verdict_of(6)), 5.0)
    least = smallest_difference(6, N)
    assert found == {
        "samples": N,
        "loss": least,
        "loss_pp": pytest.approx(100 * least),
        "limit": 0.05,
        "enough": True,
        "samples_needed": None,
    }
    found = figures.resolution(outcome_of(verdict_of(6)), 1.0)
    assert not found["enough"]
    # sqrt(6 % n) z / n = 1 %, so many samples and no fewer
    needed = found["samples_needed"]
    assert smallest_difference(round(0.06 * needed), needed) == pytest.approx(0.01, rel=0.01)


def test_no_number_of_samples_tells_that_nothing_is_lost():
    found = figures.resolution(outcome_of(verdict_of(6)), 0.0)
    assert not found["enough"]
    assert found["samples_needed"] is None


def test_where_the_original_won_the_first_that_was_judged_tells():
    found = figures.resolution(outcome_of(None, None, verdict_of(9)), 1.0)
    assert found["loss"] == smallest_difference(9, N)
    assert figures.resolution(outcome_of(None), 1.0) is None


def test_limits_of_other_metrics_are_shares_of_the_original():
    verdict = verdict_of(6, "mse")  # of the original to itself: no limit but that of noise
    found = figures.resolution(outcome_of(verdict), 1.0)
    assert found["loss"] == verdict.resolution
    assert (found["loss_pp"], found["limit"], found["enough"]) == (None, None, True)


def became(result):
    """What the report says became of each layer of `convolutional`."""
    rows = figures.layer_rows(convolutional(), result, {})
    return {row["name"]: row["what"] for row in rows}


def test_layers_that_lost_channels_were_folded_or_removed_say_so():
    network = convolutional()
    known = channels(network)
    small = cut(network, {"stem": np.arange(8) < 5}, known)
    found = became(small)
    assert found["stem"] == found["branch"] == found["head"] == "float32, fewer channels"
    assert set(became(network).values()) == {"float32"}
    without_branch = without(network, branches(network))
    assert became(without_branch) == {**became(network), "branch": "removed"}
    folded = became(fold_batch_norm(network))
    assert folded["stem_bn"] == folded["deep_bn"] == "folded away"
    assert folded["stem"] == "float32"


def test_what_is_said_of_a_network_as_a_whole_stands_by_candidates_and_hides_nothing():
    missed = Note(WHOLE, "prune.layers", done=False, text="57 % of MACs are left")
    reached = Note(WHOLE, "prune.channels", done=True, text="50.0 % of the macs are left")
    trained = Note(WHOLE, "train.fine_tune", done=True, text="1 epoch", curve=((0.5, None),))
    kept = Note("head", "prune.channels", done=False, text="4 channels stay")
    first = convolutional().with_notes(missed, kept, reached, trained)
    found = figures.remarks({"first": first, "second": convolutional().with_notes(reached)})
    assert [(one["candidate"], one["method"], one["done"]) for one in found] == [
        ("first", "prune.layers", False),
        ("first", "prune.channels", True),
        ("second", "prune.channels", True),
    ]
    assert found[0]["text"] == "57 % of MACs are left"
    assert [one["layer"] for one in figures.skipped(first.notes)] == ["head"]
