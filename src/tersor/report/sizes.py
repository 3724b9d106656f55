"""What `tersor pack --list` shows: where the bytes of a file are, beside the order-0 bound."""

from collections.abc import Iterable, Mapping
from typing import cast

from rich.console import RenderableType

from tersor.report import units
from tersor.report.observed import Stored, StreamRow
from tersor.report.plain import plain
from tersor.report.schema import check, ordered
from tersor.report.tables import Column, Laid, Rows, Screen


class Listing(Stored):
    """All that `tersor pack --list --json` prints."""

    file: str
    file_bytes: int


def render_sizes(listing: Mapping[str, object]) -> RenderableType:
    """Tensors, streams and totals, for a rich console.

    Args:
        listing: See `Listing`.

    Raises:
        InputError: A key is missing or of another type.
    """
    check(listing, Listing)
    found = cast(Listing, ordered(listing, Listing))
    return Laid(lambda screen: _parts(found, screen))


def _parts(found: Listing, screen: Screen) -> Iterable[RenderableType]:
    yield screen.text((plain(found["file"]), "bold"))
    if found["tensors"]:
        columns = [Column("tensor"), Column("stream"), Column("type"), Column("shape")]
        columns += [Column("codec")] if screen.wide else []
        rows = Rows(screen, "Tensors", [*columns, *_FIGURES])
        for row in found["tensors"]:
            cells = [plain(row["name"], 60 if screen.wide else 24), plain(row["stream"], 14)]
            cells += [plain(row["dtype"], 16), plain(units.shape_text(row["shape"]), 24)]
            cells += [plain(row["codec"], 24)] * screen.wide
            rows.add(*cells, *_figures(row))
        yield rows.done()
    rows = Rows(screen, "Streams", [Column("stream"), *_FIGURES])
    for stream in found["streams"]:
        rows.add(plain(stream["stream"], 14), *_figures(stream))
    yield rows.done()
    total = units.bytes_text(found["file_bytes"])
    yield screen.text("")
    yield screen.text((f"{total} in {units.tensors_text(len(found['tensors']))}.", "bold"))
    yield screen.text((_MEANING, "dim"))


_FIGURES = [Column(head, right=True) for head in ("bytes", "stored", "bound", "over")]
_MEANING = (
    "bound: order-0 entropy of the elements, or of each of their bytes, without tables; "
    "over: stored against it."
)


def _figures(row: StreamRow) -> list[str]:
    """Bytes, stored, bound, and how far above the bound."""
    sizes = [row["bytes"], row["stored_bytes"], row["bound_bytes"]]
    over = row["stored_bytes"] / row["bound_bytes"] - 1 if row["bound_bytes"] else None
    return [*map(units.bytes_text, sizes), units.percent_text(over, 1)]
