"""Small pictures of samples: arrays of any scale as PNG files of a few kilobytes.

PNG (ISO/IEC 15948): the signature, then chunks IHDR, IDAT, IEND, each as length, type,
data and CRC-32 of type and data. Eight bits per channel, no interlace, rows of filter type 2
("up": difference to the row above), compressed with zlib.
"""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
Pixels = NDArray[np.uint8]

MOST = 12  # pictures in one report
SIDE = 56  # pixels of the longer side
PATTERN_SIDE = 96  # of a pattern, for both sides
_COLOURS = {1: 0, 3: 2}  # channels -> colour type
_LEAST = 4  # pixels on a side below which nobody sees anything


def thumbnail(sample: Array) -> bytes | None:
    """One sample as a PNG file, its smallest value black, its largest white.

    Sides of more than 56 pixels are made shorter: means of squares of pixels.

    Args:
        sample: (H, W), (1, H, W), (3, H, W), (H, W, 1) or (H, W, 3), any numbers.

    Returns:
        The file; None if the array does not look like a picture or is not finite.
    """
    pixels = _channels_last(np.asarray(sample))
    if pixels is None or min(pixels.shape[:2]) < _LEAST * _step(pixels):
        return None
    values = _smaller(pixels.astype(np.float64))
    if not np.isfinite(values).all():
        return None
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) * (255.0 / (high - low) if high > low else 0.0)
    return png(np.rint(scaled).astype(np.uint8))


def pattern(kept: NDArray[np.bool_]) -> bytes:
    """Where a weight is not 0, as a PNG file: the darker, the more of it is kept.

    Rows are the first axis, columns all others. Where an axis is longer than 96, a pixel is
    the share kept of several neighbours; the largest share is black, none is white.

    Args:
        kept: Of any shape, not empty.
    """
    shares = kept.reshape(len(kept) if kept.ndim > 1 else 1, -1).astype(np.float64)
    for axis in (0, 1):
        size = shares.shape[axis]
        count = min(size, PATTERN_SIDE)
        edges = np.arange(count) * size // count
        widths = np.diff(edges, append=size)
        means = np.add.reduceat(shares, edges, axis) / np.expand_dims(widths, 1 - axis)
        shares = np.asarray(means, np.float64)
    grey = 255 * (1 - shares / (shares.max() or 1.0))
    return png(np.rint(grey).astype(np.uint8)[..., None])


def png(pixels: Pixels) -> bytes:
    r"""The file of an image (H, W, 1) or (H, W, 3).

    >>> png(np.zeros((1, 2, 3), np.uint8))[:8]
    b'\x89PNG\r\n\x1a\n'
    """
    height, width, channels = pixels.shape
    rows = pixels.reshape(height, width * channels)
    lines = np.full((height, 1 + width * channels), 2, np.uint8)
    lines[:, 1:] = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOURS[channels], 0, 0, 0)
    body = zlib.compress(lines.tobytes(), 9)
    chunks = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checked = kind + data
    return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))


def _channels_last(sample: Array) -> Array | None:
    """(H, W, 1) or (H, W, 3); of two readings the one with the channels first."""
    if sample.dtype.kind not in "buif":
        return None
    if sample.ndim == 2:
        return sample[..., None]
    if sample.ndim != 3:
        return None
    if sample.shape[0] in _COLOURS:
        return sample.transpose(1, 2, 0)
    return sample if sample.shape[2] in _COLOURS else None


def _step(pixels: Array) -> int:
    """How many pixels become one, on each axis, so that both sides fit."""
    longest: int = max(pixels.shape[:2])
    return -(-longest // SIDE)


def _smaller(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of squares of pixels; what is left over at the far ends is cut."""
    k = _step(pixels)
    down, across = (side // k for side in pixels.shape[:2])
    cut = pixels[: down * k, : across * k].reshape(down, k, across, k, -1)
    return np.asarray(cut.mean(axis=(1, 3)), np.float64)
