"""What the onnx package computes pooling with, window by window, all windows at once."""

import inspect

import numpy as np
from onnx.reference.ops.op_pool_common import pool

ARGUMENTS = inspect.signature(pool)
REDUCE = {
    "AVG": lambda windows, axes, _: np.nanmean(windows, axes),
    "MAX": lambda windows, axes, _: np.nanmax(windows, axes),
    "LPPOOL": lambda windows, axes, p: np.nansum(np.abs(windows) ** p, axes) ** (1.0 / p),
}


def quick_pool(*given, **named):
    """The same values as the package's `pool` of the same arguments, seconds faster.

    Places beyond the padding do not count, nor do those that hold NaN.
    """
    bound = ARGUMENTS.bind(*given, **named)
    bound.apply_defaults()
    a = bound.arguments
    padded, outer, sizes = a["padded"], a["x_shape"][:2], np.array(a["x_shape"][2:])
    n = len(sizes)
    strides, dilations = (np.resize(a[key] or 1, n) for key in ("strides", "dilations"))
    needed, there = (np.resize(a[key] or 0, 2 * n) for key in ("pads_required", "pads"))
    spans = 1 + (np.array(a["kernel"]) - 1) * dilations
    counts = ((sizes + needed[:n] + needed[n:] - spans) / strides + 1).astype(int)
    ends = np.minimum(padded.shape[2:], sizes + there[:n] + there[n:])
    field = np.full((*outer, *np.maximum(ends, (counts - 1) * strides + spans)), np.nan)
    inside = (..., *(slice(end) for end in ends))
    field[inside] = padded[inside]
    axes = tuple(range(2, 2 + n))
    windows = np.lib.stride_tricks.sliding_window_view(field, spans, axis=axes)
    starts = (slice(0, (c - 1) * s + 1, s) for c, s in zip(counts, strides, strict=True))
    windows = windows[(..., *starts, *(slice(None, None, d) for d in dilations))]
    y = np.zeros([*outer, *a["out_shape"]], padded.dtype)
    places = (..., *(slice(count) for count in counts))
    y[places] = REDUCE[a["pooling_type"]](windows, tuple(range(-n, 0)), a["p"])
    return y
