"""QuantizeLinear and DequantizeLinear: codes for weights, quantizers for activations."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_models import agree, by_runtime, floats, model, node, targets

from tersor.codes.affine import Affine
from tersor.network.from_onnx.reader import read
from tersor.network.quantizer import ActivationQuantizer

HALF, QUARTER = (
    np.float32(0.5),
    np.float32(0.25),
)  # powers of two: no tie is decided by rounding


def codes_of(dtype, *shape):
    info = np.iinfo(dtype)
    rng = np.random.default_rng(0)
    low, high = max(info.min, -30000), min(info.max, 30000)
    array = rng.integers(low, high, shape, endpoint=True).astype(dtype)
    array.flat[0], array.flat[1] = low, high
    return array


def only_code(network):
    (code,) = [m for m in network.module.modules() if isinstance(m, Affine)]
    return code


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32"])
@pytest.mark.parametrize("zero", [None, 0, 5])
@pytest.mark.parametrize("axis", [None, 1])
def test_stored_integers_become_a_code_exactly(dtype, zero, axis):
    weights = {"w_quantized": codes_of(dtype, 4, 3)}
    scale = QUARTER if axis is None else np.array([0.25, 0.5, 2.0], np.float32)
    weights["s"] = scale
    names = "w_quantized s"
    if zero is not None and not (dtype == "int32" and zero):  # ONNX wants 0 there
        weights["z"] = np.full_like(scale, zero).astype(dtype)
        names += " z"
    attributes = {} if axis is None else {"axis": axis}
    nodes = [node("DequantizeLinear", names, "w", **attributes), node("MatMul", "x w", "y")]
    proto = model(nodes, {"x": ["N", 4]}, ["w", "y"], weights, opset=21)
    network = agree(proto, {"x": floats(2, 4)})
    code = only_code(network)
    assert network.module.get_submodule("w") is code
    shift = 128 if dtype == "uint8" else 0
    stored = code.codes().numpy().astype(np.int64) + shift
    assert stored.tolist() == weights["w_quantized"].astype(np.int64).tolist()


def test_four_bits_become_a_code_of_four_bits():
    tensor = helper.make_tensor("q", TensorProto.INT4, [5], [-8, 7, 0, 3, -1])
    proto = model([node("DequantizeLinear", "q s", "y")], {}, ["y"], {"s": QUARTER}, opset=21)
    proto.graph.initializer.append(tensor)
    network = read(proto.SerializeToString())
    assert only_code(network).bits == 4
    assert network.run({})["y"].tolist() == [-2.0, 1.75, 0.0, 0.75, -0.25]


def test_a_code_that_several_read_is_trained():
    nodes = [
        node("DequantizeLinear", "fc.weight.codes s", "w"),
        node("MatMul", "x w", "a"),
        node("MatMul", "a w", "y"),
    ]
    weights = {"fc.weight.codes": codes_of(np.int8, 3, 3), "s": QUARTER}
    network = read(model(nodes, {"x": ["N", 3]}, ["y"], weights).SerializeToString())
    network.module(torch.ones(2, 3))[0].sum().backward()
    gradient = network.module.get_parameter("fc.weight.weight").grad
    assert float(gradient.abs().sum()) > 0


def pair(dtype, scale=HALF, zero=3, more=(), outputs=("y",), second="s z"):
    nodes = [
        node("Relu", "x", "r", name="/block/relu"),
        node("QuantizeLinear", "r s z", "q"),
        node("DequantizeLinear", f"q {second}", "y"),
        *more,
    ]
    weights = {"s": scale, "z": np.asarray(zero, dtype), "t": QUARTER}
    return model(nodes, {"x": ["N", 3, 4]}, list(outputs), weights, opset=21)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_a_rounded_activation_is_one_quantizer(dtype):
    network = agree(pair(dtype), {"x": floats(2, 3, 4) * 40})
    assert targets(network) == ["aten.relu.default"]
    quantizer = network.module.get_submodule("quantizers.block_relu")
    assert isinstance(quantizer, ActivationQuantizer)
    assert (float(quantizer.scale), int(quantizer.zero_point)) == (0.5, 3)
    assert quantizer.signed == (dtype == "int8")


def test_all_readers_share_a_quantizer():
    more = [node("DequantizeLinear", "q s z", "again"), node("Add", "y again", "sum")]
    network = agree(pair("uint8", more=more, outputs=["sum"]), {"x": floats(2, 3, 4)})
    quantizers = [m for m in network.module.modules() if isinstance(m, ActivationQuantizer)]
    assert len(quantizers) == 1


FLAT = [node("Flatten", "q", "f"), node("DequantizeLinear", "f s z", "u")]
WIDE = {"x": floats(2, 3, 4) * 40}


def padded(value):
    """Codes with one more on each side of the last axis."""
    nodes = [
        node("Pad", f"q around {value}", "w"),
        node("DequantizeLinear", "w s z", "u"),
    ]
    proto = pair("uint8", more=nodes, outputs=["u"])
    arrays = {"around": np.array([0, 0, 1, 0, 0, 1]), "four": np.uint8(4)}
    for name, array in arrays.items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto


def concatenated(grid, second="m"):
    """Codes of relu(x), and of -x rounded to another grid perhaps, or other integers."""
    nodes = [
        node("Neg", "x", "n"),
        node("QuantizeLinear", f"n {grid}", "m"),
        node("Concat", f"q {second}", "w", axis=1),
        node("DequantizeLinear", "w s z", "u"),
    ]
    proto = pair("uint8", more=nodes, outputs=["u"])
    for name, array in {"nine": np.uint8(9), "stored": codes_of(np.uint8, 2, 1, 4)}.items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto


APART = {
    "concatenated": concatenated("s z"),
    "concatenated with another scale": concatenated("t z"),
    "concatenated with another zero point": concatenated("s nine"),
    "concatenated with stored integers": concatenated("s z", "stored"),
    "padded by zero": padded("z"),
    "padded by another code": padded("four"),
    "padded by code 0": padded(""),
    "codes are read, too": pair("uint8", outputs=["y", "q"]),
    "16 bits": pair("int16"),
    "other scale": pair("uint8", second="t z"),
    "no zero point": pair("uint8", zero=0, second="s"),
    "carried": pair("uint8", more=FLAT, outputs=["u"]),
}


@pytest.mark.parametrize("case", APART)
def test_other_combinations_compute_the_same(case):
    agree(APART[case], {"x": floats(2, 3, 4) * 40})


def test_codes_that_are_padded_by_zero_stay_a_quantizer():
    assert "aten.round.default" not in targets(agree(APART["padded by zero"], WIDE))
    assert "aten.round.default" in targets(agree(APART["padded by another code"], WIDE))


def test_codes_of_one_grid_that_are_concatenated_stay_quantizers():
    assert "aten.round.default" not in targets(agree(APART["concatenated"], WIDE))


def test_activations_may_have_a_scale_per_channel():
    scale = np.array([0.5, 0.25, 2.0], np.float32)
    proto = pair("int8", scale=scale, zero=np.array([0, 1, 2]))
    network = agree(proto, {"x": floats(2, 3, 4) * 40})
    assert "aten.round.default" in targets(network)


def test_scales_may_be_computed():
    nodes = [
        node("ReduceMax", "x", "m", keepdims=0),
        node("QuantizeLinear", "x m z", "q"),
        node("DequantizeLinear", "q m z", "y"),
    ]
    proto = model(nodes, {"x": ["N", 4]}, ["y"], {"z": np.int8(1)})
    agree(proto, {"x": np.abs(floats(2, 4))}, oracle=by_runtime)


def test_a_computed_zero_point_leaves_the_integers_as_they_are():
    made = node("DequantizeLinear", "w s z", "y")
    shapes = {"z": ([], TensorProto.INT8)}
    weights = {"w": codes_of(np.int8, 4), "s": HALF}
    agree(model([made], shapes, ["y"], weights, opset=21), {"z": np.array(3, np.int8)})


def test_a_network_of_rounded_layers_trains_and_takes_any_batch():
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("DequantizeLinear", "q s z", "xq"),
        node("DequantizeLinear", "conv.weight_quantized ws wz", "w", axis=0),
        node("DequantizeLinear", "conv.bias_quantized bs", "b", axis=0),
        node("Conv", "xq w b", "c", pads=[1, 1, 1, 1]),
        node("Relu", "c", "y"),
    ]
    scales = np.array([0.25, 0.5], np.float32)
    weights = {
        "s": QUARTER,
        "z": np.uint8(128),
        "conv.weight_quantized": codes_of(np.int8, 2, 3, 3, 3),
        "ws": scales,
        "wz": np.zeros(2, np.int8),
        "conv.bias_quantized": np.array([7, -70], np.int32),
        "bs": scales / 4,
    }
    proto = model(nodes, {"x": ["N", 3, 5, 5]}, ["y"], weights, opset=21)
    for batch in (1, 3):
        network = agree(proto, {"x": floats(batch, 3, 5, 5)})
    network.module(torch.from_numpy(floats(1, 3, 5, 5)))[0].sum().backward()
    assert all(p.grad is not None for p in network.module.parameters())
