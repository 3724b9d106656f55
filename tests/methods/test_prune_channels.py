"""Channel pruning, from a target to a network that goes on as any other."""

import math

import numpy as np
import pytest
import torch
from tests.network.cutting import Made, captured, drawn, followed
from torch import nn

from tersor.data.samples import Samples
from tersor.engines import find
from tersor.errors import InputError, ModelError
from tersor.export.onnx import to_onnx
from tersor.methods.prune.channels import PruneChannels
from tersor.methods.quantize.static import QuantizeStatic
from tersor.methods.quantize.weights import QuantizeWeights
from tersor.methods.train.fine_tune import FineTune
from tersor.network.channels import channels
from tersor.network.cost import cost
from tersor.network.network import WHOLE
from tersor.network.slimming import Target
from tersor.testing.networks import convolutional, half_dead, of_four, perceptron, samples_for
from tersor.train.batches import parts
from tersor.train.optimizer import Optimizer

WEIGHTS = {"score": "l2", "repair": False}


def told(network):
    """What the last note says of the whole network."""
    note = network.notes[-1]
    assert (note.layer, note.method) == (WHOLE, "prune.channels")
    return note.done, note.text


def error(network, original, feeds):
    """Mean square error of the first output over that output's variance."""
    found, wanted = (next(iter(n.run(feeds).values())) for n in (network, original))
    return float(np.square(found - wanted).mean() / wanted.var())


@pytest.mark.parametrize("left", [0.75, 0.4])
@pytest.mark.parametrize("of", ["macs", "parameters", "bytes"])
def test_no_more_is_left_than_was_asked_for(of, left):
    network = convolutional()
    small = PruneChannels(target=Target(**{of: left})).apply(network, samples_for(network))
    counted = {"bytes": "weight_bytes"}.get(of, of)
    share = getattr(cost(small), counted) / getattr(cost(network), counted)
    assert left - 0.15 < share <= left
    assert told(small) == (True, f"{100 * share:.1f} % of the {of} are left")


def test_half_of_the_macs_are_left_where_nothing_is_asked_for():
    network = convolutional()
    small = PruneChannels(**WEIGHTS).apply(network)
    assert cost(small).macs <= 0.5 * cost(network).macs


def test_notes_tell_what_became_of_every_layer():
    network = perceptron()
    small = PruneChannels(target=Target(macs=0.5), **WEIGHTS).apply(network)
    sizes = {g.name: g.size for g in channels(small).groups}
    texts = {note.layer: (note.done, note.text) for note in small.notes}
    for name, size in {"first": 32, "second": 16}.items():
        assert texts[name] == (True, f"{sizes[name]} of {size} channels left")
    reason = "3 channels stay: it is an output of the network"
    assert texts["third"] == (False, reason)
    assert len(small.notes) == 4


def test_what_says_nothing_goes_first_and_at_no_cost():
    """Half of the channels of one group are dead: cutting them leaves so much."""
    network = half_dead()
    feeds = dict(samples_for(network, 8, seed=1).inputs)
    group = next(g for g in channels(network).groups if g.size == 8)
    counts = {}
    for left in (0.9, 0.7, 0.5):
        small = PruneChannels(target=Target(macs=left), repair=False).apply(
            network, samples_for(network)
        )
        counts[left] = next(g.size for g in channels(small).groups if g.name == group.name)
        exact, found = (n.run(feeds)["scores"] for n in (network, small))
        if counts[left] >= 4:
            np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)
    assert any(count < 8 for count in counts.values())
    assert counts[0.9] >= 4


@pytest.mark.parametrize("pattern", ["second", "re:sec"])
def test_ignored_layers_keep_their_results_whole(pattern):
    network = perceptron()
    settings = {"target": Target(macs=0.4), "ignore": (pattern,), **WEIGHTS}
    small = PruneChannels(**settings).apply(network)
    assert small.tensor("second.weight").shape[0] == 16
    assert small.tensor("first.weight").shape[0] < 32
    texts = {note.layer: note.text for note in small.notes}
    assert texts["second"] == "16 channels stay: pinned by `ignore`"


def test_ignoring_what_there_is_not_is_refused():
    with pytest.raises(ModelError, match="nothing is not a layer") as caught:
        PruneChannels(ignore=("nothing",), **WEIGHTS).apply(perceptron())
    assert caught.value.problem == "is not a layer"


