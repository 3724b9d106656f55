"""Convolutions, pools, products of matrices, dropout."""

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.values import Size, Tensor, Value

aten = torch.ops.aten

_CONV = {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}
_CONV_TRANSPOSE = {
    1: aten.conv_transpose1d.default,
    2: aten.conv_transpose2d.input,
    3: aten.conv_transpose3d.input,
}
_MAX_POOL = {
    1: aten.max_pool1d.default,
    2: aten.max_pool2d.default,
    3: aten.max_pool3d.default,
}
_AVG_POOL = {
    1: aten.avg_pool1d.default,
    2: aten.avg_pool2d.default,
    3: aten.avg_pool3d.default,
}
_GLOBAL_AVG = {
    1: aten.adaptive_avg_pool1d.default,
    2: aten.adaptive_avg_pool2d.default,
    3: aten.adaptive_avg_pool3d.default,
}


class Window:
    """Kernel, stride, dilation and padding of a convolution or pool, checked."""

    def __init__(self, op: Operation, x: Tensor, kernel: list[int]) -> None:
        n = self.n = len(kernel)
        if n not in _CONV or op.rank(x) != n + 2:
            raise op.refuse(
                f"with {n} spatial dimensions and {op.rank(x)} in all cannot be read"
            )
        self.kernel = kernel
        self.stride = _positive(op, "strides", [1] * n)
        self.dilation = _positive(op, "dilations", [1] * n)
        self.pads: list[tuple[Size, Size]] = self._pads(op, x)

    @property
    def reach(self) -> list[int]:
        """The extent of the dilated kernel."""
        return [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]

    @property
    def symmetric(self) -> list[int] | None:
        """The padding, if it is the same on both sides."""
        if all(isinstance(a, int) and a == b and a >= 0 for a, b in self.pads):
            return [int(a) for a, _ in self.pads]  # type: ignore[arg-type]
        return None

    @property
    def explicit(self) -> list[Size]:
        """The padding in the order of aten.constant_pad_nd: last dimension first."""
        return [side for pair in reversed(self.pads) for side in pair]

    def _pads(self, op: Operation, x: Tensor) -> list[tuple[Size, Size]]:
        mode = op.text("auto_pad", "NOTSET")
        if mode in {"SAME_UPPER", "SAME_LOWER"}:
            return [self._same(op, x, i, upper=mode == "SAME_UPPER") for i in range(self.n)]
        if mode not in {"NOTSET", "VALID", ""}:
            raise op.refuse(f"has an auto_pad of {mode!r}, which ONNX does not know")
        pads = None if mode == "VALID" else op.integers("pads")
        pads = [0] * (2 * self.n) if pads is None else pads
        if len(pads) != 2 * self.n:
            raise op.refuse(f"has {len(pads)} pads where {2 * self.n} belong")
        return list(zip(pads[: self.n], pads[self.n :], strict=True))

    def _same(self, op: Operation, x: Tensor, i: int, *, upper: bool) -> tuple[Size, Size]:
        """Pad to ceil(size / stride) windows: (-size mod stride) + reach - stride in all."""
        reach, stride = self.reach[i], self.stride[i]
        size = 0 if stride == 1 else op.size(x, i + 2)
        if isinstance(size, fx.Node):
            if 1 < reach < stride:
                raise op.refuse(
                    "pads by SAME an input of varying size, with gaps between windows"
                )
            rest = op.node_of(operator.mod, op.node_of(operator.neg, size), stride)
            total: Size = op.node_of(operator.add, rest, reach - stride) if reach > 1 else 0
        else:
            total = max(-size % stride + reach - stride, 0)
        small = op.arithmetic(operator.floordiv, total, 2)
        large = op.arithmetic(operator.sub, total, small)
        return (small, large) if upper else (large, small)


def _positive(op: Operation, name: str, default: list[int]) -> list[int]:
    values = op.integers(name) or default
    if len(values) != len(default) or any(not 0 < v < 1 << 31 for v in values):
        raise op.refuse(f"has {name} of {values}")
    return values


def _kernel_of_weight(op: Operation, w: Tensor) -> list[int]:
    kernel = list(op.fixed_shape(w)[2:])
    declared = op.integers("kernel_shape")
    if declared is not None and declared != kernel:
        raise op.refuse(f"declares the kernel {declared}, but has {kernel}")
    if 0 in kernel:
        raise op.refuse("has an empty kernel")
    return kernel


def _group(op: Operation, w: Tensor) -> int:
    group = op.integer("group", 1)
    if not 0 < group <= max(op.fixed_shape(w)[0], 1):
        raise op.refuse(f"has {group} groups")
    return group


