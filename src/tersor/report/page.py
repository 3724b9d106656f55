"""The report as one page of HTML that needs nothing else: no network, no other file.

Names come from users' files. Every value is escaped, cut at a length, and freed of
invisible characters; and the page's policy lets a browser run only the one script and
the one style sheet that are written here, by their hashes.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from tersor.report import (
    channel_words,
    charts,
    evidence,
    trial_words,
    units,
    weight_charts,
    words,
)
from tersor.report.document import Report, Skipped, normal
from tersor.report.picture import MOST
from tersor.report.plain import plain, printable
from tersor.report.recipe_text import to_toml

MAX_BYTES = 1_500_000
_ITEMS = 60  # of a list in a free table
_TRAININGS = 8  # shown
_BARS = 30  # layers in the chart of sensitivities
_PNG = re.compile(r"iVBORw0KGgo[A-Za-z0-9+/]{1,20000}={0,2}")  # base64 of its signature, more


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a document is shown.

    Attributes:
        rows: Of each table; of layers, the largest.
        facts: Entries of each short list.
        text: Characters of one value.
        block: Characters of the command, and of the recipe.
    """

    rows: int
    facts: int
    text: int
    block: int


LIMITS = (Limits(500, 60, 400, 20_000), Limits(200, 30, 80, 5000), Limits(50, 15, 20, 1000))


def to_html(document: Mapping[str, object]) -> str:
    """The page of one document, under 1.5 MB: where all does not fit, less is shown.

    Args:
        document: See `tersor.report.document`.

    Raises:
        InputError: The document is not valid.
    """
    report = normal(document)
    page = ""
    for limits in LIMITS:
        template = _environment(report, limits).get_template("template.html")
        page = template.render(_values(report, limits))
        if len(page.encode()) < MAX_BYTES:
            break
    return page


def _file(name: str) -> str:
    return resources.files("tersor.report").joinpath(name).read_text("utf-8")


def _environment(report: Report, limits: Limits) -> Environment:
    environment = Environment(
        loader=FunctionLoader(_file),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=partial(_finalize, limit=limits.text),
    )
    environment.filters.update(
        bytes=units.bytes_text,
        count=units.count_text,
        ms=units.ms_text,
        ms_number=units.ms_number,
        ms_fine=units.ms_fine,
        ratio=units.ratio_text,
        db=units.db_text,
        shape=units.shape_text,
        share=charts.share_of,
        quartiles=lambda x: units.range_text(x["q1_ms"], x["q3_ms"]),
        metric_text=partial(words.metric_text, report),
        metric_interval=partial(words.metric_interval, report),
        score=partial(words.score_text, report),
        loss=units.pp_text,
        kernels=words.kernel_words,
        answer=evidence.answer_words,
        point_name=evidence.point_name,
        percent=partial(units.percent_text, digits=1),
        capital=words.capital,
        sentence=words.sentence,
    )
    return environment


def _finalize(value: object, *, limit: int) -> object:
    """Every value that the template writes passes here, before it is escaped."""
    is_raw = isinstance(value, str) and not isinstance(value, Markup)
    return plain(value, limit) if is_raw else value


def _values(report: Report, limits: Limits) -> dict[str, Any]:
    """What the template needs, by name."""
    return {
        "r": report,
        "old": report["original"],
        "new": report["compressed"],
        "name": report.get("model", "Compressed model"),
        **_page(),
        **_headline(report),
        **_charts(report, limits),
        **_layers(report, limits),
        **_evidence(report, limits),
        **_channels(report, limits),
        **_variants(report, limits),
        **_weights(report),
        **_background(report, limits),
    }


