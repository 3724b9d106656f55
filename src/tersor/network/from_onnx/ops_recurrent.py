"""Recurrent layers: LSTM, GRU, RNN.

Weights are stored as torch has them: one matrix per direction, gates in torch's order. A
reversed layer is the layer between two reversals of time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from tersor.network import operations  # noqa: F401 - registers them
from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.ops_scatter import reversed_steps
from tersor.network.from_onnx.values import Constant, Tensor, Value

aten = torch.ops.aten


@dataclass(slots=True)
class Layer:
    """What all recurrent layers share.

    Attributes:
        x: (T, B, I).
        hidden: Size of the state.
        lengths: Of each sequence (B), if any is shorter than T.
        order: Where torch's gates are among those of the file.
        backwards: For each direction, whether it runs from the end.
    """

    op: Operation
    x: Tensor
    hidden: int
    lengths: Tensor | None
    order: tuple[int, ...]
    backwards: tuple[bool, ...]

    def weights(self, direction: int) -> list[Tensor]:
        """w_ih, w_hh, b_ih, b_hh of a direction."""
        op, gates = self.op, len(self.order)
        tensors = [_rows(self, op.tensor(i), direction, 0) for i in (1, 2)]
        if not op.has(3):
            zeros = torch.zeros(gates * self.hidden)
            return [*tensors, *(Constant(zeros, f"{op.name}.bias") for _ in range(2))]
        offsets = (0, gates * self.hidden)
        return [*tensors, *(_rows(self, op.tensor(3), direction, o) for o in offsets)]

    def state(self, i: int, direction: int) -> Tensor:
        """The first state of a direction, (1, B, H)."""
        op = self.op
        if not op.has(i):
            sizes = [1, op.size(self.x, 1), self.hidden]
            return op.call(aten.full.default, sizes, 0.0, dtype=op.dtype(self.x))
        state = op.tensor(i)
        if op.integer("layout", 0):
            state = op.call(aten.transpose.int, state, 0, 1)
        return op.call(aten.slice.Tensor, state, 0, direction, direction + 1)

    def turned(self, x: Tensor) -> Tensor:
        """`x` (T, B, ...) from the last step to the first."""
        if self.lengths is None:
            return self.op.call(aten.flip.default, x, [0])
        return reversed_steps(self.op, x, self.lengths, time=0)


def _rows(layer: Layer, value: Tensor, direction: int, offset: int) -> Tensor:
    """The gates of one direction in torch's order; a stored weight is stored that way."""
    op, hidden = layer.op, layer.hidden
    starts = [offset + gate * hidden for gate in layer.order]
    if isinstance(value, Constant):
        parts = [value.tensor[direction, s : s + hidden] for s in starts]
        ends = (".reverse" if layer.backwards[direction] else "", ".state" if offset else "")
        name = value.name + "".join(ends)
        return Constant(torch.cat(parts).contiguous(), name, weight=True, given=True)
    one = op.call(aten.select.int, value, 0, direction)
    pieces = [op.call(aten.slice.Tensor, one, 0, s, s + hidden) for s in starts]
    return op.call(aten.cat.default, pieces, 0)


_BACKWARDS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def _layer(op: Operation, order: tuple[int, ...], activations: tuple[str, ...]) -> Layer:
    """The checked layer."""
    how = op.text("direction", "forward")
    if how not in _BACKWARDS:
        raise op.refuse(f"has a direction of {how!r}, which ONNX does not know")
    given = op.attribute("activations", list, [])
    names = tuple(n.decode("utf-8", "replace") for n in given) or activations
    if names[: len(activations)] * len(_BACKWARDS[how]) != names and given:
        raise op.refuse("with other activations per direction cannot be read")
    if names[: len(activations)] != activations:
        raise op.refuse(f"with activations {', '.join(names)} cannot be read")
    if op.attribute("clip", float, None) is not None:
        raise op.refuse("with clipping cannot be read")
    x = op.tensor(0)
    hidden = op.fixed_shape(op.tensor(2))[2]
    if op.integer("hidden_size", hidden) != hidden:
        raise op.refuse(f"declares {op.integer('hidden_size')} units, but has {hidden}")
    if op.integer("layout", 0):
        x = op.call(aten.transpose.int, x, 0, 1)
    return Layer(op, x, hidden, _lengths(op, x), order, _BACKWARDS[how])


def _lengths(op: Operation, x: Tensor) -> Tensor | None:
    """The lengths of the sequences; None if all are whole."""
    if not op.has(4):
        return None
    lengths, steps = op.tensor(4), op.shape(x)[0]
    if (
        isinstance(lengths, Constant)
        and steps is not None
        and bool(lengths.tensor.eq(steps).all())
    ):
        return None
    return lengths


Run = Callable[[Layer, Tensor, int], tuple[Tensor, ...]]


