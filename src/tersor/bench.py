"""`tersor bench`: models on engines, timed side by side in the same rounds."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tersor.engines import available, find
from tersor.engines.engine import End
from tersor.errors import EngineError, InputError, ModelError
from tersor.machine import default_threads
from tersor.measure import Contestant, Timing, race, ratio
from tersor.modelfile import model_file, naming
from tersor.report.bench import BenchRow
from tersor.runtime import Runnable
from tersor.runtime import open as open_model

Array = NDArray[np.generic]
Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """How models are timed.

    Attributes:
        batch: Samples in one run.
        threads: For one run; by default one per physical core.
        precision: Arithmetic of the float parts; by default all that an engine has here.
        rounds: Quiet rounds wanted.
        seconds: Longest time for the race, once everything is ready.
        length: Every size that varies beyond the batch, as that of token sequences.
    """

    batch: int = 1
    threads: int | None = None
    precision: str | None = None
    rounds: int = 20
    seconds: float = 60.0
    length: int | None = None

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise InputError("batch", got=self.batch, allowed="at least 1")
        if self.length is not None and self.length < 1:
            raise InputError("length", got=self.length, allowed="at least 1")
        if self.threads is not None and self.threads < 1:
            raise InputError("threads", got=self.threads, allowed="at least 1")


def bench(
    paths: Sequence[str | Path],
    *,
    engines: Sequence[str] | None = None,
    options: BenchOptions | None = None,
    on_progress: Progress | None = None,
) -> list[BenchRow]:
    """Time models on engines, in one interleaved race.

    Inputs are standard normal numbers, or ones where the model takes integers.

    Args:
        paths: Models; see `tersor.reading.read`. A `.tsr` file runs as `tersor.open` runs
            it: expanded beforehand, if it asks for that.
        engines: Names; by default all that are here, are fast and do not compile for long.
        options: How they are timed.
        on_progress: Called with what is done and the fraction of it.

    Returns:
        One row per model, engine and precision, in this order; behind them those that did
        not run, with the reason. Ratios are to the first row.

    Raises:
        InputError: No model, an unknown engine, or a precision that none of them has.
        FileError, FormatError: A file cannot be read.
        ModelError: A model has inputs of varying size beyond the batch and `length` is not
            given, or a batch that is fixed to another size.
        UnsupportedError: A model cannot be exported to ONNX.
    """
    if not paths:
        raise InputError("models", got=0, allowed="at least 1")
    options = options or BenchOptions()
    pairs = list(_pairs(quick() if engines is None else engines, options.precision))
    tell = on_progress or (lambda _what, _fraction: None)
    entries = []
    with ExitStack() as files:
        opened = [files.enter_context(model_file(path)) for path in paths]
        names = _names(paths)
        places = [(i, pair) for i in range(len(opened)) for pair in pairs]
        for done, (i, (engine, precision)) in enumerate(places):
            tell("prepare", done / len(places))
            entries.append(_enter(names[i], opened[i], engine, precision, options))
        tell("prepare", 1.0)
        ready = [entry for entry in entries if entry.contestant is not None]
        timings = _race(ready, options, tell)
    rows = [
        _ran(entry, timing, timings[0]) for entry, timing in zip(ready, timings, strict=True)
    ]
    return rows + [entry.row for entry in entries if entry.contestant is None]


def quick() -> list[str]:
    """Names of the engines that are here, fast, and ready within about a second."""
    return [name for name in available() if find(name).fast and find(name).eager]


@dataclass(frozen=True)
class _Entry:
    """A model on an engine: its row so far, and what runs, if it does."""

    row: BenchRow
    contestant: Contestant | None
    model: Runnable | None = None


def _pairs(engines: Sequence[str], precision: str | None) -> Iterator[tuple[str, str]]:
    """Engines and precisions to try."""
    has = {name: find(name).precisions() for name in engines}
    if precision is not None and not any(precision in found for found in has.values()):
        known = sorted({each for found in has.values() for each in found}, reverse=True)
        allowed = f"one of {', '.join(known)} for {', '.join(engines)} on this machine"
        raise InputError("precision", got=precision, allowed=allowed)
    for name, found in has.items():
        yield from ((name, each) for each in found if precision in (None, each))


def _names(paths: Sequence[str | Path]) -> list[str]:
    """File names, or whole paths where file names are the same."""
    short = [Path(path).name for path in paths]
    count = Counter(short)
    return [n if count[n] == 1 else str(p) for n, p in zip(short, paths, strict=True)]


def _enter(
    name: str, path: Path, engine: str, precision: str, options: BenchOptions
) -> _Entry:
    """Prepare a model on an engine and run it once."""
    threads = options.threads or default_threads()
    row = BenchRow(
        model=name,
        engine=engine,
        precision=precision,
        batch=options.batch,
        threads=threads,
        median_ms=None,
        q1_ms=None,
        q3_ms=None,
        ratio=None,
        quiet=True,
        problem=None,
    )
    try:
        with naming(path):
            model = open_model(path, engine=engine, threads=threads, precision=precision)
        feeds = _feeds(name, model.inputs, options)
        model.session.run(feeds)
    except EngineError as error:
        row["problem"] = error.problem
        return _Entry(row, None)
    return _Entry(row, Contestant(f"{name} {engine}", model.session, feeds), model)


def _feeds(name: str, inputs: Sequence[End], options: BenchOptions) -> dict[str, Array]:
    """Made-up inputs for one run."""
    rng = np.random.default_rng(0)
    return {end.name: _array(rng, end, _shape(name, end, options)) for end in inputs}


def _shape(name: str, end: End, options: BenchOptions) -> tuple[int, ...]:
    """The shape of an input for that batch and length.

    Raises:
        ModelError: It has another size that varies, or is fixed to another batch.
    """
    if end.shape is None:
        problem = f"has an input {end.name!r} of no fixed rank"
        raise ModelError(name, problem, "Export it with fixed shapes.")
    if not end.shape:
        return ()
    batch = options.batch
    shape = (batch, *(batch if d and d == end.shape[0] else d for d in end.shape[1:]))
    if options.length is not None:
        shape = tuple(d if isinstance(d, int) else options.length for d in shape)
    sizes = tuple(size for size in shape if isinstance(size, int))
    if len(sizes) < len(shape):
        shown = " x ".join(str(d) if d != "" else "any" for d in end.shape)
        problem = f"has an input {end.name!r} of varying size beyond the batch ({shown})"
        remedy = "Say which size to time: --length 128, say."
        raise ModelError(name, problem, remedy)
    if isinstance(end.shape[0], int) and end.shape[0] != batch:
        problem = f"has an input {end.name!r} whose first size is fixed to {end.shape[0]}"
        remedy = "Take that batch size, or export it with a batch that varies."
        raise ModelError(name, problem, remedy)
    return sizes


def _array(rng: np.random.Generator, end: End, shape: tuple[int, ...]) -> Array:
    if np.dtype(end.dtype).kind in "biu":
        return np.ones(shape, end.dtype)
    return rng.standard_normal(shape).astype(end.dtype)


def _race(entries: Sequence[_Entry], options: BenchOptions, tell: Progress) -> list[Timing]:
    contestants = [entry.contestant for entry in entries if entry.contestant is not None]
    if not contestants:
        return []
    return race(
        contestants,
        rounds=options.rounds,
        seconds=options.seconds,
        on_progress=lambda done, wanted: tell("race", done / wanted),
    )


def _ran(entry: _Entry, timing: Timing, first: Timing) -> BenchRow:
    """The row of a model that took part."""
    row = entry.row.copy()
    row["median_ms"], row["q1_ms"], row["q3_ms"] = timing.median_ms, timing.q1_ms, timing.q3_ms
    row["ratio"], row["quiet"] = ratio(first, timing).median, timing.quiet
    if entry.model is not None and entry.contestant is not None:
        try:
            row["kernels"] = entry.model.session.kernels(entry.contestant.feeds)
        except EngineError:
            row["kernels"] = {}
    return row
