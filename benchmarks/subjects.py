"""All subjects by name: the networks that Tersor and its peers are judged by.

`python -m benchmarks.subjects` runs every module over the samples of its published score,
prints both, and fails if one is not met.
"""

import argparse
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import records, splits
from benchmarks.subject import SPLITS, Published, Subject
from tersor.data.samples import Samples

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


def _pretrained(model: str, *arguments: int) -> "nn.Module":
    """What `pretrained` of a module in benchmarks/models gives."""
    made: nn.Module = import_module(f"benchmarks.models.{model}").pretrained(*arguments)
    return made


def _images(
    name: str,
    title: str,
    top1: float,
    count: int,
    source: tuple[str, *tuple[int, ...]],
    data: Callable[[str], Samples],
) -> Subject:
    """A network that classifies images; one image more or less is allowed."""
    return Subject(
        name=name,
        title=title,
        kind="image",
        metric="top1",
        inputs=("image",),
        outputs=("scores",),
        published=Published(top1, 100 / count + 0.005, count, "data/README.md"),
        module=partial(_pretrained, *source),
        data=data,
    )


def _trained(name: str, count: int) -> Published:
    """The score of seed 0 in the results of a training script of ours."""
    scores = [row["top1"] for row in records.read(name) if row["seed"] == 0]
    return Published(scores[0], 100 / count + 0.005, count, f"results/{name}.jsonl")


_CIFAR = splits.cifar10(splits.normalised)
_SUBJECTS = (
    _images("resnet20", "ResNet-20, CIFAR-10", 91.73, 10_000, ("cifar_resnet", 20), _CIFAR),
    _images("resnet32", "ResNet-32, CIFAR-10", 92.63, 10_000, ("cifar_resnet", 32), _CIFAR),
    _images("resnet44", "ResNet-44, CIFAR-10", 93.10, 10_000, ("cifar_resnet", 44), _CIFAR),
    _images(
        "resnet8", "ResNet-8 of MLPerf Tiny, CIFAR-10", 87.19, 10_000, ("tiny_resnet8",),
        splits.cifar10(splits.unscaled),
    ),
    _images(
        "lenet5", "LeNet-5, MNIST", 98.95, 10_000, ("lenet5",), splits.mnist(splits.unit)
    ),
    _images(
        "mobilenet_v1", "MobileNet v1 0.25, ImageNet", 58.6, 500, ("mobilenet_v1",),
        splits.imagenet(splits.centred),
    ),
    _images(
        "mobilenet_v2", "MobileNet v2 1.0, ImageNet", 89.0, 500, ("mobilenet_v2",),
        splits.imagenet(splits.centred, background=True),
    ),
    _images(
        "squeezenet", "SqueezeNet 1.1, ImageNet", 63.4, 500, ("squeezenet",),
        splits.imagenet(splits.normalised),
    ),
    Subject(
        name="minilm",
        title="all-MiniLM-L6-v2, STS-B",
        kind="text",
        metric="spearman",
        inputs=("input_ids", "attention_mask"),
        outputs=("vector",),
        published=Published(82.03, 0.01, 1379, "Sentence-Transformers, pretrained models"),
        module=partial(_pretrained, "minilm"),
        data=splits.stsb,
    ),
    Subject(
        name="keyword_gru",
        title="GRU of 96 units, spoken digits",
        kind="audio",
        metric="top1",
        inputs=("features",),
        outputs=("scores",),
        published=_trained("keyword_gru", 150),
        module=partial(_pretrained, "keyword_gru"),
        data=splits.digits,
    ),
)  # fmt: skip
_ALL = {subject.name: subject for subject in _SUBJECTS}


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
