"""How much each channel matters: one score per channel, larger for those that matter more.

Of a weight w the slice s_i of channel i is all that stands at index i of an axis:

    l1                 sum |w|                  l2    sqrt(sum w^2)         over s_i
    geometric_median   sum_j |s_i - s_j|: least for the slice that others make up for best
    batch_norm_scale   |gamma_i|, what a normalization multiplies the channel by
    taylor             (dL / dg_i)^2 per sample, where a gate g_i = 1 multiplies the channel
    activation_mean    mean |a| over samples and positions
    apoz               1 - the average percentage of zeros: the share of activations not 0
    feature_rank       mean rank of the channel's feature maps

Sources: Li et al., "Pruning filters for efficient convnets", arXiv:1608.08710 (l1); He et al.,
"Filter pruning via geometric median", arXiv:1811.00250; Liu et al., "Learning efficient
convolutional networks through network slimming", arXiv:1708.06519; Molchanov et al.,
"Importance estimation for neural network pruning", arXiv:1906.10771, equation (8);
Molchanov et al., "Pruning convolutional neural networks for resource efficient inference",
arXiv:1611.06440 (mean activation); Hu et al., "Network trimming", arXiv:1607.03250 (APoZ); Lin
et al., "HRank", arXiv:2002.10179.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating[Any]]
Scores = NDArray[np.float64]

_DISTANCES = 1 << 22  # at once


def l1(w: Numbers, axis: int) -> Scores:
    """Sum of magnitudes of each slice along `axis` of a weight of any shape.

    >>> l1(np.array([[1.0, -2.0], [3.0, 0.0]]), 0).tolist()
    [3.0, 3.0]
    """
    found: Scores = np.abs(_slices(w, axis)).sum(axis=1)
    return found


def l2(w: Numbers, axis: int) -> Scores:
    """Length of each slice along `axis` of a weight of any shape.

    >>> l2(np.array([[3.0, 1.0], [-4.0, 0.0]]), 1).tolist()
    [5.0, 1.0]
    """
    found: Scores = np.sqrt(np.square(_slices(w, axis)).sum(axis=1))
    return found


def geometric_median(w: Numbers, axis: int) -> Scores:
    """Sum of the distances of each slice along `axis` to all others.

    Squared distances come from products of slices, |s_i|^2 + |s_j|^2 - 2 s_i . s_j, and are
    right to about 1e-15 of the longest slice's square.

    >>> geometric_median(np.array([[0.0], [1.0], [5.0]]), 0).tolist()
    [6.0, 5.0, 9.0]
    """
    slices = _slices(w, axis)
    centred = slices - slices.mean(axis=0)  # so that what all have in common costs no digits
    squares = np.square(centred).sum(axis=1)
    found = np.empty(len(centred))
    step = max(1, _DISTANCES // max(1, len(centred)))
    for start in range(0, len(centred), step):
        rows = slice(start, start + step)
        apart = squares[rows, None] + squares - 2 * (centred[rows] @ centred.T)
        np.fill_diagonal(apart[:, rows], 0.0)
        found[rows] = np.sqrt(np.maximum(apart, 0.0)).sum(axis=1)
    return found


def batch_norm_scale(gamma: Numbers) -> Scores:
    """Magnitude of what a normalization multiplies each channel by, (n,)."""
    return np.abs(gamma.astype(np.float64))


def taylor(slopes: Numbers, samples: int) -> Scores:
    """The squared change when a gate that is 1 closes, over all batches, per sample.

    Args:
        slopes: (batches, n): of a scalar, summed over the samples of a batch, by each gate. Of
            the loss: the change to first order; of outputs times noise of variance 1: their
            square error to second order (its Gauss-Newton matrix's diagonal).
        samples: In all batches together.

    >>> taylor(np.array([[1.0, -3.0], [3.0, 3.0]]), 4).tolist()
    [2.5, 4.5]
    """
    found: Scores = np.square(slopes.astype(np.float64)).sum(axis=0) / samples
    return found


def activation_mean(sum_abs: Numbers, count: int) -> Scores:
    """Mean magnitude of each channel's activations.

    Args:
        sum_abs: (n,), sums of magnitudes.
        count: How many activations each channel had, at least 1.
    """
    return sum_abs.astype(np.float64) / count


def apoz(zeros: NDArray[np.integer[Any]], count: int) -> Scores:
    """One less each channel's average percentage of zeros: the share of those that are not.

    Args:
        zeros: (n,), how many are 0.
        count: How many activations each channel had, at least 1.

    >>> apoz(np.array([0, 3, 4]), 4).tolist()
    [1.0, 0.25, 0.0]
    """
    return 1.0 - zeros.astype(np.float64) / count


def feature_rank(maps: Numbers) -> Scores:
    """Mean rank of each channel's feature maps.

    A singular value counts where it is above the rounding of the maps' own element type:
    max(h, w) eps times the largest.

    Args:
        maps: (samples, n, h, w), float32 or float64, finite; at least one sample.

    >>> feature_rank(np.stack([np.eye(3), np.ones((3, 3))])[None]).tolist()
    [3.0, 1.0]
    """
    found: Scores = np.linalg.matrix_rank(maps).mean(axis=0, dtype=np.float64)
    return found


def random_scores(n: int, seed: int) -> Scores:
    """The control: uniform in [0, 1), the same for the same seed."""
    return np.random.default_rng(seed).random(n)


def _slices(w: Numbers, axis: int) -> Scores:
    """One row for each index of `axis`."""
    turned = np.moveaxis(w, axis, 0)
    return turned.reshape(len(turned), -1).astype(np.float64)
