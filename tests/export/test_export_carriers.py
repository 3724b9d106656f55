"""Between two roundings to one grid the codes move; values stay what they are, to the bit."""

import numpy as np
import onnx
import pytest
import torch
from torch import fx, nn
from torch.nn import functional

from tersor.data.samples import Samples
from tersor.export.onnx import to_onnx
from tersor.methods.quantize.static import QuantizeStatic
from tersor.network.capture import capture
from tersor.network.from_onnx.reader import read
from tersor.network.network import Network, Port
from tersor.network.quantizer import ActivationQuantizer
from tersor.store.expand import strip_activation_rounding

aten = torch.ops.aten
GRID = (0.25, 9)
MOVES = {
    "Slice": (aten.slice.Tensor, (1, 0, 4, 2)),
    "Pad": (aten.constant_pad_nd.default, ([0, 0, 1, 2],)),
    "MaxPool": (aten.max_pool2d.default, ([2, 2],)),
    "Transpose": (aten.permute.default, ([0, 2, 1, 3],)),
    "Reshape": (aten.reshape.default, ([3, 8, 8],)),
}


def between(operation, arguments, second=GRID, also=None):
    """round, move, round; `also` reads what was moved."""
    graph, root = fx.Graph(), nn.Module()
    root.first, root.second = ActivationQuantizer(*GRID), ActivationQuantizer(*second)
    x = graph.call_module("first", (graph.placeholder("x"),))
    moved = graph.call_function(operation, (x, *arguments))
    results = [graph.call_module("second", (moved,))]
    if also is not None:
        results.append(graph.call_function(also, (moved,)))
    graph.output(tuple(results))
    module = fx.GraphModule(root, graph)
    shapes = [tuple(r.shape) for r in module(torch.zeros(3, 4, 4, 4))]
    ends = [Port(f"y{i}", s, "float32") for i, s in enumerate(shapes)]
    return Network(module, (Port("x", (3, 4, 4, 4), "float32"),), tuple(ends))


def ops(data):
    return [n.op_type for n in onnx.load_from_string(data).graph.node]


