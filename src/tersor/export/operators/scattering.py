"""Elements put or taken by several indices, sorted, or found by their values."""

from collections.abc import Callable

import torch

from tersor.export.call import Call, Value
from tersor.export.operators.sizes import size_of
from tersor.export.writer import Writer

Write = Callable[[Writer, Call], object]
_REDUCTIONS = {"sum": "add", "prod": "mul"}  # at this opset


def scatter(w: Writer, call: Call) -> str:
    """Elements put by an index of the same rank."""
    index, source = call.value("index"), call.value("src")
    if index.sizes != source.sizes:
        call.fail("has more updates than indices")
    how = {}
    if call.get_or("reduce") is not None:
        reduce = str(call.get("reduce"))
        if reduce not in _REDUCTIONS or not call.flag("include_self"):
            call.fail(f"combines elements by {reduce}")
        how = {"reduction": _REDUCTIONS[reduce]}
    names = (call.x.name, index.name, source.name)
    return w.node("ScatterElements", *names, axis=call.axis("dim"), **how)


def stacked(w: Writer, call: Call) -> str:
    """The index tensors of the first dimensions as one: (..., number of them)."""
    indices = call.get("indices")
    assert isinstance(indices, (list, tuple))  # noqa: S101 - the schema says so
    given = [i for i in indices if isinstance(i, Value)]
    if given != list(indices[: len(given)]) or any(i.dtype == torch.bool for i in given):
        call.fail("takes indices of other than the first dimensions")
    names = [i.name for i in given]
    if len({i.sizes for i in given}) > 1:
        total = names[0]
        for name in names[1:]:
            total = w.node("Add", total, name)
        shape = w.node("Shape", total)
        names = [w.node("Expand", name, shape) for name in names]
    last = w.constant([-1], torch.int64, "axis")
    columns = [w.node("Unsqueeze", name, last) for name in names]
    return columns[0] if len(columns) == 1 else w.node("Concat", *columns, axis=-1)


def index_put(w: Writer, call: Call) -> str:
    """Slices put by indices into the first dimensions."""
    values, place = call.value("values"), stacked(w, call)
    indices = call.get("indices")
    assert isinstance(indices, (list, tuple))  # noqa: S101 - the schema says so
    if values.rank != max(i.rank for i in indices) + call.x.rank - len(indices):
        call.fail("broadcasts its values")
    how = {"reduction": "add"} if call.flag("accumulate") else {}
    return w.node("ScatterND", call.x.name, place, values.name, **how)


def index_many(w: Writer, call: Call) -> str:
    """Slices taken by indices into the first dimensions."""
    return w.node("GatherND", call.x.name, stacked(w, call))


def sort(w: Writer, call: Call) -> list[str]:
    """All elements along a dimension in order; of equal ones the first comes first."""
    count = w.ints([size_of(w, call.x, call.axis("dim"))], "k")
    descending = int(call.flag("descending"))
    return w.node_of(
        "TopK", [call.x.name, count], 2, axis=call.axis("dim"), largest=descending, sorted=1
    )


def nonzero(w: Writer, call: Call) -> str:
    """One row per element that is not 0."""
    return w.node("Transpose", w.node("NonZero", call.x.name), perm=[1, 0])


def unique(w: Writer, call: Call) -> list[str]:
    """Distinct elements, where they were, which each one is, how many there are."""
    more = {} if call.get("axis") is None else {"axis": call.whole("axis")}
    return w.node_of("Unique", [call.x.name], 4, sorted=int(call.flag("sorted")), **more)


def non_max_suppression(w: Writer, call: Call) -> str:
    """Boxes that no better one covers."""
    limits = [
        w.constant(call.whole("most"), torch.int64, "most"),
        w.constant(call.number("overlap"), torch.float32, "overlap"),
    ]
    if call.get("least") is not None:
        limits.append(w.constant(call.number("least"), torch.float32, "least"))
    names = (call.value("boxes").name, call.value("scores").name, *limits)
    return w.node("NonMaxSuppression", *names, center_point_box=int(call.flag("centres")))


def roi_align(w: Writer, call: Call) -> str:
    """Regions resampled to one size."""
    names = [call.value(name).name for name in ("x", "rois", "images")]
    return w.node(
        "RoiAlign",
        *names,
        mode="max" if call.flag("largest") else "avg",
        output_height=call.whole("height"),
        output_width=call.whole("width"),
        sampling_ratio=call.whole("samples"),
        spatial_scale=float(call.number("scale")),
        coordinate_transformation_mode=(
            "half_pixel" if call.flag("half_pixel") else "output_half_pixel"
        ),
    )


OPERATORS: dict[str, Write] = {
    "aten.scatter.src": scatter,
    "aten.scatter_reduce.two": scatter,
    "aten.index_put.default": index_put,
    "aten.sort.stable": sort,
    "aten.sort.default": sort,
    "aten.nonzero.default": nonzero,
    "tersor.unique.default": unique,
    "tersor.non_max_suppression.default": non_max_suppression,
    "tersor.roi_align.default": roi_align,
}
