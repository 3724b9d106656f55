"""The file as a whole: names, dimensions, same bytes, nothing of the machine, errors."""

import getpass
import platform
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import fx, nn

from tersor.errors import ModelError, UnsupportedError
from tersor.export.onnx import to_onnx
from tersor.export.probe import probe
from tersor.network.network import Network, Port
from tersor.testing.networks import convolutional, perceptron

aten = torch.ops.aten


def built(write, inputs, outputs, **tensors):
    """A network written by hand: `write` gets the graph, the inputs and the weights."""
    graph, root = fx.Graph(), nn.Module()
    places = [graph.placeholder(f"p{i}") for i in range(len(inputs))]
    weights = []
    for name, held in tensors.items():
        if isinstance(held, nn.Module):
            root.add_module(name, held)
        else:
            root.register_buffer(name, held)
            weights.append(graph.get_attr(name))
    graph.output(tuple(write(graph, *places, *weights)))
    return Network(fx.GraphModule(root, graph), tuple(inputs), tuple(outputs))


def arrays(data):
    graph = onnx.load_from_string(data).graph
    return {t.name: numpy_helper.to_array(t) for t in graph.initializer}


def operators(data):
    return [n.op_type for n in onnx.load_from_string(data).graph.node]


def strings(message):
    """Every text in a protobuf message."""
    for field, value in message.ListFields():
        for item in value if field.is_repeated else [value]:
            if field.type == field.TYPE_MESSAGE:
                yield from strings(item)
            elif field.type == field.TYPE_STRING:
                yield item


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


X = Port("x", ("batch", 4), "float32")
Y = Port("y", ("batch", 4), "float32")


def test_header_names_tersor_and_nothing_else():
    model = onnx.load_from_string(to_onnx(convolutional()))
    assert model.ir_version == 8
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    assert (model.producer_name, model.producer_version) == ("tersor", "")
    assert not model.metadata_props
    assert not model.doc_string


def test_small_networks_compute_the_same(run_onnx, assert_close):
    for network in (convolutional(), perceptron()):
        data = to_onnx(network)
        for size in (1, 5):
            feeds = {p.name: normal(*p.concrete(size)) for p in network.inputs}
            assert_close(run_onnx(data, feeds), network.run(feeds), 100)


def test_convolutional_network_has_one_node_per_operation():
    assert sorted(set(operators(to_onnx(convolutional())))) == [
        "Add",
        "AveragePool",
        "BatchNormalization",
        "Clip",
        "Concat",
        "Conv",
        "Flatten",
        "Gemm",
        "MaxPool",
        "Relu",
    ]


def test_same_network_gives_the_same_bytes():
    assert to_onnx(convolutional()) == to_onnx(convolutional())


def test_other_weights_give_other_bytes():
    assert to_onnx(convolutional(0)) != to_onnx(convolutional(1))


def test_file_tells_nothing_of_the_machine():
    data = to_onnx(convolutional())
    texts = list(strings(onnx.load_from_string(data)))
    assert texts
    for trace in ("/", "site-packages", ".py", getpass.getuser() + "@", platform.node()):
        assert not [t for t in texts if trace in t], trace
    assert b"site-packages" not in data


def test_weights_keep_their_names_and_values():
    network = convolutional()
    stored = arrays(to_onnx(network))
    weights = network.module.state_dict()
    named = {name for name in stored if name in weights}
    assert named == {n for n in weights if "num_batches" not in n}
    for name in named:
        np.testing.assert_array_equal(stored[name], weights[name].numpy())


