"""Single operators against the reference evaluator, over attributes and opsets, any batch."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import agree, by_reference, by_runtime, floats, model, node, targets

INT64 = TensorProto.INT64


@pytest.mark.parametrize(
    "attributes",
    [
        {"pads": [1, 0, 2, 1]},
        {"pads": [1, 1, 1, 1], "strides": [2, 1]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER", "dilations": [2, 1]},
        {"auto_pad": "VALID", "group": 2},
    ],
    ids=str,
)
def test_conv_pads_as_declared(attributes):
    group = attributes.get("group", 1)
    weights = {"w": floats(6, 4 // group, 3, 2, seed=1), "b": floats(6, seed=2)}
    proto = model(
        [node("Conv", "x w b", "y", **attributes)], {"x": ["N", 4, 8, 7]}, ["y"], weights
    )
    network = agree(proto, {"x": floats(3, 4, 8, 7)})
    padded = "aten.constant_pad_nd.default" in targets(network)
    pads = attributes.get("pads")
    # only where both sides differ, which SAME does here in one or both dimensions
    assert padded == (pads == [1, 0, 2, 1] or "SAME" in attributes.get("auto_pad", ""))


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("size", [7, 8, 9])
@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_same_padding_of_a_varying_size_is_computed_when_run(mode, size, kernel):
    conv = node("Conv", "x w", "y", auto_pad=mode, strides=[2, 2])
    weights = {"w": floats(2, 1, kernel, kernel, seed=1)}
    agree(
        model([conv], {"x": ["N", 1, "h", "w"]}, ["y"], weights), {"x": floats(1, 1, size, 6)}
    )


@pytest.mark.parametrize("n", [1, 3])
def test_convolutions_and_pools_of_other_ranks(n):
    nodes = [
        node("Conv", "x w", "c", pads=[1] * (2 * n)),
        node("MaxPool", "c", "m", kernel_shape=[2] * n, strides=[2] * n),
        node("AveragePool", "m", "a", kernel_shape=[2] * n),
        node("ConvTranspose", "a t", "d", strides=[2] * n),
        node("GlobalAveragePool", "d", "y"),
    ]
    weights = {"w": floats(4, 2, *[3] * n, seed=1), "t": floats(4, 2, *[2] * n, seed=2)}
    agree(
        model(nodes, {"x": ["N", 2, *[8] * n]}, ["y"], weights), {"x": floats(2, 2, *[8] * n)}
    )


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [2, 2], "pads": [1, 0, 0, 1], "output_padding": [1, 0]},
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "dilations": [1, 2]},
        {"strides": [3, 3], "output_shape": [14, 15]},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
    ],
    ids=str,
)
def test_conv_transpose(attributes):
    weights = {"w": floats(4, 3, 3, 3, seed=1), "b": floats(3, seed=2)}
    made = node("ConvTranspose", "x w b", "y", **attributes)
    proto = model([made], {"x": ["N", 4, 5, 5]}, ["y"], weights)
    agree(proto, {"x": floats(2, 4, 5, 5)}, oracle=by_runtime)


@pytest.mark.parametrize("kind", ["AveragePool", "MaxPool"])
@pytest.mark.parametrize(
    "attributes",
    [
        {"pads": [1, 0, 1, 2]},
        {"pads": [1, 1, 1, 1], "ceil_mode": 1, "strides": [2, 2]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
        {"pads": [1, 0, 1, 2], "count_include_pad": 1},
        {"pads": [1, 1, 1, 1], "count_include_pad": 1, "ceil_mode": 1, "strides": [3, 3]},
    ],
    ids=str,
)
def test_pools_pad_as_declared(kind, attributes):
    if kind == "MaxPool":
        attributes = {k: v for k, v in attributes.items() if k != "count_include_pad"}
    pool = node(kind, "x", "y", kernel_shape=[3, 3], **attributes)
    agree(
        model([pool], {"x": ["N", 2, 8, 7]}, ["y"], opset=19),
        {"x": floats(2, 2, 8, 7) - 3},
        oracle=by_runtime,
    )


GEMM = [
    ({"transB": 1}, (5, 4), (5,), "aten.linear.default"),
    ({"transB": 1}, (5, 4), None, "aten.linear.default"),
    ({}, (4, 5), (5,), "aten.addmm.default"),
    ({"transB": 1, "alpha": 0.5, "beta": 2.0}, (5, 4), (5,), "aten.addmm.default"),
    ({"transB": 1}, (5, 4), (1, 5), "aten.addmm.default"),
    ({"transB": 1}, (5, 4), (), "aten.addmm.default"),
    ({"alpha": 0.5}, (4, 5), None, "aten.mm.default"),
]


@pytest.mark.parametrize(("attributes", "shape", "bias", "target"), GEMM)
def test_gemm_is_a_linear_layer_where_it_is_one(attributes, shape, bias, target):
    weights = {"w": floats(*shape, seed=1)}
    if bias is not None:
        weights["b"] = floats(*bias, seed=2)
    gemm = node("Gemm", " ".join(["x", *weights]), "y", **attributes)
    network = agree(model([gemm], {"x": ["N", 4]}, ["y"], weights), {"x": floats(3, 4)})
    assert target in targets(network)


def test_gemm_with_transposed_input():
    gemm = node("Gemm", "x w", "y", transA=1)
    agree(model([gemm], {"x": [4, "N"]}, ["y"], {"w": floats(4, 5)}), {"x": floats(4, 3)})


UNARY = (
    "Abs Atan Asinh Ceil Celu Cos Elu Erf Exp Floor Gelu GlobalAveragePool GlobalMaxPool "
    "HardSigmoid HardSwish Identity IsNaN LeakyRelu LogSoftmax Mish Neg Reciprocal Relu Round "
    "Selu Sigmoid Sign Sin Softmax Softplus Softsign Sqrt Tan Tanh ThresholdedRelu"
)


@pytest.mark.parametrize("op", UNARY.split())
def test_one_input(op):
    x = (
        np.abs(floats(3, 2, 4)) + np.float32(0.5)
        if op in {"Reciprocal", "Sqrt"}
        else floats(3, 2, 4)
    )
    proto = model([node(op, "x", "y")], {"x": ["N", 2, 4]}, ["y"], opset=20)
    agree(proto, {"x": x}, oracle=by_runtime)


BINARY = "Add Sub Mul Div Max Min Equal Less Greater LessOrEqual GreaterOrEqual"


@pytest.mark.parametrize("op", BINARY.split())
@pytest.mark.parametrize("side", ["left", "right", "both"])
def test_two_inputs_of_which_one_may_be_a_number(op, side):
    number = numpy_helper.from_array(np.float32(0.75), "c")
    inputs = {"left": "c x", "right": "x c", "both": "x z"}[side]
    nodes = [node("Constant", "", "c", value=number), node(op, inputs, "y")]
    shapes = {"x": ["N", 3], "z": [3]} if side == "both" else {"x": ["N", 3]}
    feeds = {"x": floats(4, 3) + 3, "z": floats(3, seed=1) + 3}
    agree(model(nodes, shapes, ["y"]), {k: feeds[k] for k in shapes})


@pytest.mark.parametrize("op", ["And", "Or", "Xor"])
def test_logic(op):
    shapes = {"a": (["N"], TensorProto.BOOL), "b": (["N"], TensorProto.BOOL)}
    feeds = {"a": np.array([0, 0, 1, 1], bool), "b": np.array([0, 1, 0, 1], bool)}
    agree(model([node(op, "a b", "c"), node("Not", "c", "y")], shapes, ["y"]), feeds)


@pytest.mark.parametrize("op", ["Div", "Mod", "Pow"])
@pytest.mark.parametrize("given", ["number", "vector", "input"])
def test_integers_stay_integers(op, given):
    b = np.int64(3) if given == "number" else np.array([3, 2, 5])
    shapes = {"x": (["N", 3], INT64)}
    feeds = {"x": np.array([[7, -7, 8], [-1, 0, 9]])}
    if given == "input":
        shapes["b"], feeds["b"] = ([3], INT64), b
    weights = {} if given == "input" else {"b": b}
    agree(model([node(op, "x b", "y")], shapes, ["y"], weights), feeds)


@pytest.mark.parametrize("op", ["Sum", "Mean", "Max", "Min"])
def test_any_number_of_inputs(op):
    shapes = {"a": ["N", 3], "b": [3], "c": [1]}
    feeds = {"a": floats(2, 3), "b": floats(3, seed=1), "c": floats(1, seed=2)}
    agree(model([node(op, "a b c", "y")], shapes, ["y"]), feeds)


REDUCTIONS = "Mean Sum Max Min Prod L1 L2 SumSquare LogSum LogSumExp"


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize("name", REDUCTIONS.split())
@pytest.mark.parametrize("axes", [[1], [-1, 1], None], ids=str)
def test_reductions_take_their_axes_from_where_the_opset_has_them(name, axes, opset):
    as_input = axes is not None and opset >= (13 if name == "Sum" else 18)
    attributes = {"keepdims": 0} | ({"axes": axes} if axes and not as_input else {})
    weights = {"axes": np.array(axes)} if as_input else {}
    reduction = node(f"Reduce{name}", "x axes" if as_input else "x", "y", **attributes)
    proto = model([reduction], {"x": ["N", 3, 4]}, ["y"], weights, opset)
    agree(proto, {"x": np.abs(floats(2, 3, 4)) + np.float32(0.5)})


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
def test_arg_of_extremum_among_ties(op, last):
    x = np.array([[1, 3, 3, 1], [2, 2, 2, 2]], np.float32)
    arg = node(op, "x", "y", axis=1, keepdims=0, select_last_index=last)
    agree(model([arg], {"x": ["N", 4]}, ["y"]), {"x": x})


@pytest.mark.parametrize(
    "flags", [{}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}]
)
def test_cumulative_sum(flags):
    proto = model(
        [node("CumSum", "x a", "y", **flags)], {"x": ["N", 4, 2]}, ["y"], {"a": np.int64(1)}
    )
    agree(proto, {"x": floats(2, 4, 2)})


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize(("opset", "axis"), [(11, 1), (11, 2), (13, 1), (13, -1)])
def test_softmax_flattened_its_input_before_opset_13(op, opset, axis):
    proto = model([node(op, "x", "y", axis=axis)], {"x": ["N", 3, 4]}, ["y"], opset=opset)
    agree(proto, {"x": floats(2, 3, 4)}, oracle=by_runtime)


OLD_AND_NEW = {
    "squeeze-11": (11, node("Squeeze", "x", "y", axes=[1]), {}),
    "squeeze-13": (13, node("Squeeze", "x i", "y"), {"i": np.array([-3])}),
    "unsqueeze-11": (11, node("Unsqueeze", "x", "y", axes=[0, 3]), {}),
    "unsqueeze-13": (13, node("Unsqueeze", "x i", "y"), {"i": np.array([-1, 1])}),
    "clip-10": (10, node("Clip", "x", "y", min=-0.5, max=0.5), {}),
    "clip-11-low": (11, node("Clip", "x i", "y"), {"i": np.float32(-0.5)}),
    "clip-13-high": (13, node("Clip", "x - i", "y"), {"i": np.float32(0.5)}),
    "clip-13-both": (13, node("Clip", "x i j", "y"), {"i": np.float32(0), "j": np.float32(1)}),
    "pad-10": (10, node("Pad", "x", "y", pads=[0, 0, 1, 0, 0, 0, 2, 1], value=2.0), {}),
    "pad-13": (
        13,
        node("Pad", "x i j", "y"),
        {"i": np.array([0, 0, 1, 0, 0, 0, -2, 1]), "j": np.float32(3)},
    ),
    "pad-18-axes": (
        18,
        node("Pad", "x i - j", "y"),
        {"i": np.array([1, 2]), "j": np.array([-1])},
    ),
    "pad-reflect": (
        13,
        node("Pad", "x i", "y", mode="reflect"),
        {"i": np.array([0, 0, 1, 2, 0, 0, 1, 0])},
    ),
    "pad-edge": (
        13,
        node("Pad", "x i", "y", mode="edge"),
        {"i": np.array([0, 2, 1, 2, 0, 1, 1, 0])},
    ),
    "slice-9": (9, node("Slice", "x", "y", starts=[1], ends=[-1], axes=[2]), {}),
    "slice-13": (
        13,
        node("Slice", "x i j k l", "y"),
        {
            "i": np.array([0, 3]),
            "j": np.array([9, -9]),
            "k": np.array([2, 3]),
            "l": np.array([2, -2]),
        },
    ),
    "slice-13-reversed": (
        13,
        node("Slice", "x i j k l", "y"),
        {
            "i": np.array([-1]),
            "j": np.array([-(1 << 62)]),
            "k": np.array([0]),
            "l": np.array([-1]),
        },
    ),
    "split-11": (11, node("Split", "x", "y z", split=[1, 3], axis=3), {}),
    "split-13": (13, node("Split", "x i", "y z", axis=3), {"i": np.array([3, 1])}),
    "split-18": (18, node("Split", "x", "y z", axis=2, num_outputs=2), {}),
    "dropout-10": (10, node("Dropout", "x", "y", ratio=0.25), {}),
    "dropout-13": (13, node("Dropout", "x i", "y z"), {"i": np.float32(0.25)}),
    "upsample-7": (7, node("Upsample", "x", "y", scales=[1.0, 1.0, 2.0, 2.0]), {}),
    "upsample-9": (9, node("Upsample", "x i", "y"), {"i": np.array([1, 1, 2, 3], np.float32)}),
    "resize-10": (10, node("Resize", "x i", "y"), {"i": np.array([1, 1, 2, 0.5], np.float32)}),
    "resize-13": (
        13,
        node("Resize", "x - - i", "y", mode="linear"),
        {"i": np.array([3, 1, 6, 9])},
    ),
    "resize-18-axes": (
        18,
        node("Resize", "x - i", "y", mode="cubic", axes=[2]),
        {"i": np.array([1.5], np.float32)},
    ),
    "top_k-10": (10, node("TopK", "x i", "y z"), {"i": np.array([2])}),
    "top_k-11": (11, node("TopK", "x i", "y z", largest=0, axis=2), {"i": np.array([2])}),
    "batch_norm-7": (
        7,
        node("BatchNormalization", "x i i i i", "y"),
        {"i": np.array([1.5], np.float32)},
    ),
    "batch_norm-15": (
        15,
        node("BatchNormalization", "x i i i i", "y", epsilon=1e-3),
        {"i": np.array([1.5], np.float32)},
    ),
    "instance_norm": (
        13,
        node("InstanceNormalization", "x i i", "y"),
        {"i": np.array([1.5], np.float32)},
    ),
    "layer_norm": (
        17,
        node("LayerNormalization", "x i i", "y", axis=-1),
        {"i": floats(4, seed=3)},
    ),
    "layer_norm-broadcast": (
        17,
        node("LayerNormalization", "x i i", "y", axis=2),
        {"i": floats(4, seed=3)},
    ),
    "lrn": (13, node("LRN", "x", "y", size=3), {}),
    "lp_norm": (13, node("LpNormalization", "x", "y", p=1), {}),
    "prelu-single": (13, node("PRelu", "x i", "y"), {"i": np.array([0.25], np.float32)}),
    "prelu-per_channel": (13, node("PRelu", "x i", "y"), {"i": floats(1, 1, 1)}),
    "prelu-per_position": (13, node("PRelu", "x i", "y"), {"i": floats(4, 4)}),
    "flatten-0": (13, node("Flatten", "x", "y", axis=0), {}),
    "flatten-2": (13, node("Flatten", "x", "y", axis=2), {}),
    "flatten-4": (13, node("Flatten", "x", "y", axis=4), {}),
    "transpose": (13, node("Transpose", "x", "y"), {}),
    "tile": (13, node("Tile", "x i", "y"), {"i": np.array([1, 2, 1, 3])}),
    "expand": (13, node("Expand", "x i", "y"), {"i": np.array([2, 1, 5, 1, 4])}),
    "trilu": (14, node("Trilu", "x i", "y", upper=0), {"i": np.int64(1)}),
    "space_to_depth": (13, node("SpaceToDepth", "x", "y", blocksize=2), {}),
    "gather-number": (13, node("Gather", "x i", "y", axis=2), {"i": np.int64(-1)}),
    "gather-vector": (13, node("Gather", "x i", "y", axis=3), {"i": np.array([0, -1, 0])}),
    "gather-matrix": (
        13,
        node("Gather", "x i", "y", axis=3),
        {"i": np.array([[0, -1], [2, 1]])},
    ),
    "cast": (13, node("Cast", "x", "y", to=TensorProto.INT32), {}),
    "cast_like": (15, node("CastLike", "x i", "y"), {"i": np.int64(0)}),
    "einsum": (13, node("Einsum", "x i", "y", equation="nchw,wk->nck"), {"i": floats(4, 2)}),
    "where": (
        13,
        node("Where", "i x j", "y"),
        {"i": np.array([True, False, True, False]), "j": np.float32(9)},
    ),
    "hard_sigmoid": (13, node("HardSigmoid", "x", "y", alpha=1 / 6), {}),
    "gelu-tanh": (20, node("Gelu", "x", "y", approximate="tanh"), {}),
    "swish": (24, node("Swish", "x", "y", alpha=0.5), {}),
    "mod-float": (13, node("Mod", "x i", "y", fmod=1), {"i": np.float32(0.75)}),
    "pow": (13, node("Pow", "x i", "y"), {"i": np.int64(2)}),
    "rms_norm": (23, node("RMSNormalization", "x i", "y"), {"i": floats(4, seed=3)}),
}


@pytest.mark.parametrize("case", OLD_AND_NEW)
def test_semantics_of_its_opset(case):
    opset, made, weights = OLD_AND_NEW[case]
    outputs = [name for name in made.output if (made.op_type, name) != ("Dropout", "z")]
    proto = model([made], {"x": ["N", 1, 4, 4]}, outputs, weights, opset)
    agree(proto, {"x": floats(3, 1, 4, 4)}, oracle=by_reference if opset > 20 else by_runtime)


@pytest.mark.parametrize("opset", [18, 21])
def test_group_normalization_scales_groups_then_channels(opset):
    n = 2 if opset == 18 else 4
    weights = {"s": floats(n, seed=1), "b": floats(n, seed=2)}
    norm = node("GroupNormalization", "x s b", "y", num_groups=2)
    agree(model([norm], {"x": ["N", 4, 3]}, ["y"], weights, opset), {"x": floats(2, 4, 3)})


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode):
    made = node("DepthToSpace", "x", "y", blocksize=2, mode=mode)
    agree(model([made], {"x": ["N", 8, "h", 3]}, ["y"]), {"x": floats(2, 8, 2, 3)})


def test_positions_that_are_computed():
    shapes = {"i": (["N", 2], INT64), "j": ([2], INT64), "k": ([3, 2], INT64)}
    nodes = [
        node("Gather", "table i", "a"),
        node("GatherElements", "square k", "b", axis=1),
        node("OneHot", "j depth values", "c", axis=0),
        node("GatherND", "square i", "d"),
    ]
    weights = {
        "table": floats(5, 3),
        "square": floats(3, 3),
        "depth": np.int64(4),
        "values": np.array([-1, 2], np.float32),
    }
    feeds = {
        "i": np.array([[0, 2], [1, 2]]),
        "j": np.array([-1, 3]),
        "k": np.array([[0, -1], [1, 2], [-3, 0]]),
    }
    network = agree(model(nodes, shapes, ["a", "b", "c", "d"], weights), feeds)
    assert "aten.embedding.default" in targets(network)


RESIZE = [
    ("nearest", "half_pixel", {"nearest_mode": "floor"}),
    ("nearest", "asymmetric", {"nearest_mode": "floor"}),
    ("nearest", "asymmetric", {"nearest_mode": "ceil"}),
    ("linear", "align_corners", {}),
    ("linear", "half_pixel", {"antialias": 1}),
    ("linear", "pytorch_half_pixel", {}),
    ("cubic", "half_pixel", {"exclude_outside": 1}),
    ("cubic", "half_pixel_symmetric", {"cubic_coeff_a": -0.5}),
]


@pytest.mark.parametrize(("mode", "transform", "more"), RESIZE)
@pytest.mark.parametrize("scale", [0.6, 2.0])
def test_resize(mode, transform, more, scale):
    made = node(
        "Resize", "x - s", "y", mode=mode, coordinate_transformation_mode=transform, **more
    )
    weights = {"s": np.array([1, 1, scale, scale], np.float32)}
    agree(model([made], {"x": ["N", 2, 5, 6]}, ["y"], weights, 19), {"x": floats(2, 2, 5, 6)})


def test_integer_max_pool():
    pool = node("MaxPool", "x", "y", kernel_shape=[2, 2], pads=[1, 1, 0, 0])
    x = np.arange(-16, 16, dtype=np.int8).reshape(1, 2, 4, 4)
    proto = model([pool], {"x": (["N", 2, 4, 4], TensorProto.INT8)}, ["y"])
    agree(proto, {"x": x}, oracle=by_runtime)


def test_range_and_size_follow_the_input():
    nodes = [node("Size", "x", "n"), node("Range", "zero n one", "y")]
    weights = {"zero": np.int64(0), "one": np.int64(1)}
    agree(model(nodes, {"x": ["N", 3]}, ["y"], weights), {"x": floats(2, 3)})


def test_constants_of_every_form():
    nodes = [
        node("Constant", "", "a", value_float=1.5),
        node("Constant", "", "b", value_ints=[1, 2]),
        node("Constant", "", "c", value_floats=[1.0, 2.0]),
        node("Constant", "", "d", value_int=3),
        node("ConstantOfShape", "b", "e", value=helper.make_tensor("v", 1, [1], [7.0])),
    ]
    agree(model(nodes, {}, ["a", "b", "c", "d", "e"]), {})
