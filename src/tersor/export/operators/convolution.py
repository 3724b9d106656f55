"""Convolutions: x (N, C, sizes...), weight (O, C / groups, sizes...) -> (N, O, sizes...)."""

from collections.abc import Callable

import torch

from tersor.export.call import Call, Value
from tersor.export.writer import Writer


def batched(w: Writer, call: Call, write: Callable[[str], str]) -> str:
    """Let `write` work on the input with a batch dimension, also where it has none."""
    x, weight = call.x, call.value("weight")
    if x.rank == weight.rank:
        return write(x.name)
    axis = w.constant([0], torch.int64, "axis")
    return w.node("Squeeze", write(w.node("Unsqueeze", x.name, axis)), axis)


def operands(call: Call) -> list[str]:
    """Names of the weight and, if there is one, the bias."""
    bias = call.maybe("bias")
    return [call.value("weight").name] + ([bias.name] if bias else [])


def kernel(call: Call) -> list[int]:
    """The spatial sizes of the weight."""
    return [size or 1 for size in call.value("weight").shape[2:]]


def write_conv(w: Writer, call: Call, pads: list[int]) -> str:
    """A Conv with these paddings: all the beginnings, then all the ends."""
    spatial = call.value("weight").rank - 2
    return batched(
        w,
        call,
        lambda x: w.node(
            "Conv",
            x,
            *operands(call),
            kernel_shape=kernel(call),
            strides=call.ints("stride", spatial),
            dilations=call.ints("dilation", spatial),
            group=call.whole("groups"),
            pads=pads,
        ),
    )


def conv(w: Writer, call: Call) -> str:
    """A convolution with the same padding on both sides."""
    spatial = call.value("weight").rank - 2
    return write_conv(w, call, call.ints("padding", spatial) * 2)


def conv_named(w: Writer, call: Call) -> str:
    """A convolution with padding "valid" (none) or "same" (the odd one at the end)."""
    sizes = kernel(call)
    totals = [0] * len(sizes)
    if call.get("padding") == "same":
        dilation = call.ints("dilation", len(sizes))
        totals = [d * (k - 1) for d, k in zip(dilation, sizes, strict=True)]
    return write_conv(w, call, [t // 2 for t in totals] + [t - t // 2 for t in totals])


def conv_transpose(w: Writer, call: Call) -> str:
    """A transposed convolution; the weight is (C, O / groups, sizes...)."""
    weight: Value = call.value("weight")
    spatial = weight.rank - 2
    return batched(
        w,
        call,
        lambda x: w.node(
            "ConvTranspose",
            x,
            *operands(call),
            kernel_shape=kernel(call),
            strides=call.ints("stride", spatial),
            dilations=call.ints("dilation", spatial),
            group=call.whole("groups"),
            pads=call.ints("padding", spatial) * 2,
            output_padding=call.ints("output_padding", spatial),
        ),
    )


def convolution(w: Writer, call: Call) -> str:
    """The general form, transposed or not."""
    return conv_transpose(w, call) if call.flag("transposed") else conv(w, call)


OPERATORS = {
    "aten.conv1d.default": conv,
    "aten.conv2d.default": conv,
    "aten.conv3d.default": conv,
    "aten.conv1d.padding": conv_named,
    "aten.conv2d.padding": conv_named,
    "aten.conv3d.padding": conv_named,
    "aten.conv_transpose1d.default": conv_transpose,
    "aten.conv_transpose2d.input": conv_transpose,
    "aten.conv_transpose3d.input": conv_transpose,
    "aten.convolution.default": convolution,
}
