"""What a document says, in words: the sentences that terminal and page share."""

from collections.abc import Mapping

from tersor.report.document import (
    Candidate,
    Drop,
    LayerResult,
    Metric,
    Report,
    Resolution,
)
from tersor.report.plain import plain
from tersor.report.units import (
    NOTHING,
    db_text,
    known,
    percent_text,
    pp_text,
    ratio_text,
)

_METRICS = {
    "top1": "top-1 accuracy",
    "top5": "top-5 accuracy",
    "agreement": "agreement with the original",
    "cosine": "cosine similarity",
}


def factor(ratio: float | None, more: str, less: str, same: str) -> str:
    """A ratio and its direction, for two digits after the point.

    >>> factor(3.9, "smaller", "larger", "same size"), factor(0.8, "faster", "slower", "-")
    ('3.9x smaller', '1.25x slower')
    """
    if ratio is None or not known(ratio) or ratio <= 0:
        return NOTHING
    if abs(ratio - 1) < 0.005:
        return same
    return f"{ratio_text(max(ratio, 1 / ratio))} {more if ratio > 1 else less}"


def size_words(report: Report) -> str:
    """As in "3.9x smaller"."""
    return factor(report["compression"], "smaller", "larger", "same size")


def speed_words(report: Report) -> str:
    """As in "2.6x faster"."""
    return factor(report["speedup"], "faster", "slower", "same speed")


def drop_words(report: Report) -> str:
    """As in "0.07 pp worse"."""
    found = difference(report)
    if found is None:
        return "not compared"
    drop = found["value"]
    if drop == 0 or (is_fraction(report) and round(drop, 2) == 0):
        return "unchanged"
    return f"{difference_text(report, abs(drop))} {'worse' if drop > 0 else 'better'}"


def is_fraction(report: Report) -> bool:
    """True if the metric is a fraction of the samples, so that its drop is in points."""
    return report["drop_pp"] is not None


def difference(report: Report) -> Drop | None:
    """How much worse the metric is: in points if it is a fraction, else in its own unit."""
    return report["drop_pp"] or report.get("drop")


def headline(report: Report) -> str:
    """As in "3.9x smaller, 2.6x faster, top-1 accuracy 0.07 pp worse"."""
    metric = metric_name(report["compressed"]["metric"])
    return f"{size_words(report)}, {speed_words(report)}, {metric} {drop_words(report)}"


def difference_text(report: Report, drop: float | None) -> str:
    """A drop: percentage points, or, of a metric that is no fraction, in its own unit."""
    if drop is None or is_fraction(report):
        return pp_text(drop)
    return number_text(drop)


def drop_interval(report: Report) -> str:
    """The interval of the drop, as in "-0.08 to 0.22 pp"."""
    found = difference(report)
    low, high = (None, None) if found is None else (found["low"], found["high"])
    if low is None or high is None:
        return NOTHING
    first = difference_text(report, low).removesuffix(" pp")
    return f"{first} to {difference_text(report, high)}"


def metric_name(metric: Metric) -> str:
    """As in "top-1 accuracy"."""
    return _METRICS.get(metric["name"], plain(metric["name"]))


def metric_text(report: Report, metric: Metric) -> str:
    """The value, as in "91.62 %"."""
    return score_text(report, metric["value"])


def metric_interval(report: Report, metric: Metric) -> str:
    """The interval, as in "91.06 to 92.15 %"."""
    low, high = metric["low"], metric["high"]
    if low is None or high is None:
        return NOTHING
    return f"{score_text(report, low).removesuffix(' %')} to {score_text(report, high)}"


def score_text(report: Report, value: float | None) -> str:
    """A value of the metric, as in "91.62 %"."""
    if value is None or is_fraction(report):
        return percent_text(value)
    return number_text(value)


def loss_or_score(report: Report, one: Candidate) -> str:
    """A candidate's loss; its score, where the metric is no fraction."""
    if is_fraction(report):
        return pp_text(one["drop_pp"])
    return score_text(report, one["metric_value"])


def number_text(value: float) -> str:
    """A number without a unit, four digits.

    >>> number_text(0.00012345), number_text(12.0)
    ('0.0001234', '12')
    """
    return f"{value:.4g}"


