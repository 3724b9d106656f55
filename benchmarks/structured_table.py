"""What results/structured.jsonl and results/slim_speed.jsonl say, for people."""

import statistics
from collections.abc import Callable

from benchmarks import records, slim_speed, slim_unlabelled, structured
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
_UNLABELLED = (
    "network",
    "cut",
    "by validation",
    "MACs left",
    "drop, points (95 %)",
    "same class",
    "batch 1",
    "batch 16",
    "seconds",
)


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


def lagging() -> str:
    """What keeps layers from being as fast as their MACs tell, for the first seed."""
    rows = [row for row in records.read(slim_speed.NAME) if row["seed"] == 0]
    lines = [
        f"- {row['case']}, batch {row['batch']}: {'; '.join(row['lagging'])}."
        for row in rows
        if row["batch"] == max(slim_speed.BATCHES) and row.get("lagging")
    ]
    return "\n".join(lines) if lines else "Not measured yet."


def _over(found: Row | None) -> str:
    return "-" if found is None else records.quartiles(found["speedup"])


def unlabelled() -> str:
    """One line per cut: what test data say of it, and its speed at both batches."""
    rows = records.read(slim_unlabelled.NAME)
    places = dict.fromkeys((row["case"], row["cut"]) for row in rows)
    return records.table(
        _UNLABELLED,
        [
            _cut([row for row in rows if (row["case"], row["cut"]) == place])
            for place in places
        ],
        texts=3,
    )


def _cut(rows: list[Row]) -> list[str]:
    """Cells of one cut: a row for each batch."""
    first, test = rows[0], rows[0]["test"]
    drop = f"{test['drop']:+.2f} ({test['low']:+.2f} to {test['high']:+.2f})"
    same = "-" if test["agreement"] is None else f"{test['agreement']:.1f} %"
    speeds = {row["batch"]: records.quartiles(row["times"]["speedup"]) for row in rows}
    return [
        first["case"],
        first["cut"],
        "yes" if first["is_chosen"] else "",
        f"{100 * first['macs']:.1f} %",
        drop,
        same,
        *(speeds.get(batch, "-") for batch in slim_unlabelled.BATCHES),
        f"{first['seconds']:.0f}",
    ]


TABLES: dict[str, Callable[[], str]] = {
    "table structured": thinner,
    "table slim speed": speeds,
    "slim lagging": lagging,
    "table slim unlabelled": unlabelled,
}
