"""The real data sets that benchmarks and tests use, as `Samples`."""

import lzma
from pathlib import Path

import numpy as np

from tersor.data.samples import Samples

SHARED = Path(__file__).parents[2] / "shared" / "data"

_MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)
_STD = np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1)


def cifar10(part: str, shared_data: Path = SHARED, *, name: str = "x") -> Samples:
    """10,000 normalised images (n, 3, 32, 32) float32 with labels.

    Args:
        part: "test_batch" or "data_batch_1" ... "data_batch_5".
        shared_data: The folder of data sets.
        name: Name of the model's input.
    """
    packed = (shared_data / "cifar10" / f"{part}.dlt.xz").read_bytes()
    raw = np.frombuffer(lzma.decompress(packed), np.uint8)
    labels, differences = raw[:10000], raw[10000:].reshape(10000, 3, 32, 32)
    rows = np.cumsum(differences, axis=2, dtype=np.uint8)
    images = np.cumsum(rows, axis=3, dtype=np.uint8)
    images[:, 0] += images[:, 1]
    images[:, 2] += images[:, 1]
    normalised = (images.astype(np.float32) / 255 - _MEAN) / _STD
    return Samples({name: normalised}, labels.astype(np.int64))
