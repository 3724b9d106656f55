"""Where the tensors are in an ONNX file, found by walking the protobuf wire format.

Nothing is decoded but tags, lengths and what describes a tensor, so that the bytes can be put
together again exactly as they were, and no package is needed. Found are initializers,
attributes of nodes ("Constant") and sparse tensors, also in subgraphs and functions, as
far as their elements stand as plain bytes (`raw_data`, packed `float_data`, `double_data`).

Source: onnx.proto3; https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tersor.errors import FormatError
from tersor.store.directory import MOST_DIMENSIONS, Entry
from tersor.store.elements import CODES, byte_count
from tersor.store.onnx_tensor import TYPES
from tersor.store.skeleton import Buffer, Hole, uniquely_named

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DEEPEST = 64  # subgraphs within subgraphs
_LEAST_CONSTANT = 16  # bytes; shorter attributes are not worth an entry
_EXTERNAL = 1


@dataclass(frozen=True, slots=True)
class Field:
    """One field on the wire: `value` if it is a number, else the bytes `start` to `stop`."""

    number: int
    wire: int
    tag: int
    start: int
    stop: int
    value: int


@dataclass(slots=True)
class _Tensor:
    """What is known of a TensorProto so far."""

    dims: list[int] = field(default_factory=list)
    data_type: int = 0
    name: str = ""
    payloads: list[Field] = field(default_factory=list)
    external: bool = False
    elsewhere: dict[str, str] = field(default_factory=dict)

    def entry(self, size: int) -> Entry:
        """The tensor, if its data has that many bytes; else the bytes as they are."""
        if self.data_type in TYPES and len(self.dims) <= MOST_DIMENSIONS:
            typed = Entry(self.name, CODES[TYPES[self.data_type]], tuple(self.dims))
            if max(typed.shape, default=0) < 2**63 and typed.size == size:
                return typed
        return Entry(self.name, CODES["uint8"], (size,))


@dataclass(frozen=True, slots=True)
class External:
    """A tensor whose data is in another file.

    Attributes:
        tensor: What is known of it.
        at: Where it stands in the model.
    """

    tensor: _Tensor
    at: int

    @property
    def location(self) -> str:
        """Path of the file, relative to the model's folder."""
        return self.tensor.elsewhere.get("location", "")

    def hole(self, size: int) -> Hole:
        """Where its data is in that file, which has `size` bytes.

        Raises:
            FormatError: It is beyond the end, or the place is no number.
        """
        given = {key: self.tensor.elsewhere.get(key, "0") for key in ("offset", "length")}
        if not all(len(text) < 20 and text.isdecimal() for text in given.values()):
            problem = f"tensor {self.tensor.name!r} has no place in {self.location!r}"
            raise FormatError(problem, offset=self.at)
        start, length = int(given["offset"]), int(given["length"])
        dims, kind = self.tensor.dims, self.tensor.data_type
        if "length" not in self.tensor.elsewhere and len(dims) <= MOST_DIMENSIONS:
            length = byte_count(CODES[TYPES.get(kind, "uint8")], tuple(dims))
        if start + length > size:
            problem = f"tensor {self.tensor.name!r} ends at {start + length}, "
            problem += f"{self.location!r} at {size}"
            raise FormatError(problem, offset=self.at)
        return Hole(self.tensor.entry(length), start, start, start + length)


Found = Hole | External


def find(data: Buffer) -> list[Hole]:
    """All tensors whose elements stand as plain bytes, in order of place.

    Raises:
        FormatError: `data` is no protobuf message, or a tensor's data is in another file.
    """
    holes, outside = find_all(data)
    for external in outside:
        problem = f"tensor {external.tensor.name!r} keeps its data in another file"
        raise FormatError(problem, offset=external.at)
    return holes


def find_all(data: Buffer) -> tuple[list[Hole], list[External]]:
    """All tensors whose elements stand as plain bytes, and those whose data is elsewhere.

    Raises:
        FormatError: `data` is no protobuf message.
    """
    found: list[Found] = []
    for part in _fields(data, 0, len(data)):
        if part.wire == _BYTES and part.number == 7:
            found += _graph(data, part, 0)
        elif part.wire == _BYTES and part.number == 25:
            for inner in _fields(data, part.start, part.stop):
                if inner.wire == _BYTES and inner.number == 7:
                    found += _node(data, inner, 0)
    holes = [each for each in found if isinstance(each, Hole)]
    outside = [each for each in found if isinstance(each, External)]
    return uniquely_named(sorted(holes, key=lambda hole: hole.start)), outside


def _graph(data: Buffer, graph: Field, depth: int) -> Iterator[Found]:
    """GraphProto: node 1, initializer 5, sparse_initializer 15."""
    if depth > _DEEPEST:
        raise FormatError("subgraphs are nested too deeply", offset=graph.start)
    for part in _fields(data, graph.start, graph.stop):
        if part.wire != _BYTES:
            continue
        if part.number == 1:
            yield from _node(data, part, depth)
        elif part.number == 5:
            yield from _tensor(data, part, "", 1)
        elif part.number == 15:
            yield from _sparse(data, part, "")


