"""The table of measured layers: milliseconds of a work on one engine.

A search asks for thousands of shapes, and measuring one takes a tenth of a second. So the
table can be asked for what lies between: widths are then measured on a grid (1 to 8, multiples
of 8 up to 32, of 16 up to 64, and so on: two steps per doubling), and times between the points
of the grid are interpolated, linearly in each width. Engines work in blocks, so times rise in
steps and the lines between are only right on the average: widths that shall be used are
better multiples of what the engine likes (`liked_multiple`).
"""

import itertools
import math
from collections.abc import Callable
from pathlib import Path

from tersor.engines.engine import Engine
from tersor.errors import InputError
from tersor.timing.clock import milliseconds
from tersor.timing.shelf import Entry, Shelf, default_folder, facts
from tersor.timing.work import Work

MULTIPLES = (1, 2, 4, 8, 16, 32)
_FINEST = 8  # multiples of it are points of the grid
_STEPS = 2  # of the grid, per doubling of a width
_MANY = 16  # multiples in the widest layer that is tried
_TIMES = 2  # that each of two widths is measured before they are compared


class Table:
    """Times of layers on one engine, each measured once."""

    def __init__(
        self,
        engine: Engine,
        *,
        threads: int,
        precision: str = "f32",
        budget_ms: float = 20.0,
        folder: Path | None = None,
        measure: Callable[[Work], float] | None = None,
    ) -> None:
        """Open the table; nothing is measured before it is asked for.

        Args:
            engine: One of `tersor.engines`.
            threads: Of a run.
            precision: Of the engine's float parts.
            budget_ms: Time for the runs of one shape that count; see `clock.milliseconds`.
            folder: Where measured times are kept; by default the user's cache.
            measure: Gives the milliseconds of a work in place of the engine.

        Raises:
            InputError: `budget_ms` is not above 0.
        """
        if not budget_ms > 0:
            raise InputError("budget_ms", got=budget_ms, allowed="above 0")
        self.engine, self.threads, self.precision = engine, threads, precision
        self.measured = 0
        self._budget_ms, self._measure = budget_ms, measure
        about = facts(engine.name, engine.version() or "absent", precision, threads)
        self._shelf = Shelf(folder or default_folder(), about)
        self._known = self._shelf.read()

    def milliseconds(self, work: Work, *, times: int = 1) -> float:
        """The time of exactly this work: the shortest of all its measurements.

        Args:
            work: The layer.
            times: How often it must have been measured, now or before.

        Raises:
            EngineError: The engine is absent or refuses the layer.
        """
        key = work.key
        while (entry := self._known.get(key, Entry(math.inf, 0))).count < times:
            found = Entry(min(entry.ms, self._timed(work)), entry.count + 1)
            self._known[key] = found
            self._shelf.add(key, found)
        return self._known[key].ms

    def between(self, work: Work, *, times: int = 1) -> float:
        """The time of this work, interpolated between shapes of the grid; see the module.

        Args:
            work: The layer.
            times: As for `milliseconds`.

        Raises:
            EngineError: The engine is absent or refuses a layer.
        """
        steps = 1 if work.op == "move" else _STEPS
        sides = [_around(width, steps) for width in work.widths]
        total = 0.0
        for corner in itertools.product(*sides):
            share = math.prod(share for _, share in corner)
            point = work.at(tuple(width for width, _ in corner))
            total += share * self.milliseconds(point, times=times)
        return total

    def _timed(self, work: Work) -> float:
        self.measured += 1
        if self._measure is not None:
            return self._measure(work)
        return milliseconds(
            self.engine,
            work,
            threads=self.threads,
            precision=self.precision,
            budget_ms=self._budget_ms,
        )


def _around(width: int, steps: int) -> list[tuple[int, float]]:
    """The points of the grid beside a width, with their shares.

    >>> _around(64, 4), _around(100, 4)
    ([(64, 1.0)], [(96, 0.75), (112, 0.25)])
    """
    if width <= _FINEST:
        return [(width, 1.0)]
    step = max(_FINEST, (1 << (width.bit_length() - 1)) // steps)
    low, over = width // step * step, width % step / step
    return [(low, 1.0 - over), (low + step, over)] if over else [(low, 1.0)]


def liked_multiple(table: Table, work: Work, *, tolerance: float = 0.02) -> int:
    """The multiple of channels that the engine likes: rounding up to it costs next to nothing.

    All widths of the work are changed together. A multiple m passes if m / 2 did, and layers
    whose widths are odd multiples of m / 2 save too little against the multiple of m above:
    if that has r times their multiply-accumulates, it takes less than sqrt(r) times as long.
    Two widths are compared for each multiple, measured several times in turns, and the
    shortest counts.

    Args:
        table: Of the engine.
        work: A layer as large as those to be cut.
        tolerance: By how much the wider one may take longer in any case, relative.

    Returns:
        The largest of MULTIPLES up to which all pass, and that fits twice.

    Raises:
        EngineError: The engine is absent or refuses a layer.
    """
    liked = MULTIPLES[0]
    for multiple in MULTIPLES[1:]:
        pairs = _pairs(work, multiple)
        for times in range(1, _TIMES + 1):
            for each in itertools.chain(*pairs):
                table.milliseconds(each, times=times)
        allowed = sum(
            table.milliseconds(low) * max(1 + tolerance, math.sqrt(top.macs / low.macs))
            for low, top in pairs
        )
        if not pairs or sum(table.milliseconds(top) for _, top in pairs) > allowed:
            break
        liked = multiple
    return liked


def _pairs(work: Work, multiple: int) -> list[tuple[Work, Work]]:
    """Works half a multiple below a multiple, and at it.

    Of so many multiples only that half of one is a difference that a clock can see.
    """
    most = min(_MANY, max(work.widths, default=0) // multiple)
    tops = sorted({most * multiple, (most + 1) // 2 * multiple}) if most > 1 else []
    both = ((top - multiple // 2, top) for top in tops)
    return [(_resized(work, low), _resized(work, top)) for low, top in both]


def _resized(work: Work, width: int) -> Work:
    """Widths as small as the input's channels of a first layer stay as they are."""
    return work.at(tuple(w if w < _FINEST else width for w in work.widths))
