"""Budgets: what is asked of a compressed model, and by how much it was missed.

    size      "10x"    the file is to be that many times smaller than the original's
              "300KB"  or at most so large: B, KB, MB, GB of 1000, KiB, MiB, GiB of 1024
    latency   "2x"     one run is to be that many times as fast as the original
              "5ms"    or to take at most so long: us, ms, s
    drop      "1pp"    the metric may lose that much, in percentage points

A bare number is bytes for a size and percentage points for a drop. "1%" is refused for a
drop: of 80 %, one per cent is 0.8 points, so that both readings would be right.
"""

import math
import re
from dataclasses import dataclass

from tersor.errors import InputError
from tersor.plan.known import among
from tersor.report.document import Missed
from tersor.report.units import bytes_text, ms_text, pp_text, ratio_text

_QUANTITY = re.compile(r"(?P<number>\d{1,30}(\.\d{0,30})?|\.\d{1,30})\s*(?P<unit>[A-Za-zµ%]*)")
_KILO, _KIBI = 1000, 1024
_SIZES = {"b": 1, "kb": _KILO, "mb": _KILO**2, "gb": _KILO**3} | {
    "kib": _KIBI,
    "mib": _KIBI**2,
    "gib": _KIBI**3,
}
_TIMES = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}  # in milliseconds
_SIZE = 'a factor as in "10x", or bytes as in "300KB", "1.5MB", "250KiB" or "120000"'
_LATENCY = 'a factor as in "2x", or a time as in "5ms" or "800us"'
_DROP = 'percentage points from 0 to 100, as in "1pp" or "0.5pp"'
_PER_CENT = '"1pp" for percentage points (1 % of 80 % would be 0.8 points)'
_LEAST_BYTES = 1000  # a bare number below was meant as a factor
_MOST = 1e18  # beyond it, a number is a slip of the pen
_ROUNDING_PP = 1e-9  # of a drop, which is a difference of two fractions


@dataclass(frozen=True, slots=True)
class Budget:
    """What is asked for; None asks for nothing.

    Attributes:
        size: Of the stored file.
        latency: Of one run; the original's is its fastest float32 run.
        drop: Of the metric. It also bounds which candidates may win.

    Raises:
        InputError: One of them is not understood.
    """

    size: str | float | None = None
    latency: str | float | None = None
    drop: str | float | None = None

    def __post_init__(self) -> None:
        for name, read in {"size": _size, "latency": _latency, "drop": _drop}.items():
            value = getattr(self, name)
            if value is not None:
                read(value)

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """The budget of a command line.

        >>> Budget.parse("size=10x, drop=1pp")
        Budget(size='10x', latency=None, drop='1pp')

        Raises:
            InputError: A part is unknown, there twice, or not understood.
        """
        parts: dict[str, str] = {}
        for part in text.split(","):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not equals:
                allowed = 'parts as in "size=10x,latency=2x,drop=1pp"'
                raise InputError("budget", got=text, allowed=allowed)
            if name not in {"size", "latency", "drop"}:
                allowed = among(name, ["size", "latency", "drop"])
                raise InputError("part of the budget", got=name, allowed=allowed)
            if name in parts:
                raise InputError(f"budget {name}", got=text, allowed="given once")
            parts[name] = value
        return cls(**parts)

    @property
    def drop_pp(self) -> float | None:
        """The largest allowed drop in percentage points; None if none was asked."""
        return None if self.drop is None else _drop(self.drop)

    def most_bytes(self, original_bytes: int) -> float | None:
        """The largest allowed file; None if no size was asked.

        Args:
            original_bytes: Of the original's file, which a factor is of.
        """
        if self.size is None:
            return None
        goal, is_factor = _size(self.size)
        return original_bytes / goal if is_factor else goal

    def asked(self) -> dict[str, str]:
        """What was asked, as it was written; a `Budget` of it asks the same."""
        parts = {"size": self.size, "latency": self.latency, "drop": self.drop}
        return {name: _written(value) for name, value in parts.items() if value is not None}

    def judge(
        self,
        *,
        compression: float,
        file_bytes: int,
        speedup: float,
        median_ms: float,
        drop_pp: float | None,
    ) -> list[Missed]:
        """What was not reached, and by how much.

        Args:
            compression: Original bytes / stored bytes.
            file_bytes: Stored bytes.
            speedup: Original time / new time.
            median_ms: New time of one run.
            drop_pp: Loss of the metric; None where it is no proportion of the samples.
        """
        found = []
        if self.size is not None:
            found.append(_judge_size(self.size, compression, file_bytes))
        if self.latency is not None:
            found.append(_judge_latency(self.latency, speedup, median_ms))
        if self.drop is not None:
            found.append(_judge_drop(self.drop, drop_pp))
        return [missed for missed in found if missed is not None]


