"""Other shapes for the same elements, and copies of them side by side."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

from tersor.export.call import Call, Size, Value
from tersor.export.operators.sizes import size_of
from tersor.export.writer import LARGEST_INT, Writer


def reshape_to(w: Writer, call: Call, computed: Callable[[], list[int | str]]) -> str:
    """`call.x` in the shape of the result.

    With at most one varying size (beyond those that stay where they are) the shape is a
    constant; else `computed` tells the sizes.
    """
    x, out = call.x, call.result
    if x.sizes == out.sizes:
        return x.name
    shape = out.shape
    kept = [i < x.rank and x.sizes[i] == out.sizes[i] for i in range(out.rank)]
    varying = [i for i, size in enumerate(shape) if size is None]
    if 0 in shape:
        sizes = w.ints(computed())
        return w.node("Reshape", x.name, sizes, allowzero=1)
    free = varying if len(varying) == 1 else [i for i in varying if not kept[i]]
    if len(free) > 1:
        return w.node("Reshape", x.name, w.ints(computed()))
    fixed = [-1 if i in free else size or 0 for i, size in enumerate(shape)]
    return w.node("Reshape", x.name, w.ints(fixed, "shape"))


def names(sizes: Sequence[int | Size]) -> list[int | str]:
    """Sizes as the writer takes them."""
    return [s.name if isinstance(s, Size) else s for s in sizes]


def view(name: str) -> Callable[[Writer, Call], str]:
    """The shape is the argument `name`."""
    return lambda w, call: reshape_to(w, call, lambda: names(call.sizes(name)))


def view_as(w: Writer, call: Call) -> str:
    """The shape of another tensor."""
    other = call.value("other")
    return reshape_to(w, call, lambda: [size_of(w, other, d) for d in range(other.rank)])


def flatten(w: Writer, call: Call) -> str:
    """The dimensions from start to end as one."""
    x = call.x

    def computed() -> list[int | str]:
        start, end = call.axis("start_dim"), call.axis("end_dim")
        before = [size_of(w, x, d) for d in range(start)]
        return [*before, -1, *(size_of(w, x, d) for d in range(end + 1, x.rank))]

    varying = sum(size is None for size in x.shape)
    if call.axis("start_dim") == 1 and call.axis("end_dim") == x.rank - 1 and varying <= 1:
        return w.node("Flatten", x.name, axis=1) if x.rank > 2 else x.name
    return reshape_to(w, call, computed)


def unflatten(w: Writer, call: Call) -> str:
    """One dimension as several."""
    x, dim = call.x, call.axis("dim")

    def computed() -> list[int | str]:
        before = [size_of(w, x, d) for d in range(dim)]
        after = [size_of(w, x, d) for d in range(dim + 1, x.rank)]
        return [*before, *names(call.sizes("sizes")), *after]

    return reshape_to(w, call, computed)


def squeeze(w: Writer, call: Call) -> str:
    """Without dimensions of size 1: all, or those that are named."""
    x = call.x
    named = call.axes("dim") if call.get_or("dim") is not None else range(x.rank)
    axes = [a for a in named if x.shape and x.shape[a] == 1]
    if not axes:
        return x.name
    return w.node("Squeeze", x.name, w.ints(axes, "axes"))


def unsqueeze(w: Writer, call: Call) -> str:
    """With a new dimension of size 1."""
    axis = call.axis("dim", call.x.rank + 1)
    return w.node("Unsqueeze", call.x.name, w.ints([axis], "axes"))


def permuted(w: Writer, x: Value, order: Sequence[int]) -> str:
    """The dimensions in another order."""
    if all(a < b for a, b in pairwise(order)):
        return x.name
    return w.node("Transpose", x.name, perm=list(order))


def permute(w: Writer, call: Call) -> str:
    """The dimensions in the order of `dims`."""
    return permuted(w, call.x, call.axes("dims"))


def transpose(w: Writer, call: Call) -> str:
    """Two dimensions exchanged."""
    order = list(range(call.x.rank))
    if not order:
        return call.x.name
    a, b = call.axis("dim0"), call.axis("dim1")
    order[a], order[b] = order[b], order[a]
    return permuted(w, call.x, order)


def reverse(w: Writer, call: Call) -> str:
    """All dimensions in reverse order."""
    return permuted(w, call.x, range(call.x.rank)[::-1])


def movedim(w: Writer, call: Call) -> str:
    """Some dimensions moved to other places, the rest in order."""
    rank = call.x.rank
    source = [a % rank for a in call.ints("source")]
    target = [a % rank for a in call.ints("destination")]
    rest = iter(d for d in range(rank) if d not in source)
    order = [source[target.index(i)] if i in target else next(rest) for i in range(rank)]
    return permuted(w, call.x, order)


def expand(w: Writer, call: Call) -> str:
    """Dimensions of size 1 repeated; -1 leaves a size as it is."""
    sizes = call.sizes("size")
    return expand_to(w, call, lambda i: names(sizes)[i])


def expand_as(w: Writer, call: Call) -> str:
    """Dimensions of size 1 repeated up to the shape of another tensor."""
    other = call.value("other")
    return expand_to(w, call, lambda i: size_of(w, other, i))


def expand_to(w: Writer, call: Call, size: Callable[[int], int | str]) -> str:
    """`call.x` in the shape of the result; `size` gives the sizes that grow."""
    x, out = call.x, call.result
    if x.sizes == out.sizes:
        return x.name
    new = out.rank - x.rank
    stays = [i >= new and x.sizes[i - new] == out.sizes[i] for i in range(out.rank)]
    shape = [1 if stay else size(i) for i, stay in enumerate(stays)]
    return w.node("Expand", x.name, w.ints(shape, "shape"))


def repeat(w: Writer, call: Call) -> str:
    """The tensor several times along each dimension, new ones in front."""
    x = call.x
    times = names(call.sizes("repeats" if call.get_or("repeats") is not None else "dims"))
    times[:0] = [1] * (x.rank - len(times))
    name = x.name
    if len(times) > x.rank:
        name = w.node("Unsqueeze", name, w.ints(list(range(len(times) - x.rank)), "axes"))
    return w.node("Tile", name, w.ints(times, "repeats"))


def cat(w: Writer, call: Call) -> str:
    """Tensors one after the other along a dimension, in the wider type."""
    out = call.result
    parts = [v for v in call.values("tensors") if v.shape != (0,) or out.rank == 1]
    same = [p.name if p.dtype == out.dtype else w.cast(p.name, out.dtype) for p in parts]
    axis = call.axis("dim", out.rank)
    return same[0] if len(same) == 1 else w.node("Concat", *same, axis=axis)


def stack(w: Writer, call: Call) -> str:
    """Tensors one after the other along a new dimension."""
    dtype = call.result.dtype
    axis = call.axis("dim", call.result.rank)
    axes = w.ints([axis], "axes")
    parts = [
        w.node("Unsqueeze", v.name if v.dtype == dtype else w.cast(v.name, dtype), axes)
        for v in call.values("tensors")
    ]
    return w.node("Concat", *parts, axis=axis)


def split(w: Writer, call: Call) -> list[str]:
    """Consecutive parts along a dimension."""
    dim = call.axis("dim")
    lengths = [part.shape[dim] for part in call.several]
    fixed = [n if n is not None else call.fail("splits a varying size") for n in lengths]
    if len(fixed) == 1:
        return [call.x.name]
    return w.node_of("Split", [call.x.name, w.ints(fixed, "split")], len(fixed), axis=dim)


def unbind(w: Writer, call: Call) -> list[str]:
    """The slices along a dimension, without it."""
    dim = call.axis("dim")
    return [
        w.node("Gather", call.x.name, w.constant(i, torch.int64, "index"), axis=dim)
        for i in range(len(call.several))
    ]


def flip(w: Writer, call: Call) -> str:
    """The elements in reverse order along some dimensions."""
    axes = call.ints("dims")
    parts = ([-1] * len(axes), [-LARGEST_INT] * len(axes), axes, [-1] * len(axes))
    return w.node("Slice", call.x.name, *(w.ints(part) for part in parts))


def roll(w: Writer, call: Call) -> str:
    """The elements shifted around along some dimensions."""
    name, dims = call.x.name, call.axes("dims")
    if not call.ints("dims"):
        call.fail("rolls all dimensions as one")
    for shift, dim in zip(call.ints("shifts"), dims, strict=True):
        axis = w.ints([dim], "axes")
        tail = w.node("Slice", name, w.ints([-shift]), w.ints([LARGEST_INT]), axis)
        head = w.node("Slice", name, w.ints([0]), w.ints([-shift]), axis)
        name = w.node("Concat", tail, head, axis=dim) if shift else name
    return name


def pixel_shuffle(w: Writer, call: Call) -> str:
    """(N, C * r^2, H, W) to (N, C, H * r, W * r)."""
    if call.x.rank != 4:
        call.fail("has other than four dimensions")
    return w.node(
        "DepthToSpace", call.x.name, blocksize=call.whole("upscale_factor"), mode="CRD"
    )


def pixel_unshuffle(w: Writer, call: Call) -> str:
    """(N, C, H * r, W * r) to (N, C * r^2, H, W)."""
    r, (_, channels, height, width) = call.whole("downscale_factor"), call.result.shape
    if None in (channels, height, width):
        call.fail("has varying sizes")
    inner = [-1, (channels or 0) // r**2, height or 0, r, width or 0, r]
    split_up = w.node("Reshape", call.x.name, w.ints(inner, "shape"))
    moved = w.node("Transpose", split_up, perm=[0, 1, 3, 5, 2, 4])
    outer = [-1, channels or 0, height or 0, width or 0]
    return w.node("Reshape", moved, w.ints(outer, "shape"))


OPERATORS: dict[str, Callable[[Writer, Call], object]] = {
    "aten.view.default": view("size"),
    "aten._unsafe_view.default": view("size"),
    "aten.reshape.default": view("shape"),
    "aten.view_as.default": view_as,
    "aten.reshape_as.default": view_as,
    "aten.flatten.using_ints": flatten,
    "aten.unflatten.int": unflatten,
    "aten.squeeze.default": squeeze,
    "aten.squeeze.dim": squeeze,
    "aten.squeeze.dims": squeeze,
    "aten.unsqueeze.default": unsqueeze,
    "aten.permute.default": permute,
    "aten.transpose.int": transpose,
    "aten.t.default": reverse,
    "aten.numpy_T.default": reverse,
    "aten.mT.default": lambda w, call: permuted(
        w, call.x, [*range(call.x.rank - 2), call.x.rank - 1, call.x.rank - 2]
    ),
    "aten.movedim.int": movedim,
    "aten.movedim.intlist": movedim,
    "aten.expand.default": expand,
    "aten.broadcast_to.default": expand,
    "aten.expand_as.default": expand_as,
    "aten.repeat.default": repeat,
    "aten.tile.default": repeat,
    "aten.cat.default": cat,
    "aten.concat.default": cat,
    "aten.stack.default": stack,
    "aten.split.Tensor": split,
    "aten.split.sizes": split,
    "aten.split_with_sizes.default": split,
    "aten.chunk.default": split,
    "aten.tensor_split.sections": split,
    "aten.unbind.int": unbind,
    "aten.flip.default": flip,
    "aten.roll.default": roll,
    "aten.pixel_shuffle.default": pixel_shuffle,
    "aten.pixel_unshuffle.default": pixel_unshuffle,
}