def test_ports_keep_names_types_and_dimensions():
    ports = (
        Port("picture:0", ("N", 3, "height", "width"), "float32"),
        Port("shift", ("N", 1, 1, 1), "float64"),
    )
    out = Port("scores/1", ("N", 3, "height", "width"), "float64")
    network = built(lambda g, a, b: [g.call_function(aten.add.Tensor, (a, b))], ports, [out])
    graph = onnx.load_from_string(to_onnx(network)).graph
    ends = [*graph.input, *graph.output]
    for end, port in zip(ends, (*ports, out), strict=True):
        dims = end.type.tensor_type.shape.dim
        assert end.name == port.name
        assert tuple(d.dim_param or d.dim_value for d in dims) == port.shape
    kinds = [e.type.tensor_type.elem_type for e in ends]
    assert kinds == [onnx.TensorProto.FLOAT, *[onnx.TensorProto.DOUBLE] * 2]


def test_port_names_win_over_node_names(run_onnx):
    """Nodes called like ports, or like the intermediate values of other nodes, give way."""

    def write(graph, x):
        first = graph.call_function(aten.relu.default, (x,))
        first.name = "y"
        second = graph.call_function(aten.neg.default, (first,))
        second.name = "x"
        return [second]

    data = to_onnx(built(write, [X], [Y]))
    x = normal(2, 4)
    np.testing.assert_array_equal(run_onnx(data, {"x": x})["y"], -np.maximum(x, 0))


@pytest.mark.parametrize("more", [[], ["y_"]])
def test_weights_called_like_ports_stay_apart(run_onnx, more):
    """One gives way to the output `y`; the others were called so from the beginning."""

    def write(graph, x, *weights):
        for weight in weights:
            x = graph.call_function(aten.sub.Tensor, (weight, x))
        return [x, *[graph.call_function(aten.neg.default, (x,)) for _ in more]]

    held = {name: torch.from_numpy(normal(4) + i) for i, name in enumerate(["y_", "y"])}
    network = built(write, [X], [Y, *[replace(Y, name=name) for name in more]], **held)
    x = normal(2, 4)
    found = run_onnx(to_onnx(network), {"x": x})
    wanted = held["y"].numpy() - (held["y_"].numpy() - x)
    for name, sign in zip(["y", *more], [1, -1], strict=False):
        np.testing.assert_array_equal(found[name], sign * wanted)


def test_inputs_weights_and_repeated_values_can_be_outputs(run_onnx):
    def write(graph, x, weight):
        y = graph.call_function(aten.relu.default, (x,))
        return [y, x, y, weight, graph.call_function(aten.clone.default, (y,))]

    names = ["first", "given", "again", "stored", "copy"]
    outputs = [replace(Y, name=n) for n in names]
    outputs[3] = Port("stored", (4,), "float32")
    network = built(write, [X], outputs, weight=torch.arange(4.0))
    x = normal(2, 4)
    found = run_onnx(to_onnx(network), {"x": x})
    assert list(found) == names
    for name in ("first", "again", "copy"):
        np.testing.assert_array_equal(found[name], np.maximum(x, 0))
    np.testing.assert_array_equal(found["given"], x)
    np.testing.assert_array_equal(found["stored"], np.arange(4, dtype=np.float32))


def test_what_no_output_needs_is_not_written():
    def write(graph, x, weight, _spare):
        graph.call_function(aten.mul.Tensor, (x, weight))
        return [graph.call_function(aten.relu.default, (x,))]

    network = built(write, [X], [Y], weight=torch.ones(4), spare=torch.ones(4))
    data = to_onnx(network)
    assert operators(data) == ["Relu"]
    assert arrays(data) == {}


def test_tied_weights_are_stored_once(run_onnx):
    def write(graph, x, first, second):
        y = graph.call_function(aten.mul.Tensor, (x, first))
        return [graph.call_function(aten.mul.Tensor, (y, second))]

    tied = torch.arange(4.0)
    data = to_onnx(built(write, [X], [Y], first=tied, second=tied))
    assert list(arrays(data)) == ["first"]
    x = normal(2, 4)
    want = x * np.arange(4, dtype=np.float32) ** 2
    np.testing.assert_allclose(run_onnx(data, {"x": x})["y"], want, rtol=3e-7)