def conv(op: Operation) -> Value:
    """Conv."""
    x, w, bias = op.tensor(0), op.tensor(1), op.maybe(2)
    window = Window(op, x, _kernel_of_weight(op, w))
    padding = window.symmetric
    if padding is None:
        x, padding = op.call(aten.constant_pad_nd.default, x, window.explicit), [0] * window.n
    group = _group(op, w)
    rest = (window.stride, padding, window.dilation, group)
    return op.call(_CONV[window.n], x, w, bias, *rest)


def conv_transpose(op: Operation) -> Value:
    """ConvTranspose; where the sides differ, padding is computed, too, and then cut off."""
    x, w, bias = op.tensor(0), op.tensor(1), op.maybe(2)
    n = op.rank(x) - 2
    if n not in _CONV or op.rank(w) != n + 2:
        raise op.refuse(f"with {n} spatial dimensions cannot be read")
    kernel = _kernel_of_weight(op, w)
    stride = _positive(op, "strides", [1] * n)
    dilation = _positive(op, "dilations", [1] * n)
    extra = op.integers("output_padding") or [0] * n
    if len(extra) != n or any(not 0 <= e < 1 << 31 for e in extra):
        raise op.refuse(f"has an output_padding of {extra}")
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    surplus = [r + e - s for r, e, s in zip(reach, extra, stride, strict=True)]
    pads = _transposed_pads(op, x, stride, surplus)
    even = all(a == b >= 0 for a, b in pads)
    padding = [a for a, _ in pads] if even else [0] * n
    call = (x, w, bias, stride, padding, extra, _group(op, w), dilation)
    result = op.call(_CONV_TRANSPOSE[n], *call)
    if even:
        return result
    cut = [-side for pair in reversed(pads) for side in pair]
    return op.call(aten.constant_pad_nd.default, result, cut)


def _transposed_pads(
    op: Operation, x: Tensor, stride: list[int], surplus: list[int]
) -> list[tuple[int, int]]:
    """What to cut off both sides; by `surplus` an output exceeds size * stride."""
    mode, n = op.text("auto_pad", "NOTSET"), len(stride)
    wanted = op.integers("output_shape")
    if wanted is None and mode not in {"SAME_UPPER", "SAME_LOWER"}:
        flat = op.integers("pads") or [0] * (2 * n)
        return list(zip(flat[:n], flat[n:], strict=True))
    total = surplus
    if wanted is not None:
        sizes = [d for d in op.shape(x)[2:] if d is not None]
        if len(sizes) < n:
            raise op.refuse("declares the shape of its output, but takes one that varies")
        natural = [i * s + t for i, s, t in zip(sizes, stride, surplus, strict=True)]
        total = [t - w for t, w in zip(natural, wanted[-n:], strict=True)]
    return [_halves(t, upper=mode == "SAME_UPPER") for t in total]


