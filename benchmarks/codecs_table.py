"""What results/codecs.jsonl says, for people."""

from collections.abc import Callable

from benchmarks import records
from benchmarks.codecs import DEEP, NAME, SETS
from benchmarks.records import Row

_HEADS = (
    *("integers", "coder", "bytes", "over entropy", "over NNCodec"),
    *("encode, MB/s", "x NNCodec", "decode, MB/s", "x NNCodec"),
)


def codecs() -> str:
    """One line per set and coder, the smallest first."""
    rows = records.read(NAME)
    lines = []
    for name in SETS:
        own = sorted((r for r in rows if r["set"] == name), key=lambda r: int(r["bytes"]))
        peers = [row["bytes"] for row in own if row["coder"] == "nncodec"]
        lines += [_cells(row, peers[0]) for row in own if row["coder"] != "raw"]
    return records.table(_HEADS, lines, texts=2)


def _cells(row: Row, peer: int) -> list[str]:
    size = row["bytes"]
    cells = [row["set"], row["coder"], f"{size:,}"]
    cells += [f"{100 * (size / whole - 1):+.1f} %" for whole in (row["entropy_bytes"], peer)]
    for way in ("encode", "decode"):
        speed = row["speed"][way]
        cells += [f"{speed['mb_s']:.3g}", records.quartiles(speed["over_nncodec"])]
    return cells


def recoded() -> str:
    """Han's file, and what it becomes."""
    rows = [row for row in records.read(NAME) if row["set"] == DEEP]
    if not rows:
        return "Not measured."
    old, new = rows[0]["file_bytes"], rows[0]["tsr_bytes"]
    less = 100 * (new / old - 1)
    return (
        f"SqueezeNet 1.0 as published in *Deep Compression*, {old:,} bytes: {new:,} bytes as "
        f"a `.tsr` of level best ({less:+.1f} %), every weight and bias the same."
    )


def measured() -> str:
    """Where, in how many rounds, and how quiet it was."""
    rows = records.read(NAME)
    if not rows:
        return "Not measured."
    found = rows[0]["machine"]
    share = max(row["others_share"] for row in rows)
    return (
        f"{found['cpu']}, one thread, {min(row['rounds'] for row in rows)} rounds or more; "
        f"other programs took up to {100 * share:.0f} % of the processors."
    )


TABLES: dict[str, Callable[[], str]] = {
    "table codecs": codecs,
    "recoded": recoded,
    "codecs measured": measured,
}
