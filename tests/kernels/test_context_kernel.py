"""The context coder: the native one is its twin, bit by bit, and no payload does harm."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tersor.kernels as kernels
from tersor.errors import FormatError
from tersor.kernels import reference_context as twin
from tersor.kernels.choose import choice, module
from tersor.kernels.reference_context import Shape

native_only = pytest.mark.skipif(module() is None, reason=choice().why)


@st.composite
def tensors(draw):
    """Values of some tensors, and their shapes."""
    shapes, values = [], []
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(1, 3))):
        channels, kernel = draw(st.integers(1, 5)), draw(st.sampled_from([1, 2, 9]))
        rows = draw(st.integers(1, 6))
        size = max(channels * kernel, rows * channels * kernel - draw(st.integers(0, 3)))
        shapes.append(Shape(size, channels, kernel, draw(st.integers(1, 3))))
        spread = draw(st.sampled_from([0.0, 0.3, 2.0, 40.0, 900.0]))
        values.append(np.clip(rng.normal(0, spread, size).round(), -255, 255))
    return np.concatenate(values).astype(np.int16), shapes


def decoded(payload, shapes, size):
    target = np.full(size, 99, np.int16)
    kernels.context_decode(np.frombuffer(payload, np.uint8), shapes, target)
    return target


@given(tensors())
def test_the_twin_gives_the_values_back(case):
    values, shapes = case
    target = np.full(values.size, 99, np.int16)
    payload = twin.context_encode(values, shapes)
    assert twin.context_decode(payload, shapes, target)
    np.testing.assert_array_equal(target, values)


@native_only
@given(tensors())
def test_the_native_payload_is_that_of_the_twin(case):
    values, shapes = case
    payload = kernels.context_encode(values, shapes, 10_000)
    assert payload == twin.context_encode(values, shapes)
    np.testing.assert_array_equal(decoded(payload, shapes, values.size), values)


@native_only
@given(tensors(), st.binary(max_size=60))
def test_any_payload_means_the_same_to_both(case, payload):
    values, shapes = case
    target = np.full(values.size, 99, np.int16)
    fine = twin.context_decode(payload, shapes, target)
    try:
        found = decoded(payload, shapes, values.size)
    except FormatError:
        assert not fine
    else:
        assert fine
        np.testing.assert_array_equal(found, target)


@given(tensors())
def test_zeros_that_are_left_over_are_refused(case):
    values, shapes = case
    payload = kernels.context_encode(values, shapes, 10_000)
    with pytest.raises(FormatError, match="damaged"):
        decoded(payload + b"\0", shapes, values.size)


def test_what_takes_more_than_its_room_is_not_written():
    values = np.random.default_rng(0).integers(-255, 256, 500).astype(np.int16)
    shapes = [Shape(500, 10, 1, 1)]
    payload = kernels.context_encode(values, shapes, 10_000)
    assert kernels.context_encode(values, shapes, len(payload)) == payload
    assert kernels.context_encode(values, shapes, len(payload) - 1) is None


def test_buckets_cover_every_magnitude_once():
    for rest in range(256):
        least, bits = twin.bounds(twin.bucket(rest))
        assert least <= rest < least + (1 << bits)
    assert [twin.bucket(rest) for rest in (0, 3, 4, 6, 8, 12, 255)] == [0, 3, 4, 5, 6, 7, 15]


def test_a_logarithm_is_right_to_an_eighth_of_its_octave():
    numbers = np.arange(4, 65536)
    found = np.array([twin.logarithm(n) for n in numbers.tolist()])
    octaves, rest = np.divmod(np.log2(numbers + 4), 1)
    np.testing.assert_array_equal(found, 8 * octaves + np.floor(8 * (2**rest - 1) + 1e-9))
    assert [twin.logarithm(n) for n in range(4)] == [20, 21, 22, 23]


def test_the_last_bytes_are_the_shortest_number_in_the_interval():
    assert twin.shortest(0, 5) == (0, 0)
    assert twin.shortest(1, 2**32 - 1) == (2**24, 1)
    assert twin.shortest(0x12340001, 0x1235FFFF) == (0x12350000, 2)
    assert twin.shortest(7, 7) == (7, 4)


def test_rows_that_resemble_each_other_take_less_than_their_entropy():
    """Columns of very different spread: what lies above tells how large a value will be."""
    rng = np.random.default_rng(0)
    spread = np.where(np.arange(64) % 8 == 0, 20.0, 0.5)
    values = rng.normal(0, spread, (100, 64)).round().clip(-255, 255).astype(np.int16)
    _, counts = np.unique(values, return_counts=True)
    entropy = -(counts * np.log2(counts / counts.sum())).sum() / 8
    payload = kernels.context_encode(values.reshape(-1), [Shape(6400, 64, 1, 1)], 10_000)
    assert len(payload) < 0.9 * entropy