def _halves(total: int, *, upper: bool) -> tuple[int, int]:
    """Padding of both sides; the odd one goes to the end for SAME_UPPER."""
    return (total // 2, total - total // 2) if upper else (total - total // 2, total // 2)


def max_pool(op: Operation) -> Value:
    """MaxPool; without the indices."""
    x = op.tensor(0)
    window = Window(op, x, _positive(op, "kernel_shape", [1] * (op.rank(x) - 2)))
    padding = _padding_of_pool(window)
    dtype = op.dtype(x)
    if padding is None:
        low = float("-inf") if dtype.is_floating_point else torch.iinfo(dtype).min
        x, padding = (
            op.call(aten.constant_pad_nd.default, x, window.explicit, low),
            [0] * window.n,
        )
    narrow = dtype in {torch.int8, torch.uint8}
    if narrow:  # the pools of torch know floats and wide integers only
        x = op.call(aten.to.dtype, x, torch.float32)
    ceil = bool(op.integer("ceil_mode", 0))
    rest = (window.kernel, window.stride, padding, window.dilation, ceil)
    result = op.call(_MAX_POOL[window.n], x, *rest)
    return op.call(aten.to.dtype, result, dtype) if narrow else result


def _padding_of_pool(window: Window) -> list[int] | None:
    """The padding, if torch's pools take it: the same on both sides, at most half a kernel."""
    padding = window.symmetric
    if padding is None or any(2 * p > k for p, k in zip(padding, window.kernel, strict=True)):
        return None
    return padding


def average_pool(op: Operation) -> Value:
    """AveragePool; where torch cannot leave padding out, divided by the average of ones."""
    x = op.tensor(0)
    window = Window(op, x, _positive(op, "kernel_shape", [1] * (op.rank(x) - 2)))
    if any(d != 1 for d in window.dilation):
        raise op.refuse("with dilations cannot be read")
    padding = _padding_of_pool(window)
    ceil, counted = bool(op.integer("ceil_mode", 0)), bool(op.integer("count_include_pad", 0))
    pool = _AVG_POOL[window.n]
    if padding is not None:
        rest = (window.kernel, window.stride, padding, ceil, counted)
        return op.call(pool, x, *rest)
    rest = (window.kernel, window.stride, [0] * window.n, ceil, False)
    padded = op.call(aten.constant_pad_nd.default, x, window.explicit)
    result = op.call(pool, padded, *rest)
    if counted:
        return result
    ones = op.call(
        aten.constant_pad_nd.default, op.call(aten.ones_like.default, x), window.explicit
    )
    return op.call(aten.div.Tensor, result, op.call(pool, ones, *rest))


def global_average_pool(op: Operation) -> Value:
    """GlobalAveragePool."""
    x = op.tensor(0)
    n = op.rank(x) - 2
    if n not in _GLOBAL_AVG:
        return op.call(aten.mean.dim, x, list(range(2, op.rank(x))), keepdim=True)
    return op.call(_GLOBAL_AVG[n], x, [1] * n)


def global_max_pool(op: Operation) -> Value:
    """GlobalMaxPool."""
    x = op.tensor(0)
    return op.call(aten.amax.default, x, list(range(2, op.rank(x))), keepdim=True)


def lp_pool(op: Operation) -> Value:
    """LpPool: the p-th root of the sum of |x|^p in each window; padding adds nothing."""
    x = op.tensor(0)
    window = Window(op, x, _positive(op, "kernel_shape", [1] * (op.rank(x) - 2)))
    if any(d != 1 for d in window.dilation) or op.integer("ceil_mode", 0):
        raise op.refuse("with dilations or ceil_mode cannot be read")
    powers = op.call(aten.constant_pad_nd.default, _powers(op, x), window.explicit)
    means = op.call(_AVG_POOL[window.n], powers, window.kernel, window.stride)
    return _root(op, op.call(aten.mul.Tensor, means, math.prod(window.kernel)))


def global_lp_pool(op: Operation) -> Value:
    """GlobalLpPool: the p-norm of each channel."""
    x = op.tensor(0)
    sums = op.call(aten.sum.dim_IntList, _powers(op, x), list(range(2, op.rank(x))), True)  # noqa: FBT003
    return _root(op, sums)


def _powers(op: Operation, x: Tensor) -> Tensor:
    """|x|^p, for the p of a node, 2 by default."""
    if op.integer("p", 2) < 1:
        raise op.refuse(f"has a p of {op.integer('p', 2)}")
    return op.call(aten.pow.Tensor_Scalar, op.call(aten.abs.default, x), op.integer("p", 2))


def _root(op: Operation, sums: Tensor) -> Value:
    return op.call(aten.pow.Tensor_Scalar, sums, 1 / op.integer("p", 2))


def gemm(op: Operation) -> Value:
    """Gemm: a linear layer where it is one."""
    a, b, c = op.tensor(0), op.tensor(1), op.maybe(2)
    alpha, beta = op.real("alpha", 1.0), op.real("beta", 1.0)
    if op.integer("transA", 0):
        a = op.call(aten.t.default, a)
    is_bias = c is None or (op.rank(c) == 1 and op.shape(c)[0] == op.shape(b)[0])
    if op.integer("transB", 0):
        if alpha == 1.0 and (beta == 1.0 or c is None) and is_bias:
            return op.call(aten.linear.default, a, b, c)
        b = op.call(aten.t.default, b)
    if c is not None:
        numbers = {} if alpha == beta == 1.0 else {"beta": beta, "alpha": alpha}
        return op.call(aten.addmm.default, c, a, b, **numbers)
    result = op.call(aten.mm.default, a, b)
    return result if alpha == 1.0 else op.call(aten.mul.Tensor, result, alpha)


def matmul(op: Operation) -> Value:
    """MatMul."""
    return op.call(aten.matmul.default, op.tensor(0), op.tensor(1))


def einsum(op: Operation) -> Value:
    """Einsum."""
    return op.call(aten.einsum.default, op.text("equation"), op.tensors())


def dropout(op: Operation) -> tuple[Value | None, ...]:
    """Dropout, which does nothing in evaluation mode."""
    x = op.tensor(0)
    p = float(op.number(1, 0.5)) if op.opset >= 12 else op.real("ratio", 0.5)
    if not 0.0 <= p < 1.0:
        raise op.refuse(f"has a ratio of {p}")
    if op.has(2) and bool(op.number(2, 0)) and p > 0.0:
        raise op.refuse("is in training mode")
    result = op.call(aten.dropout.default, x, p, train=False)
    mask = None
    if len(op.wanted) > 1 and op.wanted[1]:
        mask = op.call(aten.ones_like.default, x, dtype=torch.bool)
    return result, mask


OPERATORS: dict[str, Callable[[Operation], Any]] = {
    "AveragePool": average_pool,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Dropout": dropout,
    "Einsum": einsum,
    "Gemm": gemm,
    "GlobalAveragePool": global_average_pool,
    "GlobalLpPool": global_lp_pool,
    "GlobalMaxPool": global_max_pool,
    "MatMul": matmul,
    "LpPool": lp_pool,
    "MaxPool": max_pool,
}
