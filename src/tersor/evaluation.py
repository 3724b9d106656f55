"""How well one model does on labelled samples, as an engine runs it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tersor.arrays.intervals import paired_mean, wilson
from tersor.data.check import PortLike, fit
from tersor.data.read import as_samples
from tersor.data.samples import Samples
from tersor.engines.engine import End
from tersor.errors import DataError, InputError
from tersor.metrics import Metric, UserMetric, resolve
from tersor.modelfile import model_file, naming
from tersor.runtime import open as open_model

Array = NDArray[np.generic]


def evaluate(
    path: str | Path,
    data: object,
    *,
    metric: str | UserMetric | None = None,
    engine: str | None = None,
    batch_size: int = 64,
    on_progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Score a model on all samples.

    Args:
        path: A model; see `tersor.reading.read`.
        data: Inputs that fit it, with labels; see `tersor.data.read.as_samples`.
        metric: See `tersor.metrics.resolve`; a user's function may do without labels.
        engine: As for `tersor.open`.
        batch_size: How many samples run at once; a model whose batch is fixed takes its own.
        on_progress: Called with the fraction done.

    Returns:
        metric, value, low and high (95 % interval; None where too few samples give
        none), higher_is_better, samples, engine, precision, threads, why (the engine is not
        the one that the file asks for; else None).

    Raises:
        DataError: Labels are missing or out of range, or samples do not fit the model.
        InputError: There is no such metric or engine, or it compares two models.
        FileError, FormatError, EngineError: The model cannot be opened or run.
    """
    _check_metric(metric)
    with naming(path), model_file(path) as file:
        model = open_model(file, engine=engine)
        samples = as_samples(data, [end.name for end in model.inputs])
        _check_labels(samples, metric)
        fitting = fit(samples, [_port(end, samples) for end in model.inputs])
        size = _batch_size(model.inputs, len(samples), batch_size)
        chosen: Metric | None = None
        scores = []
        for batch in fitting.batches(size):
            outputs = model.run(batch.inputs)
            if chosen is None:
                chosen = resolve(metric, outputs, batch.labels)
            scores.append(chosen.score(outputs, batch.labels, outputs))
            if on_progress is not None:
                on_progress((batch.start + batch.size) / len(samples))
    assert chosen is not None  # noqa: S101 - Samples are never empty
    return {
        "metric": chosen.name,
        **_with_interval(np.concatenate(scores), chosen),
        "higher_is_better": chosen.higher_is_better,
        "samples": len(samples),
        "engine": model.engine,
        "precision": model.precision,
        "threads": model.threads,
        "why": model.why,
        "warning": model.warning,
    }


def _check_metric(metric: str | UserMetric | None) -> None:
    if isinstance(metric, str) and metric.partition(":")[0] == "agreement":
        allowed = "one of top1, top5, mse, cosine: agreement compares two models"
        raise InputError("metric", got=metric, allowed=allowed)


def _check_labels(samples: Samples, metric: str | UserMetric | None) -> None:
    if samples.labels is None and not callable(metric):
        raise DataError(
            "The data",
            "has no labels, and one model alone cannot be judged without",
            "Add an array named labels, with one class number per sample.",
        )


def _port(end: End, samples: Samples) -> PortLike:
    """An input as `fit` takes it; where not even the rank is fixed, any shape fits."""
    if end.shape is not None:
        return end.name, end.shape, end.dtype
    found = samples.inputs.get(end.name)
    return end.name, ("",) * (0 if found is None else found.ndim), end.dtype


def _batch_size(inputs: Sequence[End], count: int, wanted: int) -> int:
    """How many samples run at once: what was wanted, or what the model is fixed to."""
    fixed = {end.shape[0] for end in inputs if end.shape and isinstance(end.shape[0], int)}
    if not fixed:
        return wanted
    size = min(fixed)
    if len(fixed) > 1 or size < 1 or count % size:
        raise DataError(
            "The data",
            f"holds {count} samples, but the model takes exactly {size} at a time",
            f"Give a multiple of {size}, or export the model with a batch that varies.",
        )
    return size


def _with_interval(scores: NDArray[np.float64], metric: Metric) -> dict[str, float | None]:
    """The mean score and its 95 % interval: Wilson's for yes or no, else Student's."""
    yes_or_no = metric.higher_is_better and bool(np.isin(scores, (0.0, 1.0)).all())
    ends = wilson(int(scores.sum()), len(scores)) if yes_or_no else paired_mean(scores)
    low, high = ends or (None, None)
    return {"value": float(scores.mean()), "low": low, "high": high}
