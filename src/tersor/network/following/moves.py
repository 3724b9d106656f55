"""Operations that move, join, divide and leave out positions."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import fx

from tersor.network.arguments import arguments
from tersor.network.dims import Dim, product, split, tie, total
from tersor.network.following.trail import (
    Axes,
    Inferred,
    Rewrite,
    Rule,
    Trail,
    axes_of,
    axis_of,
    each,
    first_tensor,
)

_SPLIT = torch.ops.aten.split_with_sizes.default


def permuted(trail: Trail, node: fx.Node) -> Axes:
    """Axes in another order: what happens to numbered axes tells which."""
    given = arguments(node)
    axes = trail.of(first_tensor(node))
    if "dims" in given:
        return tuple(axes[d] for d in given["dims"])
    names = [name for name in given if name.startswith(("dim", "axis"))]
    if len(names) == 2:
        found, (a, b) = list(axes), (axis_of(len(axes), given[name]) for name in names)
        found[a], found[b] = found[b], found[a]
        return tuple(found)
    return axes[::-1] if len(axes) < 3 else (*axes[:-2], axes[-1], axes[-2])


def moved(trail: Trail, node: fx.Node) -> Axes:
    """Some axes go elsewhere, the others keep their order."""
    given = arguments(node)
    axes = trail.of(first_tensor(node))
    sources = axes_of(len(axes), given["source"])
    found = [dim for i, dim in enumerate(axes) if i not in sources]
    places = axes_of(len(axes), given["destination"])
    for place, source in sorted(zip(places, sources, strict=True)):
        found.insert(place, axes[source])
    return tuple(found)


def reshaped(trail: Trail, node: fx.Node) -> Axes:
    """The same elements in other axes."""
    own, shape = trail.of(first_tensor(node)), trail.shape(node)
    axes = _matched(own, shape)
    given = arguments(node)
    name = next((n for n in ("size", "shape", "sizes") if n in given), None)
    if name == "sizes":  # of unflatten: those of one axis
        place = axis_of(len(own), given["dim"])
        told = axes[place : place + len(given[name])]
        trail.rewrite(node, sizes=_told(given[name], told))
    elif name is not None:
        trail.rewrite(node, **{name: _told(given[name], axes)})
    elif "other" in given:
        for dim, like in zip(axes, trail.of(given["other"]), strict=True):
            tie(dim, like)
    return axes


def _told(sizes: Sequence[Any], axes: Axes) -> list[Any]:
    """New sizes; one that is computed follows from the others where no other does."""
    computed = [i for i, size in enumerate(sizes) if not isinstance(size, int) or size < 0]
    found: list[Any] = [
        size if i in computed else dim
        for i, (size, dim) in enumerate(zip(sizes, axes, strict=True))
    ]
    changing = [i for i in computed if not axes[i].is_frozen]
    if len(changing) == 1 and all(sizes[i] != -1 for i in computed):
        found[changing[0]] = Inferred(axes[changing[0]])
    else:
        for i in changing:
            if sizes[i] != -1:
                axes[i].freeze("a size that is computed in the graph tells it")
    return found


def _matched(own: Axes, shape: Sequence[int]) -> Axes:
    """Axes of `shape`, made of those that there were."""
    found: dict[int, Dim] = {}
    before = [dim for dim in own if dim.size != 1]
    after = [i for i, size in enumerate(shape) if size != 1]
    while before and after:
        taken, places = [before.pop(0)], [after.pop(0)]
        while (a := _count(taken)) != (b := math.prod(shape[i] for i in places)):
            if a < b:
                taken.append(before.pop(0))
            else:
                places.append(after.pop(0))
        if len(places) == 1:
            found[places[0]] = product(taken)
            continue
        new = [Dim(shape[i]) for i in places]
        found.update(zip(places, new, strict=True))
        tie(product(taken), product(new))
    return tuple(found.get(i) or Dim(size) for i, size in enumerate(shape))


def _count(dims: Sequence[Dim]) -> int:
    return math.prod(dim.size for dim in dims)


def squeezed(trail: Trail, node: fx.Node) -> Axes:
    """Axes of one position come or go; the graph tells which."""
    shape, own = trail.shape(node), trail.of(first_tensor(node))
    left = [dim for dim in own if dim.size != 1]
    return tuple(left.pop(0) if size != 1 else Dim(1) for size in shape)


def joined(trail: Trail, node: fx.Node) -> Axes:
    """Values one after the other along an axis."""
    given = arguments(node)
    parts = [trail.of(each) for each in given["tensors"]]
    rank = len(trail.shape(node))
    parts = [axes for axes in parts if len(axes) == rank]  # the others are empty
    axis = axis_of(rank, given["dim"])
    axes = list(parts[0])
    for other in parts[1:]:
        for place, dim in enumerate(other):
            if place != axis:
                tie(dim, axes[place])
    axes[axis] = total([part[axis] for part in parts])
    return tuple(axes)


def stacked(trail: Trail, node: fx.Node) -> Axes:
    """Values side by side along a new axis."""
    given = arguments(node)
    first, *others = [trail.of(each) for each in given["tensors"]]
    for other in others:
        for one, dim in zip(first, other, strict=True):
            tie(dim, one)
    axis = axis_of(len(first) + 1, given["dim"])
    (new,) = trail.fresh([len(others) + 1])
    trail.freeze(node, new, why="stands for one of several values")
    return (*first[:axis], new, *first[axis:])


def sliced(trail: Trail, node: fx.Node) -> Axes:
    """The positions of an axis from a start to an end."""
    given = arguments(node)
    axes = list(trail.of(first_tensor(node)))
    axis = axis_of(len(axes), given["dim"])
    dim, size = axes[axis], trail.shape(node)[axis]
    if size == dim.size and given.get("step", 1) == 1:
        told = "length" if "length" in given else "end"
        if given[told] == size:
            trail.rewrite(node, **{told: dim})
        return tuple(axes)
    start, length = given.get("start") or 0, given.get("length")
    end = start + length if length is not None else given.get("end")
    if not _is_plain(start, end) or given.get("step", 1) != 1:
        trail.freeze(node, dim, why="takes some of its positions")
        axes[axis] = Dim(size, POSITIONS_TAKEN)
        return tuple(axes)
    start = start + dim.size if start < 0 else min(start, dim.size)
    before, rest = split(dim, start)
    axes[axis] = split(rest, size)[0]
    if length is not None:
        trail.rewrite(node, start=before, length=axes[axis])
    else:
        trail.rewrite(node, start=before, end=total([before, axes[axis]]))
    return tuple(axes)


POSITIONS_TAKEN = "it is one of several positions that are taken"


def _is_plain(*bounds: Any) -> bool:
    return all(bound is None or isinstance(bound, int) for bound in bounds)


def divided(trail: Trail, node: fx.Node) -> Any:
    """An axis in pieces, one after the other."""
    given = arguments(node)
    axes = trail.of(first_tensor(node))
    axis = axis_of(len(axes), given["dim"])
    sizes = [int(value.shape[axis]) for value in trail.values[node.name]]
    pieces, rest = [], axes[axis]
    for size in sizes:
        piece, rest = split(rest, size)
        pieces.append(piece)
    told = {"self": first_tensor(node), "split_sizes": pieces, "dim": axis}
    trail.rewrites[node] = Rewrite(told, _SPLIT)
    return [(*axes[:axis], piece, *axes[axis + 1 :]) for piece in pieces]


def unbound(trail: Trail, node: fx.Node) -> Any:
    """The positions of an axis, each as a value of its own."""
    given = arguments(node)
    axes = trail.of(first_tensor(node))
    axis = axis_of(len(axes), given["dim"])
    trail.freeze(node, axes[axis], why="takes each of its positions")
    left = (*axes[:axis], *axes[axis + 1 :])
    several = isinstance(trail.values[node.name], list | tuple)
    return [left for _ in trail.values[node.name]] if several else left


def chosen(trail: Trail, node: fx.Node) -> Axes:
    """Positions of an axis by their numbers."""
    given = arguments(node)
    axes = list(trail.of(first_tensor(node)))
    axis = axis_of(len(axes), given["dim"])
    trail.freeze(node, axes[axis], why="takes positions by their numbers")
    trail.freeze(node, *trail.of(given["index"]))
    axes[axis] = Dim(trail.shape(node)[axis], POSITIONS_TAKEN)
    return tuple(axes)


def indexed(trail: Trail, node: fx.Node) -> Any:
    """Positions by their numbers, along one axis or some that stand side by side."""
    given = arguments(node)
    axes, indices = trail.of(first_tensor(node)), list(given["indices"])
    places = [i for i, index in enumerate(indices) if index is not None]
    if any(b - a != 1 for a, b in pairwise(places)):
        return trail.unknown(node)
    trail.freeze(node, *(axes[i] for i in places), why="takes positions by their numbers")
    for i in places:
        trail.freeze(node, *trail.of(indices[i]))
    before, after = axes[: places[0]], axes[places[-1] + 1 :]
    new = trail.shape(node)[len(before) : len(trail.shape(node)) - len(after)]
    return (*before, *trail.fresh(new, POSITIONS_TAKEN), *after)


def embedded(trail: Trail, node: fx.Node) -> Axes:
    """Rows by their numbers."""
    given = arguments(node)
    rows, width = trail.of(given["weight"])
    numbers = trail.of(given["indices"])
    trail.freeze(node, rows, *numbers, why="takes rows by their numbers")
    return (*numbers, width)


def padded(trail: Trail, node: fx.Node) -> Any:
    """Positions before and after those of an axis, or some of these left out."""
    given = arguments(node)
    axes, pads = list(trail.of(first_tensor(node))), list(given["pad"])
    told: list[Any] = list(pads)
    for i in range(len(pads) // 2):
        axis = len(axes) - 1 - i
        before, after = pads[2 * i : 2 * i + 2]
        if not _is_plain(before, after) or before < 0 or after < 0:
            return trail.unknown(node, "cuts off positions")
        if before == after == 0:
            continue
        if given.get("mode", "constant") != "constant":
            trail.freeze(node, axes[axis])
        ends = trail.fresh([before, after])
        axes[axis] = total([ends[0], axes[axis], ends[1]])
        told[2 * i : 2 * i + 2] = ends
    trail.rewrite(node, pad=told)
    return tuple(axes)


def repeated(trail: Trail, node: fx.Node) -> Any:
    """Axes several times over, one copy after the other."""
    given = arguments(node)
    counts: Any = given.get("repeats", given.get("dims"))
    own, shape = trail.of(first_tensor(node)), trail.shape(node)
    own = (*trail.fresh([1] * (len(shape) - len(own))), *own)
    if not _is_plain(*counts):
        return trail.unknown(node)
    copies = trail.fresh([s // max(1, d.size) for s, d in zip(shape, own, strict=True)])
    trail.freeze(node, *copies, why="copies all of them")
    return tuple(product(pair) for pair in zip(copies, own, strict=True))


def interleaved(trail: Trail, node: fx.Node) -> Any:
    """Each position of an axis several times over."""
    given = arguments(node)
    if not isinstance(given.get("repeats"), int) or given["dim"] is None:
        return trail.unknown(node)
    axes = list(trail.of(first_tensor(node)))
    axis = axis_of(len(axes), given["dim"])
    (copies,) = trail.fresh([given["repeats"]])
    trail.freeze(node, copies, why="copies all of them")
    axes[axis] = product([axes[axis], copies])
    if given.get("output_size") is not None:
        trail.rewrite(node, output_size=axes[axis])
    return tuple(axes)


def shuffled_pixels(trail: Trail, node: fx.Node) -> Axes:
    """Channels that become places in an image."""
    axes, factor = trail.of(first_tensor(node)), arguments(node)["upscale_factor"]
    (channels,) = trail.fresh([axes[-3].size // factor**2])
    (places,) = trail.fresh([factor**2], f"{node.name} (pixel_shuffle) makes places of them")
    tie(axes[-3], product([channels, places]))
    return (*axes[:-3], channels, *trail.fresh(trail.shape(node)[-2:], POSITIONS_TAKEN))


def gathered_pixels(trail: Trail, node: fx.Node) -> Axes:
    """Places in an image that become channels."""
    axes, factor = trail.of(first_tensor(node)), arguments(node)["downscale_factor"]
    (places,) = trail.fresh([factor**2], f"{node.name} (pixel_unshuffle) makes them of places")
    channels = product([axes[-3], places])
    return (*axes[:-3], channels, *trail.fresh(trail.shape(node)[-2:], POSITIONS_TAKEN))


def shuffled_channels(trail: Trail, node: fx.Node) -> Axes:
    """Groups of channels that are dealt out like cards."""
    axes, groups = trail.of(first_tensor(node)), arguments(node)["groups"]
    outer, inner = trail.fresh([groups, axes[1].size // groups])
    trail.freeze(node, outer, why="deals them out")
    tie(axes[1], product([outer, inner]))
    return (axes[0], product([inner, outer]), *axes[2:])


def glued(trail: Trail, node: fx.Node) -> Axes:
    """One half of the channels gates the other."""
    axes = list(trail.of(first_tensor(node)))
    axis = axis_of(len(axes), arguments(node)["dim"])
    one, other = split(axes[axis], axes[axis].size // 2)
    tie(one, other)
    axes[axis] = one
    return tuple(axes)


RULES: dict[str, Rule] = {
    **each("t numpy_T mT permute transpose swapaxes", permuted),
    **each("swapdims adjoint matrix_H", permuted),
    **each("movedim moveaxis", moved),
    **each("view reshape _unsafe_view flatten unflatten", reshaped),
    **each("ravel view_as reshape_as", reshaped),
    **each("squeeze unsqueeze", squeezed),
    **each("cat concat concatenate", joined),
    "stack": stacked,
    **each("slice narrow", sliced),
    **each("split split_with_sizes chunk tensor_split", divided),
    **each("unbind select", unbound),
    "index_select": chosen,
    "index": indexed,
    "embedding": embedded,
    **each("pad constant_pad_nd", padded),
    **each("repeat tile", repeated),
    "repeat_interleave": interleaved,
    "pixel_shuffle": shuffled_pixels,
    "pixel_unshuffle": gathered_pixels,
    "channel_shuffle": shuffled_channels,
    "glu": glued,
}
