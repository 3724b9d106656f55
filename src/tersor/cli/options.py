"""What commands share: options, and checks of paths before the work begins."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import click

from tersor.errors import FileError, InputError

if TYPE_CHECKING:
    from tersor.metrics import UserMetric

Function = Callable[..., Any]
DATA = (
    "an .npz file of arrays named like the inputs (and perhaps labels); a folder with "
    "preprocess.toml (images), audio.toml (.wav) or text.toml; a .jsonl, .tsv, .csv or .txt "
    "file beside a text.toml; or package.module:callable that returns arrays, batches, a "
    "dataset or a DataLoader. See docs/bring-your-model.md."
)
LEVELS = {"fast": "fast", "default": "auto", "best": "best"}  # by the store's names
METRIC = "{names}, or package.module:callable; top1:NAME takes the output NAME."


def command(example: str) -> Callable[[Function], click.Command]:
    """A command with `--json` and a one-line example below its help."""

    def made(function: Function) -> click.Command:
        result: click.Command = click.command(epilog=f"\b\nExample:\n  {example}")(function)
        text = "Print one JSON document to stdout and nothing else."
        result.params.append(
            click.Option(["--json"], is_flag=True, expose_value=False, help=text)
        )
        return result

    return made


model = click.argument("model", metavar="MODEL")
level = click.option(
    "--level",
    type=click.Choice(list(LEVELS)),
    default="default",
    show_default=True,
    help="fast: packs quickly. default: unpacks quickly. best: the fewest bytes; slow.",
)
threads = click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    show_default="one per physical core",
    help="Threads for one run.",
)
engine = click.option(
    "--engine",
    metavar="E",
    show_default="the best that is here",
    help="Engine to run on; see `tersor info`.",
)


def known_engine(name: str | None) -> None:
    """Raise InputError for a name that is no engine's."""
    from tersor.engines import find

    if name is not None:
        find(name)


def engines_of(wanted: Iterable[str]) -> tuple[str, ...] | None:
    """The engines that `--engine`, given any number of times, means; None if never given.

    Raises:
        InputError: There is no engine of that name.
    """
    chosen = tuple(dict.fromkeys(wanted))
    if not chosen:
        return None
    from tersor.engines import available, find, names

    for name in chosen:
        if name not in {"all", *names()}:
            raise InputError("engine", got=name, allowed=f"one of all, {', '.join(names())}")
    if "all" in chosen:
        return tuple(name for name in available() if find(name).fast)
    return chosen


def metric_of(text: str | None) -> "str | UserMetric | None":
    """The metric that the user means: a name, or the user's own function.

    Raises:
        InputError: There is none of that name.
        CallableError: The user's module failed.
    """
    if text is None:
        return None
    from tersor.data.callables import find, is_spec
    from tersor.metrics import NAMES

    if text.partition(":")[0] in NAMES:
        return text
    if is_spec(text):
        return find(text)
    allowed = f"one of {', '.join(NAMES)}, or package.module:callable"
    raise InputError("metric", got=text, allowed=allowed)


def writable_file(path: str, suffix: str, *others: str) -> Path:
    """The path, after a look whether a file can be written there.

    Args:
        path: Where to.
        suffix: How its name must end.
        others: Files that it must not overwrite.

    Raises:
        InputError: The name ends otherwise.
        FileError: The folder is missing or read-only, or the path is one of `others`.
    """
    target = Path(path)
    if suffix and target.suffix.lower() != suffix:
        raise InputError("output", got=path, allowed=f"a file name that ends with {suffix}")
    if target.is_dir():
        raise FileError(path, "is a folder", "Name a file.")
    _keep(target, others)
    _probe(target.parent)
    return target


def writable_folder(path: str, files: Iterable[str], *others: str) -> Path:
    """The folder, made if it is missing, after a look whether files can be written there.

    Args:
        path: Where to.
        files: Names of the files that will be written.
        others: Files that they must not overwrite.

    Raises:
        FileError: It cannot be made or written, or one of `others` would be overwritten.
    """
    folder = Path(path)
    for name in files:
        _keep(folder / name, others)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"cannot be made ({error.strerror})"
        raise FileError(path, problem, "Name a folder that can be written.") from None
    _probe(folder)
    return folder


def _keep(target: Path, others: Iterable[str]) -> None:
    for other in others:
        with suppress(OSError):
            if target.samefile(other):
                problem = "is also read: it would be overwritten"
                raise FileError(target, problem, "Choose another output.")


def _probe(folder: Path) -> None:
    """Write an empty file into a folder, and remove it."""
    if not folder.is_dir():
        raise FileError(folder, "is not a folder", "Make it first, or choose another output.")
    probe = folder / f".tersor-{uuid4().hex}.tmp"
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        problem = f"cannot be written to ({error.strerror})"
        raise FileError(
            folder, problem, "Choose another output, or make the folder."
        ) from None
