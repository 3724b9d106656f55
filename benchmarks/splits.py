"""Which samples of a data set do what, and what the networks get to see of them.

CIFAR-10    calibration: 512 of the first training batch, evenly spaced; validation: the first
            2,000 of the second training batch; test and published: the 10,000 test images
MNIST       calibration: 512 of the first 10,000 training images, evenly spaced; validation:
            the 2,000 training images after these; test and published: the 10,000 test images
ImageNet    500 images, one of a class and sorted by class, so that no part can hold all
            classes. Of each five neighbours the first calibrates, the second validates and
            the other three test: every part covers the range of classes evenly, and the drop
            is measured on 300 images that chose nothing. Calibration takes three views of its
            100 images: centre, centre mirrored, upper left corner mirrored: 300 samples.
            Published are the centres of all 500. A crop is 224 x 224 of 256 x 256.
Digits      recordings of index 10 ... 49 of each digit and speaker train the network, 300 of
            them, evenly spaced, calibrate; index 5 ... 9 validate (150); index 0 ... 4, the
            usual test part, test (150), and are those published
STS-B       calibration: 256 of the training pairs, evenly spaced; validation: the 1,500 pairs
            of dev; test and published: the 1,379 pairs of test. 64 tokens, cut or padded.

Images are decoded bytes until a batch asks for them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks import datasets
from benchmarks.datasets import Bytes, Labels
from benchmarks.features import log_mel, one_second
from benchmarks.spacing import evenly
from benchmarks.tokens import tokens
from tersor.data.lazy import lazy
from tersor.data.samples import Samples

Floats = NDArray[np.float32]
See = Callable[[Any], Floats]

_MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)
_STD = np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1)
_CROP = 224


def normalised(images: Bytes) -> Floats:
    """(n, 3, h, w) bytes, scaled to [0, 1], minus the mean of ImageNet, by its deviation."""
    return np.asarray((images.astype(np.float32) / 255 - _MEAN) / _STD)


def unit(images: Bytes) -> Floats:
    """Bytes scaled to [0, 1]."""
    return np.asarray(images.astype(np.float32) / 255)


def centred(images: Bytes) -> Floats:
    """Bytes scaled to [-1, 1]."""
    return np.asarray(images.astype(np.float32) / np.float32(127.5) - 1)


def unscaled(images: Bytes) -> Floats:
    """Bytes as floats 0 ... 255."""
    return images.astype(np.float32)


def cifar10(see: See) -> Callable[[str], Samples]:
    """How to read the splits of CIFAR-10, with `see` applied to (n, 3, 32, 32) bytes."""
    return partial(_classified, see, _cifar10)


def mnist(see: See) -> Callable[[str], Samples]:
    """How to read the splits of MNIST, with `see` applied to (n, 1, 28, 28) bytes."""
    return partial(_classified, see, _mnist)


def imagenet(see: See, *, background: bool = False) -> Callable[[str], Samples]:
    """How to read the splits of ImageNet, with `see` applied to (n, 3, 224, 224) bytes.

    Args:
        see: What the network gets to see.
        background: Whether its class 0 is the background, and all others come one later.
    """
    return partial(_classified, see, partial(_imagenet, int(background)))


def digits(split: str) -> Samples:
    """Features (n, FRAMES, MELS) of spoken digits."""
    if split == "calibration":
        sounds, labels = spoken(range(10, 50))
        rows = evenly(len(sounds), 300)
        sounds, labels = sounds[rows], labels[rows]
    else:
        sounds, labels = spoken(range(5, 10) if split == "validation" else range(5))
    return Samples({"features": log_mel(sounds)}, labels)


def spoken(indices: range) -> tuple[Floats, Labels]:
    """The recordings of these indices: (n, LENGTH) sounds of a second, and their digits."""
    chosen = [r for r in datasets.spoken_digits() if r.index in indices]
    sounds = np.stack([one_second(r.sound) for r in chosen])
    return sounds, np.array([r.digit for r in chosen])


def stsb(split: str) -> Samples:
    """Tokens of texts, pair after pair: rows 2 i and 2 i + 1 carry the label of pair i."""
    part = {"calibration": "train", "validation": "dev"}.get(split, "test")
    pairs = datasets.stsb(part)
    count = len(pairs.scores)
    rows = evenly(count, 256 if split == "calibration" else count)
    texts = [text for i in rows for text in (pairs.first[i], pairs.second[i])]
    return Samples(tokens(texts), np.repeat(pairs.scores[rows], 2))


def _classified(see: See, read: Callable[[str], tuple[Bytes, Labels]], split: str) -> Samples:
    images, labels = read(split)
    seen = lazy(images).changed(lambda some, _: see(some), np.float32)
    return Samples({"image": cast(Any, seen)}, labels)


def _cifar10(split: str) -> tuple[Bytes, Labels]:
    if split == "calibration":
        images, labels = datasets.cifar10("data_batch_1")
        rows = evenly(len(images), 512)
        return images[rows], labels[rows]
    if split == "validation":
        images, labels = datasets.cifar10("data_batch_2")
        return images[:2000], labels[:2000]
    return datasets.cifar10("test_batch")


def _mnist(split: str) -> tuple[Bytes, Labels]:
    if split not in ("calibration", "validation"):
        return datasets.mnist("t10k")
    images, labels = datasets.mnist("train")
    rows = evenly(10_000, 512) if split == "calibration" else np.arange(10_000, 12_000)
    return images[rows], labels[rows]


def _imagenet(shift: int, split: str) -> tuple[Bytes, Labels]:
    images, labels = datasets.imagenet()
    centre = _crop(images, (256 - _CROP) // 2)
    place = np.arange(len(images)) % 5
    if split == "published":
        return centre, labels + shift
    if split == "calibration":
        corner = _crop(images, 0)
        views = [centre, centre[..., ::-1], corner[..., ::-1]]
        seen = np.concatenate([view[place == 0] for view in views])
        return seen, np.tile(labels[place == 0], len(views)) + shift
    rows = place == 1 if split == "validation" else place > 1
    return centre[rows], labels[rows] + shift


def _crop(images: Bytes, start: int) -> Bytes:
    part = slice(start, start + _CROP)
    return images[:, :, part, part]
