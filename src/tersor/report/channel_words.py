"""What was cut out of a network and what that did to its time, in words and rows.

Terminal and page share these.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tersor.report import units
from tersor.report.document import Report
from tersor.report.plain import plain
from tersor.report.shown_channels import CutGroup, Pace, PacedLayer

_NAMED = 3  # tensors of a group, and layers that nobody cut
_NAME = 60  # characters of a name
_COUNTS = 0.05  # of the time left, from which a part of it is worth a sentence


def channels_said(report: Report) -> str:
    """One line on what was cut; empty if nothing was."""
    found = report.get("channels")
    if found is None:
        return ""
    told = [(one["size"], one["left"]) for one in found["groups"] if one["left"] is not None]
    cut = sum(left < size for size, left in told)
    before, after = (sum(each) for each in zip(*told, strict=True)) if told else (0, 0)
    share = units.percent_text(_share(found["macs"], found["macs_left"]), 1)
    said = (
        f"{cut} of {len(found['groups'])} groups of channels were cut; {after} of {before} "
        f"channels are left, and {share} of the multiply-accumulates (MACs)."
    )
    whole = len(found["removed"])
    places = f"{whole} place{'s' * (whole != 1)}"
    return f"{said} Heads or branches went as a whole in {places}." if whole else said


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One group in words.

    Attributes:
        makers, readers: A few names of layers, and how many more.
        share: The fraction that is left; None if that is not known.
    """

    name: str
    makers: str
    readers: str
    before: int
    after: int | None
    share: float | None


def group_rows(report: Report) -> list[GroupRow]:
    """All groups in the order of the network; none if nothing was cut."""
    found = report.get("channels")
    return [] if found is None else [_group_row(one) for one in found["groups"]]


def _group_row(one: CutGroup) -> GroupRow:
    return GroupRow(
        name=plain(one["name"], _NAME),
        makers=_some(one["makers"]),
        readers=_some(one["readers"]),
        before=one["size"],
        after=one["left"],
        share=None if one["left"] is None else _share(one["size"], one["left"]),
    )


def _some(names: Sequence[str]) -> str:
    """A few layers, and how many more; "x.weight" is of the layer x.

    >>> _some(["a.weight", "b", "c", "d"])
    'a, b, c + 1'
    """
    told = list(dict.fromkeys(plain(name.removesuffix(".weight"), _NAME) for name in names))
    more = f" + {len(told) - _NAMED}" if len(told) > _NAMED else ""
    return ", ".join(told[:_NAMED]) + more


@dataclass(frozen=True, slots=True)
class PaceRow:
    """One layer.

    Attributes:
        macs_share, ms_share: The fractions that are left; None where they are not known.
        is_late: Whether it is one of those that lag the most.
    """

    layer: PacedLayer
    macs_share: float | None
    ms_share: float | None
    is_late: bool


def pace_rows(report: Report) -> list[PaceRow]:
    """All layers that multiply, in the order of the network; none if nothing was cut."""
    pace = _pace(report)
    if pace is None:
        return []
    return [
        PaceRow(
            layer=one,
            macs_share=_share(one["macs"], one["macs_left"]),
            ms_share=_share(one["ms"], one["ms_left"]),
            is_late=one["name"] in pace["lagging"],
        )
        for one in pace["layers"]
    ]


def pace_said(report: Report) -> str:
    """How far the time fell, or how to get to know it; empty if nothing was cut."""
    pace = _pace(report)
    if pace is None:
        return ""
    share = _share(pace["ms"], pace["ms_left"])
    if share is None:
        why = plain(pace["why_not"] or "the latency model was not asked")
        how = "Measured layers are kept in a cache: compress again, with more --seconds."
        return f"What each layer takes is not known: {why}. {how}"
    macs = _share(
        sum(one["macs"] for one in pace["layers"]),
        sum(one["macs_left"] for one in pace["layers"]),
    )
    place = plain(f"{pace['engine']} {pace['precision']}", 80)
    return (
        f"Layers measured one by one on {place} and added up: {units.ms_fine(pace['ms'])} ms "
        f"before, {units.ms_fine(pace['ms_left'])} ms after. {units.percent_text(share, 0)} "
        f"of the time are left, and {units.percent_text(macs, 0)} of the MACs."
    )


def late_said(report: Report) -> list[tuple[str, str]]:
    """The layers that take the most more than their work tells, each with the reason."""
    pace = _pace(report)
    if pace is None:
        return []
    layers = {one["name"]: one for one in pace["layers"]}
    late = [layers[name] for name in pace["lagging"] if name in layers]
    return [(plain(one["name"], _NAME), _lag_said(one)) for one in late]


def _lag_said(one: PacedLayer) -> str:
    macs = units.percent_text(_share(one["macs"], one["macs_left"]), 0)
    ms = units.percent_text(_share(one["ms"], one["ms_left"]), 0)
    why = plain(one["why"] or "nothing that was measured explains it")
    return f"takes {ms} of its time for {macs} of its MACs: {why}"


def kept_said(report: Report) -> list[str]:
    """What takes as long as before because nothing of it was cut, where it counts."""
    pace = _pace(report)
    return [] if pace is None else [*_whole_said(pace), *_between_said(pace)]


def _pace(report: Report) -> Pace | None:
    found = report.get("channels")
    return None if found is None else found["pace"]


def _whole_said(pace: Pace) -> list[str]:
    """Layers that do as much as before, the slowest first; none where they hardly count."""
    same = [one for one in pace["layers"] if one["macs_left"] == one["macs"]]
    same = sorted(same, key=lambda one: -(one["ms_left"] or 0.0))
    part = _share(pace["ms_left"], sum(one["ms_left"] or 0.0 for one in same))
    if part is None or part < _COUNTS:
        return []
    told = "; ".join(
        f"{plain(one['name'], _NAME)}: {plain(one['why'] or 'not told')}"
        for one in same[:_NAMED]
    )
    more = f"; and {len(same) - _NAMED} more" if len(same) > _NAMED else ""
    percent = units.percent_text(part, 0)
    return [
        f"{percent} of the time left goes to layers that do as much as before. {told}{more}."
    ]


def _between_said(pace: Pace) -> list[str]:
    """What is no layer, where it counts."""
    part = _share(pace["ms_left"], pace["between_ms_left"])
    if part is None or part < _COUNTS:
        return []
    percent = units.percent_text(part, 0)
    what = "to calling the engine, and to moving values between layers"
    return [f"{percent} of the time left goes {what}."]


def _share(whole: float | None, part: float | None) -> float | None:
    """A fraction; None where a number is missing or nothing is divided."""
    return part / whole if whole and part is not None else None
