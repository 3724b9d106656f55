"""What a subject of the benchmarks is: a trained network, its data and its score.

    published     the samples on which the published score was measured; to reproduce it
    calibration   looked at by tools, without labels
    validation    chooses: candidates, limits, fallbacks
    test          only reports; never seen by a tool

Neither torch nor an engine is imported before `build` or `onnx` is called. For a tool in an
environment of its own `write` puts everything into a folder as plain files.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import scoring
from benchmarks.scoring import Drop
from benchmarks.spacing import evenly
from tersor.data.samples import Samples

if TYPE_CHECKING:
    from torch import Tensor, nn

Array = NDArray[np.generic]
Scores = NDArray[np.float64]
SPLITS = ("published", "calibration", "validation", "test")


@dataclass(frozen=True)
class Published:
    """A score that must be met before anything is measured.

    Attributes:
        value: In points: 91.73 for a top-1 of 91.73 %.
        tolerance: Largest difference allowed, in points; a sample's rounding is 100 / n.
        samples: How many samples it was measured on.
        source: Where it stands.
    """

    value: float
    tolerance: float
    samples: int
    source: str


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A trained network, its data and its score.

    Attributes:
        name: Short, as in file names: "resnet20".
        title: For people.
        kind: "image", "text" or "audio".
        metric: "top1" or "spearman"; see `scoring`.
        inputs: Names of the inputs, in the order of the module's arguments.
        outputs: Names of the outputs.
        published: What the untouched network must score.
        module: Makes the trained module, in evaluation mode.
        data: Reads a split (one of SPLITS): arrays by input name, and labels.
    """

    name: str
    title: str
    kind: str
    metric: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    published: Published
    module: "Callable[[], nn.Module]"
    data: Callable[[str], Samples]

    def build(self) -> "tuple[nn.Module, dict[str, Tensor]]":
        """The trained module in evaluation mode, and two samples as keyword arguments."""
        import torch

        few = self.samples("validation", 2)
        example = {name: torch.from_numpy(np.array(few.inputs[name])) for name in self.inputs}
        return self.module(), example

    def onnx(self, path: Path) -> Path:
        """Write the float network as torch.onnx does it, the first axis of all inputs free."""
        import torch

        module, example = self.build()
        batch = torch.export.Dim("batch")
        with _quiet():
            torch.onnx.export(
                module,
                kwargs=example,
                f=path,
                dynamo=True,
                verbose=False,
                input_names=list(self.inputs),
                output_names=list(self.outputs),
                dynamic_shapes={name: {0: batch} for name in self.inputs},
                external_data=False,
            )
        return path

    def samples(self, split: str, count: int | None = None) -> Samples:
        """A split, or `count` of its units, evenly spaced; the same ones every time.

        A unit is what is scored at once: an image; for "spearman" a pair of texts, which are
        two rows, one after the other, that carry the same label.
        """
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}. Got {split!r}.")
        found = _read(self, split)
        size = scoring.unit(self.metric)
        units = len(found) // size
        if count is None or count >= units:
            return found
        rows = (evenly(units, count)[:, None] * size + np.arange(size)).ravel()
        labels = None if found.labels is None else found.labels[rows]
        return Samples({name: a[rows] for name, a in found.inputs.items()}, labels)

    def score(self, outputs: Mapping[str, Array], labels: Array) -> float:
        """What outputs of a whole split are worth, in points."""
        return scoring.score(self.metric, outputs[self.outputs[0]], labels)

    def drop(
        self, original: Mapping[str, Array], outputs: Mapping[str, Array], labels: Array
    ) -> Drop:
        """How many points `outputs` are worse than the original's, with a 95 % interval."""
        first = self.outputs[0]
        return scoring.drop(self.metric, original[first], outputs[first], labels)

    def write(self, folder: Path, *, calibration: int | None = None) -> Path:
        """Put the subject into a folder, for tools that have only numpy and an ONNX reader.

            model.onnx         the float network, batch free
            calibration.npz    inputs by name, no labels
            validation.npz     inputs by name
            test.npz           inputs by name
            validation-labels.npy, test-labels.npy

        What is there already is kept.

        Args:
            folder: Made if it is not there.
            calibration: How many units calibrate; all if None.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "model.onnx").exists():
            self.onnx(folder / "model.onnx")
        for split in SPLITS[1:]:
            if (folder / f"{split}.npz").exists():
                continue
            count = calibration if split == "calibration" else None
            found = self.samples(split, count)
            arrays: dict[str, Any] = {n: np.asarray(a) for n, a in found.inputs.items()}
            if split != "calibration" and found.labels is not None:
                np.save(folder / f"{split}-labels.npy", found.labels)
            np.savez(folder / f"{split}.npz", **arrays)
        return folder


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch.onnx says of packages that it would not need."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@cache
def _read(subject: Subject, split: str) -> Samples:
    return subject.data(split)
