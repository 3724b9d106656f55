"""Damage files for some minutes, and read them: `python -m tests.fuzz --minutes 10`.

Every reader gets its share of the time. What was found is printed with its seed, and saved,
shortened, in a folder; `--only onnx --seed N --count 1` makes the same file again.
"""

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from tests.fuzz.mutate import damaged
from tests.fuzz.readers import FORMATS, Format
from tests.fuzz.trial import Outcome, attempt, smaller


def main() -> int:
    """Fuzz; 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--count", type=int, default=10**9, help="files for each reader")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--folder", type=Path, default=Path("fuzz-findings"))
    given = parser.parse_args()
    print(f"seed {given.seed}")
    findings = 0
    for name in given.only:
        until = time.monotonic() + 60 * given.minutes / len(given.only)
        findings += fuzz(name, FORMATS[name](), given, until)
    return 1 if findings else 0


def fuzz(name: str, reader: Format, given: argparse.Namespace, until: float) -> int:
    """Try one reader until a time; returns how many different findings there are."""
    counts: Counter[str] = Counter()
    seen: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="tersor-fuzz-") as folder:
        attempt(reader, reader.examples[0], Path(folder))  # loads what is loaded once
    for number in range(given.count):
        if time.monotonic() > until:
            break
        seed = given.seed + number
        data = made(reader, seed)
        with tempfile.TemporaryDirectory(prefix="tersor-fuzz-") as folder:
            outcome = attempt(reader, data, Path(folder))
        counts[outcome.kind] += 1
        label = f"{outcome.kind} {outcome.detail.split(': ')[0]}"
        if outcome.is_finding and label not in seen:
            seen.add(label)
            keep(name, reader, seed, outcome, given.folder)
    print(f"{name}: {dict(counts)}", flush=True)
    return len(seen)


def made(reader: Format, seed: int) -> bytes:
    """The file of that seed."""
    rng = np.random.default_rng(seed)
    example = reader.examples[seed % len(reader.examples)]
    return damaged(example, rng, text=reader.text)


def keep(name: str, reader: Format, seed: int, outcome: Outcome, folder: Path) -> None:
    """Print a finding and save its file, shortened."""
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tersor-fuzz-") as work:
        data = smaller(reader, made(reader, seed), Path(work))
    path = folder / f"{name}-{seed}{Path(reader.name).suffix}"
    path.write_bytes(data)
    print(f"{name}, seed {seed}: {outcome.kind}, {outcome.detail}; {path}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
