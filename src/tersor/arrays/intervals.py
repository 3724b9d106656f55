"""Confidence intervals at 95 % for what samples tell about a model, and about two.

Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
American Statistical Association 22 (1927). Tango, "Equivalence test and confidence interval
for the difference in proportions for the paired-sample design", Statistics in Medicine 17
(1998). Both stay inside their range and are sound where nothing was ever wrong.
"""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from tersor.errors import InputError

Z = NormalDist().inv_cdf(0.975)
Interval = tuple[float, float]


def wilson(successes: int, n: int) -> Interval:
    """Wilson's score interval for a proportion, from `successes` of `n` >= 1 trials.

    >>> low, high = wilson(8, 10)
    >>> round(low, 4), round(high, 4)
    (0.4902, 0.9433)
    """
    if not 0 <= successes <= n or n < 1:
        raise InputError("successes", got=(successes, n), allowed="0 to n, and n at least 1")
    p, square = successes / n, Z * Z
    centre = (p + square / (2 * n)) / (1 + square / n)
    half = Z / (1 + square / n) * math.sqrt(p * (1 - p) / n + square / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    return low, 1.0 if successes == n else min(1.0, centre + half)


def paired_proportions(b: int, c: int, n: int) -> Interval:
    """Tango's score interval for a difference of two proportions of the same n samples.

    The difference is (b - c) / n. The interval holds the values d for which

        |b - c - n d| <= z sqrt(n (2 q + d (1 - d)))

    with q the most likely share of the second kind, given d.

    Args:
        b: Samples on which only the first succeeded.
        c: Samples on which only the second succeeded.
        n: All samples, at least 1.
    """
    if min(b, c) < 0 or b + c > n or n < 1:
        raise InputError("b, c, n", got=(b, c, n), allowed="counts with b + c <= n, n >= 1")
    if b == c == 0:  # nothing differs: the condition is n d <= z^2 (1 - d)
        return -Z * Z / (n + Z * Z), Z * Z / (n + Z * Z)
    from scipy.optimize import brentq

    def beyond(d: float, sign: float) -> float:
        return b - c - n * d + sign * Z * _deviation(b, c, n, d)

    middle = (b - c) / n
    low = -1.0 if middle == -1 else float(brentq(beyond, -1.0, middle, args=(-1.0,)))
    high = 1.0 if middle == 1 else float(brentq(beyond, middle, 1.0, args=(1.0,)))
    return low, high


def smallest_difference(differing: int, n: int) -> float:
    """The smallest difference of two proportions that n paired samples tell from none.

    Where m samples differ, Tango's interval excludes 0 if |b - c| > z sqrt(m). That can only
    be if m exceeds z^2, so that

        (b - c) / n > max(z sqrt(m), z^2) / n

    Args:
        differing: m, on which only one of the two succeeded.
        n: All samples, at least 1.

    >>> round(smallest_difference(0, 100), 4), round(smallest_difference(16, 1000), 4)
    (0.0384, 0.0078)
    """
    if not 0 <= differing <= n or n < 1:
        raise InputError("differing", got=(differing, n), allowed="0 to n, n at least 1")
    return max(Z * math.sqrt(differing), Z * Z) / n


def _deviation(b: int, c: int, n: int, d: float) -> float:
    """Standard deviation of b - c if the true difference is d."""
    linear = -b - c + (2 * n - b + c) * d
    root = math.sqrt(max(0.0, linear * linear + 8 * n * c * d * (1 - d)))
    q = (root - linear) / (4 * n)
    return math.sqrt(max(0.0, n * (2 * q + d * (1 - d))))


def paired_mean(differences: NDArray[np.floating]) -> Interval | None:
    """Student's interval for the mean of n differences; None for n < 2.

    >>> paired_mean(np.array([1.0, 1.0, 1.0]))
    (1.0, 1.0)
    """
    x = np.asarray(differences, dtype=np.float64)
    if x.ndim != 1 or not np.isfinite(x).all():
        raise InputError("differences", got=x.shape, allowed="a vector of finite numbers")
    if x.size < 2:
        return None
    from scipy.special import stdtrit

    half = float(stdtrit(x.size - 1, 0.975)) * float(x.std(ddof=1)) / math.sqrt(x.size)
    mean = float(x.mean())
    return mean - half, mean + half