def _page() -> dict[str, Any]:
    style, script = _file("style.css"), _file("sort.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; "
        f"script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    # Both are files of this package; nothing of the document is in them.
    return {"policy": policy, "style": Markup(style), "script": Markup(script)}  # noqa: S704


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _headline(report: Report) -> dict[str, Any]:
    warnings = [
        words.noise_words(report),
        words.portability_words(report),
        words.coarse_words(report),
        words.untested_words(report),
        words.judge_words(report),
    ]
    metric = report["compressed"]["metric"]
    return {
        "headline": words.headline(report),
        "size": words.size_words(report),
        "speed": words.speed_words(report),
        "drop": words.drop_words(report),
        "interval": words.drop_interval(report),
        "judging": words.judging_samples(report),
        "metric": words.metric_name(metric),
        "agreement": _agreement(report),
        "asked": words.asked_words(report),
        "missed": words.missed_words(report),
        "warnings": [line for line in warnings if line],
        "verdict": words.accuracy_verdict(report),
        "resolution": words.resolution_words(report),
        "best": words.sentence(words.best_words(report)),
        "is_fraction": words.is_fraction(report),
    }


def _agreement(report: Report) -> str:
    """Empty where the metric says the same, or where it means nothing."""
    if report["compressed"]["metric"]["name"] == "agreement" or report["agreement"] is None:
        return ""
    return units.percent_text(report["agreement"])


def _charts(report: Report, limits: Limits) -> dict[str, Any]:
    shown = evidence.raced(words.candidates_in_order(report))
    hidden = len(shown) - limits.rows
    some = report.copy()
    some["candidates"] = shown[: limits.rows]
    memory = [x.get("peak_memory_bytes") for x in (report["original"], report["compressed"])]
    known = [units.bytes_text(size) for size in memory if size is not None]
    return {
        "loss": charts.loss(report),
        "sizes": charts.sizes(report),
        "streams": report["stored"]["streams"][: limits.facts] if "stored" in report else [],
        "races": charts.races(some),
        "candidates": some["candidates"],
        "omitted_candidates": f". {hidden} more are in report.json" if hidden > 0 else "",
        "kind": words.kind_words(report),
        "repeated": evidence.repeated_words(report["candidates"]),
        "searched": evidence.search_words(report),
        "remarks": words.remark_groups(report)[: limits.rows],
        "trained": evidence.training_words(report)[:_TRAININGS],
        "curves": charts.curves(report)[:_TRAININGS],
        "noisy": any(not one["quiet"] for one in shown),
        "memory": f"original {known[0]}, compressed {known[1]}" if len(known) == 2 else "",
    }


def _layers(report: Report, limits: Limits) -> dict[str, Any]:
    shown, hidden = words.largest(report["layers"], limits.rows)
    before, after = words.bytes_of(report["layers"])
    rest_before, rest_after = (units.bytes_text(count) for count in words.bytes_of(hidden))
    omitted = f"{len(hidden)} smaller layers, {rest_before} before and {rest_after} after, "
    skipped: dict[str, list[Skipped]] = {}
    for one in report["skipped"]:
        skipped.setdefault(one["layer"], []).append(one)
    return {
        "layers": shown,
        "omitted_layers": f"{omitted} are only in report.json." if hidden else "",
        "skipped": {name: found[:3] for name, found in skipped.items()},
        "groups": words.skipped_groups(report)[: limits.rows],
        "most_bytes": max((layer["bytes_before"] for layer in shown), default=0),
        "most_db": max((layer["sqnr_db"] or 0.0 for layer in shown), default=0.0),
        "total_before": before,
        "total_after": after,
    }


def _evidence(report: Report, limits: Limits) -> dict[str, Any]:
    """What runs how, where the error grows, and on which samples."""
    table = evidence.operation_table(report.get("operations"))
    points = report["path"]["points"] if "path" in report else []
    sensitive = evidence.by_sensitivity(report)
    samples = report.get("worst_samples", [])[:MOST]
    return {
        "operations": table,
        "operation_rows": table.rows[: limits.rows] if table else [],
        "operations_said": words.sentence(evidence.operations_words(report)),
        "path": charts.path(report),
        "points": points[: limits.rows],
        "points_left": max(0, len(points) - limits.rows),
        "worst_points": [
            (evidence.point_name(p), evidence.added_words(p))
            for p in evidence.worst_points(report)
        ],
        "sensitive": sensitive[:_BARS],
        "sensitive_left": max(0, len(sensitive) - _BARS),
        "sensitivity_said": words.sentence(evidence.sensitivity_words(report)),
        "samples": [(one, _picture(one["picture"])) for one in samples],
        "pictured": any(_picture(one["picture"]) for one in samples),
    }


def _weights(report: Report) -> dict[str, Any]:
    """What became of the weights, step by step and layer by layer."""
    found = weight_charts.histograms(report)
    return {
        "stages": weight_charts.stages(report),
        "histograms": [(one, _picture(one.pattern)) for one in found],
        "patterned": any(_picture(one.pattern) for one in found),
    }


def _channels(report: Report, limits: Limits) -> dict[str, Any]:
    """What was cut out, and what that did to the time."""
    found = report.get("channels")
    groups, paced = channel_words.group_rows(report), channel_words.pace_rows(report)
    return {
        "slim": found,
        "slim_said": channel_words.channels_said(report),
        "slim_groups": groups[: limits.rows],
        "slim_groups_left": max(0, len(groups) - limits.rows),
        "slim_frozen": [] if found is None else found["frozen"][: limits.rows],
        "slim_removed": [] if found is None else found["removed"][: limits.facts],
        "pace_said": channel_words.pace_said(report),
        "late_said": channel_words.late_said(report),
        "kept_said": channel_words.kept_said(report),
        "paced": paced[: limits.rows],
        "most_ms": max((row.layer["ms"] or 0.0 for row in paced), default=0.0),
        "most_macs": max((row.layer["macs"] for row in paced), default=0),
    }


def _variants(report: Report, limits: Limits) -> dict[str, Any]:
    """What was tried beside the winner."""
    return {
        "variants": trial_words.rows(report)[: limits.rows],
        "seeds_said": trial_words.seed_words(report),
    }


def _picture(text: str | None) -> Markup | None:
    """The address of an embedded picture; None for what is no PNG file of a few kilobytes."""
    if text is None or not _PNG.fullmatch(text):
        return None
    return Markup(f"data:image/png;base64,{text}")  # noqa: S704 - letters and digits only


def _background(report: Report, limits: Limits) -> dict[str, Any]:
    """What is needed to judge the figures, and to get them again."""
    versions = [("tersor", report["version"])]
    versions += [(k, v or "not installed") for k, v in report["engines"].items()]
    times = [("all", units.seconds_text(report["seconds"]))]
    times += [(p["name"], units.seconds_text(p["seconds"])) for p in report["phases"]]
    return {
        "outputs": [(k, units.db_text(v)) for k, v in report["sqnr_db"].items()][
            : limits.facts
        ],
        "worst": words.worst_words(report),
        "verify": list(_flat(report["verify"]))[: limits.facts],
        "data": words.data_words(report),
        "command": _block(report.get("command", ""), limits.block),
        "recipe": _block(to_toml(report["recipe"]), limits.block),
        "machine": list(_flat(report["machine"]))[: limits.facts],
        "versions": versions[: limits.facts],
        "times": times[: limits.facts],
        "quietness": words.quiet_words(report),
    }


def _block(text: str, limit: int) -> Markup:
    """Text of several lines, escaped."""
    shown = text if len(text) <= limit else f"{text[:limit]}\n..."
    return escape("\n".join(printable(line) for line in shown.split("\n")))


def _flat(table: Mapping[str, object], above: str = "") -> Iterable[tuple[str, str]]:
    """The entries of a free table in words, one line each, inner tables spread out."""
    for key, value in table.items():
        name = f"{above}{key}".replace("_", " ")
        if isinstance(value, dict):
            yield from _flat(value, f"{name}: ")
        elif key.endswith("_bytes") and isinstance(value, int | float):
            yield name.removesuffix(" bytes"), units.bytes_text(value)
        elif isinstance(value, list):
            yield name, ", ".join(words.loose(item) for item in value[:_ITEMS]) or "none"
        else:
            yield name, words.loose(value)
