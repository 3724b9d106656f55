"""`quantize.rate_distortion`: integers whose bits pay."""

import numpy as np
import onnxruntime
import pytest
import torch
from tests.train.trainings import task, trained

from tersor.data.samples import Samples
from tersor.errors import DataError, InputError, ModelError
from tersor.export.onnx import to_onnx
from tersor.methods.prune.magnitude import PruneMagnitude
from tersor.methods.quantize.rate_distortion import QuantizeRateDistortion
from tersor.methods.quantize.weights import QuantizeWeights
from tersor.network.capture import capture
from tersor.network.layers import layers
from tersor.store.model import packed_bytes
from tersor.testing.networks import convolutional, of_four, perceptron, samples_for
from tersor.train import importance as train_importance
from tersor.train.importance import importance

SAMPLES = task(600)


@pytest.fixture(scope="module")
def network():
    return trained(epochs=8, samples=SAMPLES)


def quantized(network, rate, samples=SAMPLES, **settings):
    return QuantizeRateDistortion(rate=rate, **settings).apply(network, samples)


def size(network):
    return packed_bytes(to_onnx(network))


def unlike(one, other):
    """Mean divergence of the chances that two networks give."""
    x = dict(task(500, seed=1).inputs)
    a, b = (torch.from_numpy(n.run(x)["y"]).log_softmax(1) for n in (one, other))
    return float((a.exp() * (a - b)).sum(1).mean())


def test_a_higher_rate_gives_a_smaller_file_and_other_outputs(network):
    found = [quantized(network, rate) for rate in (1e-5, 1e-3, 1e-1)]
    sizes, errors = [size(n) for n in found], [unlike(network, n) for n in found]
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)
    assert sizes[-1] < sizes[0] - 300


def test_it_is_nearer_at_no_more_bytes_than_integers_of_fewer_bits(network):
    options = [quantized(network, rate) for rate in np.geomspace(1e-5, 1e-1, 7)]
    for bits in (3, 5):
        plain = QuantizeWeights(bits=bits).apply(network)
        fitting = [n for n in options if size(n) <= size(plain)]
        assert min(unlike(network, n) for n in fitting) < unlike(network, plain)


def test_samples_tell_what_matters(network):
    """An input that is always 0 needs no weights."""
    x = SAMPLES.inputs["x"].copy()
    x[:, 5:] = 0
    result = quantized(network, 1e-3, Samples({"x": x}))
    zeros = (result.tensor("first.weight") == 0).float().mean(0)
    assert zeros[5:].mean() > 3 * zeros[:5].mean()


def test_zeros_stay_zeros(network):
    pruned = PruneMagnitude(sparsity=0.7).apply(network)
    result = quantized(pruned, 1e-4)
    zeros = pruned.tensor("first.weight") == 0
    assert (result.tensor("first.weight")[zeros] == 0).all()
    again = trained(network=result, samples=SAMPLES, epochs=1)
    assert (again.tensor("first.weight")[result.tensor("first.weight") == 0] == 0).all()


def test_engines_compute_the_same(network):
    result = quantized(network, 1e-3)
    x = dict(SAMPLES.inputs)
    (found,) = onnxruntime.InferenceSession(to_onnx(result)).run(None, x)
    assert np.abs(found - result.run(x)["y"]).max() < 1e-5


def test_biases_are_left_alone_if_asked(network):
    with_biases, without = quantized(network, 1e-3), quantized(network, 1e-3, biases=False)
    assert with_biases.is_coded("first.bias")
    assert not without.is_coded("first.bias")
    assert size(with_biases) < size(without)


def test_a_weight_of_zeros_stays_one():
    network = perceptron().copy()
    network.set_tensor("first.bias", torch.zeros(32))
    assert not quantized(network, 1e-3, None).tensor("first.bias").any()


def test_what_is_left_alone_is_told():
    network = QuantizeWeights(keep=("branch", "head", "depthwise")).apply(convolutional())
    result = quantized(network, 0.01, samples_for(network), keep=("head",))
    told = {n.layer: n.text for n in result.notes if n.method == "quantize.rate_distortion"}
    assert told["stem"] == "its weight is compressed already"
    assert told["head"] == "kept as asked"
    assert "bytes" in told["branch"]


@pytest.mark.parametrize(
    ("setting", "value"), [("rate", 0.0), ("rate", 1.0), ("rate", float("nan")), ("seed", -1)]
)
def test_settings_out_of_range_are_refused(setting, value):
    with pytest.raises(InputError, match=setting):
        QuantizeRateDistortion(**{setting: value})


def test_unknown_layers_and_numbers_that_are_none_are_refused():
    with pytest.raises(ModelError, match="frist is not a layer"):
        quantized(perceptron(), 0.01, keep=("frist",))
    network = perceptron().copy()
    network.set_tensor("second.bias", torch.full((16,), np.inf))
    with pytest.raises(ModelError, match=r"second\.bias holds NaN or infinity"):
        quantized(network, 0.01, None)


