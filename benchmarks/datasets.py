"""The real data sets in ../shared/data, as they are: bytes, texts, scores, class numbers."""

import csv
import gzip
import io
import lzma
import tarfile
import wave
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SHARED = Path(__file__).parents[2] / "shared" / "data"

Bytes = NDArray[np.uint8]
Labels = NDArray[np.int64]


@lru_cache(maxsize=2)
def cifar10(part: str) -> tuple[Bytes, Labels]:
    """10,000 RGB images (n, 3, 32, 32) and their classes.

    Args:
        part: "test_batch" or "data_batch_1" ... "data_batch_5".
    """
    packed = (SHARED / "cifar10" / f"{part}.dlt.xz").read_bytes()
    raw = np.frombuffer(lzma.decompress(packed), np.uint8)
    labels, differences = raw[:10000], raw[10000:].reshape(10000, 3, 32, 32)
    rows = np.cumsum(differences, axis=2, dtype=np.uint8)
    images = np.cumsum(rows, axis=3, dtype=np.uint8)
    images[:, 0] += images[:, 1]
    images[:, 2] += images[:, 1]
    return images, labels.astype(np.int64)


def mnist(part: str) -> tuple[Bytes, Labels]:
    """All grey images (n, 1, 28, 28) of a part, "train" or "t10k", and their digits."""
    folder = SHARED / "mnist"
    images = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    pixels = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 1, 28, 28)
    return pixels, np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)


@lru_cache(maxsize=1)
def imagenet() -> tuple[Bytes, Labels]:
    """500 RGB images (500, 3, 256, 256), sorted by class, each of another class of 1000.

    JPEG is decoded by pillow without scaling, so that the bytes depend on libjpeg alone.
    """
    from PIL import Image

    folder = SHARED / "imagenet_sample"
    with (folder / "labels.tsv").open(newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        labels = {row["file"]: int(row["class_index"]) for row in rows}
    images = np.empty((len(labels), 3, 256, 256), np.uint8)
    with tarfile.open(folder / "images.tar") as tar:
        for i, name in enumerate(labels):
            packed = tar.extractfile(name)
            assert packed is not None
            pixels = np.asarray(Image.open(packed).convert("RGB"))
            images[i] = pixels.transpose(2, 0, 1)
    return images, np.array(list(labels.values()))


@dataclass(frozen=True)
class Pairs:
    """Pairs of texts and how alike they mean, 0 ... 5."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    scores: NDArray[np.float64]


def stsb(part: str) -> Pairs:
    """The pairs of "train" (5,749), "dev" (1,500) or "test" (1,379)."""
    packed = (SHARED / "stsb" / f"sts-{part}.tsv.gz").read_bytes()
    lines = gzip.decompress(packed).decode().splitlines()
    rows = [line.split("\t") for line in lines]
    first, second = tuple(row[5] for row in rows), tuple(row[6] for row in rows)
    return Pairs(first, second, np.array([float(row[4]) for row in rows]))


@dataclass(frozen=True)
class Recording:
    """A spoken digit: 16-bit samples at 8 kHz in [-1, 1), who spoke, and the how manieth."""

    digit: int
    speaker: str
    index: int
    sound: NDArray[np.float32]


@lru_cache(maxsize=1)
def spoken_digits() -> tuple[Recording, ...]:
    """1,500 recordings: 10 digits, 3 speakers, index 0 ... 49, in that order."""
    found = []
    for path in sorted((SHARED / "fsdd").glob("*.tar.xz")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".wav"):
                    packed = tar.extractfile(member)
                    assert packed is not None
                    found.append(_recording(Path(member.name).stem, packed.read()))
    return tuple(sorted(found, key=lambda r: (r.digit, r.speaker, r.index)))


def _recording(name: str, packed: bytes) -> Recording:
    digit, speaker, index = name.split("_")
    with wave.open(io.BytesIO(packed)) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (8000, 2, 1)
        frames = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return Recording(
        int(digit), speaker, int(index), frames.astype(np.float32) / np.float32(32768)
    )