@pytest.mark.parametrize("scope", ["global", "local"])
def test_what_cannot_be_reached_is_told_and_come_near_to(scope):
    network = perceptron()
    small = PruneChannels(target=Target(macs=0.01), scope=scope, **WEIGHTS).apply(network)
    assert {g.name: g.size for g in channels(small).groups} == {"first": 4, "second": 2}
    left = 100 * cost(small).macs / cost(network).macs
    done, text = told(small)
    assert not done
    assert text == (
        f"{left:.1f} % of the macs are left, not 1 %: each group keeps a tenth of its "
        "channels, and what is frozen stays"
    )


def test_a_network_without_channels_to_cut_is_refused_with_the_reason():
    with pytest.raises(ModelError) as caught:
        PruneChannels(**WEIGHTS).apply(of_four())
    assert str(caught.value) == (
        "The network has no channels to cut. All are frozen; only, for one: "
        "it is an output of the network."
    )
    coded = QuantizeWeights(minimum=0).apply(perceptron())
    with pytest.raises(ModelError, match="first, for one: it is held by a code"):
        PruneChannels(**WEIGHTS).apply(coded)
    empty, _ = followed(Made(lambda _, x: torch.relu(x)), drawn(2, 3))
    with pytest.raises(ModelError, match=r"no channels to cut\. It has no layers\."):
        PruneChannels(**WEIGHTS).apply(empty)


def test_where_all_may_be_left_nothing_is_done():
    network = perceptron()
    same = PruneChannels(target=Target(parameters=1.0)).apply(network)
    assert told(same) == (False, "all parameters may be left")
    assert same.module is network.module


@pytest.mark.parametrize("multiple", [4, 8])
def test_layers_keep_multiples_where_they_are_asked_for(multiple):
    network = perceptron()
    settings = {"target": Target(macs=0.35), "multiple": multiple, **WEIGHTS}
    small = PruneChannels(**settings).apply(network)
    sizes = [g.size for g in channels(small).groups]
    assert all(size % multiple == 0 for size in sizes)
    assert sizes != [32, 16]


def test_local_takes_the_same_share_of_all():
    network = perceptron()
    small = PruneChannels(target=Target(macs=0.3), scope="local", **WEIGHTS).apply(network)
    first, second = (g.size for g in channels(small).groups)
    assert first == pytest.approx(2 * second, abs=1)
    assert first < 32


def test_a_score_that_needs_samples_asks_for_them():
    with pytest.raises(InputError, match="given for the score taylor_second; without: l1"):
        PruneChannels().apply(perceptron())


def test_a_negative_multiple_is_refused():
    with pytest.raises(InputError, match=r"multiple must be 0 or more\. Got -1"):
        PruneChannels(multiple=-1)


def test_labels_can_tell_what_matters():
    """Of two halves, labels are by the first; the second moves the outputs more."""

    def function(m, x):
        return m.head(torch.relu(m.body(x)))

    network, known = followed(
        Made(function, body=nn.Linear(4, 8), head=nn.Linear(8, 3)), drawn(2, 4)
    )
    with torch.no_grad():
        head = network.tensor("head.weight")
        head[2] = 0
        head[:2, 4:] = 5.0  # both classes alike: no label depends on it
    x = drawn(64, 4).numpy()
    samples = Samples({network.inputs[0].name: x}, (x[:, 0] > 0).astype(np.int64))
    kept = {}
    for score in ("taylor", "taylor_second"):
        settings = {"target": Target(macs=0.55), "score": score, "repair": False}
        small = PruneChannels(**settings).apply(network, samples)
        rows = {tuple(row) for row in small.tensor("body.weight").tolist()}
        body = network.tensor("body.weight").tolist()
        kept[score] = [tuple(row) in rows for row in body]
    assert [g.size for g in known.groups] == [8]
    assert sum(kept["taylor"]) == sum(kept["taylor_second"]) == 4
    assert sum(kept["taylor_second"][4:]) > sum(kept["taylor"][4:])


def like(network, inputs, count, seed=0):
    """Samples like example inputs."""
    rng = np.random.default_rng(seed)
    found = {}
    for port, x in zip(network.inputs, inputs, strict=True):
        shape = (count, *x.shape[1:])
        if x.is_floating_point():
            found[port.name] = rng.standard_normal(shape).astype(np.float32)
        else:
            found[port.name] = rng.integers(0, int(x.max()) + 1, shape).astype(x.numpy().dtype)
    return found


