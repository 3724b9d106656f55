"""Running a model from its file: `tersor.open`. It needs an engine, and no PyTorch.

A `.tsr` file says with which engine and precision it was measured to be fastest, and whether
its weights, or all of it, should be turned back into floats beforehand, which some models
gain from. Where that engine is not here, the next best is taken, and `why` says so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tersor.engines import available, find
from tersor.engines.engine import End, Ends, Session, ends_of
from tersor.errors import DataError, EngineError, FileError, FormatError
from tersor.machine import default_threads, isa_flags, pairs_saturate
from tersor.network.from_onnx.wire import look_over
from tersor.store.source import Origin, is_address

Array = NDArray[np.generic]

_PREFERRED = ("openvino", "onnxruntime")
_SHARED = (b".centroids", b".buckets")  # names of tables that weights are gathered from
_EXPANSIONS = (None, "weights", "all")


@dataclass(frozen=True)
class Runnable:
    """A model that is ready to run.

    Attributes:
        engine: Name of the engine that runs it.
        precision: Arithmetic of its float parts.
        threads: Number of threads for one run.
        inputs: Name, shape and type of each input; a string in a shape may be any size.
        outputs: The same of each output.
        why: Why this is not the engine or the precision that the file asks for, or None.
        session: The engine's own session.
        warning: Why outputs may differ from those measured elsewhere, or None.
    """

    engine: str
    precision: str
    threads: int
    inputs: tuple[End, ...]
    outputs: tuple[End, ...]
    why: str | None
    session: Session
    warning: str | None = None

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Compute all outputs by name, from one array per input by name.

        Raises:
            DataError: A name, an element type or a shape does not fit the model. Nothing is
                converted silently.
            EngineError: The engine refused the inputs.
        """
        wrong = Ends(self.inputs, self.outputs).misfit(feeds)
        if wrong is not None:
            raise DataError("The model", wrong[0], f"{wrong[1]}.")
        return self.session.run(feeds)


def open(
    origin: Origin,
    *,
    engine: str | None = None,
    threads: int | None = None,
    precision: str | None = None,
) -> Runnable:
    """Make the model in a file ready to run.

    Args:
        origin: The path of a `.tsr` or `.onnx` file. A `.tsr` file may also be its bytes, a
            file object that can seek, or an address ("https://host/model.tsr").
        engine: Name of an engine; by default the one that the file asks for, if it is here.
        threads: Number of threads for one run; by default one per physical core.
        precision: Arithmetic of the float parts; by default what the file asks for, if
            this machine has it, else "f32".

    Raises:
        FileError: The file cannot be read.
        FormatError: The file is damaged.
        EngineError: There is no engine here, or none takes the model.
        InputError: `engine`, `threads` or `precision` is unknown here.
    """
    model, wishes = _read(origin)
    threads = default_threads() if threads is None else threads
    ends = ends_of(engine or "default", model)
    reasons: list[str] = []
    for name in _candidates(engine, wishes.engine, reasons):
        chosen = find(name)
        wanted = precision or _affordable(name, wishes, reasons)
        try:
            session = chosen.prepare(model, threads=threads, precision=wanted)
        except EngineError as error:
            if engine is not None:
                raise
            reasons.append(str(error))
            continue
        why = " ".join(reasons) or None
        warning = _warning(model)
        return Runnable(
            name, wanted, threads, ends.inputs, ends.outputs, why, session, warning
        )
    problem = f"for {_name(origin)} has no engine that takes it: "
    problem += " ".join(reasons) or "none is installed"
    raise EngineError("default", problem, "Run: pip install onnxruntime.")


@dataclass(frozen=True)
class _Wishes:
    """What a file asks for."""

    engine: str | None = None
    precision: str | None = None
    expand: str | None = None


def _name(origin: Origin) -> str:
    """What to call a model in messages."""
    if isinstance(origin, str | Path):
        return Path(origin).name
    return str(getattr(origin, "name", "these bytes"))


def _read(origin: Origin) -> tuple[bytes, _Wishes]:
    """The ONNX bytes of a file, expanded as the file asks, and what else it asks for."""
    if isinstance(origin, str | Path) and not is_address(origin):
        origin = Path(origin)
        if origin.suffix.lower() == ".onnx":
            return _onnx(origin), _Wishes()
        if origin.suffix.lower() != ".tsr":
            raise FileError(origin, "is neither a .tsr nor an .onnx file", "Export it first.")
    from tersor.store.model import load_model

    model, meta = load_model(origin)
    look_over(model)
    if any(hint in model for hint in _SHARED):
        from tersor.store.expand import check_tables

        check_tables(model)
    wishes = _wishes_of(meta)
    return _expanded(model, wishes.expand), wishes


def _onnx(path: Path) -> bytes:
    try:
        model = path.read_bytes()
    except OSError as error:
        remedy = "Check the path."
        raise FileError(path, f"cannot be read ({error.strerror})", remedy) from error
    look_over(model)
    return _embedded(model, path.parent)


def _embedded(model: bytes, folder: Path) -> bytes:
    """The model with its data in itself; what is no model is left to the engine."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    from tersor.network.from_onnx.external import embedded

    try:
        return embedded(model, folder)
    except DecodeError:
        return model


def _expanded(model: bytes, what: str | None) -> bytes:
    """The model with its weights as floats, or all of it, or nothing."""
    if what is None:
        return model
    from tersor.store.expand import expand_weights, strip_activation_rounding

    model = expand_weights(model)
    return strip_activation_rounding(model) if what == "all" else model


def _wishes_of(meta: Mapping[str, object]) -> _Wishes:
    """The table `run` of a file's notes, checked.

    Raises:
        FormatError: It is not a table of texts, or asks for an unknown expansion.
    """
    table = meta.get("run") or {}
    if not isinstance(table, dict):
        raise FormatError("The note `run` is not a table", offset=0)
    fields = {key: table.get(key) for key in ("engine", "precision", "expand")}
    for key, value in fields.items():
        if value is not None and not isinstance(value, str):
            raise FormatError(f"The note `run.{key}` is not a text", offset=0)
    if fields["expand"] not in _EXPANSIONS:
        raise FormatError(f"Unknown expansion {fields['expand']!r}", offset=0)
    return _Wishes(**fields)


def _warning(model: bytes) -> str | None:
    """What to tell of the model on this machine; see `store.saturation`."""
    flags = isa_flags()
    if not pairs_saturate(flags):
        return None
    from tersor.store.saturation import warning_here

    return warning_here(model, flags)


def _candidates(engine: str | None, wish: str | None, reasons: list[str]) -> Iterator[str]:
    """Names of engines to try in order; why a wish is not met goes to `reasons`."""
    if engine is not None:
        yield engine
        return
    if wish is not None:
        if wish in available():
            yield wish
        else:
            reasons.append(f"The file asks for engine {wish}, which is not here.")
    yield from (name for name in _PREFERRED if name != wish and name in available())


def _affordable(engine: str, wishes: _Wishes, reasons: list[str]) -> str:
    """The precision that the file asks for, if it was for this engine and is here."""
    if wishes.precision in (None, "f32") or engine != wishes.engine:
        return "f32"
    if wishes.precision in find(engine).precisions():
        return str(wishes.precision)
    reasons.append(f"The file asks for {wishes.precision}, which {engine} does not have here.")
    return "f32"
