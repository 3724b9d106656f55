"""A look over the bytes of an ONNX file before protobuf unpacks them.

Protobuf makes up to a hundred bytes of memory of two bytes on the wire. So every list of an
ONNX file is counted here, on the wire, and what is longer than any model needs is refused
before anything is unpacked. Elements that stand as plain bytes are skipped, not read.

Source: onnx.proto3; https://protobuf.dev/programming-guides/encoding/
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tersor.errors import FormatError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}
_DEFAULT_MOST = 1 << 12  # of any field that is not named below, in one message
_MESSAGES_MOST = 1 << 18  # in the whole file
_PACKED_MOST = 1 << 22  # bytes of numbers in attributes, in the whole file
_DIMENSIONS_MOST = 64
_LONGEST_NUMBER = 10  # bytes


class _List(NamedTuple):
    """What stands in a field: the kind of its messages, how many may be, what they are."""

    kind: str
    most: int
    name: str


_MODEL = {
    7: _List("graph", 1 << 4, "graphs"),
    8: _List("leaf", 1 << 8, "imported operator sets"),
    14: _List("leaf", 1 << 12, "notes"),
    20: _List("leaf", 1 << 4, "trainings"),
    25: _List("function", 1 << 12, "functions"),
}
_GRAPH = {
    1: _List("node", 1 << 16, "nodes"),
    5: _List("tensor", 1 << 16, "initializers"),
    11: _List("value", 1 << 14, "inputs"),
    12: _List("value", 1 << 14, "outputs"),
    13: _List("value", 1 << 17, "declared values"),
    14: _List("leaf", 1 << 16, "annotations"),
}
_NODE = {
    1: _List("name", 1 << 14, "inputs of a node"),
    2: _List("name", 1 << 14, "outputs of a node"),
    5: _List("attribute", 1 << 8, "attributes of a node"),
}
_ATTRIBUTE = {
    5: _List("tensor", 1, "tensors in an attribute"),
    6: _List("graph", 1, "graphs in an attribute"),
    8: _List("packed", 1 << 14, "integers in an attribute"),
    7: _List("name", 1 << 14, "numbers in an attribute"),
    10: _List("tensor", 1 << 8, "tensors in an attribute"),
    11: _List("graph", 1 << 8, "graphs in an attribute"),
}
_TENSOR = {
    1: _List("packed", _DIMENSIONS_MOST, "dimensions of a tensor"),
    13: _List("leaf", 1 << 4, "facts about external data"),
}
_KINDS: dict[str, dict[int, _List]] = {
    "model": _MODEL,
    "graph": _GRAPH,
    "function": {7: _GRAPH[1], 5: _List("name", 1 << 12, "attributes of a function")},
    "node": _NODE,
    "attribute": _ATTRIBUTE,
    "tensor": _TENSOR,
    "value": {2: _List("type", 1, "types of a value")},
    "type": {1: _List("tensor type", 1, "types of a value")},
    "tensor type": {2: _List("shape", 1, "shapes of a value")},
    "shape": {1: _List("name", _DIMENSIONS_MOST, "dimensions of a value")},
}
BITS = {
    15: 128,
    **dict.fromkeys((7, 11, 13, 14), 64),
    **dict.fromkeys((1, 6, 12), 32),
    **dict.fromkeys((4, 5, 10, 16), 16),
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 24), 8),
    **dict.fromkeys((21, 22, 23), 4),
}
"""Bits of one element, by the number that ONNX gives its type; texts have none."""

_MAY_BE_EMPTY = {"name", "shape", "packed", "graph", "type", "tensor type"}
_TYPE, _NAME, _RAW, _LOCATION = 2, 8, 9, 14  # fields of a tensor
_NUMBERS = {5, 7, 11}  # fields of a tensor with elements that are packed integers


@dataclass(slots=True)
class _Count:
    """What was found so far, in the whole file."""

    messages: int = 0
    packed: int = 0
    waiting: list[tuple[str, int, int]] = field(default_factory=list)


def look_over(data: bytes) -> None:
    """Refuse what would take much more memory than its bytes.

    Args:
        data: A whole ONNX file. What is no message is left to protobuf, which refuses it.

    Raises:
        FormatError: A list is longer than any model needs, an entry is empty, or a tensor
            has more elements than its shape.
    """
    count = _Count(waiting=[("model", 0, len(data))])
    while count.waiting:
        kind, start, stop = count.waiting.pop()
        _message(data, kind, start, stop, count)


def _message(data: bytes, kind: str, start: int, stop: int, count: _Count) -> None:
    """Count the fields of one message, and note the messages in it."""
    known, seen = _KINDS[kind], dict.fromkeys(range(16), 0)
    packed = 0
    for number, wire, begin, end in _fields(data, start, stop):
        found = seen[number] = seen.get(number, 0) + 1
        entry = known.get(number)
        if found > (_DEFAULT_MOST if entry is None else entry.most):
            what = f"entries of field {number} in a {kind}" if entry is None else entry.name
            raise FormatError(f"The model holds more than {found - 1} {what}", offset=begin)
        if wire == _BYTES and entry is not None:
            _enter(entry, begin, end, count)
        elif wire == _BYTES and kind == "tensor" and number in _NUMBERS:
            packed += end - begin
    if kind == "tensor":
        _check_elements(data, start, stop, packed)


def _fields(data: bytes, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, begin and end of each field, up to one that is damaged."""
    at = start
    while at < stop:
        key = data[at]
        at += 1
        if key >= 0x80:
            key, at = _number(data, at - 1, stop)
        wire, begin = key & 7, at
        if wire == _BYTES:
            if at < stop and data[at] < 0x80:
                begin = at + 1
                at = begin + data[at]
            else:
                length, begin = _number(data, at, stop)
                at = begin + length
        elif wire == _VARINT:
            at = _number(data, at, stop)[1]
        else:
            at += _WIDTHS.get(wire, stop)
        if at > stop:
            return  # no message: protobuf says so
        yield key >> 3, wire, begin, at


