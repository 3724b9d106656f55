"""Split: which samples are looked at, which ones select, and which ones only report.

    calibration   methods look at these (ranges of activations, Hessians, training)
    validation    choices are made by these: accuracy limits, fallbacks, candidates
    test          nothing is chosen by these; they are used once, for the report

Division of n samples, without chance: the calibration part has c = min(512, n // 4)
samples, those of index floor((i + 1/2) n / c) for i = 0 ... c - 1, evenly spaced so that
data sorted by class is covered; the validation part is all the others. Below 32 samples
both are all of them, and the split says so.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tersor.data.lazy import select
from tersor.data.samples import Samples

CALIBRATION_LIMIT = 512
DIVISIBLE_FROM = 32


@dataclass(frozen=True)
class Split:
    """Samples by their purpose.

    Attributes:
        calibration: Methods look at these.
        validation: Choices are made by these.
        test: Only reported; None if there are none.
        how: One sentence for the report on where the parts come from.
    """

    calibration: Samples
    validation: Samples
    test: Samples | None
    how: str


def split(
    samples: Samples, *, validation: Samples | None = None, test: Samples | None = None
) -> Split:
    """Divide samples for calibration and validation; the same samples divide the same way.

    Args:
        samples: All of them, or those for calibration where `validation` is given.
        validation: Samples to select by; divided off from `samples` if None.
        test: Samples that only report.
    """
    n = len(samples)
    tail = "no test samples" if test is None else f"{len(test)} test samples only report"
    tail += f"; {samples.note}" if samples.note else ""
    if validation is not None:
        chosen = evenly(n, min(n, CALIBRATION_LIMIT))
        few = samples if len(chosen) == n else _part(samples, chosen)
        how = f"{len(few)} samples calibrate, {len(validation)} separate ones validate, {tail}"
        return Split(few, validation, test, how)
    if n < DIVISIBLE_FROM:
        how = f"the same {n} samples calibrate and validate, too few to be divided, {tail}"
        return Split(samples, samples, test, how)
    chosen = evenly(n, min(CALIBRATION_LIMIT, n // 4))
    others = np.delete(np.arange(n), chosen)
    how = (
        f"of {n} samples, {len(chosen)} evenly spaced ones calibrate and the other "
        f"{len(others)} validate, {tail}"
    )
    return Split(_part(samples, chosen), _part(samples, others), test, how)


def evenly(n: int, count: int) -> NDArray[np.intp]:
    """`count` different numbers below `n`, evenly spaced, ascending; 1 <= count <= n.

    >>> evenly(10, 4).tolist()
    [1, 3, 6, 8]
    """
    return ((2 * np.arange(count, dtype=np.intp) + 1) * n) // (2 * count)


def _part(samples: Samples, rows: NDArray[np.intp]) -> Samples:
    labels = None if samples.labels is None else select(samples.labels, rows)
    inputs = {name: select(a, rows) for name, a in samples.inputs.items()}
    return Samples(inputs, labels, samples.note)
