import pytest
import torch
from torch import nn

from tersor import capture
from tersor.codes.affine import Affine
from tersor.data.samples import Samples
from tersor.errors import InputError, ModelError
from tersor.methods.prune.magnitude import PruneMagnitude
from tersor.methods.quantize.smooth import QuantizeSmooth
from tersor.methods.quantize.static import QuantizeStatic
from tersor.methods.quantize.weights import QuantizeWeights
from tersor.testing.networks import convolutional, perceptron


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_no_weight_moves_by_more_than_half_a_scale(bits):
    network = convolutional()
    result = QuantizeWeights(bits=bits).apply(network)
    for path in ("stem.weight", "branch.weight", "depthwise.weight", "head.weight"):
        before, after = network.tensor(path), result.tensor(path)
        code = result.module.get_submodule(path)
        assert isinstance(code, Affine)
        half = code.scale.reshape(-1, *[1] * (before.ndim - 1)) / 2
        assert bool(((before - after).abs() <= half * (1 + 1e-5)).all())


def test_small_weights_and_kept_layers_stay_float_and_are_listed():
    method = QuantizeWeights(minimum=100, keep=("head",))
    notes = {n.layer: n for n in method.apply(convolutional()).notes}
    assert notes["depthwise"].text == "fewer than 100 weights"
    assert notes["head"].text == "kept as asked"
    assert not notes["depthwise"].done
    assert not notes["head"].done
    assert notes["stem"].done
    assert notes["stem"].text == "int8 per channel"


def test_a_shared_weight_is_held_once():
    network = perceptron().copy()
    result = QuantizeWeights().apply(QuantizeWeights().apply(network))
    assert torch.equal(result.tensor("first.weight"), result.tensor("first.weight"))
    assert result.notes[3].text == "its weight is compressed already"


def test_unknown_layer_is_refused_by_name():
    with pytest.raises(ModelError, match=r"hed is not a layer") as caught:
        QuantizeWeights(keep=("hed",)).apply(perceptron())
    assert caught.value.tensor == "hed"


@pytest.mark.parametrize("bits", [1, 9])
def test_bits_out_of_range_are_refused(bits):
    with pytest.raises(InputError, match="bits must be 2 to 8"):
        QuantizeWeights(bits=bits)


def test_negative_minimum_is_refused():
    with pytest.raises(InputError, match="minimum must be 0 or more"):
        QuantizeWeights(minimum=-1)


def test_zeros_of_a_mask_stay_zeros_under_integers():
    pruned = PruneMagnitude(sparsity=0.7).apply(perceptron())
    result = QuantizeWeights().apply(pruned)
    zeros = pruned.tensor("first.weight") == 0
    code = result.code("first.weight")
    assert isinstance(code, Affine)
    assert torch.equal(code.pinned(), zeros)
    assert not bool(code.codes()[zeros].any())
    assert result.notes[-3].text == "int8 per channel, 70.1 % zeros"


OTHER_TYPE = "its weight holds float64, codes float32"


@pytest.fixture
def doubles():
    """A network of another type than codes give, and samples for it."""
    x = torch.randn(40, 32, dtype=torch.float64)
    network = capture(nn.Linear(32, 48).double().eval(), (x[:2],))
    return network, Samples({network.inputs[0].name: x.numpy()})


@pytest.mark.parametrize("method", [QuantizeWeights(), QuantizeStatic(), QuantizeSmooth()])
def test_weights_of_another_type_are_left_with_the_reason(method, doubles):
    result = method.apply(*doubles)
    assert [note.text for note in result.notes] == [OTHER_TYPE]
    assert not result.is_coded("weight")


def test_who_prunes_weights_of_another_type_is_told_the_reason(doubles):
    with pytest.raises(ModelError, match=rf"no weight to prune \(.*{OTHER_TYPE}\)"):
        PruneMagnitude().apply(*doubles)
