"""What results/structured.jsonl and results/slim_speed.jsonl say, for people."""

import statistics
from collections.abc import Callable

from benchmarks import records, slim_speed, structured
from benchmarks.records import Row

_HEADS = (
    "case",
    "peers",
    "seeds",
    "MACs left",
    "parameters left",
    "error",
    "before",
    "minutes",
)
_SPEED = ("case", "batch", "float32", "int8", "NNCF int8 of the original", "MACs")


def thinner() -> str:
    """One line per case: medians over seeds, with the least and the most."""
    lines = []
    for name, case in structured.CASES.items():
        rows = [row for row in records.read(structured.NAME) if row["case"] == name]
        if rows:
            lines.append(_cells(name, case.peers, rows))
    return records.table(_HEADS, lines, texts=2)


def _cells(name: str, peers: str, rows: list[Row]) -> list[str]:
    return [
        name,
        peers,
        str(len(rows)),
        *(f"{100 * _middle(rows, key):.1f} %" for key in ("macs", "parameters")),
        _spread([row["error"] for row in rows]),
        f"{_middle(rows, 'error_float'):.2f} %",
        f"{_middle(rows, 'seconds') / 60:.0f}",
    ]


def _middle(rows: list[Row], key: str) -> float:
    return float(statistics.median(row[key] for row in rows))


def _spread(values: list[float]) -> str:
    middle = f"{statistics.median(values):.2f} %"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.2f} % to {max(values):.2f} %)"


def speeds() -> str:
    """One line per network and batch: how many times as fast as the original in float32."""
    lines = [
        [
            row["case"],
            str(row["batch"]),
            *(_over(row["times"].get(n)) for n in ("slim", "slim int8", slim_speed.PEER)),
            f"{1 / row['macs']:.2f}x",
        ]
        for row in records.read(slim_speed.NAME)
        if row["seed"] == 0
    ]
    return records.table(_SPEED, lines, texts=1)


def _over(found: Row | None) -> str:
    return "-" if found is None else records.quartiles(found["speedup"])


TABLES: dict[str, Callable[[], str]] = {
    "table structured": thinner,
    "table slim speed": speeds,
}