@pytest.mark.parametrize("name", ["resnet_basic", "shufflenet_v2", "lstm_tagger", "bert"])
def test_with_samples_outputs_stay_nearer(name):
    """Against the same number of channels by random scores; and with repair nearer yet."""
    network, inputs, _ = captured(name)
    samples, fresh = Samples(like(network, inputs, 96)), like(network, inputs, 32, seed=1)
    target = Target(macs=0.7)
    errors = [
        error(PruneChannels(target=target, **more).apply(network, samples), network, fresh)
        for more in ({}, {"repair": False}, {"score": "random", "repair": False})
    ]
    assert errors[0] < errors[1] < errors[2]
    assert errors[0] < 0.5 * errors[2]


# And on


@pytest.fixture(scope="module")
def slim():
    network, inputs, _ = captured("resnet_basic")
    samples = Samples(like(network, inputs, 48))
    return PruneChannels(target=Target(macs=0.6)).apply(network, samples), samples


def test_samples_that_a_training_will_hold_out_are_not_looked_at():
    network = perceptron()
    x = samples_for(network, 200).inputs["x"]
    _, held = parts(200, 0)
    other = x.copy()
    other[held] = 1e3

    def weights(inputs):
        small = PruneChannels().apply(network, Samples({"x": inputs}))
        return small.module.state_dict()

    found, wanted = weights(other), weights(x)
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
    x[np.setdiff1d(np.arange(200), held)[0]] = 1e3
    found = weights(x)
    assert not all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_it_exports_and_an_engine_computes_the_same(slim):
    network, samples = slim
    feeds = {name: array[:8] for name, array in samples.inputs.items()}
    found = find("onnxruntime").prepare(to_onnx(network), threads=1).run(feeds)
    for name, value in network.run(feeds).items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5 * np.abs(value).max())


def test_it_quantizes_like_any_other(slim):
    network, samples = slim
    integers = QuantizeStatic().apply(network, samples)
    assert cost(integers).macs == cost(network).macs
    assert cost(integers).weight_bytes < 0.3 * cost(network).weight_bytes
    feeds = dict(samples.inputs)
    assert error(integers, network, feeds) < 0.02
    found = find("onnxruntime").prepare(to_onnx(integers), threads=1).run(feeds)
    wanted = integers.run(feeds)
    (name,) = wanted
    assert np.square(found[name] - wanted[name]).mean() < 1e-3 * wanted[name].var()


def test_it_trains_with_the_original_as_its_teacher():
    network = perceptron()
    x = np.random.default_rng(0).standard_normal((400, 12)).astype(np.float32)
    samples = Samples({"x": x})
    small = PruneChannels(target=Target(macs=0.4)).apply(network, samples)
    assert small.origin is network
    optimizer = Optimizer(learning_rate=3e-3)
    trained = FineTune(epochs=6, batch=32, optimizer=optimizer, loss="original").apply(
        small, samples
    )
    assert trained.origin is network
    shapes = (
        {n: t.shape for n, t in m.state_dict().items()} for m in (trained.module, small.module)
    )
    assert next(shapes) == next(shapes)
    fresh = {"x": np.random.default_rng(1).standard_normal((400, 12)).astype(np.float32)}
    chances = [log_chances(n.run(fresh)["y"]) for n in (network, small, trained)]
    away = [(np.exp(chances[0]) * (chances[0] - each)).sum(1).mean() for each in chances[1:]]
    assert away[1] < 0.8 * away[0]


def log_chances(scores):
    return scores - np.log(np.exp(scores).sum(1, keepdims=True))


def test_what_was_cut_can_be_cut_again():
    network = perceptron()
    once = PruneChannels(target=Target(macs=0.7), **WEIGHTS).apply(network)
    twice = PruneChannels(target=Target(macs=0.7), **WEIGHTS).apply(once)
    assert cost(twice).macs <= 0.7 * cost(once).macs <= math.ceil(0.49 * cost(network).macs)
    assert twice.origin is network


@pytest.mark.parametrize("settings", [{"score": "l2"}, {"repair": False}])
def test_samples_that_are_no_numbers_are_refused(settings):
    network = convolutional()
    samples = samples_for(network, 20)
    next(iter(samples.inputs.values()))[3, 0, 1, 1] = np.nan
    with pytest.raises(ModelError, match="that are not finite"):
        PruneChannels(**settings).apply(network, samples)
