import torch
from torch import fx

from tersor.network.arguments import arguments, op_name, set_argument

aten = torch.ops.aten


def test_positions_keywords_and_defaults_meet():
    graph = fx.Graph()
    x, w = graph.placeholder("x"), graph.placeholder("w")
    node = graph.call_function(aten.conv2d.default, (x, w, None, [2, 2]), {"groups": 3})
    found = arguments(node)
    assert (found["stride"], found["groups"], found["bias"]) == ([2, 2], 3, None)
    assert (found["padding"], found["dilation"]) == ([0, 0], [1, 1])


def test_an_argument_is_set_where_it_stands_or_as_a_keyword():
    graph = fx.Graph()
    x = graph.placeholder("x")
    node = graph.call_function(aten.dropout.default, (x, 0.5, False))
    set_argument(node, "train", True)
    assert (node.args, node.kwargs) == ((x, 0.5, True), {})
    short = graph.call_function(aten.mean.dim, (x, [1]))
    set_argument(short, "keepdim", True)
    set_argument(short, "dtype", torch.float64)
    assert short.args == (x, [1])
    assert short.kwargs == {"keepdim": True, "dtype": torch.float64}


def test_only_aten_has_names():
    graph = fx.Graph()
    x = graph.placeholder("x")
    assert op_name(graph.call_function(aten.add_.Tensor, (x, x))) == "add_"
    assert op_name(graph.call_function(max, (x, x))) == ""
    assert op_name(x) == ""
