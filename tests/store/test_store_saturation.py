"""Models that may saturate where pairs of products are added in 16 bits are told apart."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tersor.arrays.saturation import saturating_dot
from tersor.export.onnx import to_onnx
from tersor.methods.quantize.static import QuantizeStatic
from tersor.methods.quantize.weights import QuantizeWeights
from tersor.store.expand import expand_weights
from tersor.store.saturation import may_saturate, warning_elsewhere, warning_here
from tersor.testing import networks

OLD, NEW, ARM = ("sse4_2", "avx2"), ("avx2", "avx512_vnni"), ("neon",)


def integers(largest, *, activations=np.uint8, weights=np.int8):
    """x -> round -> times a weight whose largest magnitude is given."""
    codes = np.zeros((4, 4), weights)
    codes[2, 1] = -largest
    arrays = {
        "scale": np.float32(0.1),
        "zero": activations(0),
        "codes": codes,
        "own": np.float32(0.1),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["r"]),
        helper.make_node("DequantizeLinear", ["codes", "own"], ["w"]),
        helper.make_node("MatMul", ["r", "w"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "xy"]
    tensors = [numpy_helper.from_array(np.asarray(a), n) for n, a in arrays.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    return helper.make_model(graph).SerializeToString()


@pytest.mark.parametrize("largest", [1, 63, 64, 65, 127])
def test_the_bound_is_that_of_two_saturating_products(largest):
    a, w = np.full(2, 255, np.uint8), np.full(2, largest, np.int8)
    clamps = int(saturating_dot(a, w)) != 2 * 255 * largest
    assert may_saturate(integers(largest)) == clamps


def test_other_types_do_not_saturate():
    assert not may_saturate(integers(127, activations=np.int8))
    assert not may_saturate(integers(127, weights=np.int32))


def test_operators_on_integers_count():
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4]),
        helper.make_tensor_value_info("y", TensorProto.INT32, [1, 4]),
    ]
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", "codes", "z"], ["y"]),
    ]
    codes = numpy_helper.from_array(np.full((4, 4), 100, np.int8), "codes")
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [codes])
    assert may_saturate(helper.make_model(graph).SerializeToString())


def test_what_tersor_writes_is_told_apart():
    network = networks.convolutional()
    samples = networks.samples_for(network, 16)
    made = {
        bits: to_onnx(QuantizeStatic(weight_bits=bits).apply(network, samples))
        for bits in (7, 8)
    }
    assert {bits: may_saturate(onnx) for bits, onnx in made.items()} == {7: False, 8: True}
    assert not may_saturate(expand_weights(made[8]))
    assert not may_saturate(to_onnx(QuantizeWeights().apply(network)))
    assert not may_saturate(to_onnx(network))
    assert not may_saturate(b"no model")


@pytest.mark.parametrize(
    ("flags", "here", "elsewhere"),
    [(OLD, True, False), (NEW, False, True), (ARM, False, True)],
)
def test_the_warning_is_for_this_processor_or_for_others(flags, here, elsewhere):
    risky, safe = integers(127), integers(63)
    assert (warning_here(risky, flags) is not None) == here
    assert (warning_elsewhere(risky, flags) is not None) == elsewhere
    assert warning_here(safe, flags) is None
    assert warning_elsewhere(safe, flags) is None
    for said in filter(None, (warning_here(risky, flags), warning_elsewhere(risky, flags))):
        assert "weight_bits = 7" in said
