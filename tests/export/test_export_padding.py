"""Zero padding in front of a convolution becomes the convolution's own."""

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
from tersor.network.network import Network, Port
from tersor.network.quantizer import ActivationQuantizer

UNEVEN = (0, 1, 0, 1)  # last dimension first


class Padded(nn.Module):
    """A convolution, what is said of its result, and a second convolution with stride 2."""

    def __init__(self, between, dilation=1, padding=0):
        super().__init__()
        torch.manual_seed(0)
        self.between = between
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 3, 3, stride=2, dilation=dilation, padding=padding)

    def forward(self, x):
        return self.second(self.between(torch.relu(self.first(x))))


def network_of(between, **settings):
    return capture(Padded(between, **settings), torch.randn(2, 2, 9, 8), input_names=["x"])


def padded(*pads, **settings):
    return lambda x: functional.pad(x, pads, **settings)


def images(count=20):
    x = np.random.default_rng(0).standard_normal((count, 2, 9, 8))
    return {"x": x.astype(np.float32)}


def graph_of(network):
    return onnx.load_from_string(to_onnx(network)).graph


def pads_of(graph):
    convs = [n for n in graph.node if n.op_type == "Conv"]
    return [list(a.ints) for n in convs for a in n.attribute if a.name == "pads"]


def paddings_of(graph):
    return sum(n.op_type == "Pad" for n in graph.node)


def assert_runs_the_same(network, run_onnx):
    found = run_onnx(to_onnx(network), images(3))
    for name, wanted in network.run(images(3)).items():
        largest = np.abs(wanted).max()
        # sums of 36 products
        np.testing.assert_allclose(found[name], wanted, rtol=0, atol=36 * 2**-23 * largest)


def test_uneven_padding_becomes_the_convolutions_own(run_onnx):
    network = network_of(padded(*UNEVEN))
    graph = graph_of(network)
    assert paddings_of(graph) == 0
    assert pads_of(graph) == [[1, 1, 1, 1], [0, 0, 1, 1]]
    assert_runs_the_same(network, run_onnx)


def test_padding_between_roundings_leaves_one_of_them(run_onnx):
    network = QuantizeStatic().apply(network_of(padded(*UNEVEN)), Samples(images()))
    graph = graph_of(network)
    assert paddings_of(graph) == 0
    assert sum(n.op_type == "QuantizeLinear" for n in graph.node) == 2
    assert pads_of(graph) == [[1, 1, 1, 1], [0, 0, 1, 1]]
    found = run_onnx(to_onnx(network), images(5))
    for name, wanted in network.run(images(5)).items():
        step = np.abs(wanted).max() / 100  # integer kernels may round a tie the other way
        np.testing.assert_allclose(found[name], wanted, rtol=0, atol=step)
        assert np.sqrt(np.mean((found[name] - wanted) ** 2)) < step / 10


@pytest.mark.parametrize(
    "between",
    [
        padded(*UNEVEN, value=1.0),
        padded(*UNEVEN, mode="reflect"),
        padded(*UNEVEN, mode="replicate"),
        padded(-1, 1, 0, 1),
        padded(3, 0, 0, 0),
        lambda x: functional.pad(x[:, :3], (0, 1, 0, 1, 0, 1)),
    ],
    ids=["ones", "reflected", "repeated", "cut", "wider than a window", "channels"],
)
def test_other_padding_stays(between, run_onnx):
    network = network_of(between)
    assert paddings_of(graph_of(network)) == 1
    assert_runs_the_same(network, run_onnx)


@pytest.mark.parametrize("second", [0.25, 0.5], ids=["same grid", "other grid"])
def test_a_rounding_to_another_grid_keeps_the_padding(second, run_onnx):
    graph, root = fx.Graph(), nn.Module()
    root.first, root.second = ActivationQuantizer(0.25, 9), ActivationQuantizer(second, 9)
    root.weight = nn.Parameter(torch.ones(3, 2, 3, 3))
    x = graph.call_module("first", (graph.placeholder("x"),))
    x = graph.call_function(torch.ops.aten.constant_pad_nd.default, (x, list(UNEVEN)))
    x = graph.call_module("second", (x,))
    weight = graph.get_attr("weight")
    graph.output((graph.call_function(torch.ops.aten.conv2d.default, (x, weight)),))
    ends = (Port("x", (3, 2, 9, 8), "float32"),), (Port("y", (3, 3, 8, 7), "float32"),)
    network = Network(fx.GraphModule(root, graph), *ends)
    assert paddings_of(graph_of(network)) == (second != 0.25)
    assert_runs_the_same(network, run_onnx)


def test_a_dilated_window_reaches_further(run_onnx):
    network = network_of(padded(3, 0, 4, 0), dilation=2)
    assert pads_of(graph_of(network))[1] == [4, 3, 0, 0]
    assert_runs_the_same(network, run_onnx)


def test_who_else_reads_what_was_padded_reads_the_padding():
    class Twice(Padded):
        def forward(self, x):
            wide = self.between(torch.relu(self.first(x)))
            return self.second(wide), wide.sum((2, 3))

    module = Twice(padded(*UNEVEN))
    graph = graph_of(capture(module, torch.randn(2, 2, 9, 8), input_names=["x"]))
    assert paddings_of(graph) == 1
    assert pads_of(graph)[1] == [0, 0, 1, 1]


def test_the_padding_comes_on_top_of_the_convolutions_own():
    network = network_of(padded(*UNEVEN), padding=1)
    graph = graph_of(network)
    assert paddings_of(graph) == 0
    assert pads_of(graph)[-1] == [1, 1, 2, 2]


def test_padding_that_fills_a_window_with_the_convolutions_own_stays():
    network = network_of(padded(*UNEVEN), padding=2)
    assert paddings_of(graph_of(network)) == 1
