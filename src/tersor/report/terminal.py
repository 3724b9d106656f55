"""The report of one compression on the terminal.

Colours and bold type only repeat what words and signs say. From 80 columns on nothing is
cut but long names; reasons that have no room become footnotes. A terminal that does not
know Unicode gets ASCII.
"""

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tersor.report import (
    channel_words,
    evidence,
    trial_words,
    units,
    weight_charts,
    words,
)
from tersor.report.bench import render_bench as render_bench
from tersor.report.document import Candidate, LayerResult, Report, normal
from tersor.report.inspection import render_inspect as render_inspect
from tersor.report.plain import plain
from tersor.report.tables import Column, Footnotes, Laid, Rows, Screen

_TRAININGS = 8  # shown
ROWS = 30  # layers and groups of skipped layers shown without `full`
_SHORT = 20  # characters that a narrow table has room for


def render(document: Mapping[str, object], *, full: bool = False) -> RenderableType:
    """The report of one compression, for a rich console.

    Args:
        document: See `tersor.report.document`.
        full: All layers, however many there are.

    Raises:
        InputError: The document is not valid.
    """
    report = normal(document)
    return Laid(lambda screen: _parts(report, screen, full=full))


def print_report(
    document: Mapping[str, object], console: Console, *, full: bool = False
) -> None:
    """Print the report of one compression; see `render`."""
    console.print(render(document, full=full))


def _parts(report: Report, screen: Screen, *, full: bool) -> Iterable[RenderableType]:
    yield _title(report, screen)
    yield Padding(_headline(report, screen), (1, 0, 1, 1))
    yield from _sentences(report, screen)
    yield from _candidates(report, screen)
    yield from _reasons("Said of candidates as a whole", words.remark_groups(report), screen)
    yield from _layers(report, screen, full=full)
    yield from _reasons("Skipped", words.skipped_groups(report), screen)
    yield from _variants(report, screen)
    yield from _ending(report, screen)


def _title(report: Report, screen: Screen) -> Text:
    name = plain(report.get("model", "The model"), 60)
    return screen.text(f"{name}: ", (words.headline(report), "bold"))


def _headline(report: Report, screen: Screen) -> Table:
    """Before and after, figure by figure."""
    old, new = report["original"], report["compressed"]
    was, now = old["latency"], new["latency"]
    grid = Table.grid(padding=(0, 3, 0, 0))

    def row(*cells: str, dim: bool = True) -> None:
        styles = ("dim",) * 4 if dim else ("", "", "bold", "bold")
        grid.add_row(*(screen.text(pair) for pair in zip(cells, styles, strict=True)))

    row("", "original", "compressed", "")
    sizes = units.bytes_text(old["file_bytes"]), units.bytes_text(new["file_bytes"])
    row("file", *sizes, words.size_words(report), dim=False)
    medians = units.ms_text(was["median_ms"]), units.ms_text(now["median_ms"])
    row("latency", *medians, words.speed_words(report), dim=False)
    spread = [units.range_text(x["q1_ms"], x["q3_ms"]) for x in (was, now)]
    row("  quartiles", *spread, "ms")
    run_on = [plain(f"{x['engine']} {x['precision']}", 24) for x in (was, now)]
    row("  engine", *run_on, f"batch {now['batch']}, threads {now['threads']}")
    values = [words.metric_text(report, side["metric"]) for side in (old, new)]
    row(plain(new["metric"]["name"], 14), *values, words.drop_words(report), dim=False)
    spread = [words.metric_interval(report, side["metric"]) for side in (old, new)]
    row("  95 %", *spread, f"loss {words.drop_interval(report)}")
    if new["metric"]["name"] != "agreement":
        of = f"of the {words.judging_samples(report)}"
        row("agreement", "", units.percent_text(report["agreement"]), of)
    memory = [units.bytes_text(side.get("peak_memory_bytes")) for side in (old, new)]
    if memory != [units.NOTHING] * 2:
        row("peak memory", *memory, "")
    row("ONNX file", "", units.bytes_text(new["onnx_bytes"]), "for other runtimes")
    return grid


