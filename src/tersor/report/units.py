"""Numbers as people read them: sizes, times, ratios, shares.

Three or four digits, the unit behind a space, and "-" for what is not known. Sizes are
decimal: 1 kB = 1000 bytes. Only ASCII comes out, so every terminal can show it.
"""

import math
from collections.abc import Mapping

NOTHING = "-"  # shown for None and for what is not finite


def known(value: float | None) -> bool:
    """True for a finite number.

    >>> known(0.0), known(None), known(float("nan"))
    (True, False, False)
    """
    return value is not None and math.isfinite(value)


def bytes_text(count: float | None) -> str:
    """A size.

    >>> bytes_text(999), bytes_text(270_912), bytes_text(1_157_041), bytes_text(None)
    ('999 B', '270.9 kB', '1.16 MB', '-')
    """
    if count is None or not math.isfinite(count):
        return NOTHING
    if abs(count) < 1000:
        return f"{count:.0f} B"
    return _scaled(count, ("kB", "MB", "GB", "TB"), fine="MB")


def count_text(count: float | None) -> str:
    """A number of things: exact up to 9999, else rounded.

    >>> count_text(432), count_text(269_722), count_text(40_813_184)
    ('432', '269.7 k', '40.81 M')
    """
    if count is None or not math.isfinite(count):
        return NOTHING
    if abs(count) < 10_000:
        return f"{count:.0f}"
    return _scaled(count, ("k", "M", "G", "T"), fine="M")


def ms_text(ms: float | None) -> str:
    """A short time, given in milliseconds, with its unit.

    >>> ms_text(0.4312), ms_text(12.46), ms_text(132.4), ms_text(20_500.0)
    ('0.431 ms', '12.5 ms', '132 ms', '20.5 s')
    """
    if ms is None or not math.isfinite(ms):
        return NOTHING
    return f"{ms_number(ms)} ms" if ms < 10_000 else seconds_text(ms / 1000)


def ms_number(ms: float | None) -> str:
    """The same without the unit, never in other units: for columns headed "ms".

    >>> ms_number(0.0432), ms_number(1.3), ms_number(20_500.0)
    ('0.043', '1.30', '20500')
    """
    if ms is None or not math.isfinite(ms):
        return NOTHING
    digits = 3 if ms < 0.9995 else 2 if ms < 9.995 else 1 if ms < 99.95 else 0
    return f"{ms:.{digits}f}"


def ms_fine(ms: float | None) -> str:
    """The same with a fourth digit for a single layer's time.

    >>> ms_fine(0.01234), ms_fine(0.43), ms_fine(12.3)
    ('0.0123', '0.430', '12.3')
    """
    return f"{ms:.4f}" if ms is not None and 0 <= ms < 0.09995 else ms_number(ms)


def range_text(low_ms: float | None, high_ms: float | None) -> str:
    """Two times, without the unit.

    >>> range_text(0.42, 0.4551)
    '0.420 to 0.455'
    """
    if not known(low_ms) or not known(high_ms):
        return NOTHING
    return f"{ms_number(low_ms)} to {ms_number(high_ms)}"


def ratio_text(ratio: float | None) -> str:
    """How many times.

    >>> ratio_text(3.904), ratio_text(1.04), ratio_text(0.087), ratio_text(123.4)
    ('3.9x', '1.04x', '0.09x', '123x')
    """
    if ratio is None or not math.isfinite(ratio):
        return NOTHING
    digits = 2 if ratio < 1.995 else 1 if ratio < 99.95 else 0
    return f"{ratio:.{digits}f}x"


def percent_text(fraction: float | None, digits: int = 2) -> str:
    """A fraction of 1 in per cent; 100 % only where it is exactly that.

    >>> percent_text(0.91625), percent_text(0.99999), percent_text(1.0), percent_text(0.5, 0)
    ('91.62 %', '99.99 %', '100 %', '50 %')
    """
    if fraction is None or not math.isfinite(fraction):
        return NOTHING
    if fraction == 1.0:
        return "100 %"
    below_one = 100.0 - 10.0**-digits
    percent = min(fraction * 100, below_one) if fraction < 1.0 else fraction * 100
    return f"{percent:.{digits}f} %"


def pp_text(pp: float | None) -> str:
    """Percentage points, without a minus before zero.

    >>> pp_text(0.07), pp_text(-0.001), pp_text(-1.5)
    ('0.07 pp', '0.00 pp', '-1.50 pp')
    """
    if pp is None or not math.isfinite(pp):
        return NOTHING
    return f"{round(pp, 2) + 0.0:.2f} pp"


def db_text(db: float | None) -> str:
    """A signal-to-noise ratio.

    >>> db_text(31.44), db_text(None)
    ('31.4 dB', '-')
    """
    return NOTHING if db is None or not math.isfinite(db) else f"{db:.1f} dB"


def seconds_text(seconds: float | None) -> str:
    """A longer time.

    >>> seconds_text(0.26), seconds_text(48.21), seconds_text(125.0)
    ('0.3 s', '48.2 s', '2 min 5 s')
    """
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def shape_text(shape: object) -> str:
    """The sizes of an array.

    >>> shape_text([16, 3, 3, 3]), shape_text([]), shape_text(["batch", 10])
    ('16x3x3x3', 'scalar', 'batch x 10')
    """
    if not isinstance(shape, list | tuple):
        return NOTHING
    named = any(isinstance(size, str) for size in shape)
    return (" x " if named else "x").join(str(size) for size in shape) or "scalar"


def tensors_text(count: int) -> str:
    """How many tensors.

    >>> tensors_text(1), tensors_text(20)
    ('1 tensor', '20 tensors')
    """
    return f"{count} tensor{'s' * (count != 1)}"


def kernels_text(kernels: Mapping[str, int]) -> str:
    """How many nodes run in int8; nothing is known where the engine keeps no profile.

    >>> kernels_text({"int8": 20, "f32": 1, "other": 14}), kernels_text({})
    ('20 of 35', '-')
    """
    return f"{kernels.get('int8', 0)} of {sum(kernels.values())}" if kernels else NOTHING


def _scaled(count: float, units: tuple[str, ...], *, fine: str) -> str:
    """`count` in the unit that leaves 1 to 3 digits before the point."""
    scaled, step = count / 1000, 0
    while abs(scaled) >= 999.95 and step < len(units) - 1:
        scaled, step = scaled / 1000, step + 1
    digits = 2 if step >= units.index(fine) and abs(scaled) < 99.995 else 1
    return f"{scaled:.{digits}f} {units[step]}"
