"""Networks that compute with integers: what other quantizers wrote, and single operators."""

import warnings

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import agree, by_runtime, floats, fused, model, node, refused_node, targets

from tersor.codes.affine import Affine
from tersor.export.onnx import to_onnx
from tersor.network.from_onnx.reader import read
from tersor.network.quantizer import ActivationQuantizer

U8, S8 = TensorProto.UINT8, TensorProto.INT8
HALF, TENTH = np.float32(0.5), np.float32(0.125)


def small_net():
    nodes = [
        node("Conv", "x w1 b1", "c1", pads=[1, 1, 1, 1]),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2 b2", "c2", pads=[1, 1, 1, 1]),
        node("Add", "c2 r1", "a"),
        node("Relu", "a", "r2"),
        node("GlobalAveragePool", "r2", "g"),
        node("Flatten", "g", "f"),
        node("Gemm", "f w3 b3", "y", transB=1),
    ]
    weights = {
        "w1": floats(8, 3, 3, 3, seed=1) / 4,
        "b1": floats(8, seed=2) / 4,
        "w2": floats(8, 8, 3, 3, seed=3) / 8,
        "b2": floats(8, seed=4) / 4,
        "w3": floats(5, 8, seed=5),
        "b3": floats(5, seed=6),
    }
    proto = model(nodes, {"x": ["N", 3, 8, 8]}, ["y"], weights)
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    proto.graph.output[0].type.tensor_type.shape.dim.add().dim_param = "N"
    proto.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 5
    return proto