def test_importance_is_that_of_its_definition():
    """Of the last layer, weight (k, i): E[x_i^2] over the variance of the scores."""
    network = perceptron()
    x = SAMPLES.inputs["x"][:200]
    found = importance(network, Samples({"x": np.repeat(x, 10, axis=0)}), seed=3)
    hidden = torch.from_numpy(x)
    for name in ("first", "second"):
        weight, bias = (
            network.tensor(f"{name}.{part}").detach() for part in ("weight", "bias")
        )
        hidden = torch.relu(hidden @ weight.T + bias)
    variance = network.run({"x": x})["y"].var()
    expected = hidden.square().mean(0) / variance
    big = expected > expected.max() / 10
    ratio = found["third.weight"][:, big] / expected[big]
    assert (ratio.mean(1) - 1).abs().max() < 0.15
    assert found["third.bias"].mean() == pytest.approx(1 / variance, rel=0.15)


def test_what_was_asked_before_is_not_computed_again(network, monkeypatch):
    calls = []
    computed = train_importance._computed
    monkeypatch.setattr(
        train_importance, "_computed", lambda *given: calls.append(given) or computed(*given)
    )
    first = quantized(network, 1e-3, task(64))
    assert len(calls) == 1
    samples = task(64)
    for rate in (1e-4, 1e-3, 1e-2):
        other = quantized(network, rate, samples)
    assert len(calls) == 2
    quantized(network, 1e-3, samples, seed=1)
    assert len(calls) == 3
    assert size(other) < size(first)


def test_weights_that_were_written_into_are_looked_at_again():
    network = convolutional()
    samples = samples_for(network, 32)
    before = quantized(network, 1e-4, samples).tensor("stem.weight")
    with torch.no_grad():
        network.tensor("stem.weight").mul_(-1.0)
    after = quantized(network, 1e-4, samples).tensor("stem.weight")
    assert (before * after).sum() < -0.9 * before.square().sum()


def test_what_the_outputs_do_not_feel_does_not_matter():
    network = perceptron().copy()
    network.set_tensor("third.weight", torch.zeros(3, 16))
    found = importance(network, SAMPLES)
    assert not found["second.weight"].any()
    assert found["third.weight"].any()


def test_weights_make_up_for_the_errors_of_others(network):
    """Nearer to the original by a quarter, on average over rates, with as many bytes."""
    rates, ratios, sizes = (1e-4, 1e-3, 1e-2), [], []
    for rate in rates:
        alone, together = (
            quantized(network, rate, compensate=compensate) for compensate in (False, True)
        )
        ratios.append(unlike(network, together) / unlike(network, alone))
        sizes.append(size(together) - size(alone))
    assert np.log(ratios).mean() < np.log(0.75)
    assert np.mean(sizes) < 10


def test_biases_that_stay_floats_make_up_for_errors_too(network):
    for compensate in (False, True):
        result = quantized(network, 1e-2, biases=False, compensate=compensate)
        bias = result.tensor("first.bias")
        assert torch.equal(bias, network.tensor("first.bias")) != compensate
        assert not result.is_coded("first.bias")


def test_without_samples_there_is_nothing_to_make_up_for(network):
    found = QuantizeRateDistortion(rate=1e-3).apply(network)
    alone = QuantizeRateDistortion(rate=1e-3, compensate=False).apply(network)
    assert to_onnx(found) == to_onnx(alone)


def test_networks_of_a_fixed_batch_need_a_whole_one():
    network = of_four()
    given = samples_for(network, 9)
    assert QuantizeRateDistortion().apply(network, given).is_coded("only.weight")
    with pytest.raises(DataError, match="are 3, fewer than the 4 of a batch"):
        QuantizeRateDistortion().apply(network, given.take(0, 3))


def test_pruned_weights_are_rounded_each_by_itself(network):
    """Their zeros stay: they could not make up for anything."""
    pruned = PruneMagnitude(sparsity=0.6, scope="layer").apply(network)
    together, alone = (quantized(pruned, 1e-2, compensate=c) for c in (True, False))
    for path in ("first.weight", "second.weight"):
        assert torch.equal(together.tensor(path), alone.tensor(path))


def test_the_network_before_stays_as_it_is(network):
    """Also where some weights are rounded by themselves, before the others."""
    pruned = PruneMagnitude(sparsity=0.6).apply(network)
    before = {name: t.clone() for name, t in pruned.module.state_dict().items()}
    quantized(pruned, 1e-2)
    after = pruned.module.state_dict()
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())


def test_words_that_no_sample_holds_are_rounded_as_those_that_many_do():
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Embedding(60, 8), torch.nn.Flatten(), torch.nn.Linear(32, 3)
    )
    network = capture(module, torch.zeros(2, 4, dtype=torch.int64))
    name = network.inputs[0].name
    words = np.random.default_rng(0).integers(0, 10, (200, 4))
    found = quantized(network, 0.01, Samples({name: words}))
    table = network.tensor("0.weight")
    errors = (found.code("0.weight").decode() - table).detach().square().mean(1)
    # means over 80 and 400 numbers of about equal spread
    assert 0.5 < errors[:10].mean() / errors[10:].mean() < 2


def test_batch_normalizations_become_part_of_the_layers_before_them():
    network = convolutional()
    samples = samples_for(network, 64)
    found = quantized(network, 1e-5, samples)
    assert any("batch_norm" in str(node.target) for node in network.graph.nodes)
    assert not any("batch_norm" in str(node.target) for node in found.graph.nodes)
    bias = next(x.bias for x in layers(found) if x.name == "stem")
    assert found.is_coded(bias)
    ours, before = (n.run(dict(samples.inputs)) for n in (found, network))
    name = network.outputs[0].name
    assert np.square(ours[name] - before[name]).mean() < 0.01 * before[name].var()
