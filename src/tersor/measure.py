"""Measuring: how long models take, side by side; how much memory; how many bytes.

Absolute times do not hold from one minute to the next, so models are raced. In every round
each contestant runs a short burst, in an order that changes, and ratios are taken round
by round. Before a burst the thread pools of the one before must have come to rest: those of
ONNX Runtime spin for 30 ms after a run, and make whatever comes next up to eight times
slower. The first runs of a burst do not count: after a rest it takes some 8 ms until a model
is back at its pace. Slow runs do count: nothing is removed as an outlier.

What other processes take of the processor is watched, window by window. A window in
which they took more than a twentieth of the cores is thrown away and repeated, for a
bounded time. If it never gets quiet, the least disturbed windows count, and the result
says so (`quiet` is False).
"""

import gc
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tersor.errors import EngineError, FileError, InputError, TersorError
from tersor.machine import Others, let_pools_rest, peak_memory_bytes
from tersor.runtime import open as open_model

Array = NDArray[np.generic]
Rounds = list[list[list[float]]]  # [round][contestant][run], in ms

_LOUD = 0.05  # share of the cores that others may take in a window
_BURST_MS = 5.0  # a counted burst lasts at least this long
_WARM_MS = 10.0  # and the runs before it, which are not counted, this long
_ENOUGH = 5  # quiet rounds that make a result quiet
_PAUSE_S = (0.1, 1.0)  # the first and the longest wait for quiet
_ESTIMATE_S = 0.2  # longest time for guessing how long a run takes


class Runs(Protocol):
    """Anything that runs a model: a session of an engine, or what `tersor.open` gives."""

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """Compute all outputs by name."""
        ...


class Monitor(Protocol):
    """Watches what others take of the processor."""

    window_s: float  # shortest window about which it can tell

    def start(self) -> None:
        """Begin a window."""
        ...

    def share(self) -> float:
        """What others took of all cores' time since `start`, in [0, 1]."""
        ...


