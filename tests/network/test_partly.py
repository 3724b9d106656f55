"""Layers taken back to float: exactly the network that the method makes with `keep`."""

import numpy as np
import pytest

from tersor.arrays.noise import Noise
from tersor.codes.affine import Affine
from tersor.export.onnx import to_onnx
from tersor.methods.quantize.static import QuantizeStatic
from tersor.network.check import check
from tersor.network.fold import fold_batch_norm
from tersor.network.layers import layers
from tersor.network.partly import partly
from tersor.network.quantizer import rounded_value
from tersor.testing import networks

ALL = QuantizeStatic(min_sqnr_db=-1000.0)


def mixed(network, integer):
    samples = networks.samples_for(network, 40)
    whole = ALL.apply(network, samples)
    return whole, partly(whole, fold_batch_norm(network), integer, samples)


@pytest.mark.parametrize(
    "integer", [["third"], ["first"], ["second"], ["first", "third"], ["first", "second"]]
)
def test_equals_the_method_with_keep_where_no_values_share_a_range(integer):
    network = networks.perceptron()
    others = tuple({"first", "second", "third"} - set(integer))
    method = QuantizeStatic(min_sqnr_db=-1000.0, keep=others)
    wanted = method.apply(network, networks.samples_for(network, 40))
    assert to_onnx(mixed(network, integer)[1]) == to_onnx(wanted)


def test_with_all_layers_it_is_the_network_itself():
    network = networks.convolutional()
    whole, same = mixed(network, ["stem", "branch", "depthwise", "head"])
    assert to_onnx(same) == to_onnx(whole)


def test_with_no_layer_it_is_the_exact_network():
    network = networks.convolutional()
    _, none = mixed(network, [])
    check(none)
    assert to_onnx(none) == to_onnx(fold_batch_norm(network))


def test_only_named_layers_are_integers_and_only_what_they_read_is_rounded():
    network = networks.convolutional()
    whole, mix = mixed(network, ["depthwise"])
    coded = {x.name for x in layers(mix) if x.weight and mix.is_coded(x.weight)}
    assert coded == {"depthwise"}
    assert isinstance(mix.code("depthwise.weight"), Affine)
    rounded = [n for n in mix.graph.nodes if rounded_value(mix, n) is not None]
    before = [n for n in whole.graph.nodes if rounded_value(whole, n) is not None]
    assert 0 < len(rounded) < len(before)
    assert to_onnx(whole) != to_onnx(mix)


@pytest.mark.parametrize("integer", [["stem", "branch"], ["branch", "depthwise", "head"]])
def test_is_as_near_as_what_the_method_makes(integer):
    """Ranges of values that share one may be wider than theirs alone: not by 3 dB here."""
    network = networks.convolutional()
    samples = networks.samples_for(network, 40)
    names = {"stem", "branch", "depthwise", "head"}
    keep = tuple(sorted(names - set(integer)))
    made = QuantizeStatic(min_sqnr_db=-1000.0, keep=keep).apply(network, samples)
    found = []
    for other in (mixed(network, integer)[1], made):
        noise = Noise()
        pair = (n.run(dict(samples.inputs)) for n in (network, other))
        noise.add(0, *pair)
        found.append(noise.sqnr_db("scores"))
    assert found[0] > found[1] - 3


def test_leaves_its_arguments_alone():
    network = networks.convolutional()
    feeds = dict(networks.samples_for(network, 8).inputs)
    exact = fold_batch_norm(network)
    samples = networks.samples_for(network, 40)
    whole = ALL.apply(network, samples)
    before = [n.run(feeds)["scores"] for n in (whole, exact)]
    partly(whole, exact, ["head"], samples)
    after = [n.run(feeds)["scores"] for n in (whole, exact)]
    assert all(np.array_equal(x, y) for x, y in zip(before, after, strict=True))
