"""Shapes and dtypes of the commonest operations, without asking torch.

Torch's own meta functions are right for all operations, but the first call of some of them
imports its compiler or an algebra system, which takes longer than reading a whole model, and
a hundred megabytes. What is not known here, or does not fit, is left to torch, whose errors
are the ones that users see.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

aten = torch.ops.aten
Shape = tuple[int, ...]


def quick(target: Callable[..., Any], args: Any, kwargs: Any) -> torch.Tensor | None:
    """What `target` gives for these meta tensors, as a meta tensor; None if unsure."""
    rule = _RULES.get(target)
    first = args[0] if args else None
    example = first[0] if isinstance(first, list | tuple) and first else first
    if rule is None or kwargs or not isinstance(example, torch.Tensor):
        return None
    if not example.is_floating_point():
        return None
    shape = rule(*args)
    return None if shape is None else torch.empty(shape, dtype=example.dtype, device="meta")


def _alike(x: torch.Tensor, *_: object) -> Shape:
    return tuple(x.shape)


def _broadcast(a: torch.Tensor, b: Any) -> Shape | None:
    if isinstance(b, float | int):
        return tuple(a.shape)
    if not isinstance(b, torch.Tensor) or b.dtype != a.dtype:
        return None
    try:
        return np.broadcast_shapes(tuple(a.shape), tuple(b.shape))
    except ValueError:
        return None


def _cat(tensors: list[torch.Tensor], dim: int = 0) -> Shape | None:
    shapes = [list(t.shape) for t in tensors]
    rank = len(shapes[0])
    if not -rank <= dim < rank or any(t.dtype != tensors[0].dtype for t in tensors):
        return None
    total = sum(s[dim] if len(s) == rank else 0 for s in shapes)
    for shape in shapes:
        if len(shape) == rank:
            shape[dim] = total
    return tuple(shapes[0]) if all(s == shapes[0] for s in shapes) else None


def _mean(x: torch.Tensor, dims: list[int], keep: bool = False) -> Shape | None:  # noqa: FBT001, FBT002
    if not dims or not all(-x.ndim <= d < x.ndim for d in dims):
        return None
    gone = {d % x.ndim for d in dims}
    return tuple(1 if i in gone else d for i, d in enumerate(x.shape) if keep or i not in gone)


def _batch_norm(x: torch.Tensor, *rest: Any) -> Shape | None:
    fits = all(t is None or tuple(t.shape) == tuple(x.shape[1:2]) for t in rest[:4])
    return tuple(x.shape) if fits else None


def _layer_norm(x: torch.Tensor, shape: list[int], *rest: Any) -> Shape | None:
    tensors = [x[(0,) * (x.ndim - len(shape))], *(t for t in rest[:2] if t is not None)]
    return tuple(x.shape) if all(list(t.shape) == list(shape) for t in tensors) else None


def _adaptive(x: torch.Tensor, size: list[int]) -> Shape | None:
    return (*x.shape[:2], *size) if x.ndim == 4 else None


def _conv(x: torch.Tensor, weight: torch.Tensor, bias: Any = None, *rest: Any) -> Shape | None:
    stride, padding, dilation, groups = _filled(rest, [1], [0], [1], 1)
    if x.ndim != weight.ndim or weight.dtype != x.dtype:
        return None
    if x.shape[1] != groups * weight.shape[1] or weight.shape[0] % groups:
        return None
    if bias is not None and (tuple(bias.shape) != weight.shape[:1] or bias.dtype != x.dtype):
        return None
    found = _windows(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    return None if found is None else (x.shape[0], weight.shape[0], *found)


def _average_pool(x: torch.Tensor, kernel: list[int], *rest: Any) -> Shape | None:
    stride, padding, *more = _filled(rest, [], [0])
    return _max_pool(x, kernel, stride, padding, [1], *more[:1])


def _max_pool(x: torch.Tensor, kernel: list[int], *rest: Any) -> Shape | None:
    stride, padding, dilation, up = _filled(rest, [], [0], [1], 0)
    spatial = x.ndim - 2
    if up or spatial < 1 or len(kernel) != spatial or 2 * max(padding) > min(kernel):
        return None
    found = _windows(x.shape[2:], kernel, stride or kernel, padding, dilation)
    return None if found is None else (*x.shape[:2], *found)


def _filled(given: tuple[Any, ...], *defaults: Any) -> list[Any]:
    """The settings that are given, and defaults for those that are not."""
    return [*given, *defaults[len(given) :]]


def _windows(
    sizes: Sequence[int], kernel: Sequence[int], stride: Any, padding: Any, dilation: Any
) -> list[int] | None:
    """How many windows fit along each axis; None if the settings are unusual."""
    if isinstance(padding, str):
        return None
    s, p, d = (
        list(v) * (len(sizes) if len(v) == 1 else 1) for v in (stride, padding, dilation)
    )
    if not len(s) == len(p) == len(d) == len(sizes) or min(*s, *d) < 1 or min(p) < 0:
        return None
    axes = zip(sizes, kernel, s, p, d, strict=True)
    found = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes]
    return found if min(found) > 0 else None


def _linear(x: torch.Tensor, weight: torch.Tensor, bias: Any = None) -> Shape | None:
    out, width = weight.shape if weight.ndim == 2 else (0, -1)
    fits = x.ndim > 0 and x.shape[-1] == width and weight.dtype == x.dtype
    fits = fits and (bias is None or tuple(bias.shape) == (out,))
    return (*x.shape[:-1], out) if fits else None


def _addmm(bias: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> Shape | None:
    if not a.ndim == b.ndim == 2 or a.shape[1] != b.shape[0] or a.dtype != b.dtype:
        return None
    shape = (a.shape[0], b.shape[1])
    fits = bias.dtype == a.dtype and tuple(bias.shape) in {(shape[1],), (), shape}
    return shape if fits else None


_RULES: dict[Callable[..., Any], Callable[..., Shape | None]] = {
    aten.adaptive_avg_pool2d.default: _adaptive,
    aten.addmm.default: _addmm,
    aten.avg_pool2d.default: _average_pool,
    aten.batch_norm.default: _batch_norm,
    aten.cat.default: _cat,
    **dict.fromkeys((aten.conv1d.default, aten.conv2d.default, aten.conv3d.default), _conv),
    aten.layer_norm.default: _layer_norm,
    aten.linear.default: _linear,
    aten.max_pool2d.default: _max_pool,
    aten.mean.dim: _mean,
    **dict.fromkeys(
        (aten.add.Tensor, aten.div.Tensor, aten.mul.Tensor, aten.sub.Tensor), _broadcast
    ),
    **dict.fromkeys(
        (
            aten.abs.default,
            aten.clamp.default,
            aten.elu.default,
            aten.erf.default,
            aten.exp.default,
            aten.gelu.default,
            aten.hardsigmoid.default,
            aten.hardswish.default,
            aten.hardtanh.default,
            aten.leaky_relu.default,
            aten.neg.default,
            aten.pow.Tensor_Scalar,
            aten.relu.default,
            aten.rsqrt.default,
            aten.sigmoid.default,
            aten.silu.default,
            aten.sqrt.default,
            aten.tanh.default,
        ),
        _alike,
    ),
}
