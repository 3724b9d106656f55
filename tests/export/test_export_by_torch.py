"""The way round through torch.onnx, with operations that our own operator files lack."""

import sys

import numpy as np
import onnx
import pytest
import torch
from torch import fx, nn

from tersor.codes.affine import Affine
from tersor.errors import UnsupportedError
from tersor.export import by_torch
from tersor.export.onnx import to_onnx
from tersor.export.operators import OPERATORS
from tersor.network.network import Network, Port
from tersor.network.quantizer import ActivationQuantizer

aten = torch.ops.aten


def network_of(lacking, *rest):
    """Rounded input, linear with integer weights, an operation that we lack, the input."""
    graph, root = fx.Graph(), nn.Module()
    weight = torch.tensor([[64.0, -32.0, 8.0], [1.0, 2.0, -4.0]]) / 64
    root.add_module("weight", Affine(weight, torch.tensor(2.0**-6)))
    root.add_module("grid", ActivationQuantizer(0.25, 12))
    x = graph.placeholder("x")
    rounded = graph.call_module("grid", (x,))
    y = graph.call_function(aten.linear.default, (rounded, graph.call_module("weight")))
    z = graph.call_function(lacking, (y, *rest))
    graph.output((z, graph.call_function(aten.relu.default, (y,))))
    ports = Port("in:x", ("N", 3), "float32"), Port("z", ("N", 2), "float32")
    outs = (ports[1], Port("out/y", ("N", 2), "float32"))
    return Network(fx.GraphModule(root, graph), ports[:1], outs)


@pytest.fixture(scope="module")
def written():
    """A network with erfc, which torch.onnx knows and our operator files do not."""
    assert "aten.erfc.default" not in OPERATORS
    network = network_of(aten.erfc.default)
    return network, to_onnx(network)


def test_it_computes_the_same(written, run_onnx, assert_close):
    network, data = written
    for size in (1, 5):
        x = np.random.default_rng(0).uniform(-3, 3, (size, 3)).astype(np.float32)
        assert_close(run_onnx(data, {"in:x": x}), network.run({"in:x": x}), 32)


def test_names_dimensions_and_integers_are_kept(written):
    graph = onnx.load_from_string(written[1]).graph
    ends = [*graph.input, *graph.output]
    assert [e.name for e in ends] == ["in:x", "z", "out/y"]
    for end in ends:
        first, second = end.type.tensor_type.shape.dim
        assert (first.dim_param, second.dim_value) == ("N", 3 if end.name == "in:x" else 2)
    kinds = {t.name: t.data_type for t in graph.initializer}
    assert kinds["weight.codes"] == onnx.TensorProto.INT8
    assert [n.op_type for n in graph.node].count("DequantizeLinear") == 2


def test_nothing_of_the_machine_is_left(written):
    model = onnx.load_from_string(written[1])
    assert (model.producer_name, model.producer_version) == ("tersor", "")
    for trace in (b"site-packages", b".py", b"stack_trace", b"torch"):
        assert trace not in written[1]
    for part in (model, model.graph, *model.graph.node, *model.graph.input):
        assert not part.doc_string
        assert not part.metadata_props


def test_an_operation_that_nobody_knows_is_named():
    network = network_of(aten.special_airy_ai.default)
    with pytest.raises(
        UnsupportedError, match=r"airy.* has no ONNX form; torch.onnx"
    ) as error:
        to_onnx(network)
    assert error.value.op == "aten.special_airy_ai.default"
    assert error.value.node == "special_airy_ai_default"


def test_the_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(by_torch, "find_spec", lambda _name: None)
    with pytest.raises(UnsupportedError, match=r"install the package onnxscript"):
        to_onnx(network_of(aten.erfc.default))


def test_our_own_exporter_loads_no_onnxscript(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert to_onnx(network_of(aten.relu.default))
