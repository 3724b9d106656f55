"""`prune.magnitude`: the smallest weights of each layer, or of all, become 0."""

import numpy as np
import pytest
import torch

from tersor.errors import InputError, ModelError
from tersor.methods.prune.magnitude import PruneMagnitude
from tersor.methods.quantize.weights import QuantizeWeights
from tersor.testing.networks import convolutional, perceptron

WEIGHTS = {"first.weight": 384, "second.weight": 512}  # the third has 48 elements


def zeros(network, name):
    return int((network.tensor(name) == 0).sum())


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9, 0.999])
def test_each_layer_gets_its_zeros(sparsity):
    result = PruneMagnitude(sparsity=sparsity).apply(perceptron())
    for name, size in WEIGHTS.items():
        assert zeros(result, name) == min(round(sparsity * size), size - 1)


def test_the_largest_keep_their_values_and_no_zero_is_larger():
    before = perceptron().tensor("first.weight")
    after = PruneMagnitude(sparsity=0.7).apply(perceptron()).tensor("first.weight")
    kept = after != 0
    assert torch.equal(after[kept], before[kept])
    assert before[~kept].abs().max() <= before[kept].abs().min()


def test_over_all_layers_those_with_large_weights_keep_more():
    network = perceptron().copy()
    network.set_tensor("second.weight", 10 * network.tensor("second.weight").detach())
    result = PruneMagnitude(sparsity=0.5, scope="global").apply(network)
    assert zeros(result, "first.weight") + zeros(result, "second.weight") == 448
    assert zeros(result, "first.weight") > 2 * zeros(result, "second.weight")


def test_a_layer_is_never_emptied():
    network = perceptron().copy()
    network.set_tensor("first.weight", 1e-6 * network.tensor("first.weight").detach())
    result = PruneMagnitude(sparsity=0.9, scope="global").apply(network)
    assert zeros(result, "first.weight") == 383


def test_zeros_that_are_there_stay():
    once = PruneMagnitude(sparsity=0.6).apply(perceptron())
    twice = PruneMagnitude(sparsity=0.8).apply(once)
    assert (twice.tensor("first.weight")[once.tensor("first.weight") == 0] == 0).all()
    assert zeros(twice, "first.weight") == round(0.8 * 384)
    assert zeros(PruneMagnitude(sparsity=0.1).apply(twice), "first.weight") == round(0.8 * 384)


def test_pruning_again_leaves_the_network_before_as_it_was():
    once = PruneMagnitude(sparsity=0.6).apply(perceptron())
    PruneMagnitude(sparsity=0.8).apply(once)
    assert zeros(once, "first.weight") == round(0.6 * 384)


def test_what_is_zero_already_counts_before_all_others():
    once = PruneMagnitude(sparsity=0.5).apply(perceptron())
    with torch.no_grad():  # as after training: some that are left are smaller than what went
        once.code("first.weight").weight.masked_fill_(once.code("first.weight").mask, 1e-9)
    twice = PruneMagnitude(sparsity=0.5).apply(once)
    assert torch.equal(twice.code("first.weight").mask, once.code("first.weight").mask)


def test_what_is_left_alone_is_told():
    network = QuantizeWeights(keep=("branch", "head", "depthwise")).apply(convolutional())
    result = PruneMagnitude(keep=("branch",)).apply(network)
    told = {
        n.layer: n.text for n in result.notes if n.method == "prune.magnitude" and not n.done
    }
    assert told["stem"] == "its weight is compressed already"
    assert told["branch"] == "kept as asked"
    assert told["stem_bn"] != ""
    done = {n.layer: n.text for n in result.notes if n.method == "prune.magnitude" and n.done}
    assert done == {"depthwise": "80.6 % zeros", "head": "80 % zeros"}


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, float("nan")])
def test_a_sparsity_out_of_range_is_refused(sparsity):
    with pytest.raises(InputError, match=r"sparsity must be in \[0, 1\)"):
        PruneMagnitude(sparsity=sparsity)


def test_an_unknown_layer_is_refused():
    with pytest.raises(ModelError, match="frist is not a layer"):
        PruneMagnitude(keep=("frist",)).apply(perceptron())


def test_nothing_to_prune_is_refused():
    with pytest.raises(ModelError, match="has no weight to prune"):
        PruneMagnitude(keep=("first", "second")).apply(perceptron())


def test_weights_that_are_no_numbers_are_refused():
    network = perceptron().copy()
    network.set_tensor("first.weight", torch.full((32, 12), np.nan))
    with pytest.raises(ModelError, match=r"first\.weight holds NaN or infinity"):
        PruneMagnitude().apply(network)
