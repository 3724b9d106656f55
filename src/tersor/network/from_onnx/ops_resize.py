"""Resize and Upsample.

The modes that torch knows become its upsampling operations, for inputs of any size. Every
other mode is a product with one small matrix per resized dimension, for inputs of fixed
size: each output is a weighted sum of the inputs near its coordinate.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.values import Constant, Size, Tensor, Value

aten = torch.ops.aten
Matrix = NDArray[np.float64]
_ELEMENTS_MOST = 1 << 22  # of the matrix for one dimension
_SIZE_MOST = 1 << 16
_TRANSFORMS = {
    "half_pixel",
    "pytorch_half_pixel",
    "half_pixel_symmetric",
    "tf_half_pixel_for_nn",
    "asymmetric",
    "align_corners",
    "tf_crop_and_resize",
}
_LIKE_TORCH = {"half_pixel", "pytorch_half_pixel", "align_corners"}
_LINEAR = {
    1: aten.upsample_linear1d,
    2: aten.upsample_bilinear2d,
    3: aten.upsample_trilinear3d,
}
_NEAREST = {1: aten.upsample_nearest1d, 2: aten.upsample_nearest2d, 3: aten.upsample_nearest3d}


class Target:
    """What a Resize wants: for each dimension a size and a scale."""

    def __init__(self, op: Operation, x: Tensor) -> None:
        rank = op.rank(x)
        axes = op.integers("axes") or list(range(rank))
        self.axes = [op.from_front(a, rank) for a in axes]
        self.sizes: list[Size] | None = None
        self.scales: list[float] | None = None
        if op.node.op_type == "Resize" and op.has(3 if op.opset >= 11 else 2):
            self.sizes = op.sizes(3)
        elif op.node.op_type == "Upsample" and op.opset < 9:
            self.scales = list(op.attribute("scales", list, []))
        else:
            known = op.known(1 if op.opset < 11 else 2).double()
            self.scales = [float(s) for s in known]
        found = self.sizes if self.sizes is not None else self.scales
        if len(found or []) != len(self.axes):
            raise op.refuse(
                f"has {len(found or [])} scales or sizes for {len(self.axes)} axes"
            )
        if self.scales is not None and not all(0 < s < 1 << 20 for s in self.scales):
            raise op.refuse(f"has scales of {self.scales}")

    def changed(self, op: Operation, x: Tensor) -> list[int]:
        """The positions in `axes` of the dimensions that get another size.

        A batch that varies keeps its size, whatever the file computes or declares for it.
        """
        if self.sizes is None:
            return [i for i, s in enumerate(self.scales or []) if s != 1.0]
        shape = op.shape(x)
        pairs = enumerate(zip(self.axes, self.sizes, strict=True))
        return [i for i, (a, s) in pairs if s != shape[a] and (a > 0 or shape[a] is not None)]


def resize(op: Operation) -> Value:
    """Resize, and Upsample, which is its older form."""
    x = op.tensor(0)
    target = Target(op, x)
    mode = op.text("mode", "nearest")
    is_old = op.opset < 11 or op.node.op_type == "Upsample"
    transform = op.text("coordinate_transformation_mode", "half_pixel")
    transform = "asymmetric" if is_old else transform
    nearest = "floor" if is_old else op.text("nearest_mode", "round_prefer_floor")
    if transform not in _TRANSFORMS:
        raise op.refuse(f"places elements by {transform!r}, which ONNX does not know")
    if op.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise op.refuse("keeps the aspect ratio, which cannot be read")
    changed = [target.axes[i] for i in target.changed(op, x)]
    if not changed:
        return x
    native = None
    if op.rank(x) - 2 in _LINEAR and min(changed) >= 2 and not op.integer("antialias", 0):
        native = _native(op, x, target, f"{mode} {transform} {nearest}")
    return native if native is not None else _by_matrices(op, x, target, transform, nearest)


def _native(op: Operation, x: Tensor, target: Target, how: str) -> Value | None:
    """Torch's own upsampling of the spatial dimensions, if it computes the same."""
    n = op.rank(x) - 2
    spatial = [target.axes.index(a) if a in target.axes else None for a in range(2, n + 2)]
    sizes, scales = None, None
    if target.sizes is not None:
        given = target.sizes
        sizes = [op.size(x, a + 2) if i is None else given[i] for a, i in enumerate(spatial)]
        whole = all(
            isinstance(s, int) and d is not None and s % d == 0
            for s, d in zip(sizes, op.shape(x)[2:], strict=True)
        )
    else:
        factors = target.scales or []
        scales = [1.0 if i is None else factors[i] for i in spatial]
        whole = all(s == int(s) for s in scales)
    mode, transform, nearest = how.split(" ")
    if mode == "nearest":
        is_floor = transform == "asymmetric" and nearest == "floor"
        exact = transform == "half_pixel" and nearest.startswith("round_prefer")
        if is_floor or (whole and exact):
            return op.call(_NEAREST[n].vec, x, sizes, scales)
    to_one = transform == "pytorch_half_pixel" and sizes is not None and 1 in sizes
    rounded = transform == "align_corners" and sizes is None and not whole
    if mode == "linear" and transform in _LIKE_TORCH and not to_one and not rounded:
        corners = transform == "align_corners"
        return op.call(_LINEAR[n].vec, x, sizes, corners, scales)
    return None


