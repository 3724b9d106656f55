"""What runs how, where the error grows, on which samples: in words and rows.

Terminal and page share these.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tersor.engines.engine import by_precision
from tersor.report.document import Candidate, LayerResult, Report
from tersor.report.observed import Answer, Operations, PathPoint, WorstSample
from tersor.report.plain import plain
from tersor.report.searched import Rating, Search, Try
from tersor.report.units import NOTHING, bytes_text, db_text, percent_text, pp_text

_BEYOND = 1000.0  # dB: no measurement comes near
_NOT_TOLD = "keeps no profile of its kernels: it cannot tell what runs in which precision"
Counts = Mapping[str, Mapping[str, int]]


def counts_words(counts: Counts | None) -> str:
    """As in "29 of 45 nodes in int8, 1 in f32, 15 other"."""
    totals = by_precision(counts or {})
    if not totals:
        return "not told"
    whole = sum(totals.values())
    parts = [
        f"{count} other" if name == "other" else f"{count} in {plain(name, 40)}"
        for name, count in totals.items()
    ]
    first, _, rest = parts[0].partition(" ")
    return ", ".join([f"{first} of {whole} nodes {rest}", *parts[1:]])


def operations_words(report: Report) -> str:
    """One line on what runs in which precision; empty if nothing is known."""
    found = report.get("operations")
    if found is None:
        return ""
    where = plain(f"{found['engine']} {found['precision']}", 80)
    if found["original"] is None and found["compressed"] is None:
        return f"{plain(found['engine'], 40)} {_NOT_TOLD}."
    before, after = (counts_words(found[side]) for side in ("original", "compressed"))
    if before == after:
        return f"{after} ({where}), as in the original"
    return f"{after}; original {before} ({where})"


@dataclass(frozen=True, slots=True)
class OperationTable:
    """Rows of nodes: a kind, and its counts in each column.

    Attributes:
        columns: Model and precision, as in ("original", "f32").
        rows: Kind and counts; the last is the sum of all.
    """

    columns: list[tuple[str, str]]
    rows: list[tuple[str, list[int]]]


def operation_table(found: Operations | None) -> OperationTable | None:
    """Kind by precision, for the original and the compressed model; None if not told."""
    if found is None:
        return None
    sides = [("original", found["original"] or {}), ("compressed", found["compressed"] or {})]
    columns = [(side, p) for side, counts in sides for p in by_precision(counts)]
    if not columns:
        return None
    kinds = dict.fromkeys(kind for _, counts in sides for kind in counts)
    tables = dict(sides)
    rows = [
        (kind, [tables[side].get(kind, {}).get(p, 0) for side, p in columns]) for kind in kinds
    ]
    rows.sort(key=lambda row: -sum(row[1]))
    sums = [sum(row[i] for _, row in rows) for i in range(len(columns))]
    return OperationTable(columns, [*rows, ("all", sums)])


def worst_points(report: Report, count: int = 3) -> list[PathPoint]:
    """Where the most noise is added, the worst first."""
    points = report["path"]["points"] if "path" in report else []
    return sorted((p for p in points if p["added"] > 0), key=lambda p: -p["added"])[:count]


def point_name(point: PathPoint) -> str:
    """As in "layer1.0.conv1" or "relu_3, rounded (from layer1.0.conv1)"."""
    name = plain(point["name"], 60)
    if point["kind"] == "layer":
        return name
    sources = " and ".join(plain(source, 60) for source in point["sources"][:2])
    return f"{name}, rounded" + (f" (from {sources})" if sources else "")


def added_words(point: PathPoint) -> str:
    """As in "adds noise 31.2 dB below the signal, 28.4 dB in all"."""
    below = db_text(-10 * math.log10(point["added"]))
    return f"adds noise {below} below the signal, which leaves {db_text(point['sqnr_db'])}"


def path_words(report: Report) -> str:
    """One line on where the error grows most; empty if it was not traced."""
    found = [f"{point_name(p)}: {db_text(p['sqnr_db'])}" for p in worst_points(report)]
    return f"grows most at {'; '.join(found)}" if found else ""


def by_sensitivity(report: Report) -> list[tuple[LayerResult, float]]:
    """Layers whose noise alone was measured, and their share of all noise; worst first."""
    noise = [
        (layer, 10 ** (-min(max(db, -_BEYOND), _BEYOND) / 10))
        for layer in report["layers"]
        if (db := layer.get("alone_sqnr_db")) is not None
    ]
    whole = sum(amount for _, amount in noise)
    found = [(layer, amount / whole) for layer, amount in noise]
    return sorted(found, key=lambda pair: -pair[1])


def sensitivity_words(report: Report) -> str:
    """One line on the most sensitive layers, or how to get to know them."""
    found = by_sensitivity(report)[:3]
    if not found:
        return (
            "not measured: no step of the winner's recipe tried its layers one by one. "
            "quantize.static does"
        )
    said = (
        f"{plain(layer['name'], 40)} ({db_text(layer['alone_sqnr_db'])} alone, "
        f"{percent_text(share, 0)} of the noise)"
        for layer, share in found
    )
    return ", ".join(said)


def answer_words(answer: Answer | None) -> str:
    """As in "3 (by 1.52)"."""
    if answer is None:
        return NOTHING
    return f"{answer['label']} (by {answer['margin']:.3g})"


def samples_words(report: Report) -> str:
    """One line on the worst samples: indices, and what became of the answer."""
    found = report.get("worst_samples", [])
    if not found:
        return ""
    said = ", ".join(_sample_words(one) for one in found[:6])
    more = f" and {len(found) - 6} more" if len(found) > 6 else ""
    return f"validation {said}{more}"


def _sample_words(one: WorstSample) -> str:
    before, after = one["original"], one["compressed"]
    if not one["changed"] or before is None or after is None:
        return f"{one['index']} ({db_text(one['sqnr_db'])})"
    truth = "" if one["label"] is None else f", label {one['label']}"
    return f"{one['index']} ({before['label']} -> {after['label']}{truth})"


def raced(candidates: list[Candidate]) -> list[Candidate]:
    """Candidates that ran, were judged or have a reason of their own to be shown."""
    return [one for one in candidates if not _is_repeated(one)]


def _is_repeated(one: Candidate) -> bool:
    unjudged = one["metric_value"] is None and one["allowed"] and not one["chosen"]
    return one.get("same_work", False) and unjudged


def repeated_words(candidates: list[Candidate]) -> str:
    """One sentence on the candidates that share the original's time and row."""
    places: dict[str, list[str]] = {}
    for one in candidates:
        if _is_repeated(one):
            place = plain(f"{one['engine']} {one['precision']}", 80)
            places.setdefault(plain(one["name"], 40), []).append(place)
    if not places:
        return ""
    names: dict[str, list[str]] = {}
    for name, where in places.items():
        names.setdefault(", ".join(dict.fromkeys(where)), []).append(name)
    said = "; ".join(f"{', '.join(some)} (on {where})" for where, some in names.items())
    return f"Not raced, since they ask the same work of the engine as the original: {said}."


