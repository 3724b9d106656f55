import numpy as np
import pytest
import torch

from tersor.arrays.kmeans import distortion, kmeans
from tersor.codes.codebook import Codebook
from tersor.errors import InputError, ModelError
from tersor.export.onnx import to_onnx
from tersor.methods.prune.magnitude import PruneMagnitude
from tersor.methods.share.kmeans import ShareKmeans
from tersor.methods.train.fine_tune import FineTune
from tersor.network.from_onnx.reader import read
from tersor.network.layers import weighted_layers
from tersor.testing.networks import convolutional, perceptron, samples_for
from tersor.train.importance import importance

WEIGHTS = ("stem.weight", "branch.weight", "depthwise.weight", "head.weight")


@pytest.mark.parametrize("bits", [1, 3])
def test_each_weight_has_its_own_best_values(bits):
    network = convolutional()
    result = ShareKmeans(bits=bits, minimum=0).apply(network)
    for path in WEIGHTS:
        before, after = network.tensor(path).detach().numpy(), result.tensor(path).numpy()
        found = np.unique(after)
        assert found.size == 2**bits
        best = distortion(before, kmeans(before, 2**bits))
        assert ((before - after) ** 2).sum() == pytest.approx(best, rel=1e-5)


def test_zeros_of_a_mask_stay_zeros_and_share_the_value_zero():
    pruned = PruneMagnitude(sparsity=0.7).apply(convolutional())
    result = ShareKmeans(bits=2, minimum=0).apply(pruned)
    for layer in weighted_layers(pruned):
        code = result.code(layer.weight)
        if isinstance(code, Codebook):
            zeros = pruned.tensor(layer.weight) == 0
            assert bool(code.pinned()[zeros].all())
            assert code().unique().numel() == 4


def test_zeros_of_a_plain_weight_stay_zeros():
    network = perceptron().copy()
    weight = network.tensor("first.weight").detach()
    network.set_tensor("first.weight", torch.where(weight.abs() < 0.2, 0.0, weight))
    code = ShareKmeans(bits=3).apply(network).code("first.weight")
    assert torch.equal(code.pinned() | (weight.abs() < 0.2), code.pinned())


def test_a_weight_without_zeros_gets_no_value_that_stays_zero():
    assert ShareKmeans().apply(perceptron()).code("first.weight").zero is None


def test_starts_lead_to_different_values():
    tables = [
        ShareKmeans(bits=3, start=start).apply(perceptron()).code("first.weight").centroids
        for start in ("exact", "linear", "density", "random")
    ]
    assert len({tuple(table.tolist()) for table in tables}) == 4


@pytest.mark.parametrize("pruned", [False, True])
def test_elements_that_do_more_to_the_outputs_are_met_better(pruned):
    network = convolutional()
    if pruned:
        network = PruneMagnitude(sparsity=0.2).apply(network)
    samples = samples_for(network, 32)
    found = ShareKmeans(bits=2, minimum=0, weigh="outputs", seed=5).apply(network, samples)
    counts = importance(network, samples, seed=5)
    for path in WEIGHTS:
        before, after = network.tensor(path).detach().numpy(), found.tensor(path).numpy()
        count = counts[f"{path}.weight" if pruned else path].numpy()
        h = count + count.mean()
        best = kmeans(before, 4, weights=h, zero=pruned)
        assert (h * (before - after) ** 2).sum() == pytest.approx(
            distortion(before, best, h), rel=1e-5
        )
        alike = distortion(before, kmeans(before, 4, zero=pruned), h)
        assert distortion(before, best, h) < alike
    with pytest.raises(InputError, match="samples must be given: they weigh the elements"):
        ShareKmeans(weigh="outputs").apply(network)


def test_what_is_not_shared_is_told():
    method = ShareKmeans(bits=5, minimum=80, keep=("stem",))
    notes = {n.layer: (n.done, n.text) for n in method.apply(convolutional()).notes}
    assert notes["branch"] == (True, "32 shared values")
    assert notes["stem"] == (False, "kept as asked")
    assert notes["depthwise"] == (False, "fewer than 80 weights")
    again = ShareKmeans(minimum=0).apply(method.apply(convolutional())).notes
    assert [n.text for n in again if n.layer == "branch"][
        1
    ] == "its weight is compressed already"
    many = ShareKmeans(bits=7, minimum=0).apply(convolutional()).notes
    assert [n.text for n in many if n.layer == "head"] == [
        "no more weights than shared values"
    ]


def test_training_moves_values_and_leaves_zeros_and_members():
    network = convolutional()
    samples = samples_for(network, 24)
    pruned = PruneMagnitude(sparsity=0.7).apply(network)
    shared = ShareKmeans(bits=3, minimum=0).apply(pruned)
    trained = FineTune(epochs=1, batch=8).apply(shared, samples)
    for path in WEIGHTS:
        before, after = shared.code(path), trained.code(path)
        assert torch.equal(before.indices, after.indices)
        assert not bool(after()[before.pinned()].any())
        assert not torch.equal(before.centroids, after.centroids)


def test_pruned_and_shared_weights_come_back_from_onnx_as_they_were():
    pruned = PruneMagnitude(sparsity=0.7).apply(convolutional())
    network = ShareKmeans(bits=3, minimum=0).apply(pruned)
    back = read(to_onnx(network))
    for path in WEIGHTS:
        code, again = network.code(path), back.code(path)
        assert torch.equal(code(), again())
        assert torch.equal(code.pinned(), again.pinned())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 0}, "bits must be 1 to 8. Got 0"),
        ({"bits": 9}, "bits must be 1 to 8. Got 9"),
        ({"start": "best"}, "start must be one of linear, density, random, exact. Got 'best'"),
        ({"weigh": "none"}, "weigh must be alike or outputs. Got 'none'"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"minimum": -1}, "minimum must be 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        ShareKmeans(**settings)


def test_unknown_layers_and_weights_that_are_not_finite_are_refused():
    with pytest.raises(ModelError, match="hed is not a layer"):
        ShareKmeans(keep=("hed",)).apply(perceptron())
    network = perceptron().copy()
    network.set_tensor("first.weight", network.tensor("first.weight") / 0)
    with pytest.raises(ModelError, match=r"first\.weight holds NaN or infinity"):
        ShareKmeans().apply(network)
