"""Results as JSON lines, one per measured contestant, and the tables made of them.

`python -m benchmarks.records` writes the tables into README.md and pages of docs, between the
marks `<!-- NAME -->` and `<!-- end -->`; a test checks that they are up to date.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"
CODECS = ROOT / "docs" / "codecs.md"
PACKING = ROOT / "docs" / "packing.md"
SMALLEST = ROOT / "docs" / "smallest.md"
STRUCTURED = ROOT / "docs" / "structured.md"
INT8 = ROOT / "docs" / "int8.md"

Row = dict[str, Any]


def read(name: str) -> list[Row]:
    """All rows of a result file, in order; none if it is not there."""
    path = RESULTS / f"{name}.jsonl"
    return (
        [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    )


def replace(name: str, rows: Sequence[Row], *, by: Sequence[str]) -> None:
    """Add rows to a result file in place of those that are equal in the columns `by`."""
    keys = {tuple(row[column] for column in by) for row in rows}
    kept = [row for row in read(name) if tuple(row[column] for column in by) not in keys]
    RESULTS.mkdir(exist_ok=True)
    fresh = RESULTS / f"{name}.new"
    lines = [json.dumps(row, sort_keys=True) + "\n" for row in [*kept, *rows]]
    fresh.write_text("".join(lines))
    fresh.replace(RESULTS / f"{name}.jsonl")


def table(heads: Sequence[str], lines: Sequence[Sequence[str]], *, texts: int) -> str:
    """A Markdown table; the first `texts` columns are words, the others numbers."""
    rule = "|---" * texts + "|--:" * (len(heads) - texts) + "|"
    return "\n".join([_line(heads), rule, *map(_line, lines)])


def quartiles(found: Row) -> str:
    """As in "1.02 (0.98 to 1.05)"."""
    return f"{found['median']:.3g} ({found['q1']:.3g} to {found['q3']:.3g})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def with_tables(text: str, tables: dict[str, Callable[[], str]]) -> str:
    """The text with everything between marks made anew."""
    for name, make in tables.items():
        mark = f"<!-- {name} -->"
        pattern = re.escape(mark) + r"\n.*?<!-- end -->"
        made = f"{mark}\n{make()}\n<!-- end -->"
        text = re.sub(pattern, made.replace("\\", r"\\"), text, flags=re.DOTALL)
    return text


def pages() -> dict[Path, dict[str, Callable[[], str]]]:
    """The pages with tables, and the tables of each."""
    from benchmarks import (
        codecs_table,
        coverage_table,
        packing_table,
        ptq_table,
        smallest_table,
        structured_table,
    )

    return {
        README: ptq_table.TABLES | smallest_table.TABLES,
        INT8: ptq_table.DETAILS,
        CODECS: codecs_table.TABLES,
        PACKING: packing_table.TABLES,
        SMALLEST: smallest_table.TABLES,
        STRUCTURED: structured_table.TABLES | coverage_table.TABLES,
    }


def main() -> None:
    """Write all tables into their pages."""
    for page, tables in pages().items():
        page.write_text(with_tables(page.read_text(), tables))


if __name__ == "__main__":
    main()
