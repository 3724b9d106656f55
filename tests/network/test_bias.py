import numpy as np
import torch

from tersor.arrays.affine import sqnr_db
from tersor.codes.affine import Affine
from tersor.data.samples import Samples
from tersor.methods.quantize.static import QuantizeStatic
from tersor.network.bias import Means, mean_errors
from tersor.network.observe import observe
from tersor.testing.networks import convolutional, perceptron, samples_for


def coarse(network, path, bits=3):
    result = network.copy()
    weight = network.tensor(path)
    result.set_code(path, Affine.encode(weight, bits=bits, axis=0))
    return result


class Heard(Means):
    """Means of all samples."""

    def __init__(self, exact, samples):
        super().__init__(exact, samples)
        self.count = len(samples)
        observe(exact, (), samples, self)


def errors_of(exact, rounded, samples):
    return mean_errors(rounded, samples, Heard(exact, samples))


def shifted(network, count=40):
    """Samples whose mean is far from zero, so that roundings leave a mean error."""
    x = samples_for(network, count).inputs["x"]
    return Samples({"x": (np.asarray(x) + 1).astype(np.float32)})


def test_the_error_of_a_linear_layer_is_that_of_its_weight_times_the_mean_input():
    network = perceptron()
    samples = shifted(network)
    found = errors_of(network, coarse(network, "first.weight"), samples)
    weight = network.tensor("first.weight").detach()
    code = Affine.encode(weight, bits=3, axis=0)
    mean = torch.from_numpy(np.asarray(samples.inputs["x"])).mean(dim=0)
    wanted = (weight - code.decode().detach()) @ mean
    torch.testing.assert_close(found["first.bias"].float(), wanted, rtol=1e-4, atol=1e-5)


def test_later_layers_are_corrected_on_corrected_inputs():
    """The last layer's mean is exact if it was taken on what the layers before give now."""
    network = perceptron()
    samples = shifted(network, 8)  # one chunk
    rounded = coarse(coarse(network, "first.weight"), "third.weight")
    errors = errors_of(network, rounded, samples)
    for name, error in errors.items():
        rounded.set_tensor(name, rounded.tensor(name).detach() + error.float())
    exact, found = (n.run(dict(samples.inputs))["y"] for n in (network, rounded))
    np.testing.assert_allclose(found.mean(axis=0), exact.mean(axis=0), rtol=1e-4, atol=1e-5)


def test_chunks_average():
    """Without roundings before it, a layer's error is the mean over all samples."""
    network = perceptron()
    samples = shifted(network, 21)  # chunks of 8, 8 and 5
    rounded = coarse(network, "first.weight")
    whole = errors_of(network, rounded, samples)["first.bias"]
    each = [
        errors_of(network, rounded, samples.take(i, i + 1))["first.bias"] for i in range(21)
    ]
    weight, x = network.tensor("first.weight"), torch.from_numpy(samples.inputs["x"])
    largest = float((weight.detach().abs() @ x.T.abs()).max())
    bound = 8 * float(torch.finfo(torch.float32).eps) * largest  # sums of 8 in float32
    torch.testing.assert_close(whole, torch.stack(each).mean(dim=0), rtol=0, atol=bound)


def test_chunks_in_small_parts_give_the_same(monkeypatch):
    """Parts are corrected by the mean error of their whole chunk."""
    network = perceptron()
    samples = shifted(network, 21)
    rounded = coarse(coarse(network, "first.weight"), "third.weight")
    whole = errors_of(network, rounded, samples)
    monkeypatch.setattr("tersor.network.bias.batch_size_of", lambda *_: 4)
    for name, error in errors_of(network, rounded, samples).items():
        torch.testing.assert_close(error, whole[name], rtol=1e-5, atol=1e-6)


def test_a_convolution_is_corrected_per_channel_over_all_positions():
    network = convolutional().copy()
    rounded = coarse(network, "branch.weight")
    samples = shifted(network, 8)
    error = errors_of(network, rounded, samples)["branch.bias"]
    assert error.shape == (8,)
    before, after = (
        sqnr_db(
            network.run(dict(samples.inputs))["scores"], n.run(dict(samples.inputs))["scores"]
        )
        for n in (rounded, with_bias(rounded, "branch.bias", error))
    )
    assert after > before


def with_bias(network, name, error):
    result = network.copy()
    result.set_tensor(name, network.tensor(name).detach() + error.float())
    return result


def test_without_roundings_there_is_nothing_to_correct():
    network = convolutional()
    errors = errors_of(network, network, samples_for(network))
    assert set(errors) == {"branch.bias", "head.bias"}
    assert all(not error.any() for error in errors.values())


def test_a_bias_that_two_layers_read_is_left_alone():
    network = perceptron().copy()
    nodes = [n for n in network.graph.nodes if n.op == "get_attr" and "bias" in n.target]
    network.set_tensor("second.bias", torch.zeros(16))
    first, second, _ = nodes
    network.set_tensor("first.bias", torch.zeros(16))
    network.set_tensor("first.weight", torch.randn(16, 12))
    network.set_tensor("second.weight", torch.randn(16, 16))
    second.replace_all_uses_with(first)
    network.module.recompile()
    assert set(errors_of(network, network, samples_for(network))) == {"third.bias"}


def test_static_quantization_leaves_no_mean_error():
    network = perceptron()
    samples = shifted(network, 8)  # one chunk: the mean of these is exact
    result = QuantizeStatic().apply(network, samples)
    exact, found = (n.run(dict(samples.inputs))["y"] for n in (network, result))
    step = result.module.get_submodule("third.bias").scale.max()  # to which biases are rounded
    assert np.abs(exact.mean(axis=0) - found.mean(axis=0)).max() < 2 * float(step)
