"""Tersor itself, in its own environment.

quantize    the first candidate of the default recipe for this kind of network, alone: read,
            quantize, write model.onnx and model.tsr
compress    everything: the default recipe with its races, checks and reports; of texts at
            most 512 validate
compress for batches    the same, asked for speed at batch 16
"""

from benchmarks.peers.job import KINDS, Job

_TEXTS = 512
_BATCHES = {"compress": 1, "compress for batches": 16}
SETTINGS = dict.fromkeys(KINDS, ("quantize", *_BATCHES))


def load() -> None:
    """See `benchmarks.peers`."""
    import tersor.export.onnx
    import tersor.pipeline  # noqa: F401


def quantize(job: Job) -> None:
    """See `benchmarks.peers`."""
    if job.setting in _BATCHES:
        _compress(job, _BATCHES[job.setting])
    else:
        _quantize(job)


def _quantize(job: Job) -> None:
    from tersor.data.read import read_samples
    from tersor.export.onnx import to_onnx
    from tersor.network.kind import kind_of
    from tersor.plan.recipe_file import load_recipe
    from tersor.reading import read
    from tersor.store.model import save_model

    network, samples = read(job.model).network, read_samples(job.calibration_file)
    recipe = load_recipe("fast").fitting(kind_of(network).name)
    for step in recipe.candidates[0].steps:
        network = step.build().apply(network, samples)
    onnx = to_onnx(network)
    job.into("model.onnx").write_bytes(onnx)
    save_model(job.into("model.tsr"), onnx, {})


def _compress(job: Job, batch: int) -> None:
    from pathlib import Path

    import numpy as np

    import tersor

    source = Path(job.source)
    with np.load(source / "validation.npz", allow_pickle=False) as arrays:
        inputs = {name: arrays[name] for name in arrays.files}
    text = job.kind == "text"  # labels are of pairs: the float network's outputs count
    labels = None if text else np.load(source / "validation-labels.npy")
    validation = tersor.Samples(inputs, labels)
    if text:
        validation = validation.take(0, _TEXTS)
    parts = tersor.split(tersor.Samples(job.calibration()), validation=validation)
    options = tersor.Options(batch=batch)
    result = tersor.compress(job.model, parts, metric="mse" if text else None, options=options)
    result.save(job.target)