def _node(data: Buffer, node: Field, depth: int) -> Iterator[Found]:
    """NodeProto: output 2, attribute 5."""
    name = ""
    parts = [p for p in _fields(data, node.start, node.stop) if p.wire == _BYTES]
    for part in parts:
        if part.number == 2 and not name:
            name = _text(data, part)
    for part in parts:
        if part.number == 5:
            yield from _attribute(data, part, name, depth)


def _attribute(data: Buffer, attribute: Field, name: str, depth: int) -> Iterator[Found]:
    """AttributeProto: t 5, g 6, tensors 10, graphs 11, sparse_tensor 22, sparse_tensors 23."""
    for part in _fields(data, attribute.start, attribute.stop):
        if part.wire != _BYTES:
            continue
        if part.number in (5, 10):
            yield from _tensor(data, part, name, _LEAST_CONSTANT)
        elif part.number in (6, 11):
            yield from _graph(data, part, depth + 1)
        elif part.number in (22, 23):
            yield from _sparse(data, part, name)


def _sparse(data: Buffer, sparse: Field, name: str) -> Iterator[Found]:
    """SparseTensorProto: values 1, indices 2."""
    for part in _fields(data, sparse.start, sparse.stop):
        if part.wire == _BYTES and part.number in (1, 2):
            yield from _tensor(data, part, name, _LEAST_CONSTANT)


def _tensor(data: Buffer, proto: Field, name: str, least: int) -> Iterator[Found]:
    """The elements of a TensorProto, if there are at least `least` bytes of them."""
    tensor = _Tensor(name=name)
    for part in _fields(data, proto.start, proto.stop):
        _note(data, part, tensor)
    if tensor.external:
        yield External(tensor, proto.start)
        return
    if len(tensor.payloads) != 1:
        return
    start, stop = tensor.payloads[0].start, tensor.payloads[0].stop
    if stop - start < least:
        return
    # The last field of a canonical initializer is its raw data: only such ends are whole.
    whole = proto.number == 5 and stop == proto.stop
    yield Hole(tensor.entry(stop - start), proto.tag if whole else start, start, stop)


def _note(data: Buffer, part: Field, tensor: _Tensor) -> None:
    """TensorProto: dims 1, data_type 2, name 8, external_data 13; the elements 4, 9, 10."""
    if part.wire == _VARINT:
        if part.number == 1:
            tensor.dims.append(part.value)
        elif part.number == 2:
            tensor.data_type = part.value
        elif part.number == 14:
            tensor.external = part.value == _EXTERNAL
    elif part.wire == _BYTES:
        if part.number == 1:
            tensor.dims += _numbers(data, part)
        elif part.number == 8:
            tensor.name = _text(data, part) or tensor.name
        elif part.number in (4, 9, 10):
            tensor.payloads.append(part)
        elif part.number == 13:
            entry = [f for f in _fields(data, part.start, part.stop) if f.wire == _BYTES]
            texts = {f.number: _text(data, f) for f in entry}
            tensor.elsewhere[texts.get(1, "")] = texts.get(2, "")


def _numbers(data: Buffer, part: Field) -> Iterator[int]:
    """The numbers of a packed field."""
    at = part.start
    while at < part.stop:
        value, at = _number(data, at, part.stop)
        yield value


def _fields(data: Buffer, start: int, stop: int) -> Iterator[Field]:
    """The fields of the message that stands from `start` to `stop`.

    Raises:
        FormatError: It is cut, or no message.
    """
    at = start
    while at < stop:
        tag = at
        key, at = _number(data, at, stop)
        number, wire = key >> 3, key & 7
        value = 0
        if wire == _VARINT:
            begin = at
            value, at = _number(data, at, stop)
        elif wire == _BYTES:
            length, begin = _number(data, at, stop)
            at = begin + length
        elif wire in (_FIXED32, _FIXED64):
            begin, at = at, at + (4 if wire == _FIXED32 else 8)
        else:
            raise FormatError(f"protobuf wire type {wire}", offset=tag)
        if number == 0 or at > stop:
            raise FormatError("a protobuf field is damaged or cut", offset=tag)
        yield Field(number, wire, tag, begin, at, value)


def _number(data: Buffer, at: int, stop: int) -> tuple[int, int]:
    """A number of at most 64 bits, and the byte behind it."""
    number = 0
    for index in range(10):
        if at >= stop:
            raise FormatError("a protobuf number is cut", offset=at)
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number, at
    raise FormatError("a protobuf number is too long", offset=at)


def _text(data: Buffer, part: Field) -> str:
    return bytes(data[part.start : part.stop]).decode("utf-8", errors="replace")
