"""How small networks get: `python -m benchmarks.smallest [--network lenet300] [--seeds 3]`.

For each seed the network is trained (LeNets), or taken as published, then compressed by
`tersor.compress` with the recipe of its name in benchmarks/recipes, in the fewest bytes. What
counts is the whole `.tsr` file, read back and run on an engine, and its error on the test
samples, which chose nothing: of the training images of MNIST and CIFAR-10 5,000 validate;
other networks have the splits of `benchmarks.splits`, and nothing is trained. Texts come
without labels, since those are of pairs, and are scored by themselves. One line per
network and seed goes to results/smallest.jsonl; seeds that are there with the same recipe are
not run again; where nothing is trained, a seed draws which weights matter. Trained networks
are kept in build/smallest.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import tersor
from benchmarks import datasets, records, subjects
from benchmarks.models.lenet5 import LeNet5
from benchmarks.models.lenet300 import LeNet300
from benchmarks.splits import See, normalised, unit
from tersor import machine
from tersor.data.lazy import lazy
from tersor.data.samples import Samples
from tersor.data.split import Split, split
from tersor.methods.train.augment import Augment
from tersor.methods.train.fine_tune import FineTune
from tersor.network.network import Network
from tersor.pipeline import Options, Result, compress
from tersor.plan.changing import with_settings
from tersor.plan.recipe import Recipe
from tersor.plan.recipe_file import load_recipe
from tersor.train.optimizer import Optimizer

Array = NDArray[np.generic]
NAME = "smallest"
WORK = records.ROOT / "build" / "smallest"
_BATCH = 16
RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Subject:
    """A network to be made small.

    Attributes:
        name: In the results; its recipe's name.
        title: In tables.
        record: What is to be beaten, in words.
        make: The untrained network; None for one that is published.
        epochs: How long it is trained before.
    """

    name: str
    title: str
    record: str
    make: Callable[[], nn.Module] | None = None
    epochs: int = 0


_ALL = (
    Subject("lenet300", "LeNet-300-100", "Deep Compression: 27 KB at 1.58 %", LeNet300, 40),
    Subject("lenet5", "LeNet-5", "Deep Compression: 44 KB at 0.74 %", LeNet5, 15),
    Subject(
        "resnet20",
        "ResNet-20, CIFAR-10, nothing trained",
        "LilNetX, trained: 66 KB at 8.5 %",
    ),
    Subject(
        "squeezenet",
        "SqueezeNet 1.1, nothing trained",
        "Deep Compression, SqueezeNet 1.0: 676 KB",
    ),
    Subject("minilm", "all-MiniLM-L6-v2, STS-B, nothing trained", "none"),
)
SUBJECTS = {subject.name: subject for subject in _ALL}


def main() -> None:
    """Measure what is missing, and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", choices=SUBJECTS, action="append")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)  # the same sums on every machine of this kind
    for name in given.network or SUBJECTS:
        subject = SUBJECTS[name]
        for seed in range(given.seeds):
            recipe = with_settings(load_recipe(RECIPES / f"{name}.toml"), {"seed": str(seed)})
            if not is_done(name, seed, recipe):
                measure(subject, seed, recipe)


def mnist() -> Split:
    """55,000 images train, 5,000 validate, 10,000 test."""
    train, test = (_samples(*datasets.mnist(part), unit) for part in ("train", "t10k"))
    return split(train, test=test, train=True)


def cifar10() -> Split:
    """45,000 images train, 5,000 validate, 10,000 test."""
    batches = [datasets.cifar10(f"data_batch_{number}") for number in range(1, 6)]
    images, labels = (np.concatenate(each) for each in zip(*batches, strict=True))
    test = _samples(*datasets.cifar10("test_batch"), normalised)
    return split(_samples(images, labels, normalised), test=test, train=True)


def _samples(images: Array, labels: Array, see: See) -> Samples:
    seen = lazy(images).changed(lambda some, _: see(some), np.float32)
    return Samples({"image": cast(Array, seen)}, labels)


def is_done(name: str, seed: int, recipe: Recipe) -> bool:
    """Whether the results hold this run."""
    text = recipe.to_toml()
    return any(
        (row["network"], row["seed"], row["recipe"]) == (name, seed, text)
        for row in records.read(NAME)
    )


