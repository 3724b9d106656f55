"""What has no ONNX form is refused, with the name of the node and the reason."""

import operator

import pytest
import torch
from torch import fx, nn

from tersor.errors import UnsupportedError
from tersor.export.call import Call, Size, Value
from tersor.export.onnx import _Export
from tersor.export.operators.arithmetic import as_type
from tersor.export.operators.indexing import index
from tersor.export.writer import Writer
from tersor.network.network import Network, Port

aten = torch.ops.aten


def one(target, *args, **kwargs):
    """A graph of one operation on x, given as "x"; functions of the graph give other parts."""

    def write(graph, x):
        def part(a):
            if isinstance(a, list):
                return [part(v) for v in a]
            if a in ("x", "xt", "xc"):
                return SPECIAL[a](graph, x) if a in SPECIAL else x
            return a(graph, x) if callable(a) else a

        return graph.call_function(target, tuple(part(a) for a in args), kwargs)

    return write


def cast(dtype):
    return lambda graph, x: graph.call_function(aten.to.dtype, (x, dtype))


def row(graph, x):
    return graph.call_function(aten.select.int, (x, 2, 0))


def height(graph, x):
    return graph.call_function(aten.sym_size.int, (x, 2))


def second(target, *args):
    """The second result of an operation on x."""

    def write(graph, x):
        several = graph.call_function(target, (x, *args))
        return graph.call_function(operator.getitem, (several, 1))

    return write


def absent(graph, x):
    """No index, for a dimension that is taken whole."""


def made(shape, dtype=torch.float32):
    """A tensor of zeros."""
    return lambda graph, _: graph.call_function(
        aten.full.default, (shape, 0), {"dtype": dtype}
    )


def halved(graph, x):
    return graph.call_function(operator.mul, (height(graph, x), 0.5))


# x is (n, 4, h, 6) where h varies.
CASES = {
    "varying_size": (one(aten.avg_pool2d.default, "x", [2], [2], 0, True), "rounds varying"),
    "divisor": (
        one(aten.avg_pool2d.default, "x", [2], [2], [1], False, False, 3),
        "divides windows of different sizes",
    ),
    "adaptive": (one(aten.adaptive_avg_pool2d.default, "x", [2, 2]), "a varying size evenly"),
    "adaptive-uneven": (
        one(aten.adaptive_avg_pool1d.default, row, 4),
        "split 6 evenly into 4",
    ),
    "indices": (second(aten.max_pool2d_with_indices.default, [2]), "takes result 1"),
    "decimals": (one(aten.round.decimals, "x", decimals=1), "rounds to decimals"),
    "narrow": (one(aten.narrow.default, "x", 2, 0, height), "has varying ends"),
    "index-two": (
        one(aten.index.Tensor, "x", [absent, cast(torch.int64), cast(torch.int64)]),
        "indices of other than the first dimensions",
    ),
    "scatter-more": (
        one(aten.scatter.src, "x", 1, made([1, 2, 1, 6], torch.int64), "x"),
        "more updates than indices",
    ),
    "scatter-mean": (
        one(aten.scatter_reduce.two, "x", 1, cast(torch.int64), "x", "mean"),
        "combines elements by mean",
    ),
    "index_put": (
        one(aten.index_put.default, "x", [made([2], torch.int64)], made([])),
        "broadcasts its values",
    ),
    "gru": (
        one(
            aten.gru.input,
            made([5, 3, 4]),
            made([1, 3, 2]),
            [made([6, 4]), made([6, 2])],
            False,
            1,
            0.5,
            True,
            False,
            False,
        ),
        "in training mode",
    ),
    "pad": (one(aten.pad.default, "x", [1, 1, 0, 0], "circular"), "has mode circular"),
    "elu": (one(aten.elu.default, "x", 1.0, 2.0, 2.0), "scales its input"),
    "split": (one(aten.split.Tensor, "x", 2, 2), "varying number of results"),
    "chunk": (second(aten.chunk.default, 2, 2), "splits a varying size"),
    "roll": (one(aten.roll.default, "x", [1]), "rolls all dimensions"),
    "pixel_shuffle": (
        one(aten.pixel_shuffle.default, lambda g, x: five(g, x), 2),
        "other than four",
    ),
    "pixel_unshuffle": (one(aten.pixel_unshuffle.default, "x", 1), "has varying sizes"),
    "einsum": (one(aten.einsum.default, "...i->...", ["x"]), "letters for all dimensions"),
    "attention-width": (
        one(aten.scaled_dot_product_attention.default, *["xt"] * 3),
        "has a varying width",
    ),
    "attention-groups": (
        one(aten.scaled_dot_product_attention.default, "x", "x", "x", enable_gqa=True),
        "has grouped queries",
    ),
    "bits": (
        one(aten.bitwise_and.Tensor, cast(torch.int32), cast(torch.int32)),
        "works on bits",
    ),
    "celu-double": (one(aten.celu.default, cast(torch.float64)), "is of float64"),
    "bits-not": (one(aten.bitwise_not.default, cast(torch.int32)), "works on bits"),
    "norm": (one(aten.linalg_vector_norm.default, "x", 3.0), r"has order 3\.0"),
    "var": (one(aten.var.dim, "x", [2]), "corrects for a varying size"),
    "channels": (
        one(aten.instance_norm.default, "xc", None, None, None, None, True, 0.1, 1e-5, True),
        "varying number of channels",
    ),
    "resize": (
        one(aten.upsample_nearest2d.default, "x", [8, 12], 2.0, 2.0),
        "both sizes and factors",
    ),
    "fraction_of_size": (one(aten.reshape.default, "x", [-1, halved]), "refuses|mixes sizes"),
}


