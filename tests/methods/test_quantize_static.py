from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tersor.arrays.affine import sqnr_db
from tersor.codes.affine import Affine
from tersor.codes.masked import Masked
from tersor.data.samples import Samples
from tersor.errors import InputError, ModelError
from tersor.methods.quantize.static import QuantizeStatic, bits_for
from tersor.network.quantizer import ActivationQuantizer
from tersor.testing.networks import convolutional, perceptron, samples_for


def quantizers(network):
    modules = network.module.named_modules()
    return {n: m for n, m in modules if isinstance(m, ActivationQuantizer)}


@pytest.mark.parametrize("ranges", ["minmax", "percentile", "mse", "entropy"])
def test_outputs_stay_close_on_fresh_samples(ranges):
    network = convolutional()
    result = QuantizeStatic(ranges=ranges).apply(network, samples_for(network, 64))
    fresh = dict(samples_for(network, 64, seed=1).inputs)
    assert sqnr_db(network.run(fresh)["scores"], result.run(fresh)["scores"]) > 25.0


def test_batch_norm_is_gone_and_every_weight_is_int8_and_every_bias_int32():
    network = convolutional()
    result = QuantizeStatic().apply(network, samples_for(network))
    assert "batch_norm" not in str(result.graph)
    for layer in ("stem", "branch", "depthwise", "head"):
        weight = result.module.get_submodule(f"{layer}.weight")
        bias = result.module.get_submodule(f"{layer}.bias")
        assert isinstance(weight, Affine)
        assert isinstance(bias, Affine)
        assert (weight.bits, bias.bits) == (8, 32)


def test_zeros_of_a_mask_stay_zeros_and_the_rest_is_rounded_as_any_weight():
    network = convolutional()
    masked, plain = network.copy(), network.copy()
    for path in ("stem.weight", "branch.weight", "head.weight"):
        weight = network.tensor(path).detach()
        masked.set_code(path, Masked.encode(weight, weight > 0))
        plain.set_tensor(path, weight * (weight > 0))
    samples = samples_for(network)
    found, wanted = (QuantizeStatic().apply(n, samples) for n in (masked, plain))
    for path in ("stem.weight", "branch.weight", "head.weight"):
        assert torch.equal(found.code(path).codes(), wanted.code(path).codes())
        assert isinstance(found.code(path).weight, Masked)
    x = samples.inputs["x"]
    assert np.array_equal(found.run({"x": x})["scores"], wanted.run({"x": x})["scores"])


def test_bias_scale_is_input_scale_times_weight_scale():
    network = perceptron()
    result = QuantizeStatic().apply(network, samples_for(network))
    weight = result.module.get_submodule("first.weight")
    bias = result.module.get_submodule("first.bias")
    entry = result.module.get_submodule("quantizers.x")
    torch.testing.assert_close(bias.scale, entry.scale * weight.scale, rtol=0, atol=0)


def test_what_meets_in_a_carrier_shares_one_grid():
    """Max pool and concat only move values, so their roundings must be the same."""
    network = convolutional()
    result = QuantizeStatic().apply(network, samples_for(network))
    called = [
        n for n in result.graph.nodes if n.op == "call_module" and "quantizers" in n.target
    ]
    carried = {n.args[0].name: n.target for n in called}
    assert carried["cat_default"] == carried["max_pool2d_default"]
    assert carried["hardtanh_default"] == carried["relu_default_2"] == carried["cat_default"]
    assert len(quantizers(result)) < len(called)


def test_the_output_is_not_rounded():
    network = perceptron()
    result = QuantizeStatic().apply(network, samples_for(network))
    (last,) = result.graph.output_node().args[0]
    assert last.op == "call_function"


def test_relu_is_rounded_after_and_starts_at_zero():
    network = perceptron()
    result = QuantizeStatic(ranges="minmax").apply(network, samples_for(network))
    assert int(quantizers(result)["quantizers.relu_default"].zero_point) == 0
    assert "quantizers.linear_default" not in quantizers(result)


def test_kept_layers_stay_float_and_their_neighbours_do_not():
    network = convolutional()
    result = QuantizeStatic(keep=("stem", "head")).apply(network, samples_for(network))
    notes = {n.layer: n for n in result.notes}
    assert not notes["stem"].done
    assert not notes["head"].done
    assert notes["branch"].done
    assert "quantizers.x" not in quantizers(result)
    assert torch.is_tensor(result.module.get_parameter("head.weight"))