def _sentences(report: Report, screen: Screen) -> Iterable[RenderableType]:
    """What the figures mean."""
    asked = words.asked_words(report)
    if not report["budget"]["met"]:
        yield screen.text(("Budget MISSED", "bold red"), f" (asked: {asked})")
        for missed in words.missed_words(report):
            yield Padding(screen.text(missed), (0, 0, 0, 2))
    elif asked:
        yield screen.text(("Budget met", "bold green"), f" ({asked})")
    yield screen.text(("Accuracy: ", "bold"), words.accuracy_verdict(report))
    if told := words.resolution_words(report):
        yield screen.text(("Chosen on: ", "bold"), told)
    yield screen.text(("Speed: ", "bold"), words.sentence(words.best_words(report)))
    if kind := words.kind_words(report):
        yield screen.text(("Kind of network: ", "bold"), kind)
    for warning in _warnings(report):
        if warning:
            yield screen.text(("Note: ", "bold yellow"), warning)


def _warnings(report: Report) -> tuple[str, ...]:
    told = (
        words.judge_words,
        words.coarse_words,
        words.untested_words,
        words.noise_words,
        words.portability_words,
    )
    return tuple(word(report) for word in told)


def _candidates(report: Report, screen: Screen) -> Iterable[RenderableType]:
    """The race: who ran, who won, and why the others did not."""
    notes = Footnotes()
    several = len({one["batch"] for one in report["candidates"]}) > 1
    metric = plain(report["original"]["metric"]["name"], 8)
    last = "loss" if words.is_fraction(report) else metric
    columns = [Column(""), Column("model"), Column("engine")]
    columns += [Column("batch", right=True)] if several else []
    columns += [Column(head, right=True) for head in ("ms", "quartiles", "speed", last)]
    columns += [Column("int8 nodes", right=True)] if screen.wide else []
    columns += [Column("why not", fold=True) if screen.wide else Column("")]
    rows = Rows(screen, "Candidates, the fastest first", columns)
    for one in evidence.raced(words.candidates_in_order(report)):
        cells = [screen.mark if one["chosen"] else "", plain(one["name"], 24)]
        cells += [plain(f"{one['engine']} {one['precision']}", 24)]
        cells += [str(one["batch"])] if several else []
        cells += _figures(report, one)
        cells += [units.kernels_text(one["kernels"])] if screen.wide else []
        reason = "chosen" if one["chosen"] else plain(one["why_not"] or "")
        short = reason if one["chosen"] or screen.wide else notes.number(reason)
        rows.add(*cells, short, style="bold" if one["chosen"] else "")
    yield rows.done()
    yield from notes.below(screen)
    if any(not one["quiet"] for one in report["candidates"]):
        yield screen.text(("  * timed while other processes ran", "dim"))
    repeated = evidence.repeated_words(report["candidates"])
    if repeated:
        yield Padding(screen.text((repeated, "dim")), (0, 0, 0, 2))


def _figures(report: Report, one: Candidate) -> list[str]:
    noisy = "" if one["quiet"] or one["median_ms"] is None else "*"
    spread = units.range_text(one["q1_ms"], one["q3_ms"]).replace(" to ", "-")
    return [
        units.ms_number(one["median_ms"]) + noisy,
        spread,
        units.ratio_text(one["ratio_to_original"]),
        words.loss_or_score(report, one),
    ]


def _layers(report: Report, screen: Screen, *, full: bool) -> Iterable[RenderableType]:
    """What was done to each layer; the largest ones, if there are many."""
    columns = [Column("layer")]
    columns += [Column("op"), Column("weight")] if screen.wide else []
    columns += [Column(head, right=True) for head in ("before", "after", "SQNR")]
    columns += [Column("what was done", fold=True)]
    notes = Footnotes()
    rows = Rows(screen, "Layers: bytes, error, and what was done", columns)
    shown, hidden = words.largest(report["layers"], len(report["layers"]) if full else ROWS)
    for i, layer in enumerate(shown, start=1):
        cells = [plain(layer["name"], 40 if screen.wide else 24)]
        cells += [plain(layer["op"], 18), units.shape_text(layer["shape"])] * screen.wide
        cells += _bytes([layer])
        what = plain(layer["what"], 80)
        short = what if screen.wide or len(what) <= _SHORT else notes.number(what)
        cells += [units.db_text(layer["sqnr_db"]), short]
        rows.add(*cells, section=i == len(shown) and not hidden)
    blank = [""] * 2 * screen.wide
    if hidden:
        label = f"{len(hidden)} smaller layers"
        rows.add(label, *blank, *_bytes(hidden), "", "not shown; --full", section=True)
    everything = report["layers"]
    rows.add(f"{len(everything)} layers", *blank, *_bytes(everything), "", "", style="bold")
    yield rows.done()
    yield from notes.below(screen)


