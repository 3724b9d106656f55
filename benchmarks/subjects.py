"""All subjects by name: the networks that Tersor and its peers are judged by.

`python -m benchmarks.subjects` runs every module over the samples of its published score,
prints both, and fails if one is not met.
"""

import argparse
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import splits
from benchmarks.subject import SPLITS, Published, Subject

if TYPE_CHECKING:
    from torch import nn

__all__ = ["SPLITS", "Published", "Subject", "find", "names"]


def names() -> list[str]:
    """Names of all subjects, in the order of reports."""
    return list(_ALL)


def find(name: str) -> Subject:
    """The subject of that name.

    Raises:
        ValueError: There is none.
    """
    if name not in _ALL:
        raise ValueError(f"subject must be one of {', '.join(_ALL)}. Got {name!r}.")
    return _ALL[name]


def _cifar_resnet_module(depth: int) -> "nn.Module":
    from benchmarks.models.cifar_resnet import pretrained

    return pretrained(depth)


def _cifar_resnet(depth: int, top1: float) -> Subject:
    return Subject(
        name=f"resnet{depth}",
        title=f"ResNet-{depth} for CIFAR-10",
        kind="image",
        metric="top1",
        inputs=("image",),
        outputs=("scores",),
        published=Published(top1, 0.02, 10_000, "data/README.md"),
        module=partial(_cifar_resnet_module, depth),
        data=splits.cifar10_normalised,
    )


_ALL: dict[str, Subject] = {
    subject.name: subject
    for subject in (
        _cifar_resnet(20, 91.73),
        _cifar_resnet(32, 92.63),
        _cifar_resnet(44, 93.10),
    )
}


def measured(subject: Subject, *, count: int | None = None, batch: int = 50) -> float:
    """The score of a subject's module on `count` of the published units, all if None."""
    import torch

    module, _ = subject.build()
    samples = subject.samples("published", count)
    assert samples.labels is not None
    found = []
    with torch.inference_mode():
        for part in samples.batches(batch):
            feed = {name: torch.from_numpy(a) for name, a in part.inputs.items()}
            found.append(module(**feed).numpy())
    return subject.score({subject.outputs[0]: np.concatenate(found)}, samples.labels)


def main() -> int:
    """Print a table of published and measured scores; how many are not met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=names())
    missed = 0
    print("subject          metric     published  measured  samples")
    for name in parser.parse_args().names:
        subject, wanted = find(name), find(name).published
        score = measured(subject)
        met = abs(score - wanted.value) <= wanted.tolerance
        missed += not met
        print(
            f"{name:16} {subject.metric:10} {wanted.value:9.2f} {score:9.2f}  "
            f"{wanted.samples:7}{'' if met else '  NOT MET'}",
            flush=True,
        )
    return missed


if __name__ == "__main__":
    raise SystemExit(main())