def five(graph, x):
    return graph.call_function(aten.unsqueeze.default, (x, 0))


def exchanged(a, b):
    return lambda graph, x: graph.call_function(aten.transpose.int, (x, a, b))


SPECIAL = {"xt": exchanged(2, 3), "xc": exchanged(1, 2)}


def export(write):
    graph = fx.Graph()
    x = graph.placeholder("x")
    graph.output((write(graph, x),))
    module = fx.GraphModule(nn.Module(), graph)
    ends = (Port("x", ("n", 4, "h", 6), "float32"),), (Port("y", ("n",), "float32"),)
    return _Export(Network(module, *ends)).run()


@pytest.mark.parametrize("name", CASES)
def test_refusal_names_the_reason(name):
    write, reason = CASES[name]
    with pytest.raises(UnsupportedError, match=reason) as caught:
        export(write)
    assert caught.value.node
    assert caught.value.opset == "ATen"


def test_truth_values_as_indices_are_refused():
    """Their result's size is unknown before the network runs, so that `probe` refuses too."""
    truth = Value("m", (torch.empty(4, dtype=torch.bool, device="meta"),) * 2)
    call = call_of(aten.index.Tensor, tensor(4), [truth])
    with pytest.raises(UnsupportedError, match="selects by truth values"):
        index(Writer([]), call)


def tensor(*shape):
    return Value("x", (torch.empty(shape, device="meta"),) * 2)


def call_of(target, *args):
    return Call(fx.Graph().call_function(target), args, {})


SIZE = Size("n", (11, 17))
ASKED = {
    "tensor": (lambda: call_of(aten.relu.default, 3).x, "has no tensor self"),
    "list": (lambda: call_of(aten.cat.default, 3).values("tensors"), "has no list tensors"),
    "gap": (lambda: call_of(aten.cat.default, [3]).values("tensors"), "has a gap in tensors"),
    "whole": (lambda: call_of(aten.cat.default, [], SIZE).whole("dim"), "has no fixed dim"),
    "number": (
        lambda: call_of(aten.leaky_relu.default, tensor(), SIZE).number("negative_slope"),
        "has no fixed negative_slope",
    ),
    "ints": (
        lambda: call_of(aten.permute.default, tensor(), [0, SIZE]).ints("dims"),
        "has a varying dims",
    ),
    "sizes": (
        lambda: call_of(aten.permute.default, tensor(), [0, None]).sizes("dims"),
        "has no whole number in dims",
    ),
    "operand": (
        lambda: as_type(Writer([]), None, torch.float32, call_of(aten.relu.default)),
        "neither tensor nor number",
    ),
}


@pytest.mark.parametrize("name", ASKED)
def test_an_argument_of_the_wrong_kind_is_named(name):
    ask, reason = ASKED[name]
    with pytest.raises(UnsupportedError, match=reason):
        ask()


def test_defaults_of_the_operation_fill_what_is_not_given():
    call = call_of(aten.leaky_relu.default, tensor(2, 3))
    assert call.number("negative_slope") == 0.01
    assert call.x.shape == (2, 3)
    assert call.x.rank == 2


def test_one_number_stands_for_all_dimensions():
    call = call_of(aten.max_pool2d.default, tensor(1, 1, 4, 4), [2])
    assert call.ints("kernel_size", 2) == [2, 2]
    assert call.ints("padding", 2) == [0, 0]
