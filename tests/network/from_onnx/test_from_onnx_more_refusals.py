"""Further operators: what they cannot do is said; what node tests leave open is checked."""

import numpy as np
import pytest
from onnx import TensorProto
from onnx_models import agree, by_reference, by_runtime, floats, model, node, refused_node

INT64, U64, INT32 = TensorProto.INT64, TensorProto.UINT64, TensorProto.INT32
INPUTS = {
    "x": ["N", 2, 6, 5],
    "m": ["N", 4],
    "f": [2, 3, 4, 5],
    "theta": ["N", 2, 3],
    "grid": ["N", 4, 4, 2],
    "signal": ["N", 64, 1],
    "pair": ["N", 64, 2],
    "u": (["N", 4], U64),
    "b": (["N", 4], TensorProto.UINT8),
    "i": (["N", 4, 1], INT64),
    "rois": ["R", 4],
    "which": (["R"], INT64),
    "seq": ["N", "S", 8],
}
WEIGHTS = {
    "zero": np.int64(0),
    "one": np.int64(1),
    "big": np.int64(1 << 20),
    "none": np.array([1, 2, 0, 4]),
    "cut": np.array([1, 2, 3, 9]),
    "image5": np.array([5, 5, 5]),
    "block3": np.array([2, 2, 2]),
    "far": np.float32(99999),
    "low": np.float32(0),
    "huge": np.array([1 << 13, 1 << 13]),
    "cos": floats(9, 3),
    "index2": np.array([[0, 1]]),
    "no": np.zeros((1, 0), np.int64),
    "row": floats(1, 4),
    "eight": np.int64(8),
    "caches": floats(2, 4),
}
REFUSED = {
    "has a direction of 'UP'": node("BitShift", "b b", "y", direction="UP"),
    "unsigned integers of 64 bits": node("BitShift", "u u", "y", direction="RIGHT"),
    "makes elements of type 1, which": node("BitCast", "u", "y", to=1),
    "has a reduction of 'mean'": node("ScatterND", "f index2 f", "y", reduction="mean"),
    "has indices of depth 0": node("ScatterND", "f no f", "y", reduction="max"),
    "has other axes than 0 and 1": node("ReverseSequence", "x which", "y", batch_axis=2),
    "along axis 0 in mode": node("TensorScatter", "f f", "y", axis=0),
    "has indices of a varying depth": node("GatherND", "f which", "y"),
    "with mode 'area'": node("GridSample", "x grid", "y", mode="area"),
    "of 3 dimensions by mode": node("GridSample", "seq grid", "y"),
    "makes a grid of": node("AffineGrid", "theta none", "y"),
    "with mode 'min'": node("RoiAlign", "x rois which", "y", mode="min"),
    "makes regions of": node("RoiAlign", "x rois which", "y", output_height=0),
    "cuts or pads a dimension that": node("CenterCropPad", "seq cut", "y", axes=[1]),
    "of 3 dimensions cannot": node("Col2Im", "seq image5 block3", "y"),
    "makes a tensor of .8192": node("MaxUnpool", "f i huge", "y", kernel_shape=[2, 2]),
    "has a size of 0": node("HannWindow", "zero", "y"),
    "has 1048576 bins": node("MelWeightMatrix", "big one one low low", "y"),
    "beyond half of the sample": node("MelWeightMatrix", "one eight eight low far", "y"),
    "needs a fixed length": node("DFT", "seq", "y"),
    "has a length of 1048576": node("DFT", "signal big", "y"),
    "of complex signals": node("STFT", "pair one - eight", "y"),
    "of 4 dimensions cannot": node("EyeLike", "x", "y"),
    "type 99, which": node("EyeLike", "m", "y", dtype=99),
    "of a varying or too large width": node("RotaryEmbedding", "x cos cos", "y"),
    "has 3 heads for a width of 8": node(
        "RotaryEmbedding", "seq caches caches", "y", num_heads=3
    ),
    "RandomUniformLike .* cannot be read": node("Bernoulli", "x", "y"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_read_is_named(words):
    made = REFUSED[words]
    inputs = {k: v for k, v in INPUTS.items() if k in made.input}
    weights = {k: v for k, v in WEIGHTS.items() if k in made.input}
    refused_node(model([made], inputs, ["y"], weights, opset=24), words)


def test_hardmax_of_old_opsets_is_refused_over_several_dimensions():
    refused_node(model([node("Hardmax", "x", "y")], {"x": [2, 3, 4]}, ["y"], opset=11), "over")


def test_found_elements_have_sizes_that_vary():
    nodes = [
        node("NonZero", "x", "where"),
        node("Transpose", "where", "rows"),
        node("Shape", "rows", "shape"),
        node("GatherND", "x rows", "found"),
        node("Compress", "x keep", "kept", axis=1),
    ]
    inputs = {"x": [3, 4]}
    weights = {"keep": np.array([True, False, True])}
    names = ["rows", "shape", "found", "kept"]
    network = agree(model(nodes, inputs, names, weights), {"x": floats(3, 4)})
    shapes = {port.name: port.shape for port in network.outputs}
    assert isinstance(shapes["found"][0], str)
    assert isinstance(shapes["rows"][0], str)
    assert shapes["rows"][1] == 2


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_grids_of_any_batch(mode, padding):
    made = node("GridSample", "x grid", "y", mode=mode, padding_mode=padding)
    feeds = {"x": floats(2, 2, 6, 5), "grid": floats(2, 4, 4, 2, seed=1) * np.float32(0.7)}
    proto = model([made], {k: INPUTS[k] for k in feeds}, ["y"])
    agree(proto, feeds, oracle=by_runtime)


@pytest.mark.parametrize("length", [None, 48, 80])
@pytest.mark.parametrize(("inverse", "onesided"), [(0, 0), (0, 1), (1, 0)])
def test_fourier_transforms(length, inverse, onesided):
    made = node(
        "DFT", "pair n" if length else "pair", "y", inverse=inverse, onesided=onesided, axis=1
    )
    real = onesided == 1
    made.input[0] = "signal" if real else "pair"
    weights = {"n": np.int64(length)} if length else {}
    feeds = {made.input[0]: floats(2, 64, 1 if real else 2)}
    proto = model([made], {made.input[0]: INPUTS[made.input[0]]}, ["y"], weights)
    agree(proto, feeds, terms=4096)


@pytest.mark.parametrize("window", [False, True])
def test_short_transforms_of_signals_of_any_length(window):
    made = node("STFT", "x step w" if window else "x step - n", "y")
    weights = {"step": np.int64(8), "w": floats(16) ** 2, "n": np.int64(16)}
    used = {k: v for k, v in weights.items() if k in made.input}
    proto = model([made], {"x": ["N", "T", 1]}, ["y"], used)
    agree(proto, {"x": floats(2, 70, 1)}, terms=1024, oracle=by_runtime)


@pytest.mark.parametrize("heads", [(2, 2), (4, 2)], ids=["equal", "grouped"])
@pytest.mark.parametrize("more", [{}, {"is_causal": 1}, {"softcap": 2.0}], ids=str)
def test_attention_of_flat_inputs(heads, more):
    made = node("Attention", "q k v", "y", q_num_heads=heads[0], kv_num_heads=heads[1], **more)
    q, k = floats(2, 5, heads[0] * 4), floats(2, 7, heads[1] * 4, seed=1)
    shapes = {"q": ["N", "S", q.shape[2]], "k": ["N", "L", k.shape[2]]}
    feeds = {"q": q, "k": k, "v": floats(2, 7, heads[1] * 4, seed=2)}
    proto = model([made], shapes | {"v": shapes["k"]}, ["y"], opset=24)
    network = agree(proto, feeds, oracle=by_reference)
    kinds = [str(n.target) for n in network.graph.nodes]
    assert ("aten.scaled_dot_product_attention.default" in kinds) == (
        heads == (2, 2) and "softcap" not in more
    )


def test_pooled_positions_are_put_back():
    x = floats(1, 2, 2, 2)
    indices = np.array([[[[0, 2], [8, 10]], [[16, 18], [24, 26]]]])
    made = node("MaxUnpool", "x i", "y", kernel_shape=[2, 2], strides=[2, 2])
    proto = model([made], {"x": [1, 2, 2, 2], "i": ([1, 2, 2, 2], INT64)}, ["y"])
    agree(proto, {"x": x, "i": indices}, oracle=by_runtime)