def _enter(entry: _List, begin: int, end: int, count: _Count) -> None:
    """Note a message that is to be looked over, or count what it packs."""
    if entry.kind == "packed":
        if entry.most == _DIMENSIONS_MOST and end - begin > _LONGEST_NUMBER * entry.most:
            raise FormatError(f"The model holds too many {entry.name}", offset=begin)
        count.packed += end - begin
        if count.packed > _PACKED_MOST:
            raise FormatError(f"The model holds too many {entry.name}", offset=begin)
        return
    if begin == end and entry.kind not in _MAY_BE_EMPTY:
        raise FormatError(f"One of the {entry.name} is empty", offset=begin)
    if entry.kind in _KINDS:
        count.messages += 1
        if count.messages > _MESSAGES_MOST:
            problem = f"The model holds more than {_MESSAGES_MOST} parts"
            raise FormatError(problem, offset=begin)
        count.waiting.append((entry.kind, begin, end))


def _check_elements(data: bytes, start: int, stop: int, packed: int) -> None:
    """Refuse a tensor whose elements cannot be as many as its shape says.

    Numbers have one to ten bytes each, and no element takes less than a quarter of one.
    """
    head = _head(data, start, stop)
    size = math.prod(head.shape)
    if head.is_elsewhere or min(head.shape, default=0) < 0:
        return  # what reads the other file counts; what has such a shape is refused by name
    bits = BITS.get(head.type, 0)
    if head.raw >= 0 and bits and head.raw != (bytes_ := -(-size * bits // 8)):
        problem = f"{head.name} has {head.raw} bytes where {bytes_} belong"
        raise FormatError(problem, offset=start)
    if size > 4 * (stop - start):
        problem = f"{head.name} has {stop - start} bytes for {size} elements"
        raise FormatError(problem, offset=start)
    if packed > _LONGEST_NUMBER * max(size, 1):
        problem = f"A tensor with a shape for {size} elements has more of them"
        raise FormatError(problem, offset=start)


@dataclass(slots=True)
class _Head:
    """What a tensor says of itself; `raw` is how many plain bytes it has, -1 for none."""

    shape: list[int] = field(default_factory=list)
    type: int = 0
    name: str = "a constant"
    raw: int = -1
    is_elsewhere: bool = False


def _head(data: bytes, start: int, stop: int) -> _Head:
    head = _Head()
    for number, wire, begin, end in _fields(data, start, stop):
        if number == _NAME and wire == _BYTES and begin < end:
            head.name = data[begin:end].decode("utf-8", "replace")
        elif number == _RAW and wire == _BYTES:
            head.raw = end - begin
        elif wire == _VARINT and number in (_TYPE, _LOCATION):
            value, _ = _number(data, begin, end)
            if number == _TYPE:
                head.type = value
            else:
                head.is_elsewhere = value == 1
        at = begin
        while number == 1 and wire in (_VARINT, _BYTES) and at < end:
            size, at = _number(data, at, end)
            head.shape.append(size - (1 << 64) if size >> 63 else size)
    return head


def _number(data: bytes, at: int, stop: int) -> tuple[int, int]:
    """A number, and the byte behind it: beyond `stop` if it is cut or too long."""
    number = 0
    for index in range(min(_LONGEST_NUMBER, stop - at)):
        byte = data[at + index]
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number, at + index + 1
    return 0, stop + 1