def feeds(network, *shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return {network.inputs[0].name: 20 * x}


def assert_equal(network, data, run_onnx, *shape):
    given = feeds(network, *shape)
    found = run_onnx(data, given)
    for name, wanted in network.run(given).items():
        np.testing.assert_array_equal(found[name], wanted)


@pytest.mark.parametrize("op", MOVES)
def test_codes_move_between_roundings_to_one_grid(op, run_onnx):
    network = between(*MOVES[op])
    data = to_onnx(network)
    assert ops(data) == ["QuantizeLinear", op, "DequantizeLinear"]
    assert_equal(network, data, run_onnx, 3, 4, 4, 4)


def test_what_is_rounded_already_is_not_rounded_again(run_onnx):
    network = between(aten.dropout.default, (0.5, False))
    data = to_onnx(network)
    assert ops(data) == ["QuantizeLinear", "DequantizeLinear"]
    assert_equal(network, data, run_onnx, 3, 4, 4, 4)


@pytest.mark.parametrize("op", MOVES)
def test_what_moves_codes_moves_floats_without_roundings(op, run_onnx):
    network = between(*MOVES[op])
    bare = strip_activation_rounding(to_onnx(network))
    assert ops(bare) == [op]
    operation, arguments = MOVES[op]
    given = feeds(network, 3, 4, 4, 4)
    wanted = operation(torch.from_numpy(given["x"]), *arguments).numpy()
    np.testing.assert_array_equal(run_onnx(bare, given)["y0"], wanted)


@pytest.mark.parametrize("op", MOVES)
def test_moved_codes_are_read_back_and_written_alike(op):
    network = between(*MOVES[op])
    data = to_onnx(network)
    back = read(data)
    given = feeds(network, 3, 4, 4, 4)
    np.testing.assert_array_equal(back.run(given)["y0"], network.run(given)["y0"])
    assert ops(to_onnx(back)) == ops(data)


@pytest.mark.parametrize(
    ("move", "settings"),
    [
        (MOVES["Slice"], {"second": (0.5, 9)}),
        (MOVES["Slice"], {"second": (0.25, 8)}),
        (MOVES["Slice"], {"also": aten.neg.default}),
        ((aten.constant_pad_nd.default, ([1, 1], 2.0)), {}),
        ((aten.neg.default, ()), {}),
    ],
    ids=["other step", "other zero", "another reader", "padding of twos", "new values"],
)
def test_else_floats_are_rounded_twice(move, settings, run_onnx):
    network = between(*move, **settings)
    data = to_onnx(network)
    assert ops(data).count("QuantizeLinear") == 2
    assert_equal(network, data, run_onnx, 3, 4, 4, 4)


def joined(other=GRID):
    """Round the input and its negative, concatenate, round."""
    graph, root = fx.Graph(), nn.Module()
    root.first, root.other = ActivationQuantizer(*GRID), ActivationQuantizer(*other)
    root.second = ActivationQuantizer(*GRID)
    x = graph.placeholder("x")
    parts = [
        graph.call_module("first", (x,)),
        graph.call_module("other", (graph.call_function(aten.neg.default, (x,)),)),
    ]
    whole = graph.call_function(aten.cat.default, (parts, 1))
    graph.output((graph.call_module("second", (whole,)),))
    ports = [Port(n, s, "float32") for n, s in (("x", (3, 4)), ("y", (3, 8)))]
    return Network(fx.GraphModule(root, graph), (ports[0],), (ports[1],))


def test_codes_of_one_grid_are_concatenated(run_onnx):
    network = joined()
    data = to_onnx(network)
    concat = ["Neg", *["QuantizeLinear"] * 2, "Concat", "DequantizeLinear"]
    assert sorted(ops(data)) == sorted(concat)
    assert_equal(network, data, run_onnx, 3, 4)
    bare = strip_activation_rounding(data)
    assert ops(bare) == ["Neg", "Concat"]
    given = feeds(network, 3, 4)
    wanted = np.concatenate([given["x"], -given["x"]], axis=1)
    np.testing.assert_array_equal(run_onnx(bare, given)["y"], wanted)
    assert sorted(ops(to_onnx(read(data)))) == sorted(ops(data))


def test_codes_that_others_read_too_move_floats_without_roundings(run_onnx):
    graph, root = fx.Graph(), nn.Module()
    root.first, root.pooled = ActivationQuantizer(*GRID), ActivationQuantizer(*GRID)
    root.second = ActivationQuantizer(*GRID)
    x = graph.call_module("first", (graph.placeholder("x"),))
    pooled = graph.call_function(aten.max_pool2d.default, (x, [2, 2]))
    pooled = graph.call_module("pooled", (pooled,))
    whole = graph.call_function(aten.cat.default, ([pooled, pooled], 1))
    read = graph.call_function(aten.neg.default, (pooled,))
    graph.output((graph.call_module("second", (whole,)), read))
    ends = [Port("y", (3, 8, 2, 2), "float32"), Port("z", (3, 4, 2, 2), "float32")]
    ports = (Port("x", (3, 4, 4, 4), "float32"),)
    data = to_onnx(Network(fx.GraphModule(root, graph), ports, tuple(ends)))
    bare = strip_activation_rounding(data)
    assert sorted(ops(bare)) == ["Concat", "MaxPool", "Neg"]
    given = {"x": np.random.default_rng(0).standard_normal((3, 4, 4, 4)).astype(np.float32)}
    wanted = given["x"].reshape(3, 4, 2, 2, 2, 2).max(axis=(3, 5))
    found = run_onnx(bare, given)
    np.testing.assert_array_equal(found["y"], np.concatenate([wanted, wanted], axis=1))
    np.testing.assert_array_equal(found["z"], -wanted)


def test_floats_of_two_grids_are_concatenated(run_onnx):
    network = joined(other=(0.5, 9))
    data = to_onnx(network)
    assert ops(data).count("QuantizeLinear") == 3
    assert_equal(network, data, run_onnx, 3, 4)


class Residual(nn.Module):
    """A shortcut that takes every second pixel, the odd ones, and pads the channels."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = torch.relu(self.first(x))
        short = functional.pad(x[:, :, 1::2, 1::2], (0, 0, 0, 0, 2, 2))
        x = torch.relu(self.second(x) + short)
        return self.head(x.mean((2, 3)))


def test_a_shortcut_stays_in_codes():
    example = torch.randn(2, 3, 8, 8)
    network = capture(Residual(), example, input_names=["x"])
    x = np.random.default_rng(0).standard_normal((30, 3, 8, 8)).astype(np.float32)
    graph = onnx.load_from_string(
        to_onnx(QuantizeStatic().apply(network, Samples({"x": x})))
    ).graph
    makers = {name: node.op_type for node in graph.node for name in node.output}
    sources = {n.op_type: makers[n.input[0]] for n in graph.node if n.op_type == "Pad"}
    assert sources == {"Pad": "Slice"}
    assert not any(
        makers[n.input[0]] == "DequantizeLinear" for n in graph.node if n.op_type == "Slice"
    )
