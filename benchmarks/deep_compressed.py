"""SqueezeNet 1.0 as Han et al. published it, pruned and with shared values: the whole file.

Per layer a codebook of 256 floats, a bias, and for each stored entry its place in the codebook
(one byte) and how many entries that are not stored lie before it (four bits). An entry that
is not stored is codebook[0], which is 0.

Source: Han, Mao, Dally, "Deep compression", ICLR 2016, arXiv:1510.00149; the file is that of
songhan/SqueezeNet-Deep-Compression.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_SQUEEZED = (16, 16, 32, 32, 48, 48, 64, 64)
_CODEBOOK = 256


def layers() -> list[tuple[int, ...]]:
    """The shapes of the 26 weights, in order."""
    shapes: list[tuple[int, ...]] = [(96, 3, 7, 7)]
    before = 96
    for squeezed in _SQUEEZED:
        wide = 4 * squeezed
        shapes += [(squeezed, before, 1, 1), (wide, squeezed, 1, 1), (wide, squeezed, 3, 3)]
        before = 2 * wide
    return [*shapes, (1000, 512, 1, 1)]


def read(path: Path) -> list[tuple[Array, Array, Array]]:
    """Per layer the codes, of the weight's shape, the codebook and the bias."""
    data = path.read_bytes()
    shapes, at = layers(), 4 * 26
    found = []
    for shape, count in zip(shapes, np.frombuffer(data, "<u4", 26).tolist(), strict=True):
        codebook = np.frombuffer(data, "<f4", _CODEBOOK, at)
        at += 4 * _CODEBOOK
        bias = np.frombuffer(data, "<f4", shape[0], at)
        at += 4 * shape[0]
        entries = np.frombuffer(data, np.uint8, count, at)
        packed = np.frombuffer(data, np.uint8, (count + 1) // 2, at + count)
        at += count + len(packed)
        gaps = np.stack([packed & 15, packed >> 4], 1).reshape(-1)[:count].astype(np.int64)
        codes = np.zeros(int(np.prod(shape)), np.uint8)
        codes[np.cumsum(gaps + 1) - 1] = entries
        found.append((codes.reshape(shape), codebook, bias))
    assert at == len(data)
    return found


def ranked(codes: Array, codebook: Array) -> tuple[Array, Array]:
    """Codes in the order of their values, uint8, and the values that occur in that order.

    `values[ranks]` is the weight, bit by bit; of -0.0 and 0.0 only the latter may occur.
    """
    weight = codebook[codes]
    assert not np.signbit(weight[weight == 0]).any()
    values, ranks = np.unique(weight, return_inverse=True)
    return ranks.reshape(codes.shape).astype(np.uint8), values


def tensors(path: Path) -> dict[str, Array]:
    """What is needed to have all weights and biases back: ranks, values and biases by name."""
    found: dict[str, Array] = {}
    for number, (codes, codebook, bias) in enumerate(read(path)):
        ranks, values = ranked(codes, codebook)
        found |= {f"{number}.w": ranks, f"{number}.v": values, f"{number}.b": bias.copy()}
    return found