def test_the_layer_that_makes_the_noise_goes_back_to_float():
    network = perceptron().copy()
    weight = network.tensor("second.weight").detach().clone()
    weight[:, 0] *= 3000.0  # one column dwarfs the rest of each output channel
    first = network.tensor("first.weight").detach().clone()
    first[0] /= 3000.0
    network.set_tensor("second.weight", weight)
    network.set_tensor("first.weight", first)
    samples = samples_for(network, 64)
    result = QuantizeStatic(min_sqnr_db=30.0).apply(network, samples)
    notes = {n.layer: n for n in result.notes}
    assert not notes["second"].done
    assert "of the noise" in notes["second"].text
    assert notes["third"].done
    kept, forced = (
        sqnr_db(network.run(dict(samples.inputs))["y"], r.run(dict(samples.inputs))["y"])
        for r in (result, QuantizeStatic(min_sqnr_db=-99.0).apply(network, samples))
    )
    assert kept > forced + 6.0


@pytest.mark.parametrize(
    ("together", "floats"),
    [(0.0099, []), (0.0102, ["a"]), (0.02, ["a"]), (0.045, ["a", "b"])],
)
def test_no_more_layers_go_back_than_their_share_of_the_noise_asks(together, floats):
    """Alone they make 0.05; corrected, together less: 0.01 are allowed."""
    noise = {"a": 0.03, "b": 0.01, **dict.fromkeys("cdefghijkl", 0.001)}
    layers = [SimpleNamespace(name=name, node=name) for name in noise]
    kept = QuantizeStatic(min_sqnr_db=20.0)._too_costly(together, layers, noise)
    assert list(kept) == floats


@pytest.mark.parametrize(
    ("flags", "bits"),
    [
        (("sse4_2", "avx", "avx2", "fma"), 7),
        (("sse4_2", "avx2", "avx512f"), 7),
        (("sse4_2", "avx2", "avx_vnni"), 8),
        (("avx2", "avx512f", "avx512_vnni", "amx_int8"), 8),
        (("neon", "dotprod"), 8),
        (("neon",), 8),
        ((), 8),
    ],
)
def test_weights_have_seven_bits_where_pairs_saturate(flags, bits):
    assert bits_for(flags) == bits


def test_seven_bits_are_used_and_noted():
    network = perceptron()
    result = QuantizeStatic(weight_bits=7).apply(network, samples_for(network))
    codes = result.module.get_submodule("first.weight").codes()
    assert codes.abs().max() == 63
    assert all("int7 weights" in note.text for note in result.notes)


def test_without_samples_it_refuses():
    with pytest.raises(InputError, match="samples must be given"):
        QuantizeStatic().apply(perceptron())


def test_samples_that_overflow_are_refused_by_node():
    network = perceptron()
    huge = Samples({"x": np.full((2, 12), 3e38, np.float32)})
    with pytest.raises(ModelError, match="gives NaN or infinity"):
        QuantizeStatic().apply(network, huge)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"ranges": "max"}, "ranges must be one of minmax, percentile, mse, entropy"),
        ({"percent": 40.0}, r"percent must be in \(50, 100\]"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"weight_bits": 9}, "weight_bits must be 2 to 8"),
    ],
)
def test_settings_out_of_range_are_refused(settings, text):
    with pytest.raises(InputError, match=text):
        QuantizeStatic(**settings)


def test_unknown_layer_is_refused_by_name():
    network = perceptron()
    with pytest.raises(ModelError, match="nobody is not a layer"):
        QuantizeStatic(keep=("nobody",)).apply(network, samples_for(network))


def test_each_layers_own_noise_is_noted():
    """That of the layer alone, before its bias takes back the mean of it."""
    network = convolutional()
    samples = samples_for(network, 256)
    notes = {n.layer: n for n in QuantizeStatic().apply(network, samples).notes}
    exact = network.run(dict(samples.inputs))["scores"]
    assert all(note.noise > 0 for note in notes.values())
    for name in ("stem", "head"):
        alone = QuantizeStatic(keep=tuple(set(notes) - {name})).apply(network, samples)
        wanted = 10 ** (-sqnr_db(exact, alone.run(dict(samples.inputs))["scores"]) / 10)
        assert 0.6 * wanted < notes[name].noise < 5 * wanted


def test_biases_are_corrected_only_where_that_brings_the_outputs_nearer(monkeypatch):
    network = perceptron()
    samples = samples_for(network, 64)
    wrong = {"first.bias": torch.full_like(network.tensor("first.bias"), 10.0).double()}
    monkeypatch.setattr("tersor.network.trial.mean_errors", lambda *_: wrong)
    result = QuantizeStatic().apply(network, samples)
    code = result.module.get_submodule("first.bias")
    step = float(code.scale.max())
    assert torch.allclose(code.decode(), network.tensor("first.bias"), atol=step)
