"""What has to be known before anything is compressed: the model, the samples, one batch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from tersor.choosing.judge import few_of
from tersor.choosing.program import Array, Run
from tersor.data.check import fit
from tersor.data.read import as_samples
from tersor.data.samples import Samples
from tersor.data.split import Split, split
from tersor.engines import find
from tersor.errors import DataError, EngineError
from tersor.export.onnx import to_onnx
from tersor.network.check import check
from tersor.network.modes import set_training
from tersor.network.network import Network
from tersor.network.shapes import batch_size_for
from tersor.reading import Loaded, Opened, read
from tersor.verify import Agreement, compare_engine

_BATCH = 64  # samples at once, where accuracy is measured, and
_ELEMENTS = 1 << 26  # the numbers that all their values together may hold
_DEPENDABLE = ("onnxruntime", "openvino", "reference")


@dataclass(frozen=True)
class Original:
    """The untouched model, ready to be compared with.

    Attributes:
        network: The workshop's graph, in evaluation mode.
        onnx: The file as it came, or as it was exported.
        name: For reports.
        engine: Which engine `run` runs on.
        run: The ONNX file on that engine.
        agreement: How close it is to the workshop.
        batch_size: How many samples run at once where models are compared.
    """

    network: Network
    onnx: bytes
    name: str
    engine: str
    run: Run
    agreement: Agreement
    batch_size: int


def load(model: Network | Loaded | Opened) -> Loaded:
    """The model, checked, in evaluation mode; errors as `reading.read`."""
    if isinstance(model, Network):
        model = Loaded(model, None, "network")
    elif not isinstance(model, Loaded):
        model = read(model)
    network = set_training(model.network, training=False)
    check(network)
    return replace(model, network=network)


def parts_of(data: object, network: Network, *, train: bool) -> Split:
    """The samples by purpose, checked against the model's inputs.

    See `data.check.fit`; what is no `Split` is read by `data.read.as_samples`.

    Args:
        data: As `tersor.compress` takes it.
        network: What they are for.
        train: Whether something is to be trained.

    Raises:
        DataError: They do not fit, or something is to be trained with a division that has
            no samples for it.
    """
    ports = [(port.name, port.shape, port.dtype) for port in network.inputs]
    if not isinstance(data, Split):
        samples = as_samples(data, [port.name for port in network.inputs])
        data = split(fit(samples, ports), train=train)
    else:
        data = _each(data, lambda samples: fit(samples, ports))
    if train and data.training is None:
        remedy = "Divide them with split(..., train=True)."
        raise DataError("Samples", "were divided without a part to train on", remedy)
    size = network.fixed_batch
    if size is None:
        return data
    how = f"{data.how}; only whole batches of {size} are used"
    return replace(_each(data, lambda samples: _whole(samples, size)), how=how)


def _each(parts: Split, change: Callable[[Samples], Samples]) -> Split:
    """The same parts, each one changed."""
    return replace(
        parts,
        calibration=change(parts.calibration),
        validation=change(parts.validation),
        test=None if parts.test is None else change(parts.test),
        training=None if parts.training is None else change(parts.training),
    )


def one_batch(samples: Samples, size: int) -> dict[str, Array]:
    """The first `size` samples, repeated if there are fewer."""
    rows = np.arange(size) % len(samples)
    first = next(samples.take(0, size).batches(size)).inputs
    return {name: np.ascontiguousarray(a[rows % len(a)]) for name, a in first.items()}


def original_of(loaded: Loaded, samples: Samples, threads: int) -> Original:
    """The untouched model on an engine, compared with the workshop.

    Raises:
        EngineError: No engine runs it.
        VerifyError: The engine computes something else than the workshop.
        UnsupportedError, ModelError: It cannot be written as ONNX.
    """
    network = loaded.network
    onnx = loaded.onnx if loaded.onnx is not None else to_onnx(network)
    batch_size = batch_size_for(network, _ELEMENTS, _BATCH)
    few = few_of(samples, batch_size)
    engine, run = _runner(onnx, few.take(0, batch_size), threads)
    agreement = compare_engine(network.run, run, few, batch_size=batch_size)
    return Original(network, onnx, loaded.name, engine, run, agreement, batch_size)


def _runner(onnx: bytes, samples: Samples, threads: int) -> tuple[str, Run]:
    """The first engine that runs the model."""
    feeds: Mapping[str, Array] = next(samples.batches(len(samples))).inputs
    reasons = []
    for name in _DEPENDABLE:
        try:
            session = find(name).prepare(onnx, threads=threads)
            session.run(feeds)
        except EngineError as error:
            reasons.append(str(error))
        else:
            return name, session.run
    raise EngineError("every", f"refuses the model: {' '.join(reasons)}", "See `tersor info`.")


def _whole(samples: Samples, size: int) -> Samples:
    """As many samples as fill whole batches."""
    whole = len(samples) // size * size
    if not whole:
        problem = f"are {len(samples)}, but the model takes {size} at once"
        raise DataError("Samples", problem, f"Give at least {size} for every purpose.")
    return samples.take(0, whole)