def _by_matrices(
    op: Operation, x: Tensor, target: Target, transform: str, nearest: str
) -> Value:
    mode = op.text("mode", "nearest")
    dtype = op.dtype(x)
    result = x if dtype.is_floating_point else op.call(aten.to.dtype, x, torch.float32)
    for i in target.changed(op, x):
        axis = target.axes[i]
        before = op.shape(x)[axis]
        if before is None:
            raise op.refuse(f"by {mode}, {transform} resizes a dimension that varies")
        after, scale = _extent(op, target, i, before)
        axis_of = Axis(before, after, scale, transform, _roi(op, target, i))
        if mode == "nearest":
            matrix = _nearest_matrix(op, axis_of, nearest)
        else:
            matrix = _kernel_matrix(op, axis_of, mode)
        weights = Constant(
            torch.from_numpy(matrix.T.astype(np.float32)).to(op.dtype(result)),
            f"{op.name}.matrix{axis}",
        )
        moved = op.call(aten.transpose.int, result, axis, -1)
        product = op.call(aten.matmul.default, moved, weights)
        offset = axis_of.outside(op.real("extrapolation_value", 0.0))
        if offset is not None:
            inside, fill = (
                Constant(torch.from_numpy(o), f"{op.name}.{k}")
                for o, k in zip(offset, ("inside", "fill"), strict=True)
            )
            product = op.call(aten.add.Tensor, op.call(aten.mul.Tensor, product, inside), fill)
        result = op.call(aten.transpose.int, product, axis, -1)
    if not dtype.is_floating_point:
        rounded = result if mode == "nearest" else op.call(aten.round.default, result)
        result = op.call(aten.to.dtype, rounded, dtype)
    return result


def _extent(op: Operation, target: Target, i: int, before: int) -> tuple[int, float]:
    if target.sizes is not None:
        wanted = target.sizes[i]
        if isinstance(wanted, fx.Node):
            raise op.refuse("resizes to a size that varies")
        after, scale = wanted, wanted / before
    else:
        scale = (target.scales or [])[i]
        after = math.floor(before * scale)
    if not 1 <= after <= _SIZE_MOST or after * before > _ELEMENTS_MOST:
        raise op.refuse(f"resizes {before} to {after}")
    return after, scale


def _roi(op: Operation, target: Target, i: int) -> tuple[float, float]:
    if op.text("coordinate_transformation_mode") != "tf_crop_and_resize":
        return 0.0, 1.0
    roi = op.known(1).double().reshape(-1)
    return float(roi[i]), float(roi[i + len(target.axes)])


