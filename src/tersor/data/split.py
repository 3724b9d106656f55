"""Split: which samples are looked at, which ones select, and which ones only report.

    calibration   methods look at these (ranges of activations, Hessians)
    training      methods that train see these, the calibration part among them
    validation    choices are made by these: accuracy limits, fallbacks, candidates
    test          nothing is chosen by these; they are used once, for the report

Division of n samples: the samples stand in order, by their labels where each has one number,
else as they came. The calibration part has c = min(512, n // 4) of them: one from each of c
equal stretches of that order, drawn at random with a fixed seed. So data sorted by class are
covered, and data whose classes take turns do not fall in step with the choice. The
validation part is all the others. Where something is to be trained, the validation part is
min(5000, n // 5) of them, drawn in the same way, all others train, and of those as many as
above calibrate. Below 32 samples every part is all of them. The split says which it was.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tersor.data.lazy import select
from tersor.data.samples import Samples

CALIBRATION_LIMIT = 512
VALIDATION_LIMIT = 5000  # where something is trained
DIVISIBLE_FROM = 32
_SEED = 0


@dataclass(frozen=True)
class Split:
    """Samples by their purpose.

    Attributes:
        calibration: Methods look at these.
        validation: Choices are made by these.
        test: Only reported; None if there are none.
        how: One sentence for the report on where the parts come from.
        training: Methods that train see these; None if nothing is to be trained.
    """

    calibration: Samples
    validation: Samples
    test: Samples | None
    how: str
    training: Samples | None = None


def split(
    samples: Samples,
    *,
    validation: Samples | None = None,
    test: Samples | None = None,
    train: bool = False,
) -> Split:
    """Divide samples for calibration and validation; the same samples divide the same way.

    Args:
        samples: All of them, or those for calibration where `validation` is given.
        validation: Samples to select by; divided off from `samples` if None.
        test: Samples that only report.
        train: Whether something is to be trained.
    """
    n = len(samples)
    tail = "no test samples" if test is None else f"{len(test)} test samples only report"
    tail += f"; {samples.note}" if samples.note else ""
    if train:
        return _for_training(samples, validation, test, tail)
    if validation is not None:
        chosen, way = _chosen(samples, min(n, CALIBRATION_LIMIT))
        few = samples if len(chosen) == n else _part(samples, chosen)
        which = "" if few is samples else f" of {n}, {way},"
        how = f"{len(few)} samples{which} calibrate, {len(validation)} separate ones validate"
        how += f", {tail}"
        return Split(few, validation, test, how)
    if n < DIVISIBLE_FROM:
        how = f"the same {n} samples calibrate and validate, too few to be divided, {tail}"
        return Split(samples, samples, test, how)
    chosen, way = _chosen(samples, min(CALIBRATION_LIMIT, n // 4))
    others = np.delete(np.arange(n), chosen)
    how = (
        f"of {n} samples, {len(chosen)}, {way}, calibrate and the other "
        f"{len(others)} validate, {tail}"
    )
    return Split(_part(samples, chosen), _part(samples, others), test, how)


def _for_training(
    samples: Samples, validation: Samples | None, test: Samples | None, tail: str
) -> Split:
    """The parts where something is to be trained."""
    n, training = len(samples), samples
    if validation is None and n < DIVISIBLE_FROM:
        how = f"the same {n} samples train and validate, too few to be divided, {tail}"
        return Split(samples, samples, test, how, samples)
    if validation is None:
        chosen, way = _chosen(samples, min(VALIDATION_LIMIT, n // 5))
        validation = _part(samples, chosen)
        training = _part(samples, np.delete(np.arange(n), chosen))
        how = f"of {n} samples, {len(validation)}, {way}, validate and the other "
        how += f"{len(training)} train"
    else:
        how = f"{n} samples train and {len(validation)} separate ones validate"
    rows, _ = _chosen(training, min(CALIBRATION_LIMIT, len(training)))
    few = _part(training, rows)
    how += f", {len(few)} of those that train calibrate, {tail}"
    return Split(few, validation, test, how, training)


def drawn(n: int, count: int) -> NDArray[np.intp]:
    """`count` different numbers below `n`, ascending, always the same; 1 <= count <= n.

    Number i is one of floor(i n / count) ... floor((i + 1) n / count) - 1, each as likely.

    >>> drawn(12, 3).tolist()
    [3, 5, 8]
    """
    edges = np.arange(count + 1, dtype=np.intp) * n // count
    bits = np.random.PCG64(_SEED).random_raw(count)  # a stream that numpy never changes
    widths = np.diff(edges).astype(np.uint64)
    return edges[:-1] + (bits % widths).astype(np.intp)


def _chosen(samples: Samples, count: int) -> tuple[NDArray[np.intp], str]:
    """Rows for calibration, ascending, and how they were found."""
    n, labels = len(samples), samples.labels
    if isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.dtype.kind in "biuf":
        order = np.argsort(labels, kind="stable")
        return np.sort(order[drawn(n, count)]), f"drawn evenly over the labels (seed {_SEED})"
    return drawn(n, count), f"drawn evenly over their order (seed {_SEED})"


def _part(samples: Samples, rows: NDArray[np.intp]) -> Samples:
    labels = None if samples.labels is None else select(samples.labels, rows)
    inputs = {name: select(a, rows) for name, a in samples.inputs.items()}
    return Samples(inputs, labels, samples.note)
