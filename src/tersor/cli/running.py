"""`tersor evaluate`, `tersor run`, `tersor bench`: models at work."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from tersor.cli.answer import Answer, progress, say
from tersor.cli.options import (
    DATA,
    METRIC,
    command,
    engine,
    engines_of,
    known_engine,
    metric_of,
    model,
    threads,
    writable_file,
)
from tersor.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from tersor.runtime import Runnable

    Arrays = dict[str, np.ndarray[Any, Any]]


@command("tersor evaluate model.onnx --data test.npz --metric top1")
@model
@click.option(
    "--data",
    required=True,
    metavar="D",
    help="Samples with labels: " + DATA,
)
@click.option(
    "--metric",
    metavar="M",
    show_default="what fits the labels",
    help=METRIC.format(names="top1, top5, mse, cosine"),
)
@engine
def evaluate(model: str, data: str, metric: str | None, engine: str | None) -> Answer:
    """Score MODEL on labelled samples, with a 95 % interval."""
    known_engine(engine)
    chosen = metric_of(metric)
    from tersor.data.read import check_source
    from tersor.evaluation import evaluate as evaluated

    check_source(data)
    with progress() as advance:
        found = evaluated(
            model,
            data,
            metric=chosen,
            engine=engine,
            on_progress=lambda fraction: advance("evaluate", fraction),
        )
    return Answer({"model": model, **found}, lambda console: _show_score(found, console))


def _show_score(found: Mapping[str, Any], console: "Console") -> None:
    share = found["metric"] in {"top1", "top5"}
    value, low, high = (_number(found[key], share=share) for key in ("value", "low", "high"))
    interval = f"  (95 %: {low} to {high})" if found["low"] is not None else ""
    say(console, f"{found['metric']}  {value}{interval}", "bold")
    by = f"{found['engine']} {found['precision']}, threads {found['threads']}"
    say(console, f"{found['samples']} samples, {by}")
    if found["why"]:
        say(console, f"Note: {found['why']}")


def _number(value: float | None, *, share: bool) -> str:
    from tersor.report import units

    if value is None or share:
        return units.percent_text(value)
    return f"{value:.6g}"


@command("tersor run model.tsr --input in.npz --output out.npz")
@model
@click.option(
    "--input",
    "source",
    required=True,
    metavar="FILE",
    help="An .npz file with one array per input of the model, by name.",
)
@click.option(
    "--output",
    required=True,
    metavar="FILE",
    help="The .npz file to write: one array per output, by name.",
)
@engine
@threads
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    metavar="N",
    show_default="all",
    help="How many samples run at once.",
)
def run(**given: Any) -> Answer:
    """Run MODEL on arrays.

    An array named labels in the input file is ignored, unless the model has such an input.
    """
    target = writable_file(given["output"], ".npz", given["model"], given["source"])
    known_engine(given["engine"])
    from tersor.cli.arrays import read_arrays, write_arrays
    from tersor.modelfile import model_file, naming
    from tersor.runtime import open as open_model

    feeds = read_arrays(given["source"])
    with naming(given["model"]), model_file(given["model"]) as file:
        runnable = open_model(file, engine=given["engine"], threads=given["threads"])
        if "labels" not in {end.name for end in runnable.inputs}:
            feeds.pop("labels", None)
        outputs = _outputs(runnable, feeds, given["batch"])
    size = write_arrays(target, outputs)
    document = {
        "output": given["output"],
        "output_bytes": size,
        "outputs": {
            n: {"shape": list(a.shape), "dtype": a.dtype.name} for n, a in outputs.items()
        },
        "engine": runnable.engine,
        "precision": runnable.precision,
        "threads": runnable.threads,
        "why": runnable.why,
        "warning": runnable.warning,
    }
    return Answer(document, lambda console: _show_run(document, console))


def _outputs(runnable: "Runnable", feeds: "Arrays", batch: int | None) -> "Arrays":
    """All outputs, from runs on `batch` samples each, or on everything at once."""
    counts = {len(array) for array in feeds.values() if array.ndim}
    if batch is None or len(counts) != 1 or counts == {0}:
        return runnable.run(feeds)
    import numpy as np

    (count,) = counts
    parts = []
    with progress() as advance:
        for start in range(0, count, batch):
            part = {n: a[start : start + batch] if a.ndim else a for n, a in feeds.items()}
            size = min(batch, count - start)
            parts.append(runnable.run(part))
            for name, array in parts[-1].items():
                if not array.ndim or len(array) != size:
                    problem = f"has shape {array.shape} for {size} samples"
                    remedy = "It cannot be split into batches: leave out --batch."
                    raise DataError(f"Output {name!r}", problem, remedy)
            advance("run", (start + size) / count)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _show_run(document: Mapping[str, Any], console: "Console") -> None:
    from tersor.report import units

    size = units.bytes_text(document["output_bytes"])
    say(console, f"Wrote {document['output']}: {size}.")
    for name, output in document["outputs"].items():
        shape = units.shape_text(output["shape"])
        say(console, f"  {name}  {shape}  {output['dtype']}")
    threads = document["threads"]
    say(console, f"{document['engine']} {document['precision']}, threads {threads}")
    for note in filter(None, (document["why"], document["warning"])):
        say(console, f"Note: {note}")


@command("tersor bench model.onnx compressed/model.tsr --threads 1")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    metavar="E",
    show_default="those that do not compile for long",
    help="Engine to run on, or all; may be repeated.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    metavar="N",
    default=1,
    show_default=True,
    help="Samples in one run.",
)
@click.option(
    "--length",
    type=click.IntRange(min=1),
    metavar="N",
    help="Sizes that vary beyond the batch: tokens, say. Needed where there are any.",
)
@threads
@click.option(
    "--precision",
    metavar="P",
    show_default="all that this machine has",
    help="Arithmetic of the float parts: f32 or bf16.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    metavar="N",
    default=20,
    show_default=True,
    help="Undisturbed rounds to count.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    metavar="S",
    default=60.0,
    show_default=True,
    help="Longest time for the race.",
)
def bench(models: tuple[str, ...], engines: tuple[str, ...], **given: Any) -> Answer:
    """Time MODELs on engines, side by side.

    All take turns in the same rounds, so that what disturbs one disturbs all. The first
    row is what the others are compared with. Inputs are made up.
    """
    names = engines_of(engines)
    from tersor.bench import BenchOptions
    from tersor.bench import bench as benched
    from tersor.machine import describe
    from tersor.report.bench import render_bench

    with progress() as advance:
        rows = benched(
            models, engines=names, options=BenchOptions(**given), on_progress=advance
        )
    machine = describe()

    def show(console: "Console") -> None:
        console.print(render_bench(rows))
        say(console, f"  {machine['cpu']}, {machine['system']}", "dim")

    failed = all(row["median_ms"] is None for row in rows)
    return Answer({"machine": machine, "rows": rows}, show, exit_code=int(failed))
