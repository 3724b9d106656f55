"""Operations that ATen lacks, kept whole in the graph: they run here, and ONNX has each one.

They stand in torch's registry as `torch.ops.tersor.*`. The sizes of some results depend on
the values; where only shapes are computed, `guess` gives such results a made-up size that
differs from run to run, so that nobody takes it for a fixed one.

    tersor::unique               np.unique, sorted or in order of first appearance
    tersor::non_max_suppression  boxes that no better box of their class covers
    tersor::roi_align            He et al., "Mask R-CNN", arXiv:1703.06870
    tersor::gru                  the GRU that resets the state before the product with it:
                                 Cho et al., arXiv:1406.1078; torch has only the other one
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_LIBRARY: Any = torch.library.Library("tersor", "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define("unique(Tensor x, int? axis, bool sorted) -> (Tensor, Tensor, Tensor, Tensor)")
_LIBRARY.define(
    "non_max_suppression(Tensor boxes, Tensor scores, int most, float overlap, "
    "float? least, bool centres) -> Tensor"
)
_LIBRARY.define(
    "roi_align(Tensor x, Tensor rois, Tensor images, int height, int width, int samples, "
    "float scale, bool half_pixel, bool largest) -> Tensor"
)
_LIBRARY.define(
    "gru(Tensor x, Tensor h, Tensor w_ih, Tensor w_hh, Tensor b_ih, Tensor b_hh) "
    "-> (Tensor, Tensor)"
)

Four = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
_COUNTS = (5, 7)  # made-up sizes


def unique(x: torch.Tensor, axis: int | None, sorted: bool) -> Four:  # noqa: FBT001
    """Distinct elements, or slices along `axis`.

    Args:
        x: Any shape.
        axis: None for the elements of the flattened tensor.
        sorted: Ascending; else in order of first appearance.

    Returns:
        The distinct ones (K), where each stood first (K), which one each input is (N), and
        how often each occurs (K); int64.
    """
    array = x.detach().cpu().numpy()
    values, first, inverse, counts = np.unique(
        array, return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    inverse = inverse.reshape(-1)
    if not sorted:
        order = np.argsort(first)
        values = np.take(values, order, axis=axis or 0)
        inverse = np.argsort(order)[inverse]
        first, counts = first[order], counts[order]
    found = (values, first, inverse, counts)
    a, b, c, d = (torch.from_numpy(np.ascontiguousarray(f)).to(x.device) for f in found)
    return a, b, c, d


def non_max_suppression(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    most: int,
    overlap: float,
    least: float | None,
    centres: bool,  # noqa: FBT001
) -> torch.Tensor:
    """Boxes in the order of their scores, without those that overlap a better one too much.

    Args:
        boxes: (N, B, 4): two corners y, x, y, x; or x, y of the centre, width, height.
        scores: (N, C, B).
        most: Per class and image.
        overlap: Intersection over union above which the worse of two boxes goes.
        least: The score that a box must exceed; None for no limit.
        centres: Whether boxes are given by their centres.

    Returns:
        (K, 3) int64: image, class, box.
    """
    corners = _corners(boxes.detach().cpu().double().numpy(), centres=centres)
    values = scores.detach().cpu().numpy()
    kept = [
        (i, c, b)
        for i in range(values.shape[0])
        for c in range(values.shape[1])
        for b in _suppress(corners[i], values[i, c], most, overlap, least)
    ]
    return torch.tensor(kept, dtype=torch.int64, device=boxes.device).reshape(-1, 3)


Floats = NDArray[np.floating[Any]]


def _corners(boxes: Floats, *, centres: bool) -> Floats:
    """Low and high corners, (N, B, 4)."""
    first, second = boxes[..., :2], boxes[..., 2:]
    if centres:
        first, second = first - second / 2, first + second / 2
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=-1)


def _suppress(
    boxes: Floats, scores: Floats, most: int, overlap: float, least: float | None
) -> list[int]:
    order = np.argsort(-scores, kind="stable")
    if least is not None:
        order = order[scores[order] > least]
    kept: list[int] = []
    while order.size and len(kept) < most:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        order = order[_overlaps(boxes[best], boxes[order]) <= overlap]
    return kept


def _overlaps(box: Floats, others: Floats) -> Floats:
    """Intersection over union of one box with others; 0 where both are empty."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    common: Floats = np.prod(np.maximum(high - low, 0), axis=1)
    total = np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=1)
    union = total - common
    shares: Floats = np.divide(common, union, out=np.zeros_like(union), where=union > 0)
    return shares


