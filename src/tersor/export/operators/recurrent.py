"""Recurrent layers: one ONNX node per layer, both directions in one."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from tersor.errors import ModelError
from tersor.export.call import Call, Value
from tersor.export.writer import Writer


@dataclass(frozen=True, slots=True)
class Kind:
    """How ONNX has a layer.

    Attributes:
        op: Its name.
        order: Where ONNX's gates are among torch's.
        attributes: More attributes, as they are in ONNX.
        states: How many tensors a state has.
    """

    op: str
    order: tuple[int, ...]
    attributes: tuple[tuple[str, int | str], ...] = ()
    states: int = 1


LSTM = Kind("LSTM", (0, 3, 1, 2), states=2)
GRU = Kind("GRU", (1, 0, 2), (("linear_before_reset", 1),))
RESET_FIRST = Kind("GRU", (1, 0, 2))
TANH = Kind("RNN", (0,), (("activations", "Tanh"),))
RELU = Kind("RNN", (0,), (("activations", "Relu"),))


def gates(w: Writer, value: Value, order: tuple[int, ...]) -> str:
    """Rows (gates * H, ...) of one direction in ONNX's order: (1, gates * H, ...).

    A weight that nobody else reads is stored that way; else nodes do it.
    """
    if value.weight is not None and value.users == 1:
        w.gates[value.weight] = order
        return value.name
    name = value.name
    if len(order) > 1:
        parts = w.node_of("Split", [name], len(order), axis=0)
        name = w.node("Concat", *(parts[i] for i in order), axis=0)
    return w.node("Unsqueeze", name, w.constant([0], torch.int64, "axis"))


def joined(w: Writer, names: list[str], axis: int) -> str:
    """Several tensors as one."""
    return names[0] if len(names) == 1 else w.node("Concat", *names, axis=axis)


def one_layer(
    w: Writer, kind: Kind, x: str, directions: list[list[Value]], states: list[str]
) -> list[str]:
    """All states (T, B, D * H) and the last ones (D, B, H) of a layer.

    Args:
        w: The file.
        kind: Of the layer.
        x: (T, B, I).
        directions: For each, w_ih, w_hh and, if there are, b_ih, b_hh.
        states: The first ones, (D, B, H).
    """
    weights = [joined(w, [gates(w, d[i], kind.order) for d in directions], 0) for i in (0, 1)]
    bias = ""
    if len(directions[0]) == 4:
        rows = [[gates(w, b, kind.order) for b in d[2:]] for d in directions]
        bias = joined(w, [w.node("Concat", *pair, axis=1) for pair in rows], 0)
    both = len(directions) == 2
    more: dict[str, object] = {
        name: [value] * len(directions) if isinstance(value, str) else value
        for name, value in kind.attributes
    }
    more["hidden_size"] = directions[0][1].probes[0].shape[1]
    if both:
        more["direction"] = "bidirectional"
    inputs = [x, *weights, bias, "", *states]
    y, *last = w.node_of(kind.op, inputs, 1 + kind.states, **more)
    if not both:
        return [w.node("Squeeze", y, w.constant([1], torch.int64, "axis")), *last]
    y = w.node("Transpose", y, perm=[0, 2, 1, 3])
    return [w.node("Reshape", y, w.ints([0, 0, -1], "shape")), *last]


def layers(kind: Kind) -> Callable[[Writer, Call], list[str]]:
    """A stack of layers: x (T, B, I), first states (L * D, B, H)."""

    def write(w: Writer, call: Call) -> list[str]:
        if call.flag("train") and call.number("dropout"):
            call.fail("drops values, in training mode")
        by_layer = _parameters(call)
        states = call.values("hx") if kind.states > 1 else [call.value("hx")]
        x = call.value("input").name
        first = call.flag("batch_first")
        x = w.node("Transpose", x, perm=[1, 0, 2]) if first else x
        lasts: list[list[str]] = []
        for i, directions in enumerate(by_layer):
            given = [_part(w, s, i, len(by_layer), len(directions)) for s in states]
            x, *last = one_layer(w, kind, x, directions, given)
            lasts.append(last)
        x = w.node("Transpose", x, perm=[1, 0, 2]) if first else x
        return [x, *(joined(w, list(k), 0) for k in zip(*lasts, strict=True))]

    return write


def _parameters(call: Call) -> list[list[list[Value]]]:
    """The weights, by layer and direction.

    Raises:
        ModelError: ONNX has no layer of that kind.
    """
    given, each = call.values("params"), 4 if call.flag("has_biases") else 2
    directions = 1 + call.flag("bidirectional")
    if len(given) != each * directions * call.whole("num_layers"):
        # torch.onnx would write a file that no engine takes
        raise ModelError(
            call.node.name,
            "projects the states of an LSTM (proj_size), which ONNX cannot",
            "Leave proj_size out, and put an nn.Linear behind the layer.",
        )
    groups = [given[i : i + each] for i in range(0, len(given), each)]
    return [groups[i : i + directions] for i in range(0, len(groups), directions)]


def _part(w: Writer, state: Value, layer: int, count: int, directions: int) -> str:
    """The first state of one layer among several."""
    if count == 1:
        return state.name
    ends = (layer * directions, (layer + 1) * directions)
    start, end = (w.constant([e], torch.int64, "end") for e in ends)
    return w.node("Slice", state.name, start, end, w.constant([0], torch.int64, "axis"))


def reset_first(w: Writer, call: Call) -> list[str]:
    """A layer in one direction that resets its state before the product."""
    axis = w.constant([0], torch.int64, "axis")
    state = w.node("Unsqueeze", call.value("h").name, axis)
    weights = [call.value(name) for name in ("w_ih", "w_hh", "b_ih", "b_hh")]
    y, last = one_layer(w, RESET_FIRST, call.x.name, [weights], [state])
    return [y, w.node("Squeeze", last, axis)]


OPERATORS: dict[str, Callable[[Writer, Call], list[str]]] = {
    "aten.lstm.input": layers(LSTM),
    "aten.gru.input": layers(GRU),
    "aten.rnn_tanh.input": layers(TANH),
    "aten.rnn_relu.input": layers(RELU),
    "tersor.gru.default": reset_first,
}
