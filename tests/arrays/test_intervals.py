import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.arrays.intervals import (
    Z,
    paired_mean,
    paired_proportions,
    smallest_difference,
    wilson,
)
from tersor.errors import InputError


def test_wilson_solves_its_equation():
    """The ends are where |p - x| = z sqrt(x (1 - x) / n)."""
    for end in wilson(37, 120):
        assert abs(37 / 120 - end) == pytest.approx(Z * np.sqrt(end * (1 - end) / 120))


def test_wilson_knows_all_and_nothing():
    low, high = wilson(0, 10)
    assert (low, high) == (0.0, pytest.approx(Z * Z / (10 + Z * Z)))
    assert wilson(10, 10) == (pytest.approx(1 - high), 1.0)


@pytest.mark.parametrize(
    ("b", "c", "n", "low", "high"),
    [
        # Fagerland, Lydersen, Laake, "Recommended tests and confidence intervals for paired
        # binomial proportions", Statistics in Medicine 33 (2014): airway reactivity
        (1, 7, 21, -0.517, -0.026),
    ],
)
def test_tango_equals_published_values(b, c, n, low, high):
    assert paired_proportions(b, c, n) == (
        pytest.approx(low, abs=5e-4),
        pytest.approx(high, abs=5e-4),
    )


def quartic(b, c, n):
    """The same interval as roots of a quartic (Yang, Sun, Hardin, 2012)."""
    g, d = Z * Z, b - c
    polynomial = [
        n**2 * (n / g + 1) ** 2,
        -n * d * (n / g + 1) * (4 * n / g + 1),
        2 * n * d**2 * (3 * n / g + 2) / g - n**2 * ((b + c) / g + 1),
        n * d * (2 * (b + c) / g + 1) - d**3 * (4 * n / g + 1) / g,
        d**2 * (d**2 / g - (b + c)) / g,
    ]
    roots = np.roots(polynomial)
    real = roots[np.abs(roots.imag) < 1e-7].real
    return real.min(), real.max()


@pytest.mark.parametrize(
    ("b", "c", "n"), [(40, 20, 160), (3, 9, 32), (12, 2, 50), (5, 0, 1000), (1, 4, 40)]
)
def test_tango_equals_the_roots_of_its_quartic(b, c, n):
    assert paired_proportions(b, c, n) == pytest.approx(quartic(b, c, n), abs=1e-8)


def test_tango_without_any_difference_still_has_a_width():
    assert paired_proportions(0, 0, 500) == pytest.approx(
        (-Z * Z / (500 + Z * Z), Z * Z / (500 + Z * Z))
    )


@given(st.integers(1, 200), st.data())
def test_tango_holds_the_estimate_and_is_antisymmetric(n, data):
    b = data.draw(st.integers(0, n))
    c = data.draw(st.integers(0, n - b))
    low, high = paired_proportions(b, c, n)
    assert -1 <= low <= (b - c) / n <= high <= 1
    assert paired_proportions(c, b, n) == (
        pytest.approx(-high, abs=1e-9),
        pytest.approx(-low, abs=1e-9),
    )


def test_mean_uses_students_quantile():
    """t(9) at 97.5 % is 2.262157, from printed tables."""
    x = np.arange(10.0)
    half = 2.262157 * x.std(ddof=1) / np.sqrt(10)
    assert paired_mean(x) == pytest.approx((4.5 - half, 4.5 + half), rel=1e-6)


def test_one_difference_has_no_interval():
    assert paired_mean(np.array([1.0])) is None


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: wilson(3, 2),
        lambda: wilson(0, 0),
        lambda: paired_proportions(2, 2, 3),
        lambda: paired_proportions(-1, 0, 3),
        lambda: paired_mean(np.array([np.nan, 1.0])),
    ],
    ids=["more successes than trials", "no trials", "b + c > n", "negative", "NaN"],
)
def test_impossible_counts_are_refused(wrong):
    with pytest.raises(InputError, match="must be"):
        wrong()


@pytest.mark.parametrize("n", [12, 100, 1000])
def test_differences_beyond_the_smallest_are_those_whose_interval_excludes_none(n):
    for differing in range(1, 13):
        least = smallest_difference(differing, n)
        for worse in range(differing + 1):
            low, _ = paired_proportions(worse, differing - worse, n)
            assert (low > 0) == ((2 * worse - differing) / n > least)


def test_fewer_than_four_samples_tell_no_difference():
    assert smallest_difference(0, 50) == smallest_difference(3, 50) == Z * Z / 50
    assert 3 < Z * Z < 4


@pytest.mark.parametrize(("differing", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_differing_samples_are_some_of_all(differing, n):
    with pytest.raises(InputError, match="differing"):
        smallest_difference(differing, n)