def quantized(tmp_path, **settings):
    """The small net, quantized by ONNX Runtime's own tool."""
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.left = [{"x": floats(1, 3, 8, 8, seed=i)} for i in range(8)]

        def get_next(self):
            return self.left.pop() if self.left else None

    source, target = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    onnx.save(small_net(), source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if settings.pop("dynamic", False):
            quantization.quantize_dynamic(source, target, **settings)
        else:
            form = getattr(quantization.QuantFormat, settings.pop("form"))
            quantization.quantize_static(
                source, target, Reader(), quant_format=form, **settings
            )
    return onnx.load(target)


def step_of_output(proto):
    """The scale of the last rounding, by which results may differ."""
    scales = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    return max(float(np.max(v)) for k, v in scales.items() if k.endswith("y_scale"))


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_what_onnx_runtime_quantized_comes_back(form, per_channel, tmp_path):
    proto = quantized(tmp_path, form=form, per_channel=per_channel)
    network = read(proto.SerializeToString())
    codes = [m for m in network.module.modules() if isinstance(m, Affine)]
    assert [c.bits for c in codes].count(8) == 3
    assert any(isinstance(m, ActivationQuantizer) for m in network.module.modules())
    feeds = {"x": floats(4, 3, 8, 8, seed=99)}
    (wanted,) = by_runtime(proto, feeds)
    step = step_of_output(proto)
    assert np.abs(network.run(feeds)["y"] - wanted).max() <= 1.01 * step
    again = to_onnx(network)
    kinds = [n.op_type for n in onnx.load_from_string(again).graph.node]
    assert "QuantizeLinear" in kinds
    assert "Round" not in kinds
    (found,) = by_runtime(onnx.load_from_string(again), feeds)
    assert np.abs(found - wanted).max() <= 1.01 * step


def test_weights_that_onnx_runtime_rounds_on_the_fly_come_back(tmp_path):
    proto = quantized(tmp_path, dynamic=True)
    assert {"ConvInteger", "DynamicQuantizeLinear", "MatMulInteger"} & {
        n.op_type for n in proto.graph.node
    }
    network = read(proto.SerializeToString())
    feeds = {"x": floats(2, 3, 8, 8, seed=9)}
    (wanted,) = by_runtime(proto, feeds)
    got = network.run(feeds)["y"]
    # a tie of rounding may fall to the other side: one step of one activation
    assert np.abs(got - wanted).max() <= np.abs(wanted).max() / 255 * 2
    assert any(isinstance(m, Affine) for m in network.module.modules())


def grids(**scales):
    return {f"{k}s": np.float32(v) for k, v in scales.items()} | {
        f"{k}z": np.uint8(7 + i) for i, k in enumerate(scales)
    }


GRIDS = grids(x=0.05, w=0.1, y=0.5)
BYTES = {"x": np.arange(48, dtype=np.uint8).reshape(2, 4, 2, 3) * 5}


def near(proto, feeds, steps=1):
    """As ONNX Runtime computes it, to a step."""
    network = read(proto.SerializeToString())
    for got, wanted in zip(network.run(feeds).values(), by_runtime(proto, feeds), strict=True):
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        assert np.abs(got.astype(np.int64) - wanted.astype(np.int64)).max() <= steps
        assert len(np.unique(wanted)) > 2
    return network


UNARY = {
    "QLinearSigmoid": {"ys": np.float32(1 / 256), "yz": np.uint8(0)},
    "QLinearLeakyRelu": {},
    "QLinearGlobalAveragePool": {"ys": np.float32(0.05), "yz": np.uint8(3)},
    "QLinearAveragePool": {"ys": np.float32(0.05), "yz": np.uint8(3)},
    "QLinearSoftmax": {"ys": np.float32(1 / 256), "yz": np.uint8(0)},
}


@pytest.mark.parametrize("op", UNARY)
def test_operators_on_one_rounded_tensor(op):
    more = {
        "QLinearAveragePool": {"kernel_shape": [2, 2]},
        "QLinearSoftmax": {"axis": -1, "opset": 13},
    }
    made = fused(op, "x xs xz ys yz", "y", **more.get(op, {}))
    weights = {k: v for k, v in (GRIDS | UNARY[op]).items() if k in made.input}
    near(model([made], {"x": ([2, 4, 2, 3], U8)}, ["y"], weights), BYTES)


@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
def test_operators_on_two_rounded_tensors(op):
    made = fused(op, "x xs xz w ws wz ys yz", "y")
    weights = GRIDS | {"w": np.arange(12, dtype=np.uint8).reshape(1, 4, 1, 3) * 9}
    near(model([made], {"x": ([2, 4, 2, 3], U8)}, ["y"], weights), BYTES)


def test_concatenation_and_matrices():
    made = fused("QLinearConcat", "ys yz x xs xz x ws wz", "y", axis=1)
    weights = GRIDS | {"ys": np.float32(0.1)}
    near(model([made], {"x": ([2, 4, 2, 3], U8)}, ["y"], weights), BYTES)
    w = np.random.default_rng(0).integers(-99, 99, (3, 6)).astype(np.int8)
    grid = {"ws": floats(6) ** 2 + np.float32(0.1), "wz": np.zeros(6, np.int8), "w": w}
    made = fused("QGemm", "x xs xz w ws wz c ys yz", "y")
    weights = GRIDS | grid | {"c": np.arange(6, dtype=np.int32) * 50, "ys": np.float32(2)}
    near(model([made], {"x": ([4, 3], U8)}, ["y"], weights), {"x": BYTES["x"][0, :, 0]})
    made = fused("QGemm", "x xs xz w ws wz c", "y")
    used = {k: v for k, v in weights.items() if k not in {"ys", "yz"}}
    agree(
        model([made], {"x": ([4, 3], U8)}, ["y"], used),
        {"x": BYTES["x"][0, :, 0]},
        oracle=by_runtime,
    )


@pytest.mark.parametrize(
    "zero", [np.int8(3), np.array([3, -2, 0, 5, 1], np.int8)], ids=["one", "each"]
)
def test_products_of_integers_are_exact(zero):
    # sums beyond 2^24, which float32 cannot hold
    w = np.random.default_rng(0).integers(-128, -90, (900, 5)).astype(np.int8)
    x = np.random.default_rng(1).integers(220, 256, (3, 900)).astype(np.uint8)
    made = node("MatMulInteger", "x w xz wz", "y")
    weights = {"w": w, "xz": np.uint8(9), "wz": zero}
    proto = model([made], {"x": (["N", 900], U8)}, ["y"], weights)
    network = read(proto.SerializeToString())
    assert np.array_equal(network.run({"x": x})["y"], by_runtime(proto, {"x": x})[0])
    assert any(isinstance(m, Affine) for m in network.module.modules())


def test_convolutions_of_integers_are_exact():
    x = np.random.default_rng(1).integers(0, 256, (2, 3, 6, 6)).astype(np.uint8)
    w = np.random.default_rng(0).integers(0, 256, (4, 3, 3, 3)).astype(np.uint8)
    made = node("ConvInteger", "x w xz wz", "y", pads=[1, 1, 1, 1])
    weights = {"w": w, "xz": np.uint8(9), "wz": np.uint8(100)}
    proto = model([made], {"x": (["N", 3, 6, 6], U8)}, ["y"], weights)
    agree(proto, {"x": x}, oracle=by_runtime)


def test_products_to_floats():
    w = np.random.default_rng(0).integers(-128, 128, (8, 5)).astype(np.int8)
    made = fused("MatMulIntegerToFloat", "x w xs ws xz - b", "y")
    weights = {k: GRIDS[k] for k in ("xs", "ws", "xz")} | {"w": w, "b": floats(5)}
    x = np.random.default_rng(1).integers(0, 256, (3, 8)).astype(np.uint8)
    agree(model([made], {"x": (["N", 8], U8)}, ["y"], weights), {"x": x}, oracle=by_runtime)


def test_dynamic_products_leave_only_the_rounding_out():
    w = np.random.default_rng(0).integers(-128, 128, (8, 5)).astype(np.int8)
    made = fused("DynamicQuantizeMatMul", "x w ws - b", "y")
    weights = {"w": w, "ws": np.float32(0.01), "b": floats(5)}
    proto = model([made], {"x": ["N", 8]}, ["y"], weights)
    feeds = {"x": floats(3, 8)}
    (wanted,) = by_runtime(proto, feeds)
    got = read(proto.SerializeToString()).run(feeds)["y"]
    step = np.ptp(np.append(feeds["x"], 0)) / 255
    assert np.abs(got - wanted).max() <= step / 2 * 0.01 * np.abs(w.astype(float)).sum(0).max()


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("width", [32, 40])
def test_weights_of_few_bits_in_blocks(bits, zeros, width):
    rng, rows, block = np.random.default_rng(0), 6, 16
    blocks = -(-width // block)
    weights = {
        "w": rng.integers(0, 256, (rows, blocks, block * bits // 8)).astype(np.uint8),
        "s": np.abs(floats(rows * blocks)) + np.float32(0.1),
        "b": floats(rows, seed=2),
    }
    if zeros:
        count = rows * -(-blocks * bits // 8)
        weights["z"] = rng.integers(0, 256, count).astype(np.uint8)
    made = fused(
        "MatMulNBits", f"x w s {'z' if zeros else '-'} - b", "y",
        K=width, N=rows, bits=bits, block_size=block, accuracy_level=1,
    )  # fmt: skip
    proto = model([made], {"x": ["N", width]}, ["y"], weights)
    network = agree(proto, {"x": floats(3, width)}, oracle=by_runtime, terms=width * 16)
    (code,) = [m for m in network.module.modules() if isinstance(m, Affine)]
    assert code.bits == bits
    assert "aten.linear.default" in targets(network)


def nbits(inputs="x w s", **changes):
    attributes = {"K": 32, "N": 6, "bits": 4, "block_size": 16} | changes
    return fused("MatMulNBits", inputs, "y", **attributes)


REFUSED = {
    "of 3 bits in blocks of 16": nbits(bits=3),
    "has 96 bytes of weights": nbits(N=5),
    "has 11 scales where 12": nbits("x w s11"),
    "zero points that are no integers": nbits("x w s s"),
    "with channels last": fused(
        "QLinearGlobalAveragePool", "u half uz half uz", "y", channels_last=1
    ),
    "computes its scales": node("QLinearConv", "u m uz q half uz half uz i", "y"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_read_is_named(words):
    weights = {
        "w": np.zeros((6, 2, 8), np.uint8),
        "s": np.ones(12, np.float32),
        "s11": np.ones(11, np.float32),
        "half": HALF,
        "uz": np.uint8(0),
        "q": np.zeros((2, 3, 1, 1), np.uint8),
        "i": np.zeros(2, np.int32),
    }
    inputs = {"x": ["N", 32], "u": ([1, 3, 2, 2], U8), "m": []}
    refused_node(model([REFUSED[words]], inputs, ["y"], weights), words)


def test_integers_of_four_bits_are_no_activations():
    made = node("QuantizeLinear", "x s z", "q")
    proto = model([made], {"x": ["N", 2]}, ["q"], {"s": HALF}, opset=21)
    proto.graph.initializer.append(helper.make_tensor("z", TensorProto.INT4, [], [0]))
    refused_node(proto, "to integers of other than 8 or 16 bits")
    made = node("CastLike", "x z", "y")
    proto = model([made], {"x": ["N", 2]}, ["y"], {}, opset=21)
    proto.graph.initializer.append(helper.make_tensor("z", TensorProto.INT4, [], [0]))
    refused_node(proto, "makes elements of four bits")
