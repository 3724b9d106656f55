"""Networks with fewer channels: `python -m benchmarks.structured [--case resnet20-73]`.

For each seed a published network, or one of `benchmarks.vgg`, is made thinner by the recipe of
its case in benchmarks/recipes (channels cut and repaired, or branches removed, then trained
for some epochs), exported and run on an engine. Of the training images of CIFAR-10 5,000
validate; the rest trains, a tenth of it held out to choose the epoch. What counts is the error
of the 10,000 test images, which chose nothing. Training multiplies in bf16. One line per case
and seed goes to results/structured.jsonl; those that are there with the same recipe are not
run again, and a training that was interrupted goes on. Networks are kept in build/structured;
how fast they are is measured by `python -m benchmarks.slim_speed`.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import records, vgg
from benchmarks.error_rate import error
from benchmarks.smallest import cifar10, published
from benchmarks.training import kept_in
from tersor import machine
from tersor.data.samples import Samples
from tersor.data.split import Split
from tersor.export.onnx import to_onnx
from tersor.network.cost import cost
from tersor.network.network import Network
from tersor.plan.changing import with_settings
from tersor.plan.recipe import Recipe
from tersor.plan.recipe_file import load_recipe

NAME = "structured"
WORK = records.ROOT / "build" / NAME
RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Case:
    """A network, and how much of it is to be left.

    Attributes:
        network: Name of the subject.
        recipe: Name of a file in benchmarks/recipes.
        settings: Of the recipe.
        peers: What others reached, in words.
    """

    network: str
    recipe: str
    settings: dict[str, str]
    peers: str


CASES = {
    "resnet20-73": Case(
        "resnet20", "slim_cifar", {"macs": "73%"}, "ModelOpt FastNAS: -0.69 pp"
    ),
    "resnet20-50": Case(
        "resnet20",
        "slim_cifar",
        {"macs": "50%", "epochs": "24", "learning_rate": "0.05"},
        "Distiller at -39 %: 90.9 %",
    ),
    "resnet44-50": Case(
        "resnet44",
        "slim_cifar",
        {"macs": "50%", "epochs": "12", "learning_rate": "0.05"},
        "SFP, HRank, DepGraph: -0.1 to -0.4 pp",
    ),
    "resnet44-63": Case(
        "resnet44", "shallow_cifar", {"macs": "63%"}, "NNCF int8: 7.10 %, and its speed"
    ),
    "vgg16-13x": Case(
        "vgg16",
        "slim_cifar",
        {"parameters": "7.69%", "epochs": "20", "learning_rate": "0.05"},
        "NNI AutoCompress, 13x: 93.34 %",
    ),
}


def main() -> None:
    """Measure what is missing, and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)  # the same sums on every machine of this kind
    for seed in range(given.seeds):
        for name in given.case or CASES:
            case = CASES[name]
            settings = {**case.settings, "seed": str(seed)}
            recipe = with_settings(load_recipe(RECIPES / f"{case.recipe}.toml"), settings)
            if not is_done(name, seed, recipe):
                measure(name, seed, recipe)


def is_done(name: str, seed: int, recipe: Recipe) -> bool:
    """Whether the results hold this run."""
    text = recipe.to_toml()
    return any(
        (row["case"], row["seed"], row["recipe"]) == (name, seed, text)
        for row in records.read(NAME)
    )


def measure(name: str, seed: int, recipe: Recipe) -> None:
    """Make the network thinner, judge it, and write the line."""
    case = CASES[name]
    network, parts = original(case.network)
    assert parts.test is not None
    assert parts.training is not None
    folder = WORK / f"{name}-{seed}"
    start = time.monotonic()
    small = thinned(network, parts.training, recipe, folder)
    seconds = time.monotonic() - start
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(to_onnx(small))
    before, after = cost(network), cost(small)
    row: records.Row = {
        "case": name,
        "network": case.network,
        "seed": seed,
        "recipe": recipe.to_toml(),
        "macs": after.macs / before.macs,
        "parameters": after.parameters / before.parameters,
        "error": error(small, parts.test),
        "error_float": error(network, parts.test),
        "error_validation": error(small, parts.validation),
        "notes": [f"{note.layer}: {note.text}" for note in small.notes if note.done],
        "seconds": round(seconds, 1),
        "machine": machine.describe(),
        "command": f"python -m benchmarks.structured --case {name}",
    }
    records.replace(NAME, [row], by=("case", "seed"))
    print(
        f"{name} {seed}: {100 * row['macs']:.1f} % of the MACs, {row['error']:.2f} % wrong "
        f"({row['error_float']:.2f} % before) in {row['seconds']} s",
        flush=True,
    )


def thinned(network: Network, samples: Samples, recipe: Recipe, folder: Path) -> Network:
    """What the steps of the recipe make of a network."""
    (candidate,) = recipe.candidates
    with kept_in(folder):
        for step in candidate.steps:
            network = step.build().apply(network, samples)
    return network


def original(name: str) -> tuple[Network, Split]:
    """The network of a case, published or trained here, and its samples."""
    return (vgg.trained(), cifar10()) if name == vgg.SUBJECT else published(name)


if __name__ == "__main__":
    main()
