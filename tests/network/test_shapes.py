import math
import operator

import pytest
import torch
from capture_models import Residual, Transformer
from torch import fx, nn

from tersor.codes.affine import Affine
from tersor.errors import UnsupportedError
from tersor.network.capture import capture
from tersor.network.network import Network, Port
from tersor.network.quantizer import ActivationQuantizer
from tersor.network.shapes import batch_size_for, shapes, values
from tersor.testing.networks import convolutional, perceptron, samples_for

aten = torch.ops.aten


class Recorder(fx.Interpreter):
    def run_node(self, n):
        result = super().run_node(n)
        if isinstance(result, torch.Tensor):
            self.seen[n.name] = (tuple(result.shape), result.dtype)
        return result


def recorded(network, *inputs):
    recorder = Recorder(network.module)
    recorder.seen = {}
    recorder.run(*inputs)
    return recorder.seen


@pytest.mark.parametrize("size", [1, 3])
def test_shapes_are_those_of_a_real_run(size):
    network = convolutional()
    x = torch.from_numpy(samples_for(network, size).inputs["x"])
    assert shapes(network, size) == recorded(network, x)


@pytest.mark.parametrize(
    ("module", "example"),
    [(Residual, torch.zeros(2, 4, 8, 8)), (Transformer, torch.zeros(2, 4, dtype=torch.int64))],
)
def test_captured_modules_have_the_shapes_of_a_real_run(module, example):
    network = capture(module(), example)
    assert shapes(network, 2) == recorded(network, example)


def test_codes_and_quantizers_have_shapes_too():
    network = convolutional().copy()
    network.set_code("stem.weight", Affine.encode(network.tensor("stem.weight"), axis=0))
    network.module.add_submodule("q", ActivationQuantizer(0.1, 0))
    relu = next(n for n in network.graph.nodes if n.name == "relu_default")
    with network.graph.inserting_after(relu):
        network.graph.call_module("q", (relu,))
    network.module.recompile()
    found = shapes(network)
    assert found["q"] == found["relu_default"] == ((1, 8, 8, 8), torch.float32)
    assert found["stem_weight_1"] == ((8, 3, 3, 3), torch.float32)


def test_views_share_their_storage():
    graph = fx.Graph()
    x = graph.placeholder("x")
    view = graph.call_function(aten.view.default, (x, [2, 2]))
    relu = graph.call_function(aten.relu.default, (view,))
    graph.output((relu,))
    network = network_of(graph)
    found = {
        name: t.untyped_storage()._cdata
        for name, t in values(network).items()
        if name != "output"
    }
    assert found["x"] == found["view_default"] != found["relu_default"]


def network_of(graph):
    port = Port("x", (4,), "float32")
    return Network(fx.GraphModule(nn.Module(), graph), (port,), (port,))


def test_made_tensors_and_tuples_are_followed():
    """A device given in the graph is not used: nothing is computed."""
    graph = fx.Graph()
    x = graph.placeholder("x")
    made = graph.call_function(aten.arange.default, (4,), {"device": torch.device("cpu")})
    halves = graph.call_function(
        aten.split.Tensor, (graph.call_function(aten.add.Tensor, (x, made)), 2)
    )
    graph.output((graph.call_function(operator.getitem, (halves, 1)),))
    found = shapes(network_of(graph))
    assert found["getitem"] == ((2,), torch.float32)
    assert found["arange_default"] == ((4,), torch.int64)
    assert "split_tensor" not in found


def test_an_operation_that_does_not_fit_is_named():
    graph = fx.Graph()
    x = graph.placeholder("x")
    graph.output((graph.call_function(aten.view.default, (x, [3])),))
    with pytest.raises(UnsupportedError, match=r"Node 'view_default': aten\.view") as e:
        shapes(network_of(graph))
    assert e.value.node == "view_default"


def test_an_unknown_module_is_named():
    graph = fx.Graph()
    x = graph.placeholder("x")
    graph.output((graph.call_module("strange", (x,)),))
    root = nn.Module()
    root.strange = nn.ReLU()
    port = Port("x", (4,), "float32")
    network = Network(fx.GraphModule(root, graph), (port,), (port,))
    with pytest.raises(UnsupportedError, match="modules of type ReLU are not known"):
        shapes(network)


def test_as_many_samples_run_at_once_as_the_values_of_a_batch_may_hold():
    network = perceptron()
    computed = [n.name for n in network.graph.nodes if n.op == "call_function"]
    each = sum(math.prod(shapes(network)[name][0]) for name in computed)
    assert batch_size_for(network, 10 * each, 64) == 10
    assert batch_size_for(network, 1000 * each, 64) == 64
    assert batch_size_for(network, 1, 64) == 1
