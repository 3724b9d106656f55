"""What `tersor bench` shows: models on engines, timed in the same rounds."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NotRequired, TypedDict, cast

from rich.console import RenderableType
from rich.padding import Padding

from tersor.report import units
from tersor.report.plain import plain
from tersor.report.schema import check, ordered
from tersor.report.tables import Column, Footnotes, Laid, Rows, Screen


class BenchRow(TypedDict):
    """One model on one engine.

    Attributes:
        median_ms, q1_ms, q3_ms: Null if it did not run.
        ratio: Median of the first row / this median, from the same rounds.
        kernels: Nodes by the precision of the engine's kernel, from its own profile.
        quiet: False if other processes took processor time during all its runs.
        problem: Why it did not run; null if it did.
    """

    model: str
    engine: str
    precision: str
    batch: int
    threads: int
    median_ms: float | None
    q1_ms: float | None
    q3_ms: float | None
    ratio: float | None
    quiet: bool
    kernels: NotRequired[dict[str, int]]
    problem: NotRequired[str | None]


def render_bench(rows: Sequence[Mapping[str, object]]) -> RenderableType:
    """A race, for a rich console: rows in the order given, the fastest marked.

    Args:
        rows: See `BenchRow`.

    Raises:
        InputError: A key is missing or of another type.
    """
    found = list(rows)
    check(found, list[BenchRow])
    race = cast("list[BenchRow]", ordered(found, list[BenchRow]))
    return Laid(lambda screen: _parts(race, screen))


def _parts(race: list[BenchRow], screen: Screen) -> Iterable[RenderableType]:
    columns = [Column(""), Column("model"), Column("engine")]
    batches, threads = {one["batch"] for one in race}, {one["threads"] for one in race}
    columns += [Column("batch", right=True)] if len(batches) > 1 else []
    columns += [Column("threads", right=True)] if len(threads) > 1 else []
    columns += [Column(head, right=True) for head in ("ms", "quartiles", "speed")]
    columns += [Column("int8 nodes", right=True)] * screen.wide + [Column("", fold=True)]
    title = "Latency"
    title += f", batch {batches.copy().pop()}" if len(batches) == 1 else ""
    title += f", threads {threads.copy().pop()}" if len(threads) == 1 else ""
    table, notes = Rows(screen, title, columns), Footnotes()
    for one in race:
        noisy = "" if one["quiet"] or one["median_ms"] is None else "*"
        problem = plain(one.get("problem") or "")
        fastest = _is_fastest(one, race)
        cells = [screen.mark if fastest else "", plain(one["model"], 32)]
        cells += [plain(f"{one['engine']} {one['precision']}", 24)]
        cells += [str(one["batch"])] if len(batches) > 1 else []
        cells += [str(one["threads"])] if len(threads) > 1 else []
        cells += [units.ms_number(one["median_ms"]) + noisy]
        cells += [units.range_text(one["q1_ms"], one["q3_ms"]).replace(" to ", "-")]
        cells += [units.ratio_text(one["ratio"])]
        cells += [units.kernels_text(one.get("kernels", {}))] * screen.wide
        cells += [problem if screen.wide else notes.number(problem)]
        table.add(*cells, style="bold" if fastest else "")
    yield table.done()
    yield from notes.below(screen)
    marks = [f"{screen.mark} the fastest at its batch size"]
    if any(not one["quiet"] for one in race):
        marks.append("* timed while other processes ran")
    yield Padding(screen.text((", ".join(marks), "dim")), (0, 0, 0, 2))


def _is_fastest(one: BenchRow, race: list[BenchRow]) -> bool:
    times = [other["median_ms"] for other in race if other["batch"] == one["batch"]]
    ran = [ms for ms in times if ms is not None]
    return one["median_ms"] is not None and one["median_ms"] == min(ran)