class Axis:
    """Where the outputs of one dimension lie among its inputs."""

    def __init__(
        self, before: int, after: int, scale: float, transform: str, roi: tuple[float, float]
    ) -> None:
        self.before, self.after, self.scale, self.transform = before, after, scale, transform
        self.at: Matrix = self._coordinates(np.arange(after, dtype=np.float64), roi)

    def _coordinates(self, i: Matrix, roi: tuple[float, float]) -> Matrix:
        n, m, scale = self.before, self.after, self.scale
        half = (i + 0.5) / scale - 0.5
        wide = n * scale  # the size before it was rounded down
        start, end = roi[0] * (n - 1), roi[1] * (n - 1)
        formulas: dict[str, Matrix] = {
            "half_pixel": half,
            "pytorch_half_pixel": half if m > 1 else i * 0.0,
            "half_pixel_symmetric": n / 2 * (1 - m / wide) + half,
            "tf_half_pixel_for_nn": half + 0.5,
            "asymmetric": i / scale,
            "align_corners": i * ((n - 1) / (wide - 1) if m > 1 else 0.0),
            "tf_crop_and_resize": start + i * (end - start) / (wide - 1)
            if m > 1
            else i + (start + end) / 2,
        }
        return formulas[self.transform]

    def outside(self, value: float) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """For cropping: 1 where a coordinate is inside, and `value` where it is not."""
        out = (self.at < 0) | (self.at > self.before - 1)
        if self.transform != "tf_crop_and_resize" or not out.any():
            return None
        return (~out).astype(np.float32), np.where(out, value, 0).astype(np.float32)


def _nearest_matrix(op: Operation, axis: Axis, how: str) -> Matrix:
    rounding: dict[str, Callable[[Matrix], Matrix]] = {
        "round_prefer_floor": lambda x: np.ceil(x - 0.5),
        "round_prefer_ceil": lambda x: np.floor(x + 0.5),
        "floor": np.floor,
        "ceil": np.ceil,
    }
    if how not in rounding:
        raise op.refuse(f"rounds by {how!r}, which ONNX does not know")
    index = np.clip(rounding[how](axis.at), 0, axis.before - 1).astype(np.int64)
    matrix = np.zeros((axis.after, axis.before))
    matrix[np.arange(axis.after), index] = 1.0
    return matrix


def _kernel_matrix(op: Operation, axis: Axis, mode: str) -> Matrix:
    """Rows of weights; neighbours outside the input are its ends, or left out if asked."""
    if mode not in {"linear", "cubic"}:
        raise op.refuse(f"has a mode {mode!r}, which ONNX does not know")
    a = op.real("cubic_coeff_a", -0.75) if op.opset >= 11 else -0.75
    stretch = max(1.0 / axis.scale, 1.0) if op.integer("antialias", 0) else 1.0
    reach = (1 if mode == "linear" else 2) * stretch
    steps = np.arange(math.ceil(2 * reach) + 3)
    near = np.floor(axis.at - reach).astype(np.int64)[:, None] + steps
    distance = np.abs(near - axis.at[:, None]) / stretch
    weights = _linear(distance) if mode == "linear" else _cubic(distance, a)
    exclude = bool(op.integer("exclude_outside", 0))
    if exclude:
        weights = np.where((near >= 0) & (near < axis.before), weights, 0.0)
    if exclude or stretch > 1.0:
        weights = weights / weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((axis.after, axis.before))
    rows = np.arange(axis.after)[:, None]
    np.add.at(matrix, (rows, np.clip(near, 0, axis.before - 1)), weights)
    return matrix


def _linear(distance: Matrix) -> Matrix:
    return np.maximum(1.0 - distance, 0.0)


def _cubic(d: Matrix, a: float) -> Matrix:
    """Keys, "Cubic convolution interpolation for digital image processing", 1981."""
    inner = (a + 2) * d**3 - (a + 3) * d**2 + 1
    outer = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, inner, np.where(d < 2, outer, 0.0))


OPERATORS: dict[str, Callable[[Operation], Any]] = {"Resize": resize, "Upsample": resize}
