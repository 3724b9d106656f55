"""What `tersor inspect` shows: layer by layer, what is there and what can be compressed."""

from collections.abc import Iterable, Mapping
from typing import NotRequired, TypedDict, cast

from rich.console import RenderableType

from tersor.report import units
from tersor.report.plain import plain
from tersor.report.schema import check, ordered
from tersor.report.shown_channels import ChannelGroup, FrozenChannels
from tersor.report.tables import Column, Footnotes, Laid, Rows, Screen

_NAMED = 3  # tensors of a group


class InspectedLayer(TypedDict):
    """One layer.

    Attributes:
        macs: Multiply-accumulates for one sample.
        share_parameters, share_macs: Fractions of the whole network.
        reason: Why it cannot be compressed; null or empty if it can.
    """

    name: str
    op: str
    weight_shape: list[int]
    parameters: int
    macs: int | None
    weight_bytes: int
    output_shape: list[int | str]
    share_parameters: float | None
    share_macs: float | None
    compressible: bool
    reason: str | None


class InspectedPort(TypedDict):
    """One input or output; text in its shape names a dimension that varies."""

    name: str
    shape: list[int | str]
    dtype: str


class Totals(TypedDict):
    """Sums over the whole network, what belongs to no layer included."""

    parameters: int
    macs: int | None
    weight_bytes: int


class Inspection(TypedDict):
    """All that `tersor inspect --json` prints.

    Attributes:
        groups, frozen: Of channels, where they were asked for.
        warning: Why it may give other outputs on this machine than elsewhere; null if not.
    """

    model: NotRequired[str]
    inputs: list[InspectedPort]
    outputs: list[InspectedPort]
    layers: list[InspectedLayer]
    totals: Totals
    peak_activation_bytes: int | None
    groups: NotRequired[list[ChannelGroup]]
    frozen: NotRequired[list[FrozenChannels]]
    warning: NotRequired[str | None]


def render_inspect(inspection: Mapping[str, object]) -> RenderableType:
    """The layers of a model, for a rich console.

    Args:
        inspection: See `Inspection`.

    Raises:
        InputError: A key is missing or of another type.
    """
    check(inspection, Inspection)
    found = cast(Inspection, ordered(inspection, Inspection))
    return Laid(lambda screen: _parts(found, screen))


def _parts(found: Inspection, screen: Screen) -> Iterable[RenderableType]:
    total = found["totals"]
    if "model" in found:
        yield screen.text((plain(found["model"]), "bold"))
    for head, ports in (("in", found["inputs"]), ("out", found["outputs"])):
        for port in ports:
            shape = plain(units.shape_text(port["shape"]), 60)
            yield screen.text(f"  {head:4}{plain(port['name'], 60)} {shape} {port['dtype']}")
    yield screen.text(
        f"  {units.count_text(total['parameters'])} parameters, "
        f"{units.count_text(total['macs'])} MACs, "
        f"{units.bytes_text(total['weight_bytes'])} of weights, "
        f"{units.bytes_text(found['peak_activation_bytes'])} activations at the peak"
    )
    yield from _layers(found, screen)
    able = [layer for layer in found["layers"] if layer["compressible"]]
    held = units.bytes_text(sum(layer["weight_bytes"] for layer in able))
    said = f"{len(able)} of {len(found['layers'])} layers ({held}) can be compressed."
    yield screen.text((said, "bold"))
    yield from _groups(found, screen)
    warning = found.get("warning")
    if warning:
        yield screen.text(("Note: ", "bold yellow"), plain(warning, 400))


def _groups(found: Inspection, screen: Screen) -> Iterable[RenderableType]:
    """Channels that can be cut together, and those that cannot."""
    if "groups" not in found:
        return
    columns = [Column("group"), Column("channels", right=True), Column("made by", fold=True)]
    columns += [Column("read by", fold=True), Column("more", right=True)] * screen.wide
    rows = Rows(screen, "Channel groups", columns)
    for group in found["groups"]:
        cells = [plain(group["name"], 48 if screen.wide else 24), str(group["size"])]
        cells += [_names(group["makers"])]
        cells += [_names(group["readers"]), str(group["others"])] * screen.wide
        rows.add(*cells)
    if found["groups"]:
        yield rows.done()
    frozen = Rows(
        screen,
        "Frozen channels",
        [Column("layer"), Column("channels", right=True), Column("why", fold=True)],
    )
    for each in found.get("frozen", []):
        frozen.add(plain(each["layer"], 48), str(each["channels"]), plain(each["reason"]))
    if found.get("frozen"):
        yield frozen.done()
    count = len(found["groups"])
    said = f"{count} group{'s' * (count != 1)} of channels can be cut."
    yield screen.text("")
    yield screen.text((said, "bold"))


def _names(given: list[str]) -> str:
    """A few of them, and how many more."""
    some = [plain(name.removesuffix(".weight"), 48) for name in given[:_NAMED]]
    more = len(given) - len(some)
    return ", ".join(some) + (f" and {more} more" if more else "")


def _layers(found: Inspection, screen: Screen) -> Iterable[RenderableType]:
    """The table; reasons against compression stand beside it or below."""
    columns = [Column("layer"), Column("op"), Column("weight")]
    columns += [Column("output")] if screen.wide else []
    columns += [Column("params", right=True)] if screen.wide else []
    columns += [Column("bytes", right=True), Column("share", right=True)]
    columns += [Column("MACs", right=True), Column("share", right=True)]
    columns += [Column("can be compressed" if screen.wide else "compress", fold=True)]
    rows, notes = Rows(screen, "Layers", columns), Footnotes()
    for layer in found["layers"]:
        cells = [plain(layer["name"], 48 if screen.wide else 20), plain(layer["op"], 14)]
        cells += [plain(units.shape_text(layer["weight_shape"]), 24)]
        cells += [plain(units.shape_text(layer["output_shape"]), 24)] * screen.wide
        cells += [units.count_text(layer["parameters"])] * screen.wide
        cells += [units.bytes_text(layer["weight_bytes"]), _share(layer["share_parameters"])]
        cells += [units.count_text(layer["macs"]), _share(layer["share_macs"])]
        reason = plain(layer["reason"] or "")
        if layer["compressible"]:
            answer = "yes"
        else:
            answer = f"no {'' if screen.wide else notes.number(reason)}".strip()
            answer += f": {reason}" if screen.wide and reason else ""
        rows.add(*cells, answer)
    yield rows.done()
    yield from notes.below(screen)
    yield screen.text("")


def _share(fraction: float | None) -> str:
    return units.percent_text(fraction, 1)