@dataclass(frozen=True, slots=True)
class Contestant:
    """A model that takes part in a race.

    Attributes:
        name: For progress and reports.
        session: What runs it.
        feeds: One array per input, by name.
        burst: Where the model runs in another process that takes the times itself: does what
            `burst` does, for so many runs, and leaves its pools at rest.
    """

    name: str
    session: Runs
    feeds: Mapping[str, Array]
    burst: Callable[[int], list[float]] | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one run takes.

    Attributes:
        median_ms: Median over all counted runs; q1_ms and q3_ms are the quartiles.
        runs: How many runs were counted.
        quiet: False if other processes took more than their share in what was counted.
        rounds_ms: Median of each round; the same index is the same moment for all
            contestants of a race.
    """

    median_ms: float
    q1_ms: float
    q3_ms: float
    runs: int
    quiet: bool
    rounds_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    """Median and quartiles of a ratio taken round by round."""

    median: float
    q1: float
    q3: float


def race(
    contestants: Sequence[Contestant],
    *,
    rounds: int = 20,
    seconds: float = 30.0,
    monitor: Monitor | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Timing]:
    """Time all contestants side by side, in interleaved rounds.

    Each runs a few times beforehand, uncounted; an engine that compiles does so then.

    Args:
        contestants: At least one.
        rounds: Quiet rounds wanted.
        seconds: Longest time for the race, after the first runs: at least one round is run
            however long it takes. At most half of it is spent on waiting for quiet.
        monitor: Watches the other processes; by default an `Others`.
        on_progress: Called with the number of quiet rounds so far, and of those wanted.

    Returns:
        One timing per contestant, in their order.

    Raises:
        InputError: No contestant, or a limit below 1 round or 0 seconds.
        EngineError: A contestant cannot run its feeds.
    """
    if not contestants:
        raise InputError("contestants", got=0, allowed="at least 1")
    if rounds < 1:
        raise InputError("rounds", got=rounds, allowed="at least 1")
    if not seconds >= 0:
        raise InputError("seconds", got=seconds, allowed="at least 0")
    with _no_garbage_collection():
        bursts = [_runs_per_burst(c) for c in contestants]
        course = _Course(contestants, bursts, rounds, monitor or Others())
        course.run(time.monotonic() + seconds, seconds / 2, on_progress)
    kept, quiet = course.result()
    return [_timing([r[i] for r in kept], quiet=quiet) for i in range(len(contestants))]


class _Course:
    """The rounds of a race: those that were quiet, and the windows that were not."""

    def __init__(
        self,
        contestants: Sequence[Contestant],
        bursts: Sequence[int],
        wanted: int,
        monitor: Monitor,
    ) -> None:
        self.contestants, self.bursts = contestants, bursts
        self.wanted, self.monitor = wanted, monitor
        self.quiet: Rounds = []
        self.loud: list[tuple[float, Rounds]] = []
        self.count = 0

    def run(
        self,
        deadline: float,
        patience_s: float,
        on_progress: Callable[[int, int], None] | None,
    ) -> None:
        """Run windows until there are enough quiet rounds, or time or patience is over."""
        pause_s, longest_s = _PAUSE_S
        while len(self.quiet) < self.wanted:
            start = time.monotonic()
            share, rounds = self._window(deadline)
            if share <= _LOUD:
                self.quiet += rounds
            else:
                self.loud.append((share, rounds))
                time.sleep(max(0.0, min(pause_s, deadline - time.monotonic())))
                pause_s = min(2 * pause_s, longest_s)
                patience_s -= time.monotonic() - start
            if on_progress is not None:
                on_progress(min(len(self.quiet), self.wanted), self.wanted)
            if time.monotonic() >= deadline or patience_s <= 0:
                return

    def _window(self, deadline: float) -> tuple[float, Rounds]:
        """Rounds that fill a window, and what others took of it."""
        rounds: Rounds = []
        self.monitor.start()
        start = time.monotonic()
        while True:
            rounds.append(self._round())
            now = time.monotonic()
            if now - start >= self.monitor.window_s or now >= deadline:
                return self.monitor.share(), rounds

    def _round(self) -> list[list[float]]:
        """One burst of each contestant, by index; a different one begins each time."""
        size = len(self.contestants)
        order = [(self.count + i) % size for i in range(size)]
        if self.count // size % 2:
            order.reverse()  # so that not always the same one goes before
        self.count += 1
        times = {}
        for i in order:
            if size > 1:
                let_pools_rest()
            times[i] = _burst(self.contestants[i], self.bursts[i])
        return [times[i] for i in range(size)]

    def result(self) -> tuple[Rounds, bool]:
        """The rounds that count, and whether they were quiet."""
        if not self.loud or len(self.quiet) >= min(self.wanted, _ENOUGH):
            return self.quiet, True
        kept = list(self.quiet)
        for _, rounds in sorted(self.loud, key=lambda window: window[0]):
            if len(kept) >= self.wanted:
                break
            kept += rounds
        return kept, False


def _burst(contestant: Contestant, runs: int) -> list[float]:
    if contestant.burst is not None:
        return contestant.burst(runs)
    return burst(contestant.session, contestant.feeds, runs)


def burst(session: Runs, feeds: Mapping[str, Array], runs: int) -> list[float]:
    """Times of `runs` runs, in ms, after some that are not counted."""
    run = session.run
    warm = time.perf_counter_ns() + _WARM_MS * 1e6
    while True:
        run(feeds)
        if time.perf_counter_ns() >= warm:
            break
    times = []
    for _ in range(runs):
        start = time.perf_counter_ns()
        run(feeds)
        times.append((time.perf_counter_ns() - start) / 1e6)
    return times


def _runs_per_burst(contestant: Contestant) -> int:
    """Run it for the first time, then guess how many runs fill a burst."""
    contestant.session.run(contestant.feeds)
    told = contestant.burst
    best_ms = _guess_ms(contestant) if told is None else min(told(3))
    return max(1, math.ceil(_BURST_MS / max(best_ms, 1e-3)))


def _guess_ms(contestant: Contestant) -> float:
    """The shortest of at most three runs."""
    start, best_ms = time.perf_counter(), math.inf
    for _ in range(3):
        before = time.perf_counter()
        contestant.session.run(contestant.feeds)
        now = time.perf_counter()
        best_ms = min(best_ms, (now - before) * 1e3)
        if now - start > _ESTIMATE_S:
            break
    return best_ms


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _timing(rounds: Sequence[Sequence[float]], *, quiet: bool) -> Timing:
    times = np.concatenate([np.asarray(r, np.float64) for r in rounds])
    q1, median, q3 = (float(q) for q in np.percentile(times, (25, 50, 75)))
    medians = tuple(float(np.median(r)) for r in rounds)
    return Timing(median, q1, q3, len(times), quiet, medians)


def ratio(a: Timing, b: Timing) -> Ratio:
    """How many times longer `a` takes than `b`, round by round.

    The speedup of a compressed model is `ratio(original, compressed)`.

    Raises:
        InputError: They are not timings of the same race.
    """
    if len(a.rounds_ms) != len(b.rounds_ms):
        got = f"{len(a.rounds_ms)} and {len(b.rounds_ms)} rounds"
        raise InputError("timings", got=got, allowed="of one race")
    ratios = np.asarray(a.rounds_ms) / np.asarray(b.rounds_ms)
    q1, median, q3 = (float(q) for q in np.percentile(ratios, (25, 50, 75)))
    return Ratio(median, q1, q3)


def file_bytes(path: str | Path) -> int:
    """Size of a file.

    Raises:
        FileError: It cannot be read.
    """
    try:
        return Path(path).stat().st_size
    except OSError as error:
        raise FileError(path, f"cannot be read ({error.strerror})", "Check it.") from error


def peak_memory_of(
    path: str | Path,
    feeds: Mapping[str, Array],
    *,
    engine: str | None = None,
    threads: int | None = None,
    precision: str | None = None,
    seconds: float = 120.0,
) -> int:
    """The most memory that opening a model and running it once takes, in bytes.

    A process of its own does it, from start to end: Python, numpy and the engine are in it.

    Args:
        path: A `.tsr` or `.onnx` file.
        feeds: One array per input, by name.
        engine: As for `tersor.open`.
        threads: As for `tersor.open`.
        precision: As for `tersor.open`.
        seconds: Longest time that it may take.

    Raises:
        EngineError: The process could not open or run the model, or took too long.
    """
    settings = {"engine": engine, "threads": threads, "precision": precision}
    code = "from tersor.measure import run_once; run_once()"
    with tempfile.TemporaryDirectory(prefix="tersor-") as folder:
        arrays = Path(folder) / "feeds.npz"
        np.savez(arrays, *feeds.values())
        job = {"path": str(path), "feeds": str(arrays), "names": list(feeds), **settings}
        try:
            done = subprocess.run(  # noqa: S603  (our own interpreter, our own code)
                [sys.executable, "-c", code, json.dumps(job)],
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            )
        except subprocess.TimeoutExpired as error:
            problem = f"took longer than {seconds:g} s to open {path} and run it once"
            raise EngineError(engine or "default", problem, "Allow more time.") from error
    if done.returncode:
        words = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        problem = f"failed in a process of its own: {words[:300]}"
        raise EngineError(engine or "default", problem, "Does `tersor run` work?")
    return int(done.stdout.split()[-1])


def run_once() -> None:
    """Open and run a model as the last argument says, and write the peak memory in bytes.

    This is what `peak_memory_of` has run in a process of its own.
    """
    job = json.loads(sys.argv[-1])
    with np.load(job["feeds"], allow_pickle=False) as arrays:
        feeds = {name: arrays[f"arr_{i}"] for i, name in enumerate(job["names"])}
    settings = {key: job[key] for key in ("engine", "threads", "precision")}
    try:
        open_model(job["path"], **settings).run(feeds)
    except TersorError as error:
        sys.exit(" ".join(str(error).split()))
    sys.stdout.write(f"{peak_memory_bytes()}\n")