def accuracy_verdict(report: Report) -> str:
    """What the interval of the difference says, and how it lies to the limit."""
    drop = difference(report)
    samples = f"{report['compressed']['metric']['samples']} {judging_samples(report)}"
    if drop is None or drop["low"] is None or drop["high"] is None:
        return f"The uncertainty of the difference is not known ({samples})."
    low, high = drop["low"], drop["high"]
    if low == high == 0:
        said = f"On all {samples} together both models score the same."
    elif low > 0:
        said = f"The loss is real: {samples} exclude chance (95 %)."
    elif high < 0:
        said = f"The gain is real: {samples} exclude chance (95 %)."
    else:
        said = f"{samples} show no difference beyond chance (95 %)."
    return f"{said} {_limit_words(report, drop['value'], high)}".strip()


def _limit_words(report: Report, value: float, high: float) -> str:
    allowed = report["budget"].get("allowed_drop_pp")
    if allowed is None or not is_fraction(report):
        return ""
    limit = pp_text(allowed)
    if value > allowed:
        return f"It is more than the {limit} allowed."
    if high > allowed:
        return f"Within the {limit} allowed, but a loss of {pp_text(high)} is not excluded."
    return f"The whole interval keeps the {limit} allowed."


def resolution_words(report: Report) -> str:
    """What chose, and what losses it can tell; empty if nothing was judged."""
    found = report.get("resolution")
    if found is None:
        return ""
    loss = difference_text(report, _loss_of(found))
    return (
        f"{found['samples']} validation samples, which tell losses of {loss} or more from "
        "chance (95 %), and no smaller ones."
    )


def coarse_words(report: Report) -> str:
    """A warning where the limit is finer than the samples that chose can tell."""
    found = report.get("resolution")
    if found is None or found["enough"]:
        return ""
    limit = report["budget"].get("allowed_drop_pp")
    said = pp_text(limit) if is_fraction(report) else f"{number_text(limit or 0.0)} %"
    needed = found["samples_needed"]
    more = "" if needed is None else f" About {_rounded(needed):,} would tell."
    return (
        f"The accuracy limit of {said} is finer than what {found['samples']} validation "
        f"samples can tell, so that chance decides in part whether it is kept.{more}"
    )


def _loss_of(found: Resolution) -> float:
    return found["loss"] if found["loss_pp"] is None else found["loss_pp"]


def _rounded(count: int) -> int:
    """To two digits, upwards."""
    step: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // step) * step


def judging_samples(report: Report) -> str:
    """Which samples the published figures are of: "test samples" where there are any."""
    return "test samples" if report["data"]["test"] else "validation samples"


def untested_words(report: Report) -> str:
    """A warning where the samples that chose are also those that are reported."""
    if report["data"]["test"]:
        return ""
    return (
        "No test samples were given: the accuracy is that on the samples that chose between "
        "candidates, which flatters it a little."
    )


def judge_words(report: Report) -> str:
    """Who judged, where there were no labels."""
    if report["data"].get("labels", True):
        return ""
    return "No labels were given: the original model is the judge."


def portability_words(report: Report) -> str:
    """A warning where the file may give other outputs on other processors."""
    return plain(report.get("portability") or "", 400)


def kind_words(report: Report) -> str:
    """Which kind of network was seen and why; "" if the recipe did not ask."""
    kind = report.get("kind")
    return "" if kind is None else f"{plain(kind['name'], 20)}. {plain(kind['why'])}"


def noise_words(report: Report) -> str:
    """A warning where times cannot be trusted."""
    if report["quiet"]:
        return ""
    return (
        "Other processes took processor time while the published times were measured. "
        "Read them with care, or measure again on a quiet machine."
    )


def quiet_words(report: Report) -> str:
    """Whether the published times were taken in quiet."""
    if report["quiet"]:
        return "they took next to none while the published times were taken."
    return "they took some while the published times were taken, however long was waited."


def sentence(text: str) -> str:
    """With a capital and a full stop.

    >>> sentence("as fast as before"), sentence("Done."), sentence("")
    ('As fast as before.', 'Done.', '')
    """
    return capital(text) + ("" if not text or text.endswith(".") else ".")