def roi_align(  # noqa: PLR0913, PLR0917 - the operation's own
    x: torch.Tensor,
    rois: torch.Tensor,
    images: torch.Tensor,
    height: int,
    width: int,
    samples: int,
    scale: float,
    half_pixel: bool,  # noqa: FBT001
    largest: bool,  # noqa: FBT001
) -> torch.Tensor:
    """Regions of images, each resampled to one size.

    Args:
        x: (N, C, H, W).
        rois: (R, 4): x, y of two corners.
        images: (R): which image.
        height: Of the result.
        width: Of the result.
        samples: Per side of a cell; 0 for one per covered position.
        scale: From the units of `rois` to positions.
        half_pixel: Whether position 0 is the middle of the first pixel, not its edge.
        largest: The largest sample of a cell, weighted, instead of their mean.

    Returns:
        (R, C, height, width).
    """
    result = x.new_zeros(len(rois), x.shape[1], height, width)
    for i, roi in enumerate(rois.tolist()):
        left, top, right, bottom = (v * scale - 0.5 * half_pixel for v in roi)
        tall, wide = bottom - top, right - left
        if not half_pixel:
            tall, wide = max(tall, 1.0), max(wide, 1.0)
        image = x[int(images[i])]
        rows = _samples(top, tall, height, samples, image)
        columns = _samples(left, wide, width, samples, image)
        result[i] = _cells(image, rows, columns, largest=largest)
    return result


def _samples(
    start: float, length: float, cells: int, samples: int, image: torch.Tensor
) -> torch.Tensor:
    """Where each cell is looked at: (cells, samples)."""
    count = samples if samples > 0 else max(int(np.ceil(length / cells)), 1)
    steps = torch.arange(cells * count, dtype=torch.float64) + 0.5
    places = start + steps * (length / cells / count)
    return places.reshape(cells, count).to(image.device)


def _cells(
    image: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, *, largest: bool
) -> torch.Tensor:
    """Bilinear samples, combined per cell: (C, cells, cells)."""
    corners = []
    for y, wy in _neighbours(rows.reshape(-1), image.shape[1]):
        for x, wx in _neighbours(columns.reshape(-1), image.shape[2]):
            weight = (wy[:, None] * wx[None, :]).to(image.dtype)
            corners.append(image[:, y][:, :, x] * weight)
    shape = (image.shape[0], *rows.shape, *columns.shape)
    if largest:
        return torch.stack(corners).amax(0).reshape(shape).amax((2, 4))
    return torch.stack(corners).sum(0).reshape(shape).mean((2, 4))


