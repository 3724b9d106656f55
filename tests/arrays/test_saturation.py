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
