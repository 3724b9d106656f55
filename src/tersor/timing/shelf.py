"""Measured times on disk, so that each shape is measured once per machine.

One file per processor, engine, version, precision and number of threads; one JSON line per
work. The file holds a bounded number of lines, the latest; it is written whole beside itself
and renamed, so that readers never see a part. Lines that cannot be read are as if they were
not there, and so is a folder that cannot be written.
"""

import contextlib
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tersor.machine import describe

FORM = 1  # of measuring: another one is another file
MOST = 4096  # lines of a file
_LONGEST = 1 << 22  # bytes of a file that is read


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a work.

    Attributes:
        ms: The shortest of all its measurements.
        count: How many there were.
    """

    ms: float
    count: int = 1


def default_folder() -> Path:
    """Where caches of the user belong: $XDG_CACHE_HOME/tersor, or ~/.cache/tersor."""
    told = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(told) if told else Path.home() / ".cache") / "tersor" / "latency"


def facts(engine: str, version: str, precision: str, threads: int) -> dict[str, object]:
    """All that times depend on but the work."""
    known = describe()
    of_machine = {name: known[name] for name in ("cpu", "physical_cores", "isa", "system")}
    asked = {"engine": engine, "version": version, "precision": precision, "threads": threads}
    return {"form": FORM, **of_machine, **asked}


class Shelf:
    """The times of one file."""

    def __init__(self, folder: Path, about: Mapping[str, object]) -> None:
        """Name the file; nothing is read or written yet.

        Args:
            folder: Where the file is, or will be.
            about: What its times depend on; the file's first line, and part of its name.
        """
        self._head = json.dumps(about, sort_keys=True)
        digest = hashlib.sha256(self._head.encode()).hexdigest()[:16]
        self.path = folder / f"{about.get('engine', 'engine')}-{digest}.jsonl"

    def read(self) -> dict[str, Entry]:
        """All entries by the key of the work; none if there is no file."""
        try:
            with self.path.open("rb") as file:
                text = file.read(_LONGEST).decode(errors="replace")
        except OSError:
            return {}
        head, *lines = text.split("\n")
        if head != self._head:
            return {}
        found = map(_entry, lines)
        return dict(pair for pair in found if pair is not None)

    def add(self, key: str, entry: Entry) -> None:
        """Put an entry into the file, in place of an older one of that key."""
        known = self.read()
        known.pop(key, None)
        known[key] = entry
        kept = list(known.items())[-MOST:]
        lines = [json.dumps([k, e.ms, e.count]) for k, e in kept]
        with contextlib.suppress(OSError):
            self._write("\n".join([self._head, *lines, ""]))

    def _write(self, text: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".latency-")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(text)
            Path(name).replace(self.path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise


def _entry(line: str) -> tuple[str, Entry] | None:
    """The key and the entry of a line; None if it is none."""
    try:
        key, ms, count = json.loads(line)
    except (ValueError, TypeError, RecursionError):
        return None
    is_time = isinstance(ms, float) and math.isfinite(ms) and ms > 0
    is_count = type(count) is int and count > 0
    return (key, Entry(ms, count)) if isinstance(key, str) and is_time and is_count else None