def _neighbours(places: torch.Tensor, size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The two positions next to each place, and their weights."""
    inside = (places >= -1) & (places <= size)
    clamped = places.clamp(0, size - 1)
    low = clamped.floor().long()
    part = clamped - low
    high = (low + 1).clamp(max=size - 1)
    return [(low, (1 - part) * inside), (high, part * inside)]


def gru(
    x: torch.Tensor,
    h: torch.Tensor,
    w_ih: torch.Tensor,
    w_hh: torch.Tensor,
    b_ih: torch.Tensor,
    b_hh: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A layer of gated recurrent units, in one direction, reset before the product.

        r, z = sigmoid(x W + h R + b),  n = tanh(x Wn + (r * h) Rn + bn)
        h' = (1 - z) * n + z * h

    Args:
        x: (T, B, I).
        h: (B, H), the first state.
        w_ih: (3 H, I), rows in the order r, z, n.
        w_hh: (3 H, H), as `w_ih`.
        b_ih: (3 H).
        b_hh: (3 H).

    Returns:
        All states (T, B, H), and the last one (B, H).
    """
    size = h.shape[-1]
    inputs = torch.nn.functional.linear(x, w_ih, b_ih + b_hh)
    gates, new = w_hh[: 2 * size], w_hh[2 * size :]
    states = []
    for step in inputs.unbind(0):
        both = torch.sigmoid(step[:, : 2 * size] + h @ gates.t())
        r, z = both[:, :size], both[:, size:]
        n = torch.tanh(step[:, 2 * size :] + (r * h) @ new.t())
        h = (1 - z) * n + z * h
        states.append(h)
    return (torch.stack(states) if states else inputs[..., :size]), h


def guess(target: object, args: Any, run: int) -> Any:
    """A result whose size depends on values, as empty tensors; None for other operations.

    Recurrent layers are known here, too: torch would take a step for each of the sequence.

    Args:
        target: The operation.
        args: Its arguments; tensors on the "meta" device.
        run: The made-up size is another one for an even than for an odd number.
    """
    shape_of = _GUESSES.get(target)
    return None if shape_of is None else shape_of(_COUNTS[run % 2], *args)


def _layers(_: int, x: torch.Tensor, state: Any, weights: Any, *rest: Any) -> Any:
    """The results of stacked recurrent layers; None where the shapes do not fit."""
    has_biases, count, _, _, both, batch_first = rest
    states = state if isinstance(state, list | tuple) else [state]
    if x.ndim != 3 or len(weights) != (2 + 2 * has_biases) * count * (1 + both):
        return None
    batch, width = x.shape[0 if batch_first else 1], weights[0].shape[-1]
    shape = (count * (1 + both), batch, weights[1].shape[-1])
    if x.shape[2] != width or any(tuple(s.shape) != shape for s in states):
        return None
    return x.new_empty(*x.shape[:2], shape[2] * (1 + both)), *(
        s.new_empty(shape) for s in states
    )


def _empty(*shape: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _guess_unique(count: int, x: torch.Tensor, axis: int | None, *_: object) -> Four:
    shape = list(x.shape)
    if axis is None:
        values, length = _empty(count, dtype=x.dtype), x.numel()
    else:
        length = shape[axis]
        shape[axis] = count
        values = _empty(*shape, dtype=x.dtype)
    return values, _empty(count), _empty(length), _empty(count)


def _meta_roi_align(
    x: torch.Tensor, rois: torch.Tensor, _: object, height: int, width: int, *__: object
) -> torch.Tensor:
    return x.new_empty(rois.shape[0], x.shape[1], height, width)


_GUESSES: dict[object, Callable[..., Any]] = {
    torch.ops.aten.gru.input: _layers,
    torch.ops.aten.lstm.input: _layers,
    torch.ops.aten.rnn_relu.input: _layers,
    torch.ops.aten.rnn_tanh.input: _layers,
    torch.ops.aten.nonzero.default: lambda count, x: _empty(count, x.ndim),
    torch.ops.tersor.non_max_suppression.default: lambda count, *_: _empty(count, 3),
    torch.ops.tersor.unique.default: _guess_unique,
}
_LIBRARY.impl("unique", unique, "CompositeExplicitAutograd")
_LIBRARY.impl("non_max_suppression", non_max_suppression, "CompositeExplicitAutograd")
_LIBRARY.impl("roi_align", roi_align, "CPU")
_LIBRARY.impl("roi_align", _meta_roi_align, "Meta")
_LIBRARY.impl("gru", gru, "CompositeImplicitAutograd")