def training_words(report: Report) -> list[str]:
    """What was trained, and what came of it: one sentence for each training."""
    return [plain(found["text"], 300) for found in report.get("trainings", [])]


def search_words(report: Report) -> str:
    """What a search for a mix tried, and what has to stay float; empty without one."""
    mixes = [_search_words(found) for found in report.get("searches", [])]
    return " ".join([*mixes, *(_rating_words(found) for found in report.get("ratings", []))])


def _rating_words(found: Rating) -> str:
    """As in "smallest: rate 0.01 of 5 tried: 3.2 kB, loses 0.1 pp; ..."."""
    name = plain(found["candidate"], 40)
    tries = sorted(found["tries"], key=lambda one: one["rate"])
    tried = "; ".join(
        f"{one['rate']:g} ({bytes_text(one['file_bytes'])}"
        + ("" if one["drop_pp"] is None else f", loses {pp_text(one['drop_pp'])}")
        + (")" if one["objection"] is None else ", too much)")
        for one in tries[:12]
    )
    if found["rate"] is None:
        return f"{name}: none of the rates keeps the limit: {tried}."
    return f"{name}: rate {found['rate']:g} was taken of these: {tried}."


def _search_words(found: Search) -> str:
    name, names = plain(found["candidate"], 40), found["float_layers"]
    if names == []:
        return f"{name}: no layer has to stay float for the limit's sake."
    first, *others = (_try_words(one) for one in found["tries"])
    tried = ", ".join([first.replace(" it)", " the limit)"), *others])
    head = f"{name}: with so many of {found['layers']} layers in float: {tried}."
    if names is None:
        return f"{head} No mix keeps the limit."
    shown = ", ".join(plain(one, 40) for one in names[:6])
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return f"{head} In float: {shown}{more}."


def _try_words(one: Try) -> str:
    lost = "" if one["drop_pp"] is None else f"loses {pp_text(one['drop_pp'])}, "
    kept = "keeps it" if one["objection"] is None else "misses it"
    return f"{one['float_layers']} ({lost}{kept})"
