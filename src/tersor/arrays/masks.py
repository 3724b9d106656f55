"""Which elements stay: masks by score, for one array or over several.

Among equal scores the later element (C order, later arrays after earlier ones) stays, so that
the result is the same on every machine.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]
Mask = NDArray[np.bool_]


def largest(scores: Scores, count: int) -> Mask:
    """True for the `count` largest scores, of the shape of `scores`.

    >>> largest(np.array([3.0, 1.0, 2.0, 2.0]), 2).tolist()
    [True, False, False, True]
    """
    return largest_of_all([scores], count)[0]


def largest_of_each(scores: Scores, count: int) -> Mask:
    """True for the `count` largest along the last axis; among equal ones the later stay.

    >>> largest_of_each(np.array([[3.0, 1.0, 2.0, 1.0], [5.0, 5.0, 5.0, 0.0]]), 2).tolist()
    [[True, False, True, False], [False, True, True, False]]
    """
    order = np.argsort(scores, axis=-1, kind="stable")
    mask = np.ones(scores.shape, bool)
    np.put_along_axis(mask, order[..., : scores.shape[-1] - count], values=False, axis=-1)
    return mask


def largest_of_all(scores: Sequence[Scores], count: int) -> list[Mask]:
    """True for the `count` largest scores over several arrays.

    >>> [mask.tolist() for mask in largest_of_all([np.array([1.0, 4.0]), np.array([3.0])], 2)]
    [[False, True], [True]]
    """
    flat = np.concatenate([each.reshape(-1) for each in scores])
    kept = np.zeros(flat.size, bool)
    if count >= flat.size:
        kept[:] = True
    elif count > 0:
        least = np.partition(flat, flat.size - count)[flat.size - count]
        kept = flat > least
        equal = np.flatnonzero(flat == least)
        missing = count - int(np.count_nonzero(kept))
        kept[equal[equal.size - missing :]] = True
    edges = np.cumsum([each.size for each in scores])[:-1]
    parts = np.split(kept, edges)
    return [part.reshape(each.shape) for part, each in zip(parts, scores, strict=True)]


def with_one_each(masks: Sequence[Mask], scores: Sequence[Scores]) -> list[Mask]:
    """The same masks; of an array that would lose all, the largest element stays."""
    return [
        mask if mask.any() else largest(score, 1)
        for mask, score in zip(masks, scores, strict=True)
    ]


def cubic(progress: float, first: float, last: float) -> float:
    """Sparsity on the way from `first` to `last`: fast at first, slow in the end.

    s(p) = last + (first - last) (1 - p)^3, p in [0, 1]. Source: Zhu, Gupta, "To prune, or not
    to prune", arXiv:1710.01878, equation (1).

    >>> cubic(0.0, 0.0, 0.8), cubic(1.0, 0.0, 0.8), round(cubic(0.5, 0.0, 0.8), 9)
    (0.0, 0.8, 0.7)
    """
    p = min(max(progress, 0.0), 1.0)
    return last + (first - last) * (1 - p) ** 3
