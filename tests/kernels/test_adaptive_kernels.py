"""The adaptive coders: the native ones are their twins, bit by bit; no payload does harm."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tersor.kernels as kernels
from tersor.errors import FormatError
from tersor.kernels import reference_adaptive as adaptive
from tersor.kernels import reference_context, reference_lanes, reference_mixing
from tersor.kernels.choose import choice, module
from tersor.kernels.reference_adaptive import Shape


@dataclass(frozen=True)
class Coder:
    encode: Any
    decode: Any
    twin_encode: Any
    twin_decode: Any


CODERS = {
    "context": Coder(
        kernels.context_encode,
        kernels.context_decode,
        reference_context.context_encode,
        reference_context.context_decode,
    ),
    "mixing": Coder(
        kernels.mixing_encode,
        kernels.mixing_decode,
        reference_mixing.mixing_encode,
        reference_mixing.mixing_decode,
    ),
    "lanes": Coder(
        kernels.lanes_encode,
        kernels.lanes_decode,
        reference_lanes.lanes_encode,
        reference_lanes.lanes_decode,
    ),
}
coders = pytest.mark.parametrize("coder", CODERS.values(), ids=CODERS)
native_only = pytest.mark.skipif(module() is None, reason=choice().why)


@st.composite
def tensors(draw):
    """Values of some tensors, and their shapes."""
    shapes, values = [], []
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(1, 3))):
        channels, kernel = draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 9]))
        rows = draw(st.integers(1, 4))
        size = max(channels * kernel, rows * channels * kernel - draw(st.integers(0, 3)))
        shapes.append(Shape(size, channels, kernel, draw(st.integers(1, 3))))
        spread = draw(st.sampled_from([0.0, 0.3, 2.0, 40.0, 900.0]))
        values.append(np.clip(rng.normal(0, spread, size).round(), -255, 255))
    return np.concatenate(values).astype(np.int16), shapes


def decoded(coder, payload, shapes, size):
    target = np.full(size, 99, np.int16)
    coder.decode(np.frombuffer(payload, np.uint8), shapes, target)
    return target


@coders
@settings(max_examples=25, deadline=None)
@given(tensors())
def test_the_twin_gives_the_values_back(coder, case):
    values, shapes = case
    target = np.full(values.size, 99, np.int16)
    payload = coder.twin_encode(values, shapes)
    assert coder.twin_decode(payload, shapes, target)
    np.testing.assert_array_equal(target, values)


@native_only
@coders
@settings(max_examples=25, deadline=None)
@given(tensors())
def test_the_native_payload_is_that_of_the_twin(coder, case):
    values, shapes = case
    payload = coder.encode(values, shapes, 10_000)
    assert payload == coder.twin_encode(values, shapes)
    np.testing.assert_array_equal(decoded(coder, payload, shapes, values.size), values)


@native_only
@coders
@settings(max_examples=25, deadline=None)
@given(tensors(), st.binary(max_size=60))
def test_any_payload_means_the_same_to_both(coder, case, payload):
    values, shapes = case
    target = np.full(values.size, 99, np.int16)
    fine = coder.twin_decode(payload, shapes, target)
    try:
        found = decoded(coder, payload, shapes, values.size)
    except FormatError:
        assert not fine
    else:
        assert fine
        np.testing.assert_array_equal(found, target)


@coders
@settings(max_examples=25, deadline=None)
@given(tensors())
def test_zeros_that_are_left_over_are_refused(coder, case):
    values, shapes = case
    payload = coder.encode(values, shapes, 10_000)
    with pytest.raises(FormatError, match="damaged"):
        decoded(coder, payload + b"\0", shapes, values.size)


@coders
def test_what_takes_more_than_its_room_is_not_written(coder):
    values = np.random.default_rng(0).integers(-255, 256, 500).astype(np.int16)
    shapes = [Shape(500, 10, 1, 1)]
    payload = coder.encode(values, shapes, 10_000)
    assert coder.encode(values, shapes, len(payload)) == payload
    assert coder.encode(values, shapes, len(payload) - 1) is None


def test_buckets_cover_every_magnitude_once():
    for rest in range(256):
        least, bits = adaptive.bounds(adaptive.bucket(rest))
        assert least <= rest < least + (1 << bits)
    assert [adaptive.bucket(rest) for rest in (0, 3, 4, 6, 8, 12, 255)] == [
        0,
        3,
        4,
        5,
        6,
        7,
        15,
    ]


def test_a_logarithm_is_right_to_an_eighth_of_its_octave():
    numbers = np.arange(4, 65536)
    found = np.array([adaptive.logarithm(n) for n in numbers.tolist()])
    octaves, rest = np.divmod(np.log2(numbers + 4), 1)
    np.testing.assert_array_equal(found, 8 * octaves + np.floor(8 * (2**rest - 1) + 1e-9))
    assert [adaptive.logarithm(n) for n in range(4)] == [20, 21, 22, 23]


def test_the_last_bytes_are_the_shortest_number_in_the_interval():
    assert adaptive.shortest(0, 5) == (0, 0)
    assert adaptive.shortest(1, 2**32 - 1) == (2**24, 1)
    assert adaptive.shortest(0x12340001, 0x1235FFFF) == (0x12350000, 2)
    assert adaptive.shortest(7, 7) == (7, 4)


@coders
def test_rows_that_resemble_each_other_take_less_than_their_entropy(coder):
    """Columns of very different spread: what lies above tells how large a value will be."""
    rng = np.random.default_rng(0)
    spread = np.where(np.arange(64) % 8 == 0, 20.0, 0.5)
    values = rng.normal(0, spread, (100, 64)).round().clip(-255, 255).astype(np.int16)
    _, counts = np.unique(values, return_counts=True)
    entropy = -(counts * np.log2(counts / counts.sum())).sum() / 8
    payload = coder.encode(values.reshape(-1), [Shape(6400, 64, 1, 1)], 10_000)
    assert len(payload) < 0.9 * entropy


def test_places_of_a_large_kernel_share_their_weights_and_later_tensors_get_them():
    """More places than have weights of their own; then kernels of another size."""
    rng = np.random.default_rng(1)
    shapes = [Shape(300, 2, 75, 5), Shape(90, 5, 9, 3), Shape(90, 5, 9, 3), Shape(40, 8, 1, 1)]
    values = rng.normal(0, 3, 520).round().astype(np.int16)
    coder = CODERS["mixing"]
    payload = coder.encode(values, shapes, 1000)
    assert payload == coder.twin_encode(values, shapes)
    np.testing.assert_array_equal(decoded(coder, payload, shapes, 520), values)


def test_mixing_takes_less_than_context_where_a_kernel_is_smooth():
    """Half of a value is a part of the one before it in the kernel: its sign, too."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 3, (200, 9))
    for place in range(1, 9):
        noise[:, place] += 0.9 * noise[:, place - 1]
    values = noise.round().clip(-255, 255).astype(np.int16).reshape(-1)
    sizes = {
        name: len(coder.encode(values, [Shape(1800, 10, 9, 3)], 10_000))
        for name, coder in CODERS.items()
    }
    assert sizes["mixing"] < 0.97 * sizes["context"]


def test_squash_is_the_logistic_function():
    """To the error of a chord of half a unit: (1/2)^2 / 8 times the second derivative."""
    second = 1 / (6 * math.sqrt(3))  # the largest of p (1 - p) (1 - 2 p)
    logits = np.arange(-2047, 2048)
    found = np.array([reference_mixing.squash(logit) for logit in logits.tolist()])
    wanted = 65536 / (1 + np.exp(-logits / 256))
    assert np.abs(found - wanted).max() < 65536 * second / 32 + 1.5
    assert (np.diff(found) >= 0).all()


def test_stretch_is_the_reverse_of_squash():
    stretched = reference_mixing.STRETCH
    assert len(stretched) == 4096
    first, last = reference_mixing.squash(-2047) >> 4, reference_mixing.squash(2047) >> 4
    for probability in range(first, last + 1):
        logit = stretched[probability]
        assert reference_mixing.squash(logit) >> 4 >= probability
        assert logit == -2047 or reference_mixing.squash(logit - 1) >> 4 < probability
