"""What the tensors in a file of torch.save or torch.export.save are, and where.

Of torch.save, `torch.load` tells it, with `weights_only` and without reading any element. Of
torch.export.save, a table of weights in JSON does.

Source: https://docs.pytorch.org/docs/stable/notes/serialization.html
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tersor.errors import FileError
from tersor.store.directory import MOST_DIMENSIONS, Entry
from tersor.store.elements import CODES
from tersor.store.skeleton import Buffer
from tersor.store.zip_members import Described, members, start_of

_TABLE = "data/weights/model_weights_config.json"
_LONGEST_TABLE = 2**26  # bytes
# torch.export's schema.ScalarType -> our name.
_TYPES = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    10: "complex64",
    11: "complex128",
    12: "bool",
    13: "bfloat16",
    28: "uint16",
    29: "float8_e4m3fn",
    30: "float8_e5m2",
    31: "float8_e4m3fnuz",
    32: "float8_e5m2fnuz",
    34: "uint32",
    35: "uint64",
}


def saved(path: Path) -> Described:
    """The tensors of a file of torch.save, by their first byte in it.

    Of several views of one storage, the first that fills it gives name and shape; where none
    does, the storage is an entry of one dimension.

    Raises:
        FileError: It holds more than tensors and plain values, or is damaged.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    try:
        with FakeTensorMode():  # gives types, shapes and places, and reads no elements
            content = torch.load(path, weights_only=True)
    except Exception as error:  # noqa: BLE001 - whatever its reader stumbles over
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        problem = f"cannot be read as tensors and plain values ({reason})"
        remedy = "Save a state_dict, by torch.save of release 1.6 or later."
        raise FileError(path, problem, remedy) from None
    found: dict[int, Entry] = {}
    whole: set[int] = set()
    for name, tensor in _tensors(content):
        storage = tensor.untyped_storage()
        start = getattr(storage, "_checkpoint_offset", None)
        code = CODES.get(str(tensor.dtype).removeprefix("torch."), 0)
        if start is None or not code or start in whole:
            continue
        fills = tensor.is_contiguous() and tensor.nbytes == storage.nbytes()
        if fills and tensor.dim() <= MOST_DIMENSIONS:
            found[start] = Entry(name, code, tuple(tensor.shape))
            whole.add(start)
        elif start not in found:
            length = storage.nbytes() // tensor.element_size()
            found[start] = Entry(name, code, (length,))
    return found


def exported(path: Path, data: Buffer) -> Described:
    """The weights of a file of torch.export.save, by their first byte in it.

    A table that cannot be understood describes nothing: its weights come back all the same.

    Raises:
        FileError: It is no zip archive.
    """
    starts = {info.filename: start_of(info, data) for info in members(path)}
    sizes = {info.filename: info.file_size for info in members(path)}
    table = next((name for name in starts if name.endswith(_TABLE)), None)
    start = None if table is None else starts[table]
    if table is None or start is None or sizes[table] > _LONGEST_TABLE:
        return {}
    try:
        about = json.loads(bytes(data[start : start + sizes[table]]))
        rows = about["config"].items()
        weights = [(str(row["path_name"]), _entry(str(name), row)) for name, row in rows]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return {}
    folder = table.removesuffix(table.rpartition("/")[2])
    found: dict[int, Entry] = {}
    for file, entry in weights:
        start = starts.get(folder + file)
        if start is not None and entry is not None:
            found.setdefault(start, entry)
    return found


def _entry(name: str, row: Any) -> Entry | None:
    """A row of the table; None for a type that a .tsr file does not have."""
    about = row["tensor_meta"]
    shape = tuple(int(size["as_int"]) for size in about["sizes"])
    kind = _TYPES.get(about["dtype"])
    possible = len(shape) <= MOST_DIMENSIONS and all(0 <= n < 2**63 for n in shape)
    return Entry(name, CODES[kind], shape) if kind and possible else None


def _tensors(value: Any) -> Iterator[tuple[str, Any]]:
    """All tensors in dicts, lists and tuples, with their path as a name."""
    import torch

    stack, seen = [("", value)], set[int]()
    while stack:
        name, value = stack.pop()
        if isinstance(value, torch.Tensor):
            yield name, value
            continue
        inner: Iterable[tuple[object, Any]] = ()
        if isinstance(value, dict):
            inner = value.items()
        elif isinstance(value, list | tuple):
            inner = enumerate(value)
        if inner and id(value) not in seen:
            seen.add(id(value))
            dot = f"{name}." if name else ""
            stack += [(f"{dot}{key}", each) for key, each in reversed(list(inner))]
