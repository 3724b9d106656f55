"""How small networks get: `python -m benchmarks.smallest [--network lenet300] [--seeds 3]`.

For each seed the network is trained (LeNets) or taken as published, then compressed by
`tersor.compress` with the recipe of its name in benchmarks/recipes, in the fewest bytes. What
counts is the whole `.tsr` file, read back and run on an engine, and its error on the test
samples, which chose nothing: of the 60,000 training images of MNIST 5,000 validate. One line
per network and seed goes to results/smallest.jsonl; seeds that are there with the same recipe
are not run again. Trained networks are kept in build/smallest.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import tersor
from benchmarks import datasets, records
from benchmarks.models.lenet5 import LeNet5
from benchmarks.models.lenet300 import LeNet300
from benchmarks.splits import unit
from tersor import machine
from tersor.data.lazy import lazy
from tersor.data.samples import Samples
from tersor.data.split import Split, split
from tersor.methods.train.augment import Augment
from tersor.methods.train.fine_tune import FineTune
from tersor.network.network import Network
from tersor.pipeline import Options, Result, compress
from tersor.plan.changing import with_settings
from tersor.plan.recipe import Recipe, load_recipe
from tersor.train.optimizer import Optimizer

NAME = "smallest"
WORK = records.ROOT / "build" / "smallest"
RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Subject:
    """A network to be made small.

    Attributes:
        name: In the results; its recipe's name.
        title: In tables.
        make: The untrained network.
        epochs: How long it is trained before.
        record: What is to be beaten, in words.
    """

    name: str
    title: str
    make: Callable[[], nn.Module]
    epochs: int
    record: str


SUBJECTS = {
    "lenet300": Subject(
        "lenet300", "LeNet-300-100", LeNet300, 40, "Deep Compression: 27 KB at 1.58 %"
    ),
    "lenet5": Subject("lenet5", "LeNet-5", LeNet5, 20, "Deep Compression: 44 KB at 0.74 %"),
}


def main() -> None:
    """Measure what is missing, and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", choices=SUBJECTS, action="append")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)  # the same sums on every machine of this kind
    parts = mnist()
    for name in given.network or SUBJECTS:
        for seed in range(given.seeds):
            recipe = with_settings(load_recipe(RECIPES / f"{name}.toml"), {"seed": str(seed)})
            if not is_done(name, seed, recipe):
                measure(SUBJECTS[name], seed, recipe, parts)


def mnist() -> Split:
    """55,000 images train, 5,000 validate, 10,000 test."""
    train, test = (
        Samples({"image": lazy(images).changed(lambda x, _: unit(x), np.float32)}, labels)
        for images, labels in map(datasets.mnist, ("train", "t10k"))
    )
    return split(train, test=test, train=True)


def is_done(name: str, seed: int, recipe: Recipe) -> bool:
    """Whether the results hold this run."""
    text = recipe.to_toml()
    return any(
        (row["network"], row["seed"], row["recipe"]) == (name, seed, text)
        for row in records.read(NAME)
    )


def measure(subject: Subject, seed: int, recipe: Recipe, parts: Split) -> None:
    """Train, compress, and write the line."""
    network, train_s = trained(subject, seed, parts)
    start = time.monotonic()
    options = Options(codec="best", batch=16, checkpoints=WORK / f"{subject.name}-{seed}")
    result = compress(network, parts, recipe=recipe, options=options)
    row = {
        "network": subject.name,
        "seed": seed,
        "recipe": recipe.to_toml(),
        **found(result),
        "train_seconds": round(train_s, 1),
        "seconds": round(time.monotonic() - start, 1),
        "machine": machine.describe(),
        "command": f"python -m benchmarks.smallest --network {subject.name}",
    }
    records.replace(NAME, [row], by=("network", "seed"))
    print(
        f"{subject.name} {seed}: {row['bytes']:,} bytes, error {row['error']:.2f} % "
        f"({row['error_float']:.2f} % before) in {row['seconds']} s",
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


def trained(subject: Subject, seed: int, parts: Split) -> tuple[Network, float]:
    """The network, trained on the training part; seconds that it took, 0 if it was there."""
    torch.manual_seed(seed)
    network = tersor.capture(subject.make(), (torch.zeros(2, 1, 28, 28),))
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
