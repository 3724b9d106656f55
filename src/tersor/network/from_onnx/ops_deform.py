"""DeformConv: a convolution that reads its input beside the places of its window.

Each place of the window is moved by its own offset, at every position of the result, and the
image is interpolated there, with zeros around it:

    y(p) = sum over k of w_k * m_k(p) * x(stride * p - pad + dilation * k + offset_k(p))

It is read as sampling of the image at all places of all windows, and a convolution of one by
one over what was sampled.

Source: Dai et al., arXiv:1703.06211; with masks m: Zhu et al., arXiv:1811.11168.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.values import Constant, Tensor, Value

aten = torch.ops.aten
_LARGEST = 1 << 24  # places of all windows of an image


def deform_conv(op: Operation) -> Value:
    """DeformConv of images."""
    x, weight, offset = (op.tensor(i) for i in range(3))
    if op.rank(x) != 4 or op.rank(offset) != 4:
        raise op.refuse(f"of {op.rank(x)} dimensions cannot be read")
    channels, *image = _fixed(op, x)
    _, *out = _fixed(op, offset)
    filters, depth, *kernel = op.fixed_shape(weight)
    places = int(np.prod(kernel))
    if places * out[0] * out[1] > _LARGEST:
        raise op.refuse(f"reads {places} places for each of {out} positions")
    parts, rows = op.integer("offset_group", 1), places * out[0]
    moved = op.call(aten.reshape.default, offset, [-1, places, 2, *out])
    grid = _grid(op, moved, image, _windows(op, kernel, out))
    grid = op.call(aten.reshape.default, grid, [-1, rows, out[1], 2])
    images = op.call(aten.reshape.default, x, [-1, channels // parts, *image])
    seen = op.call(aten.grid_sampler_2d.default, images, grid, 0, 0, False)  # noqa: FBT003
    if op.has(4):
        mask = op.call(aten.reshape.default, op.tensor(4), [-1, 1, rows, out[1]])
        seen = op.call(aten.mul.Tensor, seen, mask)
    seen = op.call(aten.reshape.default, seen, [-1, channels * places, *out])
    flat = op.call(aten.reshape.default, weight, [filters, depth * places, 1, 1])
    rest = ([1, 1], [0, 0], [1, 1], op.integer("group", 1))
    return op.call(aten.conv2d.default, seen, flat, op.maybe(3), *rest)


def _fixed(op: Operation, value: Tensor) -> list[int]:
    """Sizes but for the first, all of which must be fixed."""
    sizes = [size for size in op.shape(value)[1:] if size is not None]
    if len(sizes) < 3:
        raise op.refuse("needs fixed sizes here, but some vary")
    return sizes


def _windows(op: Operation, kernel: list[int], out: list[int]) -> NDArray[np.float64]:
    """Row and column of each place of each window, (places, 2, height, width)."""
    strides, dilations = (op.integers(n, [1, 1]) or [1, 1] for n in ("strides", "dilations"))
    pads = op.integers("pads", [0] * 4) or [0] * 4
    axes = [
        np.arange(kernel[i])[:, None] * dilations[i] + np.arange(out[i]) * strides[i] - pads[i]
        for i in (0, 1)
    ]
    shape = (*kernel, *out)
    rows = np.broadcast_to(axes[0][:, None, :, None], shape)
    columns = np.broadcast_to(axes[1][None, :, None, :], shape)
    return np.stack([rows, columns], axis=2).reshape(-1, 2, *out).astype(np.float64)


def _grid(
    op: Operation, moved: Tensor, image: list[int], windows: NDArray[np.float64]
) -> Tensor:
    """Where to sample: x and y last, from -1 to 1 over the image and its outermost edges."""
    per_axis = np.array(image).reshape(2, 1, 1)
    starts = (2 * windows + 1) / per_axis - 1
    dtype = op.dtype(moved)
    scale = Constant(torch.from_numpy(2 / per_axis).to(dtype), f"{op.name}.scale")
    start = Constant(torch.from_numpy(starts).to(dtype), f"{op.name}.start")
    scaled = op.call(aten.mul.Tensor, moved, scale)
    grid = op.call(aten.add.Tensor, scaled, start)
    y, x = (op.call(aten.select.int, grid, 2, i) for i in (0, 1))
    return op.call(aten.stack.default, [x, y], -1)


OPERATORS: dict[str, Callable[[Operation], Any]] = {"DeformConv": deform_conv}