def _bytes(layers: list[LayerResult]) -> list[str]:
    before, after = words.bytes_of(layers)
    return [units.bytes_text(before), units.bytes_text(after)]


def _reasons(
    title: str, groups: Sequence[tuple[str, str, str]], screen: Screen
) -> Iterable[RenderableType]:
    """What methods said of layers or candidates: one line for each reason."""
    if not groups:
        return
    yield Padding(screen.text((title, "bold")), (1, 0, 0, 0))
    for names, method, reason in groups[:ROWS]:
        line = screen.text(names, (f" ({method}): ", "dim"), reason)
        yield Padding(line, (0, 0, 0, 2))
    if len(groups) > ROWS:
        yield screen.text(f"  and for {len(groups) - ROWS} more reasons: see report.json")


def _variants(report: Report, screen: Screen) -> Iterable[RenderableType]:
    """What was tried beside the winner, and how it did on the same samples."""
    found = trial_words.rows(report)
    if not found:
        return
    notes = Footnotes()
    columns = [Column("variant", fold=True)]
    columns += [
        Column(head, right=True) for head in ("file", "size", "metric", "loss", "took")
    ]
    columns += [Column("note", fold=True) if screen.wide else Column("")]
    of = words.judging_samples(report)
    rows = Rows(screen, f"Variants of the winner, on the {of}: nothing chosen by it", columns)
    for row in found:
        cells = [row.name, row.file, row.size, row.metric, row.loss, row.seconds]
        why = row.why if screen.wide else notes.number(row.why)
        style = "bold" if row.chosen else ""
        rows.add(*cells, why, style=style)
    yield rows.done()
    yield from notes.below(screen)
    if said := trial_words.seed_words(report):
        yield Padding(screen.text(said), (0, 0, 0, 2))


def _ending(report: Report, screen: Screen) -> Iterable[RenderableType]:
    """The worst sample, the data, the time that it took."""
    yield Text()
    outputs = [f"{plain(k, 40)} {units.db_text(v)}" for k, v in report["sqnr_db"].items()]
    if outputs:
        yield screen.text(("Outputs: ", "bold"), "SQNR ", ", ".join(outputs[:8]))
    worst = words.worst_words(report)
    if worst:
        yield screen.text(("Worst: ", "bold"), worst)
    yield from _evidence(report, screen)
    used = ", ".join(f"{count} {name}" for name, count, _ in words.data_words(report))
    how = words.sentence(plain(report["data"]["how"], 300))
    yield screen.text(("Data: ", "bold"), f"{used} samples. ", (how, "dim"))
    phases = [f"{plain(p['name'], 40)} {p['seconds']:.1f}" for p in report["phases"]]
    took = units.seconds_text(report["seconds"])
    yield screen.text(("Time: ", "bold"), took, f" ({', '.join(phases)})" if phases else "")


def _evidence(report: Report, screen: Screen) -> Iterable[RenderableType]:
    """What runs how, where the error grows, which layers and samples suffer most."""
    lines = [("Training: ", said) for said in evidence.training_words(report)[:_TRAININGS]]
    lines += [
        ("Search: ", evidence.search_words(report)),
        ("Channels: ", channel_words.channels_said(report)),
        ("Stages: ", weight_charts.stage_words(report)),
        ("Kernels: ", evidence.operations_words(report)),
        ("Error: ", evidence.path_words(report)),
        ("Sensitive: ", evidence.sensitivity_words(report)),
        ("Worst samples: ", evidence.samples_words(report)),
    ]
    for head, said in lines:
        if said:
            yield screen.text((head, "bold"), said)
