"""Operators on the positions of images."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tersor.network import operations  # noqa: F401 - registers them
from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.values import Constant, Tensor, Value

aten = torch.ops.aten
_MODES = {"linear": 0, "bilinear": 0, "nearest": 1, "cubic": 2, "bicubic": 2}
_PADDINGS = {"zeros": 0, "border": 1, "reflection": 2}
_LARGEST = 1 << 24


def grid_sample(op: Operation) -> Value:
    """GridSample of images, or of volumes without cubic interpolation."""
    x, grid = op.tensor(0), op.tensor(1)
    mode = op.text("mode", "linear" if op.opset >= 20 else "bilinear")
    padding = op.text("padding_mode", "zeros")
    if mode not in _MODES or padding not in _PADDINGS:
        raise op.refuse(f"with mode {mode!r} and padding {padding!r} cannot be read")
    if op.rank(x) not in {4, 5} or (op.rank(x) == 5 and _MODES[mode] == 2):
        raise op.refuse(f"of {op.rank(x)} dimensions by mode {mode!r} cannot be read")
    rest = (_MODES[mode], _PADDINGS[padding], bool(op.integer("align_corners", 0)))
    target = aten.grid_sampler_2d.default if op.rank(x) == 4 else aten.grid_sampler_3d.default
    return op.call(target, x, grid, *rest)


def affine_grid(op: Operation) -> Value:
    """AffineGrid: the positions of a regular grid, transformed."""
    theta, sizes = op.tensor(0), op.numbers(1)[2:]
    if len(sizes) not in {2, 3} or not all(0 < s < _LARGEST for s in sizes):
        raise op.refuse(f"makes a grid of {sizes}")
    corners = bool(op.integer("align_corners", 0))
    axes = [_places(s, corners=corners) for s in sizes]
    mesh = np.meshgrid(*axes, indexing="ij")[::-1]  # x first
    homogeneous = np.stack([*mesh, np.ones_like(mesh[0])], axis=-1)
    flat = homogeneous.reshape(-1, len(sizes) + 1).T.astype(np.float32)
    grid = Constant(torch.from_numpy(np.ascontiguousarray(flat)), f"{op.name}.grid")
    if op.dtype(theta) != torch.float32:
        grid = Constant(grid.tensor.to(op.dtype(theta)), grid.name)
    moved = op.call(aten.transpose.int, op.call(aten.matmul.default, theta, grid), 1, 2)
    return op.call(aten.reshape.default, moved, [op.size(theta, 0), *sizes, len(sizes)])


def _places(size: int, *, corners: bool) -> Any:
    """Where elements lie between -1 and 1."""
    if corners:
        return np.linspace(-1, 1, size) if size > 1 else np.array([-1.0])
    return (2 * np.arange(size) + 1) / size - 1


def roi_align(op: Operation) -> Value:
    """RoiAlign."""
    mode = op.text("mode", "avg")
    default = "half_pixel" if op.opset >= 16 else "output_half_pixel"
    where = op.text("coordinate_transformation_mode", default)
    if mode not in {"avg", "max"} or where not in {"half_pixel", "output_half_pixel"}:
        raise op.refuse(f"with mode {mode!r} and {where!r} cannot be read")
    sizes = [op.integer(name, 1) for name in ("output_height", "output_width")]
    samples, scale = op.integer("sampling_ratio", 0), op.real("spatial_scale", 1.0)
    if not all(0 < s < _LARGEST for s in sizes) or not 0 <= samples < _LARGEST:
        raise op.refuse(f"makes regions of {sizes}")
    call = (op.tensor(0), op.tensor(1), op.tensor(2), *sizes, samples, scale)
    target = torch.ops.tersor.roi_align.default
    return op.call(target, *call, where == "half_pixel", mode == "max")


def center_crop_pad(op: Operation) -> Value:
    """CenterCropPad: what is too large is cut, what is too small padded, on both sides."""
    x, sizes = op.tensor(0), op.numbers(1)
    rank = op.rank(x)
    axes = op.integers("axes") or list(range(rank))
    sides = [0] * (2 * rank)
    for axis, size in zip(axes, sizes, strict=True):
        place = op.from_front(axis, rank)
        found = op.shape(x)[place]
        if found is None:
            raise op.refuse("cuts or pads a dimension that varies")
        more = size - found
        before = more // 2 if more >= 0 else -(-more // 2)
        sides[2 * (rank - 1 - place)] = before
        sides[2 * (rank - 1 - place) + 1] = more - before
    return op.call(aten.constant_pad_nd.default, x, sides)


def col2im(op: Operation) -> Value:
    """Col2Im: the sum of blocks, each where it was cut out."""
    x, image, block = op.tensor(0), op.numbers(1), op.numbers(2)
    n = len(image)
    strides, dilations = (op.integers(name) or [1] * n for name in ("strides", "dilations"))
    pads = op.integers("pads") or [0] * (2 * n)
    if n not in {1, 2} or len(block) != n or not all(0 < s < _LARGEST for s in image):
        raise op.refuse(f"of {n} dimensions cannot be read")
    if n == 1:
        image, block, strides, dilations = (
            [1, *v] for v in (image, block, strides, dilations)
        )
        pads = [0, pads[0], 0, pads[1]]
    grown = [s + a + b for s, a, b in zip(image, pads[:2], pads[2:], strict=True)]
    result = op.call(aten.col2im.default, x, grown, block, dilations, [0, 0], strides)
    cut = [-pads[1], -pads[3], -pads[0], -pads[2]]
    result = op.call(aten.constant_pad_nd.default, result, cut) if any(cut) else result
    return op.call(aten.squeeze.dims, result, [2]) if n == 1 else result


def max_unpool(op: Operation) -> Value:
    """MaxUnpool: elements at the flat positions that MaxPool told, 0 elsewhere."""
    x, indices = op.tensor(0), op.tensor(1)
    shape = list(op.fixed_shape(x))
    kernel = op.integers("kernel_shape") or []
    n = len(kernel)
    strides, pads = op.integers("strides") or [1] * n, op.integers("pads") or [0] * (2 * n)
    spatial = zip(shape[2:], kernel, strides, pads[:n], pads[n:], strict=True)
    natural = [*shape[:2], *((s - 1) * t + k - a - b for s, k, t, a, b in spatial)]
    sizes = op.numbers(2) if op.has(2) else natural
    if math.prod(sizes) > _LARGEST or any(s < 0 for s in sizes):
        raise op.refuse(f"makes a tensor of {sizes} elements")
    zeros = op.builder.attribute(
        Constant(torch.zeros(math.prod(sizes), dtype=op.dtype(x)), f"{op.name}.zeros")
    )
    if op.has(2) and sizes != natural:  # positions count in the natural shape
        indices = _moved(op, indices, natural, sizes)
    flat = (op.call(aten.reshape.default, t, [-1]) for t in (indices, x))
    return op.call(aten.reshape.default, op.call(aten.scatter.src, zeros, 0, *flat), sizes)


def _moved(op: Operation, indices: Tensor, old: list[int], new: list[int]) -> Tensor:
    """Flat positions in the shape `old`, as such in `new`."""
    result: Tensor | None = None
    step = 1
    for i in reversed(range(len(old))):
        digit = op.call(aten.floor_divide.Scalar, indices, math.prod(old[i + 1 :]))
        digit = op.call(aten.remainder.Scalar, digit, old[i])
        part = op.call(aten.mul.Scalar, digit, step)
        result = part if result is None else op.call(aten.add.Tensor, result, part)
        step *= new[i]
    return indices if result is None else result


OPERATORS: dict[str, Callable[[Operation], Any]] = {
    "AffineGrid": affine_grid,
    "CenterCropPad": center_crop_pad,
    "Col2Im": col2im,
    "GridSample": grid_sample,
    "MaxUnpool": max_unpool,
    "RoiAlign": roi_align,
}
