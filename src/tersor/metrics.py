"""How well outputs fit labels, sample by sample.

    top1, top5   whether the label is the highest, among the five highest (1 or 0; the mean
                 over all places where a sample has several); among equals the first wins
    agreement    whether the highest is the original model's highest
    mse          mean square of (output - label)
    cosine       cosine of the angle between output and label, all elements as one vector

Without labels the original model is the teacher: its highest class, or its output, is
the label. A name may choose the output, as in "top1:logits"; else the first one counts.
A user's metric is a function of all outputs (a dict) and the labels that returns one number
per sample, the higher the better unless it has an attribute `higher_is_better = False`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tersor.errors import DataError, InputError

Array = NDArray[np.generic]
Scores = NDArray[np.float64]
Outputs = Mapping[str, Array]
UserMetric = Callable[[dict[str, Array], Array | None], Array]

NAMES = ("top1", "top5", "agreement", "mse", "cosine")

_DECIMALS = 9  # of a cosine; 1 - 5e-10 stands for a relative error of 3e-5
_UNIT = 1e-3  # how far the length of a vector of unit length may be from 1


@dataclass(frozen=True, slots=True)
class Metric:
    """A way to score samples.

    Attributes:
        name: As reports show it.
        higher_is_better: False for errors.
        score: Outputs, labels or None, and the original's outputs -> one number per sample.
    """

    name: str
    higher_is_better: bool
    score: Callable[[Outputs, Array | None, Outputs], Scores]


def resolve(
    metric: "str | UserMetric | Metric | None", outputs: Outputs, labels: Array | None
) -> Metric:
    """The metric that a name or function means.

    Args:
        metric: One of NAMES, perhaps with ":" and an output's name; a function; or None for
            what fits: "top1" for integer labels, "mse" for others; without labels
            "cosine" for vectors of unit length, "agreement" for other outputs (n, classes),
            else "mse".
        outputs: Outputs of the original on some samples, by name.
        labels: Labels of these samples, or None.

    Raises:
        InputError: There is no such metric or output, or too few classes for it.
    """
    if isinstance(metric, Metric):
        return metric
    if callable(metric):
        name = getattr(metric, "__name__", type(metric).__name__)
        higher = bool(getattr(metric, "higher_is_better", True))
        return Metric(name, higher, partial(_of_user, metric, name))
    kind, _, chosen = (metric or "").partition(":")
    if chosen and chosen not in outputs:
        raise InputError("metric output", got=chosen, allowed=f"one of {', '.join(outputs)}")
    output = chosen or next(iter(outputs))
    kind = kind or _fitting(outputs[output], labels)
    if kind not in NAMES:
        raise InputError("metric", got=metric, allowed=f"one of {', '.join(NAMES)}")
    if kind == "mse":
        return Metric("mse", higher_is_better=False, score=partial(_mse, output))
    if kind == "cosine":
        return Metric("cosine", higher_is_better=True, score=partial(_cosine, output))
    if kind == "agreement" or (labels is None and kind == "top1"):
        return Metric(
            "agreement",
            higher_is_better=True,
            score=lambda found, _, original: _top(output, 1, found, None, original),
        )
    return Metric(kind, higher_is_better=True, score=partial(_top, output, int(kind[3:])))


def is_class_like(output: Array) -> bool:
    """Whether an output looks like scores of classes: floats (n, at least 2), no embeddings.

    >>> is_class_like(np.zeros((3, 10))), is_class_like(np.zeros((3, 1)))
    (True, False)
    """
    return _are_rows(output) and not is_embedding(output)


def is_embedding(output: Array) -> bool:
    """Whether an output looks like embeddings: floats (n, width), each row of length 1.

    Chances of classes, which may be of that length too, are never negative.

    >>> is_embedding(np.array([[0.6, -0.8], [0.0, 1.0]])), is_embedding(np.eye(2))
    (True, False)
    """
    if not (_are_rows(output) and output.size and output.min() < 0):
        return False
    lengths = np.linalg.norm(output, axis=1)
    return bool(np.abs(lengths - 1).max() <= _UNIT)


def _are_rows(output: Array) -> bool:
    return output.ndim == 2 and output.shape[1] > 1 and output.dtype.kind == "f"


def _fitting(output: Array, labels: Array | None) -> str:
    if labels is None and is_embedding(output):
        return "cosine"
    if labels is None:
        return "agreement" if is_class_like(output) else "mse"
    return "top1" if labels.dtype.kind in "iub" and output.dtype.kind == "f" else "mse"


def _top(
    output: str, k: int, outputs: Outputs, labels: Array | None, original: Outputs
) -> Scores:
    found = outputs[output]
    if labels is None:
        if found.ndim < 2:
            raise InputError("metric", got=f"top{k}", allowed="mse: there are no classes")
        labels = np.argmax(original[output], axis=-1)
    scores = _classes_last(output, found, labels)
    truth = labels.reshape(scores.shape[:-1])
    classes = scores.shape[-1]
    if k > 1 and classes <= k:
        raise InputError(
            "metric", got=f"top{k}", allowed=f"top1: the model has {classes} classes"
        )
    _check_labels(truth, classes)
    place = truth.astype(np.int64)[..., None]
    own: Any = np.take_along_axis(scores, place, axis=-1)
    before = np.arange(classes) < place
    rank = (scores > own).sum(axis=-1) + ((scores == own) & before).sum(axis=-1)
    right = (rank < k).reshape(len(found), -1)
    return np.asarray(right.mean(axis=1, dtype=np.float64))


def _classes_last(name: str, output: Array, labels: Array) -> Array:
    """The output with its axis of classes at the end; see it from the shape of the labels."""
    shape = labels.shape
    if len(shape) > 1 and shape[-1] == 1 and output.ndim == len(shape):
        shape = shape[:-1]
    if output.ndim > 1 and output.shape[:-1] == shape:
        return output
    if output.ndim > 2 and (output.shape[0], *output.shape[2:]) == shape:
        return np.moveaxis(output, 1, -1)
    raise DataError(
        "labels",
        f"have shape {labels.shape}, but output {name!r} has {output.shape}",
        "Give one class number per sample, or another metric.",
    )


def _check_labels(labels: Array, classes: int) -> None:
    whole = labels.dtype.kind in "iub" or bool((np.asarray(labels) % 1 == 0).all())
    if not whole:
        raise DataError("labels", f"hold {labels.dtype} fractions", "Give class numbers.")
    bad = np.argwhere((labels < 0) | (labels >= classes))  # type: ignore[operator]
    if bad.size:
        value = labels[tuple(bad[0])]
        raise DataError(
            "labels",
            f"hold {value}, but the model has classes 0 to {classes - 1}",
            "Number the classes as in training.",
        )


def _mse(output: str, outputs: Outputs, labels: Array | None, original: Outputs) -> Scores:
    found, wanted = _rows(output, outputs, labels, original)
    return np.asarray(np.square(found - wanted).mean(axis=1))


def _cosine(output: str, outputs: Outputs, labels: Array | None, original: Outputs) -> Scores:
    """A vector of zeros fits another one, and nothing else.

    Nine decimals count: one engine's rounding of floats against another's is below that.
    """
    found, wanted = _rows(output, outputs, labels, original)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    both_zero = ~(found.any(axis=1) | wanted.any(axis=1))
    products = (found * wanted).sum(axis=1)
    cosines = np.where(lengths > 0, products / np.where(lengths > 0, lengths, 1), both_zero)
    return np.asarray(np.round(cosines, _DECIMALS))


def _rows(
    output: str, outputs: Outputs, labels: Array | None, original: Outputs
) -> tuple[Scores, Scores]:
    """Outputs and what they should be, (n, elements) both."""
    found = np.asarray(outputs[output], dtype=np.float64)
    wanted = np.asarray(original[output] if labels is None else labels, dtype=np.float64)
    if wanted.size != found.size or len(wanted) != len(found):
        raise DataError(
            "labels",
            f"have shape {wanted.shape}, but output {output!r} has {found.shape}",
            "Give labels like the output, or another metric.",
        )
    return found.reshape(len(found), -1), wanted.reshape(len(found), -1)


def _of_user(
    metric: UserMetric, name: str, outputs: Outputs, labels: Array | None, _: Outputs
) -> Scores:
    scores = np.asarray(metric(dict(outputs), labels), dtype=np.float64)
    n = len(next(iter(outputs.values())))
    if scores.shape != (n,) or not np.isfinite(scores).all():
        raise InputError(
            f"result of metric {name}",
            got=f"shape {scores.shape}",
            allowed=f"{n} finite numbers, one per sample",
        )
    return scores
