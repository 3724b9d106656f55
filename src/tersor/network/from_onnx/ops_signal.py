"""Windows and Fourier transforms, as products with matrices of cosines and sines.

The length of a transform must be fixed. A product costs n^2 where a fast transform costs
n log n, but it is one operation that every engine runs fast.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.values import DTYPES, Constant, Tensor, Value

aten = torch.ops.aten
_LONGEST = 1 << 13
Floats = NDArray[np.float64]


def _constant(op: Operation, array: Floats, name: str, dtype: torch.dtype) -> Constant:
    return Constant(
        torch.from_numpy(np.ascontiguousarray(array)).to(dtype), f"{op.name}.{name}"
    )


def _window(terms: tuple[float, ...]) -> Callable[[Operation], Value]:
    """A sum of cosines: terms[0] - terms[1] cos(x) + terms[2] cos(2 x)."""

    def window(op: Operation) -> Value:
        size = int(op.number(0, 0))
        dtype = DTYPES.get(op.integer("output_datatype", 1))
        if not 0 < size < 1 << 24 or dtype is None:
            raise op.refuse(f"has a size of {size}")
        period = size if op.integer("periodic", 1) else max(size - 1, 1)
        x = 2 * np.pi * np.arange(size) / period
        waves = [(-1) ** i * term * np.cos(i * x) for i, term in enumerate(terms)]
        return _constant(op, np.sum(waves, axis=0), "window", dtype)

    return window


def mel_weight_matrix(op: Operation) -> Value:
    """MelWeightMatrix: triangles that are evenly spaced on the mel scale."""
    bins, length, rate = (int(op.number(i, 0)) for i in range(3))
    low, high = (float(op.number(i, 0)) for i in (3, 4))
    dtype = DTYPES.get(op.integer("output_datatype", 1))
    if not (0 < bins < _LONGEST and 0 < length < 1 << 20 and rate > 0) or dtype is None:
        raise op.refuse(f"has {bins} bins of a transform of {length}")
    ends = [2595 * np.log10(1 + edge / 700) for edge in (low, high)]
    mels = ends[0] + np.arange(bins + 2) * (ends[1] - ends[0]) / (bins + 2)
    places = ((length + 1) * 700 * (10 ** (mels / 2595) - 1) // rate).astype(int)
    matrix = np.zeros((length // 2 + 1, bins))
    if places.min() < 0 or places.max() > len(matrix):
        raise op.refuse("has frequencies beyond half of the sample rate")
    for i in range(bins):
        left, middle, right = places[i : i + 3]
        rise, fall = np.arange(left, middle + 1), np.arange(middle, right)
        matrix[rise, i] = (rise - left) / (middle - left) if middle > left else 1.0
        if right > middle:
            matrix[fall, i] = (right - fall) / (right - middle)
    return _constant(op, matrix, "matrix", dtype)


def _waves(rows: int, columns: int, period: int, sign: int) -> tuple[Floats, Floats]:
    """Real and imaginary parts of exp(sign * 2 pi i * row * column / period)."""
    turns = np.outer(np.arange(rows), np.arange(columns)) % period
    angles = sign * 2 * np.pi * turns / period
    return np.cos(angles), np.sin(angles)


def dft(op: Operation) -> Value:
    """DFT along one axis; the last dimension holds the real and imaginary parts."""
    x = op.tensor(0)
    rank = op.rank(x)
    axis = op.number(2, -2) if op.opset >= 20 else op.integer("axis", 1)
    axis = op.from_front(int(axis), rank)
    found, parts = op.shape(x)[axis], op.shape(x)[-1]
    inverse, onesided = bool(op.integer("inverse", 0)), bool(op.integer("onesided", 0))
    if found is None or axis == rank - 1 or parts not in {1, 2}:
        raise op.refuse("needs a fixed length, and one or two parts")
    length = int(op.number(1, 2 * (found - 1) if inverse and onesided else found))
    if not 0 < length < _LONGEST:
        raise op.refuse(f"has a length of {length}")
    x = op.call(aten.movedim.int, x, axis, -2)
    if inverse and onesided:
        result = _real_inverse(op, x, length)
    else:
        result = _transform(op, x, length, inverse=inverse, onesided=onesided)
    return op.call(aten.movedim.int, result, -2, axis)


def _transform(
    op: Operation, x: Tensor, length: int, *, inverse: bool, onesided: bool
) -> Tensor:
    """X (..., N, 1 or 2) times one matrix of real and imaginary rows and columns."""
    rows = min(op.shape(x)[-2] or 0, length)
    x = op.call(aten.slice.Tensor, x, -2, 0, rows)
    columns = length // 2 + 1 if onesided else length
    real, imaginary = _waves(rows, columns, length, 1 if inverse else -1)
    blocks = np.stack([np.stack([real, imaginary], -1), np.stack([-imaginary, real], -1)], 1)
    parts = op.shape(x)[-1] or 1
    matrix = blocks[:, :parts].reshape(rows * parts, columns * 2)
    return _times(op, x, matrix / (length if inverse else 1), [columns, 2])


def _real_inverse(op: Operation, x: Tensor, length: int) -> Tensor:
    """The real signal of one side of its spectrum: the other side mirrors it."""
    rows = min(op.shape(x)[-2] or 0, length // 2 + 1)
    x = op.call(aten.slice.Tensor, x, -2, 0, rows)
    real, imaginary = _waves(rows, length, length, 1)
    twice = np.full((rows, 1), 2.0)
    twice[0] = 1.0
    if length % 2 == 0 and rows == length // 2 + 1:
        twice[-1] = 1.0
    parts = op.shape(x)[-1] or 1
    matrix = np.stack([twice * real, -twice * imaginary], 1)[:, :parts]
    return _times(op, x, matrix.reshape(rows * parts, length) / length, [length, 1])


def _times(op: Operation, x: Tensor, matrix: Floats, shape: list[int]) -> Tensor:
    flat = op.call(aten.flatten.using_ints, x, -2, -1)
    weights = _constant(op, matrix, "waves", op.dtype(x))
    product = op.call(aten.matmul.default, flat, weights)
    sizes = [*(op.size(product, i) for i in range(op.rank(product) - 1)), *shape]
    return op.call(aten.reshape.default, product, sizes)


def stft(op: Operation) -> Value:
    """STFT of real signals: a convolution with windowed waves."""
    x, step = op.tensor(0), int(op.number(1, 0))
    parts = op.shape(x)[-1] if op.rank(x) == 3 else 1
    window = op.known(2).double().numpy() if op.has(2) else None
    length = int(op.number(3, 0)) if op.has(3) else 0 if window is None else len(window)
    if parts != 1 or not 0 < length < _LONGEST or step < 1:
        raise op.refuse("of complex signals, or of frames of unknown length, cannot be read")
    columns = length // 2 + 1 if op.integer("onesided", 1) else length
    waves = np.stack(_waves(length, columns, length, -1), axis=-1)
    if window is not None:
        waves = waves * window[:, None, None]
    kernels = waves.reshape(length, 1, columns * 2).transpose(2, 1, 0)
    if op.rank(x) == 3:
        x = op.call(aten.squeeze.dims, x, [2])
    x = op.call(aten.unsqueeze.default, x, 1)
    weights = _constant(op, kernels, "waves", op.dtype(x))
    found = op.call(aten.conv1d.default, x, weights, None, [step])
    found = op.call(aten.transpose.int, found, 1, 2)
    sizes = [op.size(found, 0), op.size(found, 1), columns, 2]
    return op.call(aten.reshape.default, found, sizes)


OPERATORS: dict[str, Callable[[Operation], Any]] = {
    "BlackmanWindow": _window((0.42, 0.5, 0.08)),
    "DFT": dft,
    "HammingWindow": _window((25 / 46, 21 / 46)),
    "HannWindow": _window((0.5, 0.5)),
    "MelWeightMatrix": mel_weight_matrix,
    "STFT": stft,
}
