"""The contest: every form of every candidate on every engine, against the original.

    1. everything that can run is raced for a few rounds, but for what is many times slower
       than the fastest at a first look: it would take the time of the others
    2. in the order of speed, candidates are judged on the validation samples and checked
       against the workshop, until a few are found that keep the limit
    3. these are raced again, for long, with the original's fastest entries
    4. the fastest wins; of several within 3 % of it, which a clock hardly tells apart, that of
       the smallest file. The original takes part, and so do candidates that ask the same work
       as the original: these ran when it did

Nothing but the clock tells which engine and precision is the fastest for a network.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tersor.choosing.entry import Entry, entries, pair_up, places
from tersor.choosing.judge import Judge
from tersor.choosing.program import Array, Program
from tersor.errors import DataError, EngineError, TersorError
from tersor.measure import Contestant, race, ratio
from tersor.plan.recipe import Pin

Progress = Callable[[float], None]

_FIRST_ROUNDS = 3
_LAST_ROUNDS = 20
_FIRST_SHARE = 0.3  # of the time for racing
_FINALISTS = 3
_HOPELESS = 8.0  # times slower than the fastest
_SLOW_S = 0.02  # a run below that costs no time worth saving
_NEAR = 1.3  # rivals slower than this times the fastest are not judged
EQUAL = 1.03  # times the fastest: a clock hardly tells such runs apart


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a contest.

    Attributes:
        feeds: One batch, by input.
        threads: For one run.
        seconds: Longest time for both races together.
        engines: Names of engines to try; None for all that are fast and ready at once.
        pin: Engine, precision and expansion to prefer; None to choose freely.
    """

    feeds: Mapping[str, Array]
    threads: int
    seconds: float
    engines: tuple[str, ...] | None = None
    pin: Pin | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it.

    Attributes:
        winner: The entry that is handed back; perhaps one of the original.
        baseline: The original's fastest entry in float32.
        best: The original's fastest entry at any precision.
        entries: All, the original's first.
    """

    winner: Entry
    baseline: Entry
    best: Entry
    entries: list[Entry]


def hold(
    original: Program,
    rivals: Sequence[Program],
    judge: Judge,
    terms: Terms,
    on_progress: Progress | None = None,
) -> Outcome:
    """Find the fastest program that is good enough.

    Raises:
        EngineError: No engine runs the original.
        InputError: An engine's name is unknown.
    """
    told = on_progress or (lambda _: None)
    where = places(terms.engines)
    own = list(entries([original], where, terms.threads))
    others = list(entries(rivals, where, terms.threads))
    pair_up(others, own)
    racing = [*own, *(entry for entry in others if entry.twin is None)]
    _first_run(racing, terms.feeds)
    _race(racing, terms, _FIRST_ROUNDS, _FIRST_SHARE)
    told(0.3)
    if not any(entry.timing and entry.precision == "f32" for entry in own):
        reasons = " ".join(entry.why_not or "" for entry in own)
        raise EngineError("every", f"refuses the original: {reasons}", "See `tersor info`.")
    for entry in others:
        entry.adopt()
    finalists = _finalists(others, judge, terms.pin)
    told(0.6)
    heads = _heads(own)
    _race(_finals(own, heads, finalists), terms, _LAST_ROUNDS, 1.0)
    for entry in others:
        entry.adopt()
    told(0.9)
    outcome = _decide([*own, *others], heads, finalists, judge, terms.pin)
    told(1.0)
    return outcome


def _first_run(racing: Iterable[Entry], feeds: Mapping[str, Array]) -> None:
    """Prepare and run each; those that an engine refuses, and those without hope, are out."""
    looks: list[tuple[Entry, float]] = []
    for entry in racing:
        try:
            entry.session.run(feeds)
            looks.append((entry, _look(entry, feeds)))
        except EngineError as error:
            entry.refuse(f"{entry.engine} refused it: {error.problem}")
    fastest = min((seconds for _, seconds in looks), default=0.0)
    for entry, seconds in looks:
        if seconds > max(_HOPELESS * fastest, _SLOW_S):
            entry.refuse(f"{seconds / fastest:.0f}x slower than the fastest, at a first look")


def _look(entry: Entry, feeds: Mapping[str, Array]) -> float:
    """Seconds of a run, the better of two."""
    found = []
    for _ in range(2):
        start = time.perf_counter()
        entry.session.run(feeds)
        found.append(time.perf_counter() - start)
    return min(found)


def _race(racing: Iterable[Entry], terms: Terms, rounds: int, share: float) -> None:
    able = [entry for entry in racing if not entry.failed]
    if not able:
        return
    contestants = [Contestant(e.title, e.session, terms.feeds) for e in able]
    timings = race(contestants, rounds=rounds, seconds=share * terms.seconds)
    for entry, timing in zip(able, timings, strict=True):
        entry.timing = timing
    own = [e.median_ms for e in able if e.is_original and e.precision == "f32"]
    for entry in able:
        entry.speed = min(own) / entry.median_ms if own else None


def _heads(own: Sequence[Entry]) -> list[Entry]:
    """The two fastest entries of the original in float32, and the fastest of all."""
    in_order = sorted((e for e in own if e.timing), key=lambda e: e.median_ms)
    heads = [e for e in in_order if e.precision == "f32"][:2]
    return heads if in_order[0] in heads else [*heads, in_order[0]]


def _finals(
    own: Sequence[Entry], heads: Sequence[Entry], finalists: Sequence[Entry]
) -> list[Entry]:
    """Who races again: the heads, and each finalist or the entry that runs in its stead."""
    running = {id(f if f.twin is None else f.twin) for f in [*heads, *finalists]}
    return [entry for entry in [*own, *finalists] if id(entry) in running]


def _order(entry: Entry) -> tuple[float, int]:
    """The faster first; among equals the one of the smaller file."""
    return entry.median_ms, len(entry.program.stored)


def _finalists(others: Sequence[Entry], judge: Judge, pin: Pin | None) -> list[Entry]:
    """The fastest few that keep the limit and agree with the workshop."""
    in_order = sorted((e for e in others if e.timing), key=_order)
    if pin is not None:
        in_order.sort(key=lambda e: not _is_pinned(e, pin))
    found: list[Entry] = []
    for entry in in_order:
        if len(found) == _FINALISTS:
            break
        if found and entry.median_ms > _NEAR * found[0].median_ms:
            break
        if _admit(entry, judge):
            found.append(entry)
    return found


def _is_pinned(entry: Entry, pin: Pin) -> bool:
    return Pin(*entry.place, entry.program.expand) == pin


def _admit(entry: Entry, judge: Judge) -> bool:
    """Judge an entry, if that was not done; whether it is good enough."""
    if entry.failed:
        return False
    if entry.verdict is None:
        try:
            untrue = judge.try_engine(entry.program, entry.session.run, entry.precision)
            if untrue is None:
                entry.verdict = judge.verdict(entry.session.run)
        except DataError:  # samples are read as they are needed: no fault of the entry's
            raise
        except TersorError as error:
            untrue = str(error)
        if untrue is not None or entry.verdict is None:
            entry.refuse(untrue or "not judged")
            return False
    objection = judge.objection(entry.verdict)
    if objection is not None:
        entry.refuse(objection)
    return objection is None


def _decide(
    everything: list[Entry],
    heads: Sequence[Entry],
    finalists: Sequence[Entry],
    judge: Judge,
    pin: Pin | None,
) -> Outcome:
    baseline = min((e for e in heads if e.precision == "f32"), key=lambda e: e.median_ms)
    best = min(heads, key=lambda e: e.median_ms)
    winner = _winner(everything, best, finalists, judge, pin)
    for entry in everything:
        if entry is not winner and entry.why_not is None:
            entry.why_not = _why_not(entry, winner, best)
    return Outcome(winner, baseline, best, everything)


def _winner(
    everything: Sequence[Entry],
    best: Entry,
    finalists: Sequence[Entry],
    judge: Judge,
    pin: Pin | None,
) -> Entry:
    pinned = [e for e in finalists if pin is not None and _is_pinned(e, pin)]
    if pinned and _is_as_fast(pinned[0], best):
        return pinned[0]
    same_work = [e for e in everything if e.twin is best and not e.failed]
    able = [*finalists, *same_work, best]
    fastest = min(able, key=lambda e: e.median_ms)
    equal = sorted((e for e in able if _is_as_fast(e, fastest)), key=_file_first)
    return next(e for e in equal if e is best or _admit(e, judge))


def _file_first(entry: Entry) -> tuple[int, float]:
    """The smaller file first; of equal files the faster."""
    return entry.program.file_bytes, entry.median_ms


def _is_as_fast(entry: Entry, other: Entry) -> bool:
    """Whether `entry` is as fast as `other`, as far as a clock can tell."""
    assert entry.timing is not None  # noqa: S101 - both took part in the last race
    assert other.timing is not None  # noqa: S101
    return ratio(entry.timing, other.timing).median <= EQUAL


def _why_not(entry: Entry, winner: Entry, best: Entry) -> str:
    if entry.timing is None:
        return "did not run"
    rival = not entry.is_original and not winner.is_original
    if rival and entry.median_ms > EQUAL * best.median_ms:
        return f"slower than the original on {best.engine} {best.precision}"
    if entry.median_ms <= EQUAL * winner.median_ms:
        if entry.program.file_bytes > winner.program.file_bytes:
            return "as fast, but the chosen file is smaller"
        if winner.is_original:
            return "no faster than the original"
    return f"{entry.median_ms / winner.median_ms:.2f}x slower than the chosen one"
