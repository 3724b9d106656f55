"""Shortcuts without weights, on codes: as convolutions.

Where a residual network halves its images, a shortcut may take every second pixel and put
channels of zeros around (He et al., arXiv:1512.03385, option A). Between two roundings to one
grid that is a 1x1 convolution of that stride whose weights are zeros and ones, of scale 1:

    round(pad(take(round(x)))) = round(conv(round(x)))

Engines have integer kernels for convolutions, which sums are fused to, but copy elements for
strided slices and paddings.
"""

from collections.abc import Mapping

import numpy as np
import torch

from tersor.export.carriers import grid
from tersor.export.writer import Array, Node, Writer

Shapes = Mapping[str, tuple[int | None, ...]]

_FAR = 2**31 - 1  # beyond any size that varies


def convolve_shortcuts(w: Writer, shapes: Shapes) -> None:
    """Write a strided slice and a padding of channels between codes as a convolution.

    Args:
        w: The whole graph, in which codes move (`carriers`).
        shapes: Of values, by name.
    """
    floats = {n.inputs[0]: n for n in reversed(w.nodes) if n.op == "DequantizeLinear"}
    makers = {name: node for node in w.nodes for name in node.outputs}
    for padding in [node for node in w.nodes if node.op == "Pad"]:
        after = floats.get(padding.outputs[0])
        codes, slices = _slices_before(padding, makers)
        before = floats.get(codes)
        if before is None or after is None or grid(w, before) != grid(w, after):
            continue
        shape = shapes[before.outputs[0]]
        around, stride = _channels_around(w, padding), _stride(w, slices, shape)
        if around is not None and stride is not None and shape[1] is not None:
            _convolve(w, padding, before, after, _selection(shape[1], *around), stride)


def _slices_before(padding: Node, makers: Mapping[str, Node]) -> tuple[str, list[Node]]:
    """The codes that the padding reads through slices, and these."""
    codes, found = padding.inputs[0], []
    while codes in makers and makers[codes].op == "Slice":
        found.append(makers[codes])
        codes = makers[codes].inputs[0]
    return codes, found


def _channels_around(w: Writer, padding: Node) -> tuple[int, int] | None:
    """How many channels of zeros come before and after; None if it is another padding."""
    pads = w.constant_at(padding.inputs[1])
    if pads is None or pads.size != 8 or padding.attributes["mode"] != "constant":
        return None
    before, after = int(pads[1]), int(pads[5])
    others = np.delete(pads, [1, 5])
    return None if others.any() or min(before, after) < 0 else (before, after)


def _stride(w: Writer, slices: list[Node], shape: tuple[int | None, ...]) -> list[int] | None:
    """The steps over pixels of slices from the first one to the last; None if all are 1."""
    stride = [1] * len(shape)
    for node in slices:
        found = [w.constant_at(name) for name in node.inputs[1:]]
        settings = [value.tolist() for value in found if value is not None]
        if len(settings) != 4:
            return None
        for start, end, axis, step in zip(*settings, strict=True):
            if start or step < 1 or end < (shape[axis] or _FAR):
                return None
            stride[axis] *= step
    strided = len(stride) == 4 and stride[:2] == [1, 1] and max(stride) > 1
    return stride[2:] if strided else None


def _selection(channels: int, before: int, after: int) -> Array:
    """Weights (before + channels + after, channels, 1, 1) that put channels between zeros."""
    rows = np.eye(before + channels + after, channels, k=-before, dtype=np.int8)
    return rows[:, :, np.newaxis, np.newaxis]


def _convolve(
    w: Writer,
    padding: Node,
    before: Node,
    after: Node,
    weight: Array,
    stride: list[int],
) -> None:
    """Put a convolution from what `before` gives in the padding's place."""
    result, place = padding.outputs[0], w.nodes.index(padding)
    tail = w.nodes[place + 1 :]
    del w.nodes[place:]
    w.enter(result)
    ones = w.constant(1.0, torch.float32, "scale"), w.constant(0, torch.int8, "zero_point")
    held = w.node("DequantizeLinear", w.constant(weight, torch.int8, "weight"), *ones)
    moved = w.node("Conv", before.outputs[0], held, kernel_shape=[1, 1], strides=stride)
    w.nodes.append(Node("QuantizeLinear", [moved, *after.inputs[1:]], [result]))
    w.nodes += tail
