"""`tersor compress` and `tersor demo`: the whole way, from a model to a report."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tersor.cli.answer import Answer, progress, say
from tersor.cli.options import (
    DATA,
    LEVELS,
    METRIC,
    command,
    engines_of,
    level,
    metric_of,
    model,
    threads,
    writable_folder,
)
from tersor.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from tersor.data.samples import Samples
    from tersor.data.split import Split
    from tersor.pipeline import Result
    from tersor.plan.budget import Budget
    from tersor.plan.recipe import Recipe

BUDGET_MISSED = 3
FILES = ("model.tsr", "model.onnx", "report.json", "report.html", "recipe.toml")
_PURPOSES = {
    "model.tsr": "the model: run it with `tersor run` or tersor.open",
    "model.onnx": "the same for other runtimes",
    "report.json": "all figures, for programs",
    "report.html": "all figures, for people: open it in a browser",
    "recipe.toml": "gives the same result again, with --recipe",
}


@dataclass(frozen=True, kw_only=True)
class _Wishes:
    """What the user typed, option by option."""

    model: str
    data: str
    validation: str | None
    test: str | None
    recipe: str
    budget: str | None
    settings: tuple[str, ...]
    metric: str | None
    output: str
    batch: int
    threads: int | None
    engines: tuple[str, ...]
    seconds: float
    level: str
    device: str
    seeds: int
    ablate: bool
    control: str | None
    sure: bool

    @property
    def sources(self) -> list[str]:
        """Everything that is read, and must not be overwritten."""
        given = (self.model, self.data, self.validation, self.test, self.recipe)
        return [each for each in given if each]


@command("tersor compress model.onnx --data d.npz --budget size=4x,drop=1pp")
@model
@click.option(
    "--data",
    required=True,
    metavar="D",
    help="Samples to calibrate and choose by: " + DATA,
)
@click.option(
    "--validation",
    metavar="D",
    show_default="a part of --data",
    help="Samples to choose by.",
)
@click.option("--test", metavar="D", help="Samples that only the report is about.")
@click.option(
    "--recipe",
    metavar="R",
    default="fast",
    show_default=True,
    help="What to try: a name from `tersor info`, or a .toml file. `fast` tries what suits "
    "the kind of network.",
)
@click.option(
    "--budget",
    metavar="B",
    help='What to reach, as in "size=10x,latency=2x,drop=1pp". If it is missed, the best '
    "result is written all the same, and the exit code is 3.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting of the recipe, as in quantize.static.ranges=minmax; see "
    "`tersor methods`. May be repeated.",
)
@click.option(
    "--metric",
    metavar="M",
    show_default="what fits the labels",
    help=METRIC.format(names="top1, top5, agreement, mse, cosine"),
)
@click.option(
    "--output",
    metavar="DIR",
    default="./compressed",
    show_default=True,
    help="Folder for the five files.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    metavar="N",
    default=1,
    show_default=True,
    help="Batch size that speed is measured at.",
)
@threads
@click.option(
    "--engine",
    "engines",
    multiple=True,
    metavar="E",
    show_default="those that do not compile for long",
    help="Engine to try, or all; may be repeated.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    default=20.0,
    show_default=True,
    help="Longest time for racing the candidates.",
)
@level
@click.option(
    "--device",
    metavar="DEVICE",
    default="auto",
    show_default=True,
    help="Where recipes that train do so, as torch names it: cpu, cuda. `auto` is the GPU "
    "where torch sees one.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 100),
    metavar="N",
    default=1,
    show_default=True,
    help="Run what won with N seeds in all and report median and spread; the file is that of "
    "the first. Takes N times as long.",
)
@click.option(
    "--ablate",
    is_flag=True,
    help="Also run what won without each of its parts, each step alone, and store it by "
    "every other coder: a table for the report. Takes up to a training for each row.",
)
@click.option(
    "--control",
    type=click.Choice(["scratch"]),
    help="Also train a dense network of the size of the result anew, for as many epochs, and "
    "report it beside the result. Takes up to four such trainings.",
)
@click.option(
    "--sure",
    is_flag=True,
    help="Hand back only what keeps the limit with 95 % confidence: the whole interval of the "
    "loss must lie within it. Few samples then let nothing pass.",
)
@click.pass_context
def compress(ctx: click.Context, /, **given: Any) -> Answer:
    """Make MODEL smaller and faster, and prove that it still works.

    Tries what the recipe says, keeps the fastest result that is accurate enough, and writes
    model.tsr, model.onnx, report.json, report.html and recipe.toml. Without labels the
    original model is the teacher and the judge. Training that was interrupted goes on from its
    last epoch when the same command is given again.
    """
    wishes = _Wishes(**given)
    engines = engines_of(wishes.engines)
    settings = _settings(wishes.settings)
    metric = metric_of(wishes.metric)
    budget = _budget(wishes.budget)
    with _output(wishes.output, wishes.sources) as folder:
        from tersor.modelfile import naming
        from tersor.reading import opened, read

        with naming(wishes.model):
            model = opened(wishes.model)  # a bad file is refused before torch is imported
        _check_data(wishes)
        recipe = _recipe(wishes.recipe, settings)
        with progress() as advance:
            advance("read", 0.0)
            from tersor.pipeline import Options
            from tersor.pipeline import compress as compressed

            with naming(wishes.model):
                loaded = read(model)
            names = [port.name for port in loaded.network.inputs]
            data = _data(wishes, names, train=recipe.trains)
            options = Options(
                batch=wishes.batch,
                threads=wishes.threads,
                engines=engines,
                seconds=wishes.seconds,
                codec=LEVELS[wishes.level],
                checkpoints=folder / "checkpoints",
                device=wishes.device,
                seeds=wishes.seeds,
                ablate=wishes.ablate,
                control=wishes.control,
                sure=wishes.sure,
                on_progress=advance,
            )
            found = compressed(
                loaded,
                data,
                recipe=recipe,
                budget=budget,
                metric=metric,
                options=options,
            )
        again = shlex.join(["tersor", *ctx.find_root().obj])
        result = replace(found, report={**found.report, "command": again})
        result.save(folder)
    length = max(loaded.network.sizes.values(), default=None)
    return _answer(result, wishes.output, _next(wishes, length))


@command("tersor demo --output demo")
@click.option(
    "--output",
    metavar="DIR",
    default="./demo",
    show_default=True,
    help="Folder for the files.",
)
def demo(output: str) -> Answer:
    """Train a small network, compress it, show the report.

    Takes about a minute. Needs no data and no network connection.
    """
    from tersor.cli.arrays import write_arrays
    from tersor.demo import digits, run

    with _output(output, ()) as folder, progress() as advance:
        result = run(folder, on_progress=advance)
        _, _, test = digits()
        arrays = {**test.inputs, "labels": test.labels}
        write_arrays(folder / "test.npz", {n: a for n, a in arrays.items() if a is not None})
    made, data = (str(Path(output) / name) for name in ("model.tsr", "test.npz"))
    score = shlex.join(["tersor", "evaluate", made, "--data", data])
    return _answer(result, output, f"{score}\n{_run(output, data)}")


def _settings(pairs: tuple[str, ...]) -> dict[str, str]:
    """The texts of `--set` as a table."""
    found = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not (sign and key.strip()):
            raise InputError("--set", got=pair, allowed="of the form key=value")
        found[key.strip()] = value.strip()
    return found


def _budget(text: str | None) -> "Budget | None":
    if text is None:
        return None
    from tersor.plan.budget import Budget

    return Budget.parse(text)


def _recipe(source: str, settings: Mapping[str, str]) -> "Recipe":
    from tersor.plan.changing import with_settings
    from tersor.plan.recipe_file import load_recipe

    recipe = load_recipe(source)
    return with_settings(recipe, settings) if settings else recipe


def _check_data(wishes: _Wishes) -> None:
    """Refuse wrong paths before the model is read."""
    from tersor.data.read import check_source

    for source in (wishes.data, wishes.validation, wishes.test):
        if source is not None:
            check_source(source)


def _data(wishes: _Wishes, names: list[str], *, train: bool) -> "Samples | Split":
    """The samples, divided where the user divided them."""
    from tersor.data.read import read_samples
    from tersor.data.split import split

    samples = read_samples(wishes.data, names=names)
    others = [
        None if each is None else read_samples(each, names=names)
        for each in (wishes.validation, wishes.test)
    ]
    if others == [None, None]:
        return samples
    return split(samples, validation=others[0], test=others[1], train=train)


@contextmanager
def _output(output: str, sources: Iterable[str]) -> Iterator[Path]:
    """The folder for the files, ready to be written; gone again if nothing comes of it."""
    was_there = Path(output).exists()
    folder = writable_folder(output, FILES, *sources)
    try:
        yield folder
    except BaseException:
        if not was_there:
            with suppress(OSError):
                folder.rmdir()  # only if it is empty
        raise


def _run(output: str, source: str) -> str:
    """A command line that runs the result."""
    words = ["run", str(Path(output) / "model.tsr"), "--input", source]
    return shlex.join(["tersor", *words, "--output", "out.npz"])


def _next(wishes: _Wishes, length: int | None) -> str:
    """Command lines worth trying after a compression: they work as they stand."""
    own = wishes.data if wishes.data.endswith(".npz") else "in.npz"
    rivals = [wishes.model, str(Path(wishes.output) / "model.tsr")]
    rivals += ["--length", str(length)] if length is not None else []
    return f"{_run(wishes.output, own)}\n{shlex.join(['tersor', 'bench', *rivals])}"


def _answer(result: "Result", output: str, commands: str) -> Answer:
    """The report, where the files are, and what to try next."""

    def show(console: "Console") -> None:
        from tersor.report.terminal import print_report

        print_report(result.report, console)
        _show_files(output, commands, console)

    return Answer(result.report, show, exit_code=0 if result.budget_met else BUDGET_MISSED)


def _show_files(output: str, commands: str, console: "Console") -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    for name, purpose in _PURPOSES.items():
        table.add_row(Text(str(Path(output) / name)), Text(purpose, "dim"))
    console.print("\n[bold]Files[/bold]")
    console.print(Padding(table, (0, 0, 0, 2)))
    console.print("\n[bold]Next[/bold]")
    for line in commands.splitlines():
        say(console, f"  {line}")
