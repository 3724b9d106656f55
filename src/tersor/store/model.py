"""A compressed model in a .tsr file: its ONNX graph, its tensors, and what is known of it.

The file gives back the bytes of the ONNX model exactly. Neither PyTorch nor the onnx package
is needed to read it.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path

from tersor.errors import FormatError, InputError
from tersor.store.atomic import write_atomically
from tersor.store.container import Info, Origin, Reader, write_to
from tersor.store.directory import Limits
from tersor.store.elements import Array
from tersor.store.onnx_wire import find
from tersor.store.skeleton import SECTION_NAME, cut, joined

_META = "meta"
_REMEDY = "Packed files are opened by `tersor unpack`."


def save_model(
    path: str | Path, onnx_model: bytes, meta: Mapping[str, object], *, codec: str = "auto"
) -> int:
    """Write a model atomically, after it was read back and compared.

    Args:
        path: Where to.
        onnx_model: A whole ONNX file, without external data.
        meta: What JSON can hold, by name: recipe, engine, versions.
        codec: See `container.write`.

    Returns:
        Size of the file in bytes. The same arguments give the same bytes.

    Raises:
        FormatError: `onnx_model` is no ONNX file, or keeps data elsewhere.
        InputError: `meta` is more than JSON can hold, or there is no such codec.
        FileError: The path cannot be written.
    """
    items, skeleton = cut(onnx_model, find(onnx_model))
    sections = {SECTION_NAME: skeleton, _META: _to_json(meta)}

    def check(written: Path) -> None:
        if load_model(written)[0] != onnx_model:
            raise FormatError("the model reads back differently", offset=0)

    return write_atomically(
        path, lambda file: write_to(file, items, sections, codec=codec, kind="model"), check
    )


def packed(
    onnx_model: bytes, meta: Mapping[str, object] | None = None, *, codec: str = "auto"
) -> bytes:
    """The file that `save_model` would write; arguments and errors as there."""
    items, skeleton = cut(onnx_model, find(onnx_model))
    file, sections = io.BytesIO(), {SECTION_NAME: skeleton, _META: _to_json(meta or {})}
    write_to(file, items, sections, codec=codec, kind="model")
    return file.getvalue()


def packed_bytes(
    onnx_model: bytes, meta: Mapping[str, object] | None = None, *, codec: str = "auto"
) -> int:
    """Size of that file."""
    return len(packed(onnx_model, meta, codec=codec))


def load_model(
    origin: Origin, limits: Limits | None = None
) -> tuple[bytes, dict[str, object]]:
    """The bytes of the ONNX file that was saved, and what was noted with it.

    Raises:
        FileError: The path cannot be read, or holds no model.
        FormatError: The file is damaged, not ours, or beyond the limits.
    """
    with Reader(origin, limits) as reader:
        reader.require("model", _REMEDY)
        return joined(reader), _from_json(reader.section(_META))


def load_meta(origin: Origin, limits: Limits | None = None) -> dict[str, object]:
    """What was noted with a model, read without its tensors; errors as `load_model`."""
    with Reader(origin, limits) as reader:
        reader.require("model", _REMEDY)
        return _from_json(reader.section(_META))


def load_tensor(origin: Origin, name: str, limits: Limits | None = None) -> Array:
    """One tensor of a .tsr file of any kind, read without the others.

    Raises:
        InputError: There is none of that name.
        FileError: The path cannot be read.
        FormatError: The file is damaged, not ours, or beyond the limits.
    """
    with Reader(origin, limits) as reader:
        return reader.tensor(name)


def list_tensors(origin: Origin, limits: Limits | None = None) -> dict[str, Info]:
    """All tensors of a .tsr file of any kind, in order; errors as `load_tensor`."""
    with Reader(origin, limits) as reader:
        return {name: reader.info(name) for name in reader.names}


def _to_json(meta: Mapping[str, object]) -> bytes:
    try:
        text = json.dumps(
            dict(meta),
            sort_keys=True,
            ensure_ascii=False,
            allow_nan=False,
            separators=(",", ":"),
        )
        return text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError("meta", got=str(error), allowed="what JSON can hold") from None


def _from_json(data: bytes) -> dict[str, object]:
    try:
        meta = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"meta is not JSON ({error})", offset=0) from None
    if not isinstance(meta, dict):
        raise FormatError("meta is not a JSON object", offset=0)
    return meta
