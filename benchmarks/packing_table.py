"""What results/packing.jsonl says, for people."""

from collections.abc import Callable

from benchmarks import records
from benchmarks.packing import NAME, NETWORKS, TYPES
from benchmarks.records import Row

_HEADS = (
    *("network", "floats", "default saves", "fast", "zstd -19"),
    *("pack fast, MB/s", "over zstd -3", "unpack, MB/s", "over zstd -3"),
)


def packing() -> str:
    """One line per network and type."""
    rows = {(row["network"], row["type"]): row for row in records.read(NAME)}
    asked = [(network, kind) for network in NETWORKS for kind in TYPES]
    lines = [_cells(rows[each]) for each in asked if each in rows]
    return records.table(_HEADS, lines, texts=2)


def _cells(row: Row) -> list[str]:
    saved = [
        f"{100 * (1 - row['bytes'][name] / row['file_bytes']):.1f} %"
        for name in ("default", "fast", "zstd -19")
    ]
    cells = [row["network"], row["type"], *saved]
    for name in ("fast", "unpack"):
        speed = row["speed"][name]
        cells += [f"{speed['mb_per_core_s']:,.0f}", records.quartiles(speed["over_zstd"])]
    return cells


def measured() -> str:
    """Where, in how many rounds, and how quiet it was."""
    rows = records.read(NAME)
    share = max((row["others_share"] for row in rows), default=0.0)
    machines = sorted({row["machine"]["cpu"] for row in rows})
    rounds = min((row["rounds"] for row in rows), default=0)
    return (
        f"{', '.join(machines)}; {rounds} rounds; "
        f"other programs took up to {100 * share:.0f} % of the processors."
    )


TABLES: dict[str, Callable[[], str]] = {
    "table packing": packing,
    "packing measured": measured,
}
