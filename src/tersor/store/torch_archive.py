"""What the tensors in a file of torch.save or torch.export.save are, and where.

Of torch.save, `torch.load` tells it, with `weights_only` and without reading any element. Of
torch.export.save, a table of weights in JSON does.

Source: https://docs.pytorch.org/docs/stable/notes/serialization.html
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tersor.errors import FileError
from tersor.store.directory import MOST_DIMENSIONS, Entry
from tersor.store.elements import CODES, byte_count, same_bytes
from tersor.store.skeleton import Buffer, Hole, uniquely_named, with_rest
from tersor.store.zip_members import Described, members, start_of

_TABLE = "data/weights/model_weights_config.json"
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
_COUNT = 8  # bytes in front of a storage
_HEAD = 64  # bytes that are compared first
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
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():  # gives types, shapes and places, and reads no elements
        content = _loaded(path)
    places = _by_storage(content, lambda storage: getattr(storage, "_checkpoint_offset", None))
    return {place: entry for place, (entry, _) in places.items()}


def saved_long_ago(path: Path, data: Buffer) -> list[Hole]:
    """The tensors of a file of torch.save before release 1.6, which is no archive.

    It ends with the storages, each after its number of elements (int64); which is which is
    told by their bytes. All of them are in memory for that.

    Raises:
        FileError: See `saved`.
    """
    found = list(_by_storage(_loaded(path), lambda storage: storage._cdata).values())
    left = {index: (entry, _bytes(storage)) for index, (entry, storage) in enumerate(found)}
    at = len(data) - sum(_COUNT + len(content) for _, content in left.values())
    holes = []
    while left and at >= 0:
        start = at + _COUNT
        count = int.from_bytes(data[at:start], "little")
        matching = (
            index
            for index, (entry, content) in left.items()
            if byte_count(entry.code, (count,)) == len(content)
            and same_bytes(bytes(data[start : start + _HEAD])[: len(content)], content[:_HEAD])
            and same_bytes(memoryview(data)[start : start + len(content)], content)
        )
        index = next(matching, None)
        if index is None:
            break
        entry, content = left.pop(index)
        at = start + len(content)
        holes.append(Hole(entry, start, start, at))
    return uniquely_named(with_rest(holes, len(data), "file"))


def _loaded(path: Path) -> Any:
    """Tensors and plain values.

    Raises:
        FileError: There is more, or the file is damaged.
    """
    import torch

    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # noqa: BLE001 - whatever its reader stumbles over
        # torch's own text is advice to run what is in the file
        more = _GLOBAL.search(str(error))
        reason = f"asks for {more[1]}" if more else "damaged, or no file of torch.save"
        problem = f"cannot be read as tensors and plain values ({reason})"
        raise FileError(path, problem, "Save a state_dict, by torch.save.") from None


def _by_storage(
    content: Any, place_of: Callable[[Any], int | None]
) -> dict[int, tuple[Entry, Any]]:
    """What the storages of all tensors hold, by their place; see `saved`."""
    found: dict[int, tuple[Entry, Any]] = {}
    whole: set[int] = set()
    for name, tensor in _tensors(content):
        storage = tensor.untyped_storage()
        place, size = place_of(storage), storage.nbytes()
        code = CODES.get(str(tensor.dtype).removeprefix("torch."), 0)
        if place is None or not code or place in whole:
            continue
        fills = tensor.is_contiguous() and tensor.nbytes == size
        if fills and tensor.dim() <= MOST_DIMENSIONS:
            found[place] = Entry(name, code, tuple(tensor.shape)), storage
            whole.add(place)
        elif place not in found:
            found[place] = Entry(name, code, (size // tensor.element_size(),)), storage
    return found


def _bytes(storage: Any) -> memoryview:
    import torch

    array: NDArray[np.uint8] = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
    return array.data


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
