"""What results/coverage.jsonl says, for people."""

from collections.abc import Callable
from statistics import median

from benchmarks import records
from benchmarks.records import Row

NAME = "coverage"
TOOLS = {"tersor": "Tersor", "torch_pruning": "Torch-Pruning"}
_HEADS = ("network", "Tersor leaves", "Torch-Pruning leaves", "written for it by hand")


def coverage() -> str:
    """One line per network: the parameters that are left, or why it was not cut."""
    rows = _rows()
    networks = dict.fromkeys(network for _, network in rows)
    lines = [
        [
            network,
            *(_cell(rows.get((tool, network))) for tool in TOOLS),
            rows.get(("torch_pruning", network), {}).get("by_hand", ""),
        ]
        for network in networks
    ]
    return records.table(_HEADS, lines, texts=len(_HEADS)) if lines else "Not measured yet."


def _rows() -> dict[tuple[str, str], Row]:
    return {(row["tool"], row["network"]): row for row in records.read(NAME)}


def _cell(row: Row | None) -> str:
    if row is None:
        return "-"
    if row["why_not"] is not None:
        return _plain(row["why_not"])
    return f"{100 * row['left']:.0f} %" + ("" if row["equal"] else ", other outputs")


def _plain(reason: str) -> str:
    """A reason that fits into a cell."""
    return reason.replace("|", "/").removesuffix(": ")[:70]


def scores() -> str:
    """A sentence for each tool."""
    rows = records.read(NAME)
    return " ".join(
        _score([row for row in rows if row["tool"] == tool], name)
        for tool, name in TOOLS.items()
    )


def _score(rows: list[Row], name: str) -> str:
    run = [row for row in rows if row["why_not"] is None]
    right = [row for row in run if row["equal"]]
    if not rows:
        return f"{name} was not measured yet."
    if not run:
        return f"{name} cuts none of {len(rows)}."
    share = "all" if right == run else str(len(right))
    text = (
        f"{name} cuts {len(run)} of {len(rows)}, {share} of them with the outputs of the "
        "network with zeros"
    )
    by_hand = [row for row in run if row["by_hand"]]
    if by_hand:
        text += f", {len(by_hand)} after something was written by hand"
    return f"{text}; {_times(run)}."


def _times(run: list[Row]) -> str:
    before = [row.get("capture_seconds", 0.0) + row["analysis_seconds"] for row in run]
    cut = [row["cut_seconds"] for row in run]
    return (
        f"what comes before the cut takes {median(before):.2g} s of the processor, the cut "
        f"{median(cut):.2g} s (medians of those that it cuts)"
    )


def measured() -> str:
    """Where, and what of."""
    rows = records.read(NAME)
    if not rows:
        return "Not measured yet."
    machines = sorted({row["machine"]["cpu"] for row in rows})
    versions: dict[str, str] = {}
    for row in rows:
        versions |= row["versions"]
    told = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    return f"{' and '.join(machines)}; {told}."


TABLES: dict[str, Callable[[], str]] = {
    "coverage scores": scores,
    "table coverage": coverage,
    "coverage measured": measured,
}