def measure(subject: Subject, seed: int, recipe: Recipe) -> None:
    """Train, compress, and write the line."""
    if subject.make is None:
        network, parts, train_s = *published(subject.name), 0.0
    else:
        parts = mnist()
        network, train_s = trained(subject, subject.make, seed, parts)
    start = time.monotonic()
    options = Options(codec="best", batch=_BATCH, checkpoints=WORK / f"{subject.name}-{seed}")
    result = compress(network, parts, recipe=recipe, options=options)
    row = {
        "network": subject.name,
        "seed": seed,
        "recipe": recipe.to_toml(),
        **found(result),
        **scores(subject.name, result),
        "train_seconds": round(train_s, 1),
        "seconds": round(time.monotonic() - start, 1),
        "machine": machine.describe(),
        "command": f"python -m benchmarks.smallest --network {subject.name}",
    }
    records.replace(NAME, [row], by=("network", "seed"))
    print(
        f"{subject.name} {seed}: {row['bytes']:,} bytes, {_told(row)} "
        f"({_told(row, '_float')} before) in {row['seconds']} s",
        flush=True,
    )


def found(result: Result) -> records.Row:
    """What counts of a result: errors in percent of the test samples."""
    old, new = result.report["original"], result.report["compressed"]
    return {
        "won": result.recipe.name,
        "bytes": new["file_bytes"],
        "bytes_float": old["file_bytes"],
        "error": 100 - 100 * new["metric"]["value"],
        "error_float": 100 - 100 * old["metric"]["value"],
        "drop": result.report["drop_pp"],
        "speedup": result.report["speedup"],
    }


def goodness(row: records.Row, which: str = "") -> tuple[float, str]:
    """How good a network is, and how that is written: 1.55 % wrong, or 82.03 points.

    Args:
        row: Of the results.
        which: "" for the compressed one, "_float" for the original.
    """
    if "score" in row:
        return row[f"score{which}"], "{:.2f} points"
    return row[f"error{which}"], "{:.2f} %"


def _told(row: records.Row, which: str = "") -> str:
    value, form = goodness(row, which)
    return form.format(value)


def scores(name: str, result: Result) -> records.Row:
    """Of texts: the file's score on the test samples, and what it was before, in points."""
    subject = None if name not in subjects.names() else subjects.find(name)
    if subject is None or subject.kind != "text":
        return {}
    test = subject.data("test")
    assert test.labels is not None
    session = tersor.open(result.save(WORK / name)["model.tsr"])
    original = published(name)[0]
    output = subject.outputs[0]
    ours, before = (
        np.concatenate(
            [next(iter(run(part.inputs).values())) for part in test.batches(_BATCH)]
        )
        for run in (session.run, original.run)
    )
    drop = subject.drop({output: before}, {output: ours}, test.labels)
    return {
        "score": subject.score({output: ours}, test.labels),
        "score_float": subject.score({output: before}, test.labels),
        "score_drop": [drop.value, drop.low, drop.high],
    }


def published(name: str) -> tuple[Network, Split]:
    """A network of `benchmarks.subjects`, and its samples."""
    subject = subjects.find(name)
    module, example = subject.build()
    network = tersor.capture(module, tuple(example.values()))
    if name in {"resnet20", "resnet44"}:
        return network, cifar10()
    calibration, validation, test = (
        subject.data(part) for part in ("calibration", "validation", "test")
    )
    if subject.kind == "text":
        calibration, validation, test = (
            Samples(part.inputs) for part in (calibration, validation, test)
        )
    how = f"{len(calibration)} samples calibrate, {len(validation)} validate"
    return network, Split(calibration, validation, test, f"{how}, {len(test)} only report")


def trained(
    subject: Subject, make: Callable[[], nn.Module], seed: int, parts: Split
) -> tuple[Network, float]:
    """The network, trained on the training part; seconds that it took, 0 if it was there."""
    torch.manual_seed(seed)
    network = tersor.capture(make(), (torch.zeros(2, 1, 28, 28),))
    path = WORK / f"{subject.name}-{seed}.npz"
    if path.exists():
        with np.load(path) as stored:
            state = {name: torch.from_numpy(stored[name]) for name in stored.files}
        network.module.load_state_dict(state)
        return network, 0.0
    start = time.monotonic()
    step = FineTune(
        epochs=subject.epochs,
        loss="labels",
        seed=seed,
        optimizer=Optimizer(learning_rate=2e-3, schedule="warmup"),
        during=(Augment(shift=1, turn=8),),
    )
    done = step.apply(network, parts.training)
    state = {name: tensor.numpy() for name, tensor in done.module.state_dict().items()}
    WORK.mkdir(parents=True, exist_ok=True)
    np.savez(path, allow_pickle=False, **state)
    network.module.load_state_dict(done.module.state_dict())
    return network, time.monotonic() - start


if __name__ == "__main__":
    main()
