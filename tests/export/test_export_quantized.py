"""Compressed weights and rounded activations: integers in the file, the same numbers out.

All scales here are powers of two and all sums stay below 2^24, so that floating point
arithmetic is exact and the results must be equal, not just close.
"""

from dataclasses import dataclass

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import fx, nn

from tersor.codes.affine import Affine
from tersor.codes.code import Code, OnnxForm, OnnxNode
from tersor.codes.codebook import Codebook
from tersor.codes.masked import Masked
from tersor.export.onnx import to_onnx
from tersor.network.network import Network, Port
from tersor.network.quantizer import ActivationQuantizer

aten = torch.ops.aten


def codes(*shape, high=63):
    drawn = np.random.default_rng(0).integers(-high, high + 1, shape)
    return torch.from_numpy(drawn)


def powers(count):
    return 2.0 ** -torch.arange(3, 3 + count).float()


def affine(*shape, bits=8, axis=0):
    return Affine.from_codes(codes(*shape), powers(shape[axis]), bits=bits, axis=axis)


@dataclass
class Built:
    """A finished network, and its file taken apart."""

    network: Network

    def __post_init__(self):
        self.data = to_onnx(self.network)
        self.graph = onnx.load_from_string(self.data).graph
        self.arrays = {t.name: numpy_helper.to_array(t) for t in self.graph.initializer}
        self.ops = [n.op_type for n in self.graph.node]

    def node(self, op):
        (found,) = [n for n in self.graph.node if n.op_type == op]
        return found


def built(write, shape, out, **modules):
    graph, root = fx.Graph(), nn.Module()
    for name, module in modules.items():
        root.add_module(name, module)
    graph.output((write(graph, graph.placeholder("x")),))
    ends = (Port("x", shape, "float32"),), (Port("y", out, "float32"),)
    return Built(Network(fx.GraphModule(root, graph), *ends))


def linear(graph, x):
    return graph.call_function(aten.linear.default, (x, graph.call_module("weight")))


def images(*shape):
    """Numbers that are no multiples of the step, some of them outside the range."""
    drawn = np.random.default_rng(1).uniform(-1, 9, shape)
    return (np.round(drawn * 64) / 64 + 1 / 128).astype(np.float32)


def integer_network():
    """Rounded image, convolution with integer weights and bias, relu, rounding, linear."""
    scales = powers(4)
    bias = Affine.from_codes(codes(4, high=999), scales / 32, bits=32, axis=0)

    def write(graph, x):
        x = graph.call_module("round_in", (x,))
        weights = (graph.call_module("kernel"), graph.call_module("bias"))
        x = graph.call_function(aten.conv2d.default, (x, *weights, [1, 1], [1, 1]))
        x = graph.call_module("round_mid", (graph.call_function(aten.relu.default, (x,)),))
        x = graph.call_function(aten.flatten.using_ints, (x, 1))
        return linear(graph, x)

    return built(
        write,
        ("batch", 2, 3, 3),
        ("batch", 5),
        round_in=ActivationQuantizer(1 / 32, 7),
        kernel=Affine.from_codes(codes(4, 2, 3, 3), scales, axis=0),
        bias=bias,
        round_mid=ActivationQuantizer(1 / 4, -120, signed=True),
        weight=affine(5, 36),
    )


def test_integer_network_computes_exactly_the_same(run_onnx):
    network = integer_network()
    for size in (1, 5):
        x = images(size, 2, 3, 3)
        found = run_onnx(network.data, {"x": x})["y"]
        want = network.network.run({"x": x})["y"]
        assert np.unique(want).size > 4
        np.testing.assert_array_equal(found, want)


def test_integer_network_is_made_of_the_nodes_that_engines_fuse():
    assert integer_network().ops == [
        "QuantizeLinear",
        "DequantizeLinear",
        "DequantizeLinear",
        "DequantizeLinear",
        "Conv",
        "Relu",
        "QuantizeLinear",
        "DequantizeLinear",
        "Flatten",
        "DequantizeLinear",
        "Gemm",
    ]


def test_integers_and_scales_are_stored_under_the_names_of_the_weights():
    arrays = integer_network().arrays
    types = {name: str(array.dtype) for name, array in arrays.items()}
    assert types == {
        "round_in.scale": "float32",
        "round_in.zero_point": "uint8",
        "round_mid.scale": "float32",
        "round_mid.zero_point": "int8",
        "kernel.codes": "int8",
        "kernel.scale": "float32",
        "kernel.zero_point": "int8",
        "bias.codes": "int32",
        "bias.scale": "float32",
        "weight.codes": "int8",
        "weight.scale": "float32",
        "weight.zero_point": "int8",
    }
    np.testing.assert_array_equal(arrays["kernel.codes"], codes(4, 2, 3, 3).numpy())
    assert arrays["round_mid.zero_point"] == -120


def test_one_rounding_in_two_places_is_stored_once(run_onnx):
    def write(graph, x):
        first = graph.call_module("grid", (x,))
        return graph.call_module("grid", (graph.call_function(aten.neg.default, (first,)),))

    network = built(write, ("n", 4), ("n", 4), grid=ActivationQuantizer(0.5, 8, signed=True))
    assert set(network.arrays) == {"grid.scale", "grid.zero_point"}
    x = images(3, 4)
    want = network.network.run({"x": x})["y"]
    np.testing.assert_array_equal(run_onnx(network.data, {"x": x})["y"], want)


