"""Parts of a tensor, by position or by index; padding."""

from collections.abc import Callable

import torch

from tersor.export.call import Call, Size
from tersor.export.operators.scattering import index_many
from tersor.export.writer import LARGEST_INT, Writer

Write = Callable[[Writer, Call], object]


def bound(call: Call, name: str, default: int) -> int | str:
    """One end of a slice."""
    found = call.get(name)
    if found is None:
        return default
    (size,) = call.sizes(name)
    return size.name if isinstance(size, Size) else size


def slice_(w: Writer, call: Call) -> str:
    """The elements from start to end, every step-th."""
    start, end = bound(call, "start", 0), bound(call, "end", LARGEST_INT)
    step, x = call.whole("step"), call.x
    if x.sizes == call.result.sizes and step == 1:
        return x.name
    axis = w.ints([call.axis("dim")], "axes")
    return w.node("Slice", x.name, w.ints([start]), w.ints([end]), axis, w.ints([step]))


def narrow(w: Writer, call: Call) -> str:
    """`length` elements from start on."""
    (start,), (length,) = call.sizes("start"), call.sizes("length")
    if not isinstance(start, int) or not isinstance(length, int):
        call.fail("has varying ends")
    axis = w.ints([call.axis("dim")], "axes")
    return w.node("Slice", call.x.name, w.ints([start]), w.ints([start + length]), axis)


def select(w: Writer, call: Call) -> str:
    """One slice along a dimension, without it."""
    (index,) = call.sizes("index")
    if isinstance(index, Size):
        where = w.node("Squeeze", index.name, w.ints([0], "axes"))
    else:
        where = w.constant(index, torch.int64, "index")
    return w.node("Gather", call.x.name, where, axis=call.axis("dim"))


def index_select(w: Writer, call: Call) -> str:
    """Several slices along a dimension."""
    return w.node("Gather", call.x.name, call.value("index").name, axis=call.axis("dim"))


def index(w: Writer, call: Call) -> str:
    """Elements by tensors of indices, in one dimension or in the first ones."""
    indices = call.get("indices")
    assert isinstance(indices, (list, tuple))  # noqa: S101 - the schema says so
    given = [i for i, found in enumerate(indices) if found is not None]
    if len(given) != 1:
        return index_many(w, call)
    found = indices[given[0]]
    if found.dtype == torch.bool:
        call.fail("selects by truth values")
    return w.node("Gather", call.x.name, found.name, axis=given[0])


def embedding(w: Writer, call: Call) -> str:
    """Rows of a table: indices (...) -> (..., D)."""
    return w.node("Gather", call.value("weight").name, call.value("indices").name)


def gather(w: Writer, call: Call) -> str:
    """Elements by an index of the same rank."""
    index = call.value("index").name
    return w.node("GatherElements", call.x.name, index, axis=call.axis("dim"))


def write_pad(w: Writer, call: Call, given: list[int], mode: str, value: object) -> str:
    """Elements added (or, where negative, cut) around the last dimensions, last one first."""
    x = call.x
    begins, ends = [0] * x.rank, [0] * x.rank
    for i in range(len(given) // 2):
        begins[-1 - i], ends[-1 - i] = given[2 * i], given[2 * i + 1]
    pads = w.constant(begins + ends, torch.int64, "pads")
    if not value:
        return w.node("Pad", x.name, pads, mode=mode)
    return w.node("Pad", x.name, pads, w.constant(value, x.dtype, "value"), mode=mode)


def pad(w: Writer, call: Call) -> str:
    """Padding whose mode is an argument."""
    modes = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}
    mode = str(call.get_or("mode", "constant"))
    if mode not in modes:
        call.fail(f"has mode {mode}")
    return write_pad(w, call, call.ints("pad"), modes[mode], call.get_or("value"))


def pad_by(mode: str) -> Write:
    """Padding whose mode is in the name of the operation."""
    return lambda w, call: write_pad(w, call, call.ints("padding"), mode, None)


def triangle(*, upper: int) -> Write:
    """The upper or lower triangle of matrices; the rest is 0."""

    def write(w: Writer, call: Call) -> str:
        offset = w.constant(call.whole("diagonal"), torch.int64, "diagonal")
        return w.node("Trilu", call.x.name, offset, upper=upper)

    return write


def topk(w: Writer, call: Call) -> list[str]:
    """The k largest or smallest values and where they were."""
    return w.node_of(
        "TopK",
        [call.x.name, w.ints([call.whole("k")], "k")],
        2,
        axis=call.axis("dim"),
        largest=int(call.flag("largest")),
        sorted=int(call.flag("sorted")),
    )


def one_hot(w: Writer, call: Call) -> str:
    """1 at the index, else 0, along a new last dimension."""
    depth = w.constant(call.whole("num_classes"), torch.int64, "depth")
    values = w.constant([0, 1], torch.int64, "values")
    return w.node("OneHot", call.x.name, depth, values)


OPERATORS: dict[str, Write] = {
    "aten.slice.Tensor": slice_,
    "aten.narrow.default": narrow,
    "aten.select.int": select,
    "aten.index_select.default": index_select,
    "aten.index.Tensor": index,
    "aten.embedding.default": embedding,
    "aten.gather.default": gather,
    "aten.pad.default": pad,
    "aten.constant_pad_nd.default": pad,
    "aten.reflection_pad1d.default": pad_by("reflect"),
    "aten.reflection_pad2d.default": pad_by("reflect"),
    "aten.replication_pad1d.default": pad_by("edge"),
    "aten.replication_pad2d.default": pad_by("edge"),
    "aten.tril.default": triangle(upper=0),
    "aten.triu.default": triangle(upper=1),
    "aten.topk.default": topk,
    "aten.one_hot.default": one_hot,
}
