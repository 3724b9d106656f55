import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tersor.arrays.saturation import saturating_dot
from tersor.errors import InputError

sizes = st.shared(st.integers(1, 9), key="k")
activations = sizes.flatmap(lambda k: hnp.arrays(np.uint8, k))


def weights(bits):
    most = 2 ** (bits - 1) - 1
    elements = st.integers(-most, most)
    return sizes.flatmap(lambda k: hnp.arrays(np.int8, k, elements=elements))


@given(activations, weights(7))
def test_weights_of_seven_bits_never_saturate(a, w):
    assert saturating_dot(a, w) == int(a.astype(int) @ w.astype(int))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_pair_of_seven_bits_just_fits_and_of_eight_does_not(sign):
    a = np.full(4, 255, np.uint8)
    assert saturating_dot(a, np.full(4, sign * 63, np.int8)) == sign * 4 * 255 * 63
    found = saturating_dot(a, np.full(4, sign * 127, np.int8))
    assert found == (2 * 32767 if sign > 0 else -2 * 32768)


@given(activations, weights(8))
def test_each_pair_is_clamped_by_itself(a, w):
    total = 0
    for i in range(0, len(a), 2):
        pair = sum(int(x) * int(y) for x, y in zip(a[i : i + 2], w[i : i + 2], strict=True))
        total += min(max(pair, -(2**15)), 2**15 - 1)
    assert saturating_dot(a, w) == total


def test_other_axes_broadcast():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (5, 1, 6)).astype(np.uint8)
    w = rng.integers(-63, 64, (3, 6)).astype(np.int8)
    wanted = a[:, 0].astype(int) @ w.T.astype(int)
    assert np.array_equal(saturating_dot(a, w), wanted)


def test_other_elements_are_refused():
    with pytest.raises(InputError, match="elements must be uint8 activations and int8"):
        saturating_dot(np.zeros(2, np.int8), np.zeros(2, np.int8))


PAGE = Path(__file__).parents[2] / "docs" / "int8-without-vnni.md"
ROWS = re.findall(
    r"^\| (relu|signed), (.*?) \| (normal|uniform) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$",
    PAGE.read_text(),
    re.MULTILINE,
)


def decibels(kind, reach, spread):
    """Signal to noise of dot products: 8 bits saturating and exact, 7 bits saturating."""
    rng, shape = np.random.default_rng(0), (2000, 576)
    x = rng.standard_normal(shape)
    x = x if kind == "signed" else np.maximum(x, 0)
    w = rng.uniform(-1, 1, shape) if spread == "uniform" else rng.standard_normal(shape)
    top = np.abs(x).max() if reach == "whole range" else np.quantile(np.abs(x), 0.99)
    x = np.clip(x, -top, top)
    zero = 128 if kind == "signed" else 0
    step = top / (127 if zero else 255)
    a, exact = np.clip(np.round(x / step) + zero, 0, 255).astype(np.uint8), (x * w).sum(axis=1)
    found = []
    for most, dot in ((127, saturating_dot), (127, plain_dot), (63, saturating_dot)):
        scale = np.abs(w).max() / most
        codes = np.round(w / scale).astype(np.int8)
        sums = dot(a, codes) - zero * codes.sum(axis=1, dtype=np.int64)
        noise = step * scale * sums - exact
        found.append(10 * np.log10((exact**2).sum() / (noise**2).sum()))
    return found


def plain_dot(a, w):
    return (a.astype(np.int32) * w).sum(axis=1)


@pytest.mark.parametrize("row", ROWS, ids=" ".join)
def test_the_page_tells_what_saturation_costs(row):
    assert len(ROWS) == 5
    assert np.abs(np.array(row[3:], float) - decibels(*row[:3])).max() <= 0.06
