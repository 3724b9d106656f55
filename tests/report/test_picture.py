"""Pictures: read back by another library, any layout, small."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from tersor.report.picture import PATTERN_SIDE, SIDE, pattern, png, thumbnail


def read(data):
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.mode, np.asarray(image)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (32, 32)])
def test_pixels_come_back(channels, mode, size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, channels), dtype=np.uint8)
    found, back = read(png(pixels))
    assert found == mode
    assert np.array_equal(back.reshape(pixels.shape), pixels)


@pytest.mark.parametrize("shape", [(8, 6), (1, 8, 6), (3, 8, 6), (8, 6, 1), (8, 6, 3)])
def test_every_layout_of_an_image_is_scaled_by_its_own_range(shape):
    sample = np.random.default_rng(1).normal(3.0, 2.0, shape).astype(np.float32)
    _, pixels = read(thumbnail(sample))
    last = sample.transpose(1, 2, 0) if shape[0] in {1, 3} else sample
    wanted = (last - sample.min()) / (sample.max() - sample.min()) * 255
    assert pixels.shape[:2] == (8, 6)
    assert (pixels.min(), pixels.max()) == (0, 255)
    # half a step of rounding, and float32 against float64 on 255 steps
    assert np.abs(pixels.reshape(last.shape) - wanted).max() <= 0.5 + 1e-3


def test_a_large_image_becomes_the_means_of_squares():
    sample = np.zeros((3, 224, 170))
    sample[:, :4, :4] = 1.0
    sample[:, :4, 4:8] = np.eye(4)
    _, pixels = read(thumbnail(sample))
    assert pixels.shape == (SIDE, 42, 3)
    assert (pixels[0, 0] == 255).all()
    assert (pixels[0, 1] == round(255 / 4)).all()
    assert (pixels[1:] == 0).all()


def test_one_level_is_black_and_noise_is_still_small():
    assert read(thumbnail(np.full((3, 8, 8), 7.0)))[1].max() == 0
    noise = np.random.default_rng(0).normal(size=(3, 500, 500))
    assert len(thumbnail(noise)) < 3 * SIDE * SIDE * 1.05


@pytest.mark.parametrize(
    "odd",
    [np.zeros(9), np.zeros((4, 8, 8)), np.zeros((2, 3, 8, 8)), np.zeros((3, 2, 8)),
     np.zeros((3, 8, 400)), np.full((3, 8, 8), np.nan), np.full((8, 8), "a")],
)  # fmt: skip
def test_what_is_no_picture_is_none(odd):
    assert thumbnail(odd) is None


def test_a_pattern_is_black_where_a_weight_is_kept():
    kept = np.random.default_rng(0).random((5, 3, 2, 2)) < 0.5
    _, pixels = read(pattern(kept))
    assert np.array_equal(pixels, np.where(kept.reshape(5, 12), 0, 255))
    assert read(pattern(np.array([True, False, True])))[1].tolist() == [[0, 255, 0]]
    assert (read(pattern(np.zeros((4, 4), bool)))[1] == 255).all()


def test_a_large_pattern_shows_the_share_kept_of_every_neighbourhood():
    kept = np.random.default_rng(1).random((200, 1000)) < 0.1
    _, pixels = read(pattern(kept))
    assert pixels.shape == (PATTERN_SIDE, PATTERN_SIDE)
    rows = [i * 200 // PATTERN_SIDE for i in range(PATTERN_SIDE + 1)]
    columns = [i * 1000 // PATTERN_SIDE for i in range(PATTERN_SIDE + 1)]
    shares = [
        [kept[a:b, c:d].mean() for c, d in itertools.pairwise(columns)]
        for a, b in itertools.pairwise(rows)
    ]
    wanted = 255 * (1 - np.array(shares) / np.max(shares))
    assert np.abs(pixels - wanted).max() <= 0.5 + 1e-9  # half a step of rounding
    assert len(pattern(kept)) < 1.1 * PATTERN_SIDE**2
