"""`train.augment`: images change, by as much as asked, and in every step anew."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from tersor.errors import InputError, ModelError
from tersor.methods.train.augment import Augment
from tersor.testing.networks import convolutional, perceptron
from tersor.train.during import Run

IMAGES = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def changed(step=0, images=IMAGES, **settings):
    run = Run(convolutional(), steps=10, epochs=1, samples=40, seed=0, step=step)
    (found,) = Augment(**settings).start(run).inputs([images])
    return found


def moved(image, down, right):
    """The image with its edge repeated, cut out elsewhere."""
    padded = np.pad(image, ((0, 0), (8, 8), (8, 8)), mode="edge")
    return padded[:, 8 + down : 16 + down, 8 + right : 16 + right]


@pytest.mark.parametrize("flip", [False, True])
def test_every_image_is_shifted_by_whole_pixels_and_perhaps_mirrored(flip):
    seen = set()
    for image, found in zip(IMAGES.numpy(), changed(shift=2, flip=flip).numpy(), strict=True):
        hits = {
            (down, right, side)
            for down in range(-2, 3)
            for right in range(-2, 3)
            for side in ((1, -1) if flip else (1,))
            if np.array_equal(found[:, :, ::side], moved(image, down, right))
        }
        assert len(hits) == 1
        seen |= hits
    assert len({hit[:2] for hit in seen}) > 10
    assert {hit[2] for hit in seen} == ({1, -1} if flip else {1})


def test_turned_images_are_those_of_another_library():
    """About the middle, each by its own angle of at most 20 degrees."""
    smooth = ndimage.gaussian_filter(
        np.random.default_rng(0).random((6, 1, 8, 8)), (0, 0, 1, 1)
    )
    images = torch.from_numpy(smooth.astype(np.float32))
    found = changed(images=images, shift=0, turn=20).numpy()
    angles = np.linspace(-20, 20, 401)
    best = []
    for image, turned in zip(smooth[:, 0], found[:, 0], strict=True):
        errors = [
            np.abs(
                ndimage.rotate(image, a, reshape=False, order=1, mode="nearest") - turned
            ).max()
            for a in angles
        ]
        best.append(angles[np.argmin(errors)])
        assert min(errors) < 1e-3
    assert max(best) - min(best) > 5


def test_a_turn_shifts_and_mirrors_too():
    still = changed(shift=0, turn=1e-6).numpy()
    assert np.abs(still - IMAGES.numpy()).max() < 1e-4
    mirrored = changed(shift=0, turn=1e-6, flip=True).numpy()
    sides = [
        np.abs(m - i[:, :, ::-1]).max() < 1e-4
        for m, i in zip(mirrored, IMAGES.numpy(), strict=True)
    ]
    assert 5 < sum(sides) < 35
    shifted = changed(shift=2, turn=1e-6)
    assert (shifted - IMAGES).abs().amax((1, 2, 3)).min() > 1e-3


def test_each_step_draws_anew_and_the_same_step_the_same():
    assert torch.equal(changed(3), changed(3))
    assert not torch.equal(changed(3), changed(4))


def test_the_order_of_channels_in_memory_stays():
    images = IMAGES.contiguous(memory_format=torch.channels_last)
    for turn in (0, 5):
        found = changed(images=images, turn=turn)
        assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(changed(images=images), changed())


def test_networks_without_images_are_refused():
    run = Run(perceptron(), steps=1, epochs=1, samples=1, seed=0)
    with pytest.raises(ModelError, match="takes no images"):
        Augment().start(run)


@pytest.mark.parametrize(
    ("setting", "value"), [("shift", -1), ("turn", -1.0), ("turn", 181.0)]
)
def test_settings_out_of_range_are_refused(setting, value):
    with pytest.raises(InputError, match=setting):
        Augment(**{setting: value})