def linear_twice(graph, x, weight):
    """Rank 3, so that MatMul needs the matrix transposed; the second user does not."""
    y = graph.call_function(aten.linear.default, (x, weight))
    return [y, graph.call_function(aten.relu.default, (weight,))]


RANK3 = Port("x", ("batch", 2, 4), "float32")


def test_a_weight_that_only_matmul_reads_is_stored_transposed():
    weight = torch.arange(12.0).reshape(3, 4)
    out = Port("y", ("batch", 2, 3), "float32")
    network = built(lambda *a: linear_twice(*a)[:1], [RANK3], [out], weight=weight)
    stored = onnx.load_from_string(to_onnx(network))
    # the second user is there, but no output needs it: it still keeps the matrix as it is
    assert [n.op_type for n in stored.graph.node] == ["Transpose", "MatMul"]
    alone = built(
        lambda g, x, w: [g.call_function(aten.linear.default, (x, w))],
        [RANK3],
        [out],
        weight=weight,
    )
    np.testing.assert_array_equal(arrays(to_onnx(alone))["weight"], weight.numpy().T)
    assert operators(to_onnx(alone)) == ["MatMul"]


def test_a_weight_with_two_readers_is_transposed_by_a_node(run_onnx):
    weight = torch.arange(12.0).reshape(3, 4) - 5
    outputs = [Port("y", ("batch", 2, 3), "float32"), Port("z", (3, 4), "float32")]
    network = built(linear_twice, [RANK3], outputs, weight=weight)
    data, x = to_onnx(network), normal(2, 2, 4)
    np.testing.assert_array_equal(arrays(data)["weight"], weight.numpy())
    found, want = run_onnx(data, {"x": x}), network.run({"x": x})
    np.testing.assert_allclose(found["y"], want["y"], atol=4 * 2**-23 * 60)
    np.testing.assert_array_equal(found["z"], want["z"])


@pytest.mark.parametrize("at", [5, -1], ids=["batch_norm", "instance_norm-without_statistics"])
def test_batch_norm_in_training_is_an_error(at):
    def write(graph, x, a, b):
        stats = (None, None) if at < 0 else (a, b)
        args = (x, a, b, *stats, at == 5, 0.1, 1e-5, False)
        return [graph.call_function(aten.batch_norm.default, args)]

    network = built(write, [X], [Y], bn_mean=torch.zeros(4), bn_var=torch.ones(4))
    with pytest.raises(ModelError, match=r"is a batch norm .*training") as caught:
        to_onnx(network)
    assert caught.value.tensor == "batch_norm_default"


def test_dropout_in_training_is_an_error():
    network = built(
        lambda g, x: [g.call_function(aten.dropout.default, (x, 0.5, True))], [X], [Y]
    )
    with pytest.raises(ModelError, match=r"drops at random\. Switch to evaluation"):
        to_onnx(network)


def test_a_type_without_onnx_form_is_an_error():
    network = built(
        lambda g, x, w: [g.call_function(aten.mul.Tensor, (x, w))],
        [X],
        [Y],
        weight=torch.ones(4, dtype=torch.bfloat16),
    )
    with pytest.raises(ModelError, match=r"torch\.bfloat16 cannot be written to ONNX"):
        to_onnx(network)


def test_a_module_that_is_neither_code_nor_rounding_is_named():
    network = built(lambda g, x: [g.call_module("odd", (x,))], [X], [Y], odd=nn.Tanh())
    with pytest.raises(UnsupportedError, match=r"'odd': Tanh \(module\) is not known"):
        probe(network)


def test_an_output_that_is_no_tensor_is_an_error():
    network = built(
        lambda g, x: [g.call_function(aten.sym_size.int, (x, 0))],
        [X],
        [Port("size", (), "int64")],
    )
    with pytest.raises(ModelError, match=r"size is not a tensor\. Return tensors only"):
        to_onnx(network)
