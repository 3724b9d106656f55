"""Results as JSON lines, one per measured contestant, and the README's tables made of them.

`python -m benchmarks.records` writes the tables into the README, between the marks
`<!-- NAME -->` and `<!-- end -->`; a test checks that they are up to date.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"

Row = dict[str, Any]

_SPEEDS = {
    "openvino 1": "OpenVINO, batch 1",
    "openvino 16": "batch 16",
    "onnxruntime 1": "ONNX Runtime, batch 1",
    "onnxruntime 16": "batch 16",
}


def read(name: str) -> list[Row]:
    """All rows of a result file, in order; none if it is not there."""
    path = RESULTS / f"{name}.jsonl"
    return (
        [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    )


def append(name: str, rows: list[Row]) -> None:
    """Add rows to a result file."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / f"{name}.jsonl").open("a") as file:
        file.writelines(json.dumps(row, sort_keys=True) + "\n" for row in rows)


def spine() -> str:
    """Int8 of the CIFAR-10 ResNets: Tersor and peers against float."""
    rows = read("spine")
    heads = ("model", "by", "file", "smaller", "top-1 drop (95 %)", *_SPEEDS.values())
    lines = ["| " + " | ".join(heads) + " |", "|---|---|" + "--:|" * (len(heads) - 2)]
    for row in rows:
        if row["source"] != "onnx":
            continue
        speeds = [
            f"{s['median']:.2f}x" if (s := row["speed"].get(key)) else "-" for key in _SPEEDS
        ]
        drop = row["drop_pp"]
        cells = [
            row["model"],
            row["by"],
            f"{row['file_bytes'] / 1e3:.0f} kB",
            f"{row['smaller']:.2f}x",
            f"{drop['value']:+.2f} pp ({drop['low']:+.2f} to {drop['high']:+.2f})",
            *speeds,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spine_machine() -> str:
    """The machine of these measurements, in one line."""
    rows = read("spine")
    if not rows:
        return "Not measured yet."
    found = rows[-1]["machine"]
    isa = ", ".join(flag for flag in found["isa"] if flag.startswith(("avx512", "amx")))
    versions = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    loud = sum(not s["quiet"] for row in rows for s in row["speed"].values())
    noise = f" {loud} of the timings never got quiet." if loud else ""
    return f"{found['cpu']} ({isa}), {found['default_threads']} threads; {versions}.{noise}"


TABLES: dict[str, Callable[[], str]] = {
    "table spine": spine,
    "machine": spine_machine,
}


def with_tables(text: str) -> str:
    """The text with everything between marks made anew."""
    for name, make in TABLES.items():
        mark = f"<!-- {name} -->"
        pattern = re.escape(mark) + r"\n.*?<!-- end -->"
        made = f"{mark}\n{make()}\n<!-- end -->"
        text = re.sub(pattern, lambda _, made=made: made, text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))