def _outputs(layer: Layer, run: Run) -> tuple[Value | None, ...]:
    """All states and the last ones.

    `run` takes x and a direction, and gives states (T, B, H) and last ones (1, B, H). With
    lengths, states after the end of a sequence are 0 and its last one is at its end.
    """
    op, states, lasts = layer.op, [], []
    for direction, backwards in enumerate(layer.backwards):
        x = layer.turned(layer.x) if backwards else layer.x
        y, *last = run(layer, x, direction)
        if layer.lengths is not None:
            y, last = _cut(layer, layer.lengths, y, len(last))
        y = layer.turned(y) if backwards else y
        states.append(op.call(aten.unsqueeze.default, y, 1))
        lasts.append(last)
    joined = [
        _joined(op, states, 1),
        *(_joined(op, list(k), 0) for k in zip(*lasts, strict=True)),
    ]
    if op.integer("layout", 0):
        joined[0] = op.call(aten.permute.default, joined[0], [2, 0, 1, 3])
        joined[1:] = [op.call(aten.transpose.int, j, 0, 1) for j in joined[1:]]
    return tuple(joined)


def _joined(op: Operation, tensors: list[Tensor], dim: int) -> Tensor:
    return tensors[0] if len(tensors) == 1 else op.call(aten.cat.default, tensors, dim)


def _cut(layer: Layer, lengths: Tensor, y: Tensor, lasts: int) -> tuple[Tensor, list[Tensor]]:
    """States with 0 after the end, and the state at the end."""
    op = layer.op
    if lasts > 1:
        raise op.refuse("with sequences of several lengths cannot be read")
    turned = reversed_steps(op, y, lengths, time=0)
    last = op.call(aten.slice.Tensor, turned, 0, 0, 1)
    steps = op.call(aten.arange.start_step, 0, op.size(y, 0), 1, dtype=torch.int64)
    column = op.call(aten.reshape.default, steps, [-1, 1, 1])
    ends = op.call(
        aten.to.dtype, op.call(aten.reshape.default, lengths, [1, -1, 1]), torch.int64
    )
    inside = op.call(aten.lt.Tensor, column, ends)
    return op.call(aten.where.ScalarOther, inside, y, 0.0), [last]


_REST = (True, 1, 0.0, False, False, False)  # biases, one layer, no dropout, one direction


def lstm(op: Operation) -> tuple[Value | None, ...]:
    """LSTM without peepholes."""
    if op.has(7):
        raise op.refuse("with peepholes cannot be read")
    if op.integer("input_forget", 0):
        raise op.refuse("with coupled gates cannot be read")
    layer = _layer(op, (0, 2, 3, 1), ("Sigmoid", "Tanh", "Tanh"))

    def run(layer: Layer, x: Tensor, direction: int) -> tuple[Tensor, ...]:
        states = [layer.state(i, direction) for i in (5, 6)]
        found = op.node_of(aten.lstm.input, x, states, layer.weights(direction), *_REST)
        return tuple(op.item(found, i) for i in range(3))

    if layer.lengths is not None and not any(op.wanted[2:]):
        return _outputs(layer, lambda *a: run(*a)[:2])
    return _outputs(layer, run)


def gru(op: Operation) -> tuple[Value | None, ...]:
    """GRU; the one that resets the state before the product is an operation of ours."""
    layer = _layer(op, (1, 0, 2), ("Sigmoid", "Tanh"))

    def torchs(layer: Layer, x: Tensor, direction: int) -> tuple[Tensor, ...]:
        call = (x, layer.state(5, direction), layer.weights(direction), *_REST)
        found = op.node_of(aten.gru.input, *call)
        return op.item(found, 0), op.item(found, 1)

    def ours(layer: Layer, x: Tensor, direction: int) -> tuple[Tensor, ...]:
        first = op.call(aten.squeeze.dims, layer.state(5, direction), [0])
        target = torch.ops.tersor.gru.default
        found = op.node_of(target, x, first, *layer.weights(direction))
        return op.item(found, 0), op.call(aten.unsqueeze.default, op.item(found, 1), 0)

    return _outputs(layer, torchs if op.integer("linear_before_reset", 0) else ours)


def rnn(op: Operation) -> tuple[Value | None, ...]:
    """RNN with tanh or relu."""
    names = op.attribute("activations", list, [b"Tanh"])
    is_relu = names[0] == b"Relu"
    target = aten.rnn_relu.input if is_relu else aten.rnn_tanh.input
    layer = _layer(op, (0,), ("Relu" if is_relu else "Tanh",))

    def run(layer: Layer, x: Tensor, direction: int) -> tuple[Tensor, ...]:
        call = (x, layer.state(5, direction), layer.weights(direction), *_REST)
        found = op.node_of(target, *call)
        return op.item(found, 0), op.item(found, 1)

    return _outputs(layer, run)


OPERATORS: dict[str, Callable[[Operation], Any]] = {"GRU": gru, "LSTM": lstm, "RNN": rnn}