@pytest.mark.parametrize("axis", [0, 1, None], ids=["rows", "columns", "whole"])
def test_integers_of_a_matmul_are_stored_transposed(axis, run_onnx):
    scale = powers((5, 8)[axis]) if axis is not None else torch.tensor(0.25)
    code = Affine.from_codes(codes(5, 8), scale, axis=axis)
    network = built(linear, ("n", 2, 8), ("n", 2, 5), weight=code)
    assert network.ops == ["DequantizeLinear", "MatMul"]
    np.testing.assert_array_equal(network.arrays["weight.codes"], codes(5, 8).numpy().T)
    attributes = {a.name: a.i for a in network.node("DequantizeLinear").attribute}
    assert attributes == ({} if axis is None else {"axis": 1 - axis})
    x = images(2, 2, 8)
    want = network.network.run({"x": x})["y"]
    np.testing.assert_array_equal(run_onnx(network.data, {"x": x})["y"], want)


def test_shared_values_of_a_matmul_are_stored_transposed(run_onnx):
    code = Codebook(powers(7), codes(5, 8).abs() % 7)
    network = built(linear, ("n", 2, 8), ("n", 2, 5), weight=code)
    assert network.ops == ["Cast", "Gather", "MatMul"]
    np.testing.assert_array_equal(network.arrays["weight.codes"], code.symbols()["codes"].T)
    x = images(2, 2, 8)
    want = network.network.run({"x": x})["y"]
    # sums of 8 products
    found = run_onnx(network.data, {"x": x})["y"]
    np.testing.assert_allclose(found, want, rtol=0, atol=8 * 2**-23 * np.abs(want).max())


def test_a_masked_weight_is_stored_as_it_is_used():
    weight = powers(40).reshape(5, 8)
    code = Masked.encode(weight, weight > weight.median())
    network = built(linear, ("n", 2, 8), ("n", 2, 5), weight=code)
    assert network.ops == ["MatMul"]
    np.testing.assert_array_equal(network.arrays["weight"], code().detach().numpy().T)


@pytest.mark.parametrize("rows", [(), (2,)], ids=["gemm", "matmul_and_add"])
def test_a_bias_is_stored_in_floats_where_a_node_of_its_own_adds_it(rows, run_onnx):
    def write(graph, x):
        parts = (graph.call_module("weight"), graph.call_module("bias"))
        return graph.call_function(aten.linear.default, (x, *parts))

    bias = Affine.from_codes(codes(5, high=999), powers(5) / 32, bits=32, axis=0)
    network = built(write, ("n", *rows, 8), ("n", *rows, 5), weight=affine(5, 8), bias=bias)
    if rows:
        np.testing.assert_array_equal(network.arrays["bias"], bias.decode().detach().numpy())
    else:
        assert network.arrays["bias.codes"].dtype == np.int32
    x = images(3, *rows, 8)
    want = network.network.run({"x": x})["y"]
    np.testing.assert_array_equal(run_onnx(network.data, {"x": x})["y"], want)


def test_integers_with_two_readers_are_transposed_by_a_node(run_onnx):
    def write(graph, x):
        y = linear(graph, x)
        return graph.call_function(aten.matmul.default, (y, graph.call_module("weight")))

    network = built(write, ("n", 2, 8), ("n", 2, 8), weight=affine(5, 8))
    assert network.ops == ["DequantizeLinear", "Transpose", "MatMul", "MatMul"]
    x = images(2, 2, 8)
    want = network.network.run({"x": x})["y"]
    found = run_onnx(network.data, {"x": x})["y"]
    # sums of 5 products of more than 24 bits
    np.testing.assert_allclose(found, want, rtol=0, atol=5 * 2**-23 * np.abs(want).max())


class Outer(Code):
    """column * row: a code whose form is neither an array nor one DequantizeLinear."""

    def __init__(self):
        super().__init__()
        self.register_buffer("column", torch.arange(3.0).reshape(3, 1))
        self.register_buffer("row", torch.arange(1.0, 5.0).reshape(1, 4))

    def decode(self):
        return self.column * self.row

    def pinned(self):
        return None

    def symbols(self):
        return {"column": self.column.numpy(), "row": self.row.numpy()}

    def to_onnx(self, name):
        arrays = {f"{name}.{k}": v for k, v in self.symbols().items()}
        return OnnxForm(arrays, (OnnxNode("Mul", tuple(arrays), (name,)),), name)

    def describe(self):
        return "outer product"


class Plain(Outer):
    """The same, stored as it is."""

    def to_onnx(self, name):
        return OnnxForm({name: self.decode().numpy()}, (), name)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("code", [Outer, Plain])
def test_other_codes_are_expanded_by_their_own_nodes(code, rank, run_onnx):
    shape = ("n", 2, 4) if rank == 3 else ("n", 4)
    network = built(linear, shape, (*shape[:-1], 3), weight=code())
    assert ("Transpose" in network.ops) == (rank == 3)
    x = images(*(5 if d == "n" else d for d in shape))
    found, want = run_onnx(network.data, {"x": x}), network.network.run({"x": x})
    np.testing.assert_array_equal(found["y"], want["y"])
