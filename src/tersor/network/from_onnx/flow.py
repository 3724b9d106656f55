"""If and Loop whose course is known while reading: what would run is read in their place.

Of an If with a known condition, that is the one branch; of a Loop with a known number of
rounds that no condition ends before, its body as many times. A course that depends on data
is refused.
"""

from collections.abc import Callable, Mapping

import onnx
import torch

from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.values import Constant, Sizes, Value, sizes_of

aten = torch.ops.aten

Inside = Callable[[Operation, onnx.GraphProto, Mapping[str, Value]], list[Value]]
"""Gives the results of a graph within a node, of values that have names there only."""

NODES_MOST = 1 << 12  # of all rounds of all loops


def branch(op: Operation, inside: Inside) -> tuple[Value, ...]:
    """If: the results of the branch that runs."""
    name = "then_branch" if _truth(op, op.value(0)) else "else_branch"
    return tuple(inside(op, _graph(op, name), {}))


def loop(op: Operation, inside: Inside) -> tuple[Value, ...]:
    """Loop: the values that are carried on, then those of each round, stacked."""
    body, carried = _graph(op, "body"), [op.value(i) for i in range(2, len(op.inputs))]
    rounds = _rounds(op, body)
    if len(body.input) != 2 + len(carried) or len(body.output) < 1 + len(carried):
        raise op.refuse("has a body of other inputs and outputs than the node")
    told: list[list[Value]] = [[] for _ in body.output[1 + len(carried) :]]
    for turn in range(rounds):
        number = sizes_of([turn])
        number.array = number.array.reshape(())
        goes_on = Constant(torch.tensor(data=True), f"{op.name}.goes_on")
        names = [port.name for port in body.input]
        given = dict(zip(names, [number, goes_on, *carried], strict=True))
        condition, *results = inside(op, body, given)
        if not _truth(op, condition) and turn + 1 < rounds:
            raise op.refuse(f"ends after {turn + 1} of {rounds} rounds")
        carried = results[: len(carried)]
        for values, value in zip(told, results[len(carried) :], strict=True):
            values.append(value)
    if told and not rounds:
        raise op.refuse("stacks the values of no round")
    stacked = [op.call(aten.stack.default, [op.as_tensor(v) for v in some]) for some in told]
    return (*carried, *stacked)


def _rounds(op: Operation, body: onnx.GraphProto) -> int:
    if not op.has(0):
        raise op.refuse("has no number of rounds")
    (rounds,) = op.numbers(0)
    if op.has(1) and not _truth(op, op.value(1)):
        return 0
    if rounds * max(len(body.node), 1) > NODES_MOST:
        raise op.refuse(f"of {rounds} rounds and {len(body.node)} nodes is too long")
    return max(rounds, 0)


def _graph(op: Operation, name: str) -> onnx.GraphProto:
    found: onnx.GraphProto | None = op.attribute(name, onnx.GraphProto, None)
    if found is None:
        raise op.refuse(f"lacks its {name}")
    return found


def _truth(op: Operation, value: Value) -> bool:
    """A condition, which must be known now."""
    if isinstance(value, Constant) and value.tensor.numel() == 1:
        return bool(value.tensor)
    if isinstance(value, Sizes) and value.is_known and value.array.size == 1:
        return bool(value.array.item())
    raise op.refuse("has a condition that depends on data")