def _size(value: object) -> tuple[float, bool]:
    """A factor and True, or bytes and False."""
    number, unit = _quantity("budget size", value, _SIZE)
    if unit == "x" and number >= 1:
        return number, True
    if unit in _SIZES and number * _SIZES[unit] >= 1:
        return number * _SIZES[unit], False
    if not unit and number >= _LEAST_BYTES:
        return number, False
    raise InputError("budget size", got=value, allowed=_SIZE)


def _latency(value: object) -> tuple[float, bool]:
    """A factor and True, or milliseconds and False."""
    number, unit = _quantity("budget latency", value, _LATENCY)
    if unit == "x" and number >= 1:
        return number, True
    if unit in _TIMES and number > 0:
        return number * _TIMES[unit], False
    raise InputError("budget latency", got=value, allowed=_LATENCY)


def _drop(value: object) -> float:
    """Percentage points."""
    number, unit = _quantity("budget drop", value, _DROP)
    if unit == "%":
        raise InputError("budget drop", got=value, allowed=_PER_CENT)
    if unit not in {"pp", ""} or number > 100:
        raise InputError("budget drop", got=value, allowed=_DROP)
    return number


def _quantity(what: str, value: object, allowed: str) -> tuple[float, str]:
    """A number and its unit in small letters."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not (math.isfinite(value) and 0 <= value <= _MOST):
            raise InputError(what, got=value, allowed=allowed)
        return float(value), ""
    match = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or float(match["number"]) > _MOST:
        raise InputError(what, got=value, allowed=allowed)
    return float(match["number"]), match["unit"].lower()


def _written(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.12f}".rstrip("0").rstrip(".")


def _judge_size(asked: str | float, compression: float, file_bytes: int) -> Missed | None:
    goal, is_factor = _size(asked)
    if is_factor:
        if compression >= goal:
            return None
        most, got = compression * file_bytes / goal, ratio_text(compression)
    else:
        if file_bytes <= goal:
            return None
        most, got = goal, bytes_text(file_bytes)
    why = (
        f"The file has {bytes_text(file_bytes)}, {bytes_text(file_bytes - most)} more than "
        f"the {bytes_text(most)} asked for."
    )
    return Missed(what="size", asked=_written(asked), got=got, why=why)


def _judge_latency(asked: str | float, speedup: float, median_ms: float) -> Missed | None:
    goal, is_factor = _latency(asked)
    if is_factor:
        if speedup >= goal:
            return None
        most, got = speedup * median_ms / goal, ratio_text(speedup)
    else:
        if median_ms <= goal:
            return None
        most, got = goal, ms_text(median_ms)
    why = (
        f"One run takes {ms_text(median_ms)}, {ms_text(median_ms - most)} more than the "
        f"{ms_text(most)} asked for."
    )
    return Missed(what="latency", asked=_written(asked), got=got, why=why)


def _judge_drop(asked: str | float, drop_pp: float | None) -> Missed | None:
    most = _drop(asked)
    if drop_pp is None:
        why = (
            "The metric is no proportion of the samples, so that it has no percentage points."
        )
        return Missed(what="drop", asked=_written(asked), got=None, why=why)
    if drop_pp <= most + _ROUNDING_PP:
        return None
    why = (
        f"The metric loses {pp_text(drop_pp)}, {pp_text(drop_pp - most)} more than the "
        f"{pp_text(most)} allowed."
    )
    return Missed(what="drop", asked=_written(asked), got=pp_text(drop_pp), why=why)
