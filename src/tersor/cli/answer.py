"""What commands answer with, and how it reaches the user.

A command returns an `Answer`: a document for programs, and a view of it for people. Results
go to stdout, everything else to stderr. With `--json` stdout gets exactly one JSON
document; what the user's own code prints meanwhile goes to stderr.
"""

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from tersor.report.plain import printable

if TYPE_CHECKING:
    from rich.console import Console

Advance = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command found or did.

    Attributes:
        document: All of it, of dicts, lists, texts and numbers.
        show: Prints it for people.
        exit_code: What the command line returns.
    """

    document: Mapping[str, object]
    show: "Callable[[Console], None]"
    exit_code: int = 0


def deliver(answer: Answer, *, as_json: bool) -> None:
    """Write an answer to stdout."""
    if as_json:
        write_json(answer.document)
        return
    from rich.console import Console

    console = Console(highlight=False, emoji=False)
    with console.capture() as captured:
        answer.show(console)
    text = captured.get()
    if not console.is_terminal:
        text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    write(sys.stdout, text)


def say(console: "Console", line: str, style: str = "") -> None:
    """Print one line as it is: it is not folded, and nothing in it acts on the terminal."""
    from rich.text import Text

    console.print(Text(printable(line), style), soft_wrap=True)


def write_json(document: Mapping[str, object]) -> None:
    """Write one JSON document to stdout; what is not finite becomes null."""
    write(sys.stdout, json.dumps(_finite(document), indent=2, allow_nan=False) + "\n")


def write(stream: TextIO | None, text: str) -> None:
    """Write and flush; characters that the stream does not know become "?".

    Args:
        stream: Where to; None, as Python has it for a stream that is closed, takes nothing.
        text: What.
    """
    if stream is None:
        return
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding))
    stream.flush()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def progress() -> Iterator[Advance]:
    """Gives a function (phase, fraction done of it) that draws on stderr, if a person looks.

    The drawing vanishes at the end: what matters is in the answer. It is drawn seldom, so
    that it does not disturb what is being timed.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda _phase, _fraction: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(
        *columns, console=Console(stderr=True), refresh_per_second=2, transient=True
    ) as drawing:

        def advance(phase: str, fraction: float) -> None:
            if phase not in tasks:
                for earlier in tasks.values():
                    drawing.update(earlier, completed=1.0)
                tasks[phase] = drawing.add_task(phase, total=1.0)
            drawing.update(tasks[phase], completed=min(1.0, max(0.0, fraction)))

        yield advance
