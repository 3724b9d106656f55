"""Recurrent layers against ONNX Runtime, over directions, states, lengths and layouts."""

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_models import agree, by_runtime, floats, model, node, refused_node, targets

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, BATCH, WIDTH, HIDDEN = 5, 3, 4, 6


def layer(kind, *, given=("b",), outputs=None, shape=("T", "N", WIDTH), **attributes):
    """A model of one layer; `given` are optional inputs: b, lengths, h, c."""
    both = attributes.get("direction") == "bidirectional"
    n, gates = 1 + both, GATES[kind]
    weights = {
        "w": floats(n, gates * HIDDEN, WIDTH, seed=1) / 2,
        "r": floats(n, gates * HIDDEN, HIDDEN, seed=2) / 2,
        "b": floats(n, 2 * gates * HIDDEN, seed=3) / 2,
        "lengths": np.array([2, 5, 3], np.int32),
        "h": floats(n, BATCH, HIDDEN, seed=4),
        "c": floats(n, BATCH, HIDDEN, seed=5),
    }
    names = ["b", "lengths", "h", *(["c"] if kind == "LSTM" else [])]
    slots = [name if name in given else "-" for name in names]
    used = {name: weights[name] for name in ("w", "r", *given)}
    outputs = outputs or ("y h1 c1" if kind == "LSTM" else "y h1")
    made = node(kind, " ".join(["x", "w", "r", *slots]), outputs, **attributes)
    made.attribute.append(node("A", "", "y", hidden_size=HIDDEN).attribute[0])
    named = [name for name in outputs.split() if name != "-"]
    return model([made], {"x": list(shape)}, named, used)


FEEDS = {"x": floats(STEPS, BATCH, WIDTH)}
LENGTHS = {"lengths": np.array([2, 5, 3], np.int32)}


def lengths_asked(proto):
    """The model with the lengths as an input, for any batch."""
    (tensor,) = [t for t in proto.graph.initializer if t.name == "lengths"]
    proto.graph.initializer.remove(tensor)
    info = helper.make_tensor_value_info("lengths", TensorProto.INT32, ["N"])
    proto.graph.input.append(info)
    return proto


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("given", [(), ("b",), ("b", "h")], ids=["plain", "bias", "state"])
def test_a_layer_computes_what_onnx_says(kind, direction, given):
    given = (*given, "c") if "h" in given and kind == "LSTM" else given
    agree(layer(kind, given=given, direction=direction), FEEDS, oracle=by_runtime)


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_gru_may_reset_after_the_product(direction):
    proto = layer("GRU", direction=direction, linear_before_reset=1)
    network = agree(proto, FEEDS, oracle=by_runtime)
    assert "aten.gru.input" in targets(network)
    assert "tersor.gru.default" in targets(agree(layer("GRU"), FEEDS, oracle=by_runtime))


@pytest.mark.parametrize("kind", ["GRU", "RNN"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_sequences_may_end_early(kind, direction):
    proto = layer(kind, given=("b", "lengths"), direction=direction)
    agree(lengths_asked(proto), FEEDS | LENGTHS, oracle=by_runtime)


def test_an_lstm_may_end_early_where_nobody_reads_its_cell():
    proto = layer("LSTM", given=("b", "lengths"), outputs="y h1", direction="bidirectional")
    agree(lengths_asked(proto), FEEDS | LENGTHS, oracle=by_runtime)


def test_lengths_that_are_all_whole_change_nothing():
    proto = layer("GRU", given=("b", "lengths"), shape=(STEPS, BATCH, WIDTH))
    whole = np.full(BATCH, STEPS, np.int32).tobytes()
    for tensor in proto.graph.initializer:
        if tensor.name == "lengths":
            tensor.raw_data = whole
    assert "aten.index.Tensor" not in targets(agree(proto, FEEDS, oracle=by_runtime))


def test_relu_and_batch_first():
    agree(layer("RNN", activations=["Relu"]), FEEDS, oracle=by_runtime)
    feeds = {"x": floats(BATCH, STEPS, WIDTH)}
    agree(layer("LSTM", shape=("N", "T", WIDTH), layout=1), feeds)


def test_weights_are_trained_and_keep_their_names():
    network = agree(layer("GRU", direction="bidirectional"), FEEDS, oracle=by_runtime)
    names = {name for name, _ in network.module.named_parameters()}
    assert {"w", "r", "b", "b.state", "w.reverse", "b.reverse.state"} <= {
        name.replace("_.", ".") for name in names
    }


@pytest.mark.parametrize(
    ("words", "kind", "attributes"),
    [
        ("has a direction of 'up'", "GRU", {"direction": "up"}),
        ("with activations Relu, Tanh cannot", "GRU", {"activations": ["Relu", "Tanh"]}),
        ("with other activations per", "RNN", {"activations": ["Tanh", "Relu"]}),
        ("with clipping cannot", "RNN", {"clip": 1.0}),
        ("with coupled gates cannot", "LSTM", {"input_forget": 1}),
        ("with sequences of several", "LSTM", {"given": ("lengths",)}),
    ],
)
def test_what_cannot_be_read_is_named(words, kind, attributes):
    refused_node(layer(kind, **attributes), words)


def test_peepholes_and_other_sizes_are_named():
    proto = layer("LSTM", given=("b", "h", "c"))
    proto.graph.node[0].input.append("h")
    refused_node(proto, "with peepholes cannot be read")
    proto = layer("GRU")
    proto.graph.node[0].attribute[0].i = 7
    refused_node(proto, "declares 7 units, but has 6")
