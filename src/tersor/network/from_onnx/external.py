"""Weights that an ONNX file keeps in other files: read, within bounds, without torch.

Such a file must lie in the folder of the model or below it, links followed; be a plain file;
and hold all that the tensor needs, whose type and shape say how much that is.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tersor.errors import FileError, FormatError, ModelError
from tersor.network.from_onnx.messages import messages
from tersor.network.from_onnx.wire import BITS

if TYPE_CHECKING:
    from onnx import GraphProto, TensorProto

_MODEL_MOST = (1 << 31) - 1  # bytes: what protobuf itself allows
_KEY = b"location"  # stands in every file that keeps data elsewhere
_ELSEWHERE = 1  # TensorProto.EXTERNAL


def is_elsewhere(proto: "TensorProto") -> bool:
    """Whether the elements of a tensor lie in another file."""
    return proto.data_location == _ELSEWHERE


def place_of(proto: "TensorProto", folder: Path | None, count: int) -> tuple[Path, int]:
    """The file in which the `count` bytes of a tensor lie, and where in it they begin.

    Args:
        proto: The tensor.
        folder: Where the file may lie; None if there is no folder.
        count: What type and shape of the tensor need.

    Raises:
        FormatError: It does not say where they are, or there are not as many.
        ModelError: They are outside of the folder, or there is none.
        FileError: There is no such file, or it cannot be read.
    """
    name = proto.name
    if folder is None:
        remedy = "Read the model from its path, so that the file beside it is found."
        raise ModelError(name, "lies in another file", remedy)
    facts = {entry.key: entry.value for entry in proto.external_data}
    try:
        path = (folder / facts["location"]).resolve()
        offset = int(facts.get("offset", "0"))
        length = int(facts.get("length", str(count)))
    except (KeyError, ValueError, OSError, RuntimeError):  # the last: links in a ring
        raise FormatError(f"{name} does not say where its data lie", offset=0) from None
    if not path.is_relative_to(folder.resolve()):
        remedy = "Put the data into the model's own folder."
        raise ModelError(name, "lies outside the folder of the model", remedy)
    if length != count:
        raise FormatError(f"{name} has {length} bytes where {count} belong", offset=0)
    try:
        if not path.is_file():
            raise FileError(path, "is no file", "It should hold weights of the model.")
        if offset < 0 or path.stat().st_size < offset + count:
            problem = f"{name} reaches beyond the end of {path.name}"
            raise FormatError(problem, offset=max(offset, 0))
    except OSError as error:
        raise _unreadable(path, error) from None
    return path, offset


def elements_of(proto: "TensorProto", folder: Path | None, count: int) -> bytes:
    """The `count` bytes of a tensor that lie in another file; errors as `place_of`."""
    path, offset = place_of(proto, folder, count)
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(count)
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> FileError:
    reason = f"cannot be read ({error.strerror})"
    return FileError(path, reason, "It holds weights of the model.")


def embedded(model: bytes, folder: Path) -> bytes:
    """The same model with all of its data in itself; unchanged if it has none elsewhere.

    Args:
        model: The bytes of an ONNX file that was looked over.
        folder: Where its other files may lie.

    Raises:
        FileError: Together they are more than an ONNX file can hold.
        FormatError, ModelError, FileError: See `elements_of`.
    """
    if _KEY not in model:
        return model
    proto = messages().ModelProto()
    proto.ParseFromString(model)
    total = len(model)
    for tensor in tensors_of(proto.graph):
        if not is_elsewhere(tensor):
            continue
        count = bytes_of(tensor)
        total += count
        if total > _MODEL_MOST:
            remedy = "Compress a smaller model."
            raise FileError(folder, "holds a model of more than 2 GiB", remedy)
        tensor.raw_data = elements_of(tensor, folder, count)
        tensor.ClearField("data_location")
        del tensor.external_data[:]
    return bytes(proto.SerializeToString())


def tensors_of(graph: "GraphProto") -> Iterator["TensorProto"]:
    """All tensors of a graph: initializers, and attributes of its nodes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def bytes_of(tensor: "TensorProto") -> int:
    """How many bytes a tensor has, by its type and shape.

    Raises:
        FormatError: A size is negative.
        ModelError: No element of that type has a fixed number of bits.
    """
    if min(tensor.dims, default=0) < 0:
        raise FormatError(f"{tensor.name} has the shape {tuple(tensor.dims)}", offset=0)
    if tensor.data_type not in BITS:
        problem = f"holds elements of type {tensor.data_type}"
        raise ModelError(tensor.name, problem, "Convert it to a type of numpy.")
    bits = math.prod(int(d) for d in tensor.dims) * BITS[tensor.data_type]
    return -(-bits // 8)
