import pytest
import torch
from torch import fx

from tersor.network.network import Network, Port
from tersor.network.padding import absorb_padding, zeros_around

aten = torch.ops.aten
PAD, CONV = aten.constant_pad_nd.default, aten.conv2d.default


def padded(pads, window, weight, *, pad=PAD, value=0.0):
    """A convolution of padded images of eight channels."""
    graph, root = fx.Graph(), torch.nn.Module()
    root.register_parameter("weight", torch.nn.Parameter(weight))
    x, held = graph.placeholder("x"), graph.get_attr("weight")
    more = (value,) if pad is PAD else ("constant", value)
    wide = graph.create_node("call_function", pad, (x, pads, *more), name="wide")
    graph.output((graph.call_function(CONV, (wide, held, None, *window)),))
    shape = ("batch", 8, 13, 11)
    ports = (Port("x", shape, "float32"),), (Port("y", shape, "float32"),)
    return Network(fx.GraphModule(root, graph), *ports)


def kernel(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


DEPTHWISE, DENSE = kernel(8, 1, 3, 3), kernel(4, 8, 3, 2)
ABSORBED = {
    "behind": ([0, 1, 0, 1], ([2, 2], [0, 0], [1, 1], 8), DEPTHWISE),
    "in front": ([1, 0, 2, 0], ([2, 1], [0, 0], [1, 1], 8), DEPTHWISE),
    "both, and its own": ([1, 2, 3, 1], ([1, 2], [1, 2], [1, 1], 8), DEPTHWISE),
    "one axis": ([0, 2], ([2], [1], [1], 8), DEPTHWISE),
    "between": ([0, 2, 4, 0], ([1, 1], [0, 0], [2, 2], 8), DEPTHWISE),
    "alike": ([1, 1, 2, 2], ([2, 2], [1, 0], [1, 1], 1), DENSE),
    "and no channels": ([1, 0, 0, 1, 0, 0], ([2, 2], [0, 0], [1, 1], 8), DEPTHWISE),
}
LEFT = {
    "dense": ([0, 1, 0, 1], ([2, 2], [0, 0], [1, 1], 1), DENSE),
    "not between": ([0, 1, 0, 1], ([1, 1], [0, 0], [2, 2], 8), DEPTHWISE),
    "many": ([0, 3, 0, 0], ([1, 1], [0, 0], [1, 1], 8), DEPTHWISE),
    "cut": ([-1, 0, 0, 1], ([1, 1], [0, 0], [1, 1], 8), DEPTHWISE),
    "channels": ([0, 1, 0, 1, 8, 0], ([1, 1], [0, 0], [1, 1], 1), kernel(4, 16, 3, 3)),
}


def absorbed(network, keep=()):
    found = network.copy()
    absorb_padding(found, keep)
    found.module.recompile()
    return found, [n.target for n in found.graph.nodes if n.op == "call_function"]


def agree(one, other):
    """Outputs are alike but for the order of 16 products of numbers around 1."""
    x = torch.randn(3, 8, 13, 11, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        (wanted,), (found,) = one.module(x), other.module(x)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("pad", [PAD, aten.pad.default])
@pytest.mark.parametrize("name", ABSORBED)
def test_a_convolution_pads_for_itself(name, pad):
    network = padded(*ABSORBED[name], pad=pad)
    found, targets = absorbed(network)
    assert targets == [CONV]
    agree(network, found)


@pytest.mark.parametrize("name", LEFT)
def test_what_would_cost_more_or_does_not_fit_stays(name):
    network = padded(*LEFT[name])
    found, targets = absorbed(network)
    assert targets == [PAD, CONV]
    agree(network, found)


def test_other_numbers_than_zero_stay():
    pads, window, weight = ABSORBED["behind"]
    assert absorbed(padded(pads, window, weight, value=1.0))[1] == [PAD, CONV]
    mirrored = padded(pads, window, weight, pad=aten.pad.default)
    (wide,) = (n for n in mirrored.graph.nodes if n.name == "wide")
    wide.args = (*wide.args[:2], "reflect")
    assert zeros_around(wide) is None
    assert absorbed(mirrored)[1] == [aten.pad.default, CONV]


def test_a_padded_value_that_somebody_looks_at_stays():
    network = padded(*ABSORBED["behind"])
    assert absorbed(network, keep={"wide"})[1] == [PAD, CONV]
    read = network.copy()
    (wide,) = (n for n in read.graph.nodes if n.name == "wide")
    (last,) = read.graph.output_node().args[0]
    read.graph.output_node().args = ((last, wide),)
    found, targets = absorbed(read)
    assert targets == [PAD, CONV]  # the convolution reads what was not padded
    (layer,) = (n for n in found.graph.nodes if n.target is CONV)
    assert layer.args[0].op == "placeholder"
    agree(padded(*ABSORBED["behind"]), network)


def test_the_network_that_it_was_copied_from_stays_as_it_is():
    network = padded(*ABSORBED["behind"])
    absorbed(network)
    assert torch.equal(network.tensor("weight"), DEPTHWISE)
    assert [n.target for n in network.graph.nodes if n.op == "call_function"] == [PAD, CONV]


def test_zeros_are_told_of_nodes_that_pad_with_them():
    graph = fx.Graph()
    x = graph.placeholder("x")
    for target, more, wanted in [
        (PAD, (), [0, 1]),
        (PAD, (0.0,), [0, 1]),
        (PAD, (-1.0,), None),
        (aten.pad.default, (), [0, 1]),
        (aten.pad.default, ("constant", 0.0), [0, 1]),
        (aten.pad.default, ("constant", 2.0), None),
        (aten.pad.default, ("circular",), None),
        (aten.slice.Tensor, (), None),
    ]:
        assert zeros_around(graph.call_function(target, (x, [0, 1], *more))) == wanted
