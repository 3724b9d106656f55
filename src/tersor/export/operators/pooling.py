"""Pooling: x (N, C, sizes...)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from tersor.export.call import Call
from tersor.export.writer import Writer


@dataclass(frozen=True, slots=True)
class Window:
    """What all poolings share: sizes per spatial dimension."""

    kernel: list[int]
    stride: list[int]
    padding: list[int]
    dilation: list[int]


def window(call: Call, spatial: int) -> Window:
    """Read the window off a call; no stride given means that windows touch."""
    kernel = call.ints("kernel_size", spatial)
    stride = call.ints("stride", spatial) or kernel
    dilated = call.get_or("dilation") is not None
    dilation = call.ints("dilation", spatial) if dilated else [1] * spatial
    return Window(kernel, stride, call.ints("padding", spatial), dilation)


def overhang(call: Call, win: Window, out: tuple[int | None, ...]) -> list[int] | None:
    """How far the last window stands out beyond the padded input; None where sizes vary."""
    spatial = len(win.kernel)
    result = []
    for i, (size, o) in enumerate(zip(call.x.shape[-spatial:], out[-spatial:], strict=True)):
        if size is None or o is None:
            return None
        reach = (o - 1) * win.stride[i] + (win.kernel[i] - 1) * win.dilation[i] + 1
        result.append(max(0, reach - size - 2 * win.padding[i]))
    return result


def batched(w: Writer, call: Call, spatial: int, write: Callable[[str], str]) -> str:
    """Let `write` work on the input with a batch dimension, also where it has none."""
    x = call.x
    if x.rank == spatial + 2:
        return write(x.name)
    axis = w.constant([0], torch.int64, "axis")
    return w.node("Squeeze", write(w.node("Unsqueeze", x.name, axis)), axis)


def write_max_pool(w: Writer, call: Call, spatial: int, out: tuple[int | None, ...]) -> str:
    """A MaxPool. Ceiling mode is written as padding at the end where sizes are fixed."""
    win = window(call, spatial)
    ceil = call.flag("ceil_mode")
    beyond = overhang(call, win, out) if ceil else [0] * spatial
    extra = beyond or [0] * spatial
    ends = [p + e for p, e in zip(win.padding, extra, strict=True)]
    return batched(
        w,
        call,
        spatial,
        lambda x: w.node(
            "MaxPool",
            x,
            kernel_shape=win.kernel,
            strides=win.stride,
            pads=win.padding + ends,
            dilations=win.dilation,
            ceil_mode=int(beyond is None),
        ),
    )


def max_pool(spatial: int) -> Callable[[Writer, Call], str]:
    """The maximum of each window."""
    return lambda w, call: write_max_pool(w, call, spatial, call.result.shape)


def max_pool_with_indices(w: Writer, call: Call) -> list[str]:
    """The maximum of each window; the indices are not written."""
    first = call.several[0]
    return [w.settle(write_max_pool(w, call, 2, first.shape)), ""]


def avg_pool(spatial: int) -> Callable[[Writer, Call], str]:
    """The mean of each window."""

    def write(w: Writer, call: Call) -> str:
        win = window(call, spatial)
        extra = [0] * spatial
        if call.flag("ceil_mode"):
            extra = overhang(call, win, call.result.shape) or call.fail(
                "rounds varying sizes up"
            )
        return batched(w, call, spatial, lambda x: write_avg(w, call, x, win, extra))

    return write


def write_avg(w: Writer, call: Call, x: str, win: Window, extra: list[int]) -> str:
    """An AveragePool; what rounding up adds at the end never counts, padding may."""
    padding, counted = win.padding, call.flag("count_include_pad")
    if any(extra) and counted and any(padding):
        ends = [0, 0, *padding]
        x = w.node("Pad", x, w.constant(ends * 2, torch.int64, "pads"))
        padding = [0] * len(padding)
    result = w.node(
        "AveragePool",
        x,
        kernel_shape=win.kernel,
        strides=win.stride,
        pads=padding + [p + e for p, e in zip(padding, extra, strict=True)],
        count_include_pad=int(counted and not any(extra)),
    )
    return divided(w, call, result, win, extra)


def divided(w: Writer, call: Call, result: str, win: Window, extra: list[int]) -> str:
    """The mean, multiplied so that sums are divided by `divisor_override`."""
    divisor = call.get_or("divisor_override")
    if divisor is None:
        return result
    if any(extra) or (any(win.padding) and not call.flag("count_include_pad")):
        call.fail("divides windows of different sizes by one number")
    area = 1
    for size in win.kernel:
        area *= size
    factor = area / call.whole("divisor_override")
    return w.node("Mul", result, w.constant(factor, call.x.dtype, "factor"))


def adaptive(spatial: int, kind: str) -> Callable[[Writer, Call], str]:
    """Windows that give an output of a wanted size: all of it, or an even split."""

    def write(w: Writer, call: Call) -> str:
        wanted = call.ints("output_size", spatial)
        return batched(w, call, spatial, lambda x: write_adaptive(w, call, x, kind, wanted))

    return write


def write_adaptive(w: Writer, call: Call, x: str, kind: str, wanted: list[int]) -> str:
    """Global pooling, or windows that touch."""
    sizes = call.x.shape[-len(wanted) :]
    if all(size == 1 for size in wanted):
        return write_global(w, x, kind, sizes)
    kernel = []
    for size, out in zip(sizes, wanted, strict=True):
        if size is None or size % out:
            call.fail(f"cannot split {size or 'a varying size'} evenly into {out}")
        kernel.append(size // out)
    return w.node(kind, x, kernel_shape=kernel, strides=kernel)


def write_global(w: Writer, x: str, kind: str, sizes: Sequence[int | None]) -> str:
    """One window over all of `sizes`; some engines are faster where it is told how large."""
    if not all(sizes):  # one varies
        return w.node(f"Global{kind}", x)
    return w.node(kind, x, kernel_shape=list(sizes), strides=list(sizes))


def adaptive_max(spatial: int) -> Callable[[Writer, Call], list[str]]:
    """The maxima; the indices are not written."""
    write = adaptive(spatial, "MaxPool")
    return lambda w, call: [w.settle(write(w, call)), ""]


OPERATORS: dict[str, Callable[[Writer, Call], object]] = {
    "aten.max_pool1d.default": max_pool(1),
    "aten.max_pool2d.default": max_pool(2),
    "aten.max_pool3d.default": max_pool(3),
    "aten.max_pool2d_with_indices.default": max_pool_with_indices,
    "aten.avg_pool1d.default": avg_pool(1),
    "aten.avg_pool2d.default": avg_pool(2),
    "aten.avg_pool3d.default": avg_pool(3),
    "aten.adaptive_avg_pool1d.default": adaptive(1, "AveragePool"),
    "aten.adaptive_avg_pool2d.default": adaptive(2, "AveragePool"),
    "aten.adaptive_avg_pool3d.default": adaptive(3, "AveragePool"),
    "aten._adaptive_avg_pool2d.default": adaptive(2, "AveragePool"),
    "aten._adaptive_avg_pool3d.default": adaptive(3, "AveragePool"),
    "aten.adaptive_max_pool1d.default": adaptive_max(1),
    "aten.adaptive_max_pool2d.default": adaptive_max(2),
    "aten.adaptive_max_pool3d.default": adaptive_max(3),
}
