"""Which samples of a data set do what, and what the networks get to see of them.

CIFAR-10    calibration: 512 of the first training batch, evenly spaced; validation: the first
            2,000 of the second training batch; test and published: the 10,000 test images
"""

import numpy as np
from numpy.typing import NDArray

from benchmarks import datasets
from tersor.data.samples import Samples
from tersor.data.split import evenly

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)
STD = np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1)


def normalised(images: Bytes) -> Floats:
    """(n, 3, h, w) bytes, scaled to [0, 1], minus the mean of ImageNet, by its deviation."""
    return np.asarray((images.astype(np.float32) / 255 - MEAN) / STD)


def as_they_are(images: Bytes) -> Floats:
    """Bytes as floats 0 ... 255."""
    return images.astype(np.float32)


def cifar10(split: str) -> tuple[Bytes, datasets.Labels]:
    """The images of a split, (n, 3, 32, 32), and their classes."""
    if split == "calibration":
        images, labels = datasets.cifar10("data_batch_1")
        rows = evenly(len(images), 512)
        return images[rows], labels[rows]
    if split == "validation":
        images, labels = datasets.cifar10("data_batch_2")
        return images[:2000], labels[:2000]
    return datasets.cifar10("test_batch")


def cifar10_normalised(split: str) -> Samples:
    """What the ResNets see."""
    images, labels = cifar10(split)
    return Samples({"image": normalised(images)}, labels)
