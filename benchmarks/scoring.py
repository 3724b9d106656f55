"""Scores of the benchmarks, in points, and the drop from one network to another.

    top1       100 times the share of samples whose label is the highest output, (n, classes)
    spearman   100 times the rank correlation of cosine similarity and label; rows 2 i and
               2 i + 1 of (2 n, width) embeddings are a pair, and both carry its label

A drop is the original's score minus the other's on the same samples. Its 95 % interval is of
the paired difference: Tango's for top1; for spearman the 2.5 % and 97.5 % quantiles over
2,000 bootstrap samples of the pairs (Efron and Tibshirani, "An introduction to the bootstrap",
1993, chapter 13), the same pairs for both networks, always drawn the same way.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tersor.arrays.intervals import paired_proportions

Array = NDArray[np.generic]
Vector = NDArray[np.float64]

_UNITS = {"top1": 1, "spearman": 2}
_DRAWS = 2000


@dataclass(frozen=True)
class Drop:
    """A difference in points, above 0 where the second network is worse.

    Attributes:
        value: The difference.
        low: Lower end of the 95 % interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def unit(metric: str) -> int:
    """Rows that are scored together.

    >>> unit("top1"), unit("spearman")
    (1, 2)
    """
    return _UNITS[metric]


def score(metric: str, output: Array, labels: Array) -> float:
    """The score of an output, in points.

    >>> score("top1", np.eye(4), np.array([0, 1, 2, 0]))
    75.0
    """
    if metric == "top1":
        return 100 * float(_right(output, labels).mean())
    return 100 * float(_spearman(_similarity(output), np.asarray(labels[::2], np.float64)))


def drop(metric: str, original: Array, other: Array, labels: Array) -> Drop:
    """How much worse `other` is, with its interval."""
    value = score(metric, original, labels) - score(metric, other, labels)
    if metric == "top1":
        before, after = _right(original, labels), _right(other, labels)
        lost, won = int((before & ~after).sum()), int((after & ~before).sum())
        low, high = paired_proportions(lost, won, len(before))
        return Drop(value, 100 * low, 100 * high)
    return Drop(value, *_bootstrap(_similarity(original), _similarity(other), labels[::2]))


def _right(output: Array, labels: Array) -> NDArray[np.bool_]:
    return np.asarray(output.argmax(axis=1) == labels)


def _similarity(output: Array) -> Vector:
    """Cosine of each pair of rows."""
    x = np.asarray(output, dtype=np.float64)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray((x[::2] * x[1::2]).sum(axis=1))


def _spearman(x: Vector, y: Vector) -> Vector:
    """Rank correlation along the last axis; equal values share their mean rank."""
    from scipy.stats import rankdata

    u, v = (rankdata(a, axis=-1) - (a.shape[-1] + 1) / 2 for a in (x, y))
    return np.asarray((u * v).sum(-1) / np.sqrt((u * u).sum(-1) * (v * v).sum(-1)))


def _bootstrap(before: Vector, after: Vector, labels: Array) -> tuple[float, float]:
    y = np.asarray(labels, dtype=np.float64)
    rows = np.random.default_rng(0).integers(0, len(y), (_DRAWS, len(y)))
    drops = _spearman(before[rows], y[rows]) - _spearman(after[rows], y[rows])
    low, high = np.quantile(drops, [0.025, 0.975])
    return 100 * float(low), 100 * float(high)