def capital(text: str) -> str:
    """With a capital at the start."""
    return text[:1].upper() + text[1:]


def best_words(report: Report) -> str:
    """The comparison with the untouched model at its fastest."""
    said = factor(report["speedup_over_best_original"], "faster", "slower", "same speed")
    return f"{said} than the original at its fastest, any precision".replace(
        "same speed than", "as fast as"
    )


def asked_words(report: Report) -> str:
    """The budget as it was asked for, as in "size 4x, drop 0.5pp"."""
    asked = report["budget"]["asked"]
    return ", ".join(f"{plain(key)} {plain(value)}" for key, value in asked.items())


def missed_words(report: Report) -> list[str]:
    """One sentence for each missed part of the budget."""
    return [
        f"{plain(m['what'])}: asked {loose(m['asked'])}, got {loose(m['got'])}. "
        f"{plain(m['why'])}"
        for m in report["budget"]["missed"]
    ]


def loose(value: object) -> str:
    """Any plain value: yes and no, short numbers, text.

    >>> loose(True), loose(0.03125), loose(10000), loose(None)
    ('yes', '0.03125', '10000', 'nothing')
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number_text(value) if isinstance(value, float) else plain(value)


def candidates_in_order(report: Report) -> list[Candidate]:
    """The fastest first, within each batch size; those that did not run last."""
    return sorted(
        report["candidates"],
        key=lambda one: (one["batch"], one["median_ms"] is None, one["median_ms"] or 0.0),
    )


def kernel_words(kernels: Mapping[str, int]) -> str:
    """As in "20 int8, 1 f32"; nothing if the engine keeps no profile."""
    return ", ".join(f"{count} {plain(kind)}" for kind, count in kernels.items())


def data_words(report: Report) -> list[tuple[str, int, str]]:
    """What the samples served: name, count, purpose."""
    data = report["data"]
    return [
        ("calibration", data["calibration"], "looked at by the methods"),
        ("validation", data["validation"], "chose between candidates"),
        ("test", data["test"], "gave the published accuracy, and nothing else"),
    ]


def worst_words(report: Report) -> str:
    """The test sample that suffered most; nothing if there is none."""
    worst = report["worst"]
    if worst is None:
        return ""
    said = db_text(worst["sqnr_db"])
    which = judging_samples(report).removesuffix("s")
    return f"{which} {worst['index']}, output {plain(worst['output'], 40)}: SQNR {said}"


def largest(
    layers: list[LayerResult], limit: int
) -> tuple[list[LayerResult], list[LayerResult]]:
    """At most `limit` layers, those with the most bytes, in their order; and the others."""
    by_size = sorted(range(len(layers)), key=lambda i: (-layers[i]["bytes_before"], i))
    kept = set(by_size[:limit])
    shown = [layer for i, layer in enumerate(layers) if i in kept]
    return shown, [layer for i, layer in enumerate(layers) if i not in kept]


def bytes_of(layers: list[LayerResult]) -> tuple[int, int]:
    """Bytes of these layers before and after."""
    return sum(x["bytes_before"] for x in layers), sum(x["bytes_after"] for x in layers)


def skipped_groups(report: Report) -> list[tuple[str, str, str]]:
    """Skipped layers by method and reason: names, method, reason."""
    groups: dict[tuple[str, str], list[str]] = {}
    for one in report["skipped"]:
        groups.setdefault((one["method"], one["reason"]), []).append(plain(one["layer"], 60))
    return [
        (_some(names), plain(method), plain(reason))
        for (method, reason), names in groups.items()
    ]


def remark_groups(report: Report) -> list[tuple[str, str, str]]:
    """What was said of candidates as a whole: their names, method, text."""
    groups: dict[tuple[str, str], list[str]] = {}
    for one in report.get("remarks", []):
        names = groups.setdefault((one["method"], one["text"]), [])
        names.append(plain(one["candidate"], 60))
    return [
        (_some(names), plain(method), plain(text, 400))
        for (method, text), names in groups.items()
    ]


def _some(names: list[str], limit: int = 5) -> str:
    if len(names) <= limit:
        return ", ".join(names)
    return ", ".join(names[:limit]) + f" and {len(names) - limit} more"
