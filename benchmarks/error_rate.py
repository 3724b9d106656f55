"""How often classes are wrong."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tersor.data.samples import Samples
from tersor.engines import find
from tersor.export.onnx import to_onnx
from tersor.network.network import Network

_BATCH = 200

Arrays = dict[str, NDArray[np.generic]]


class Runner(Protocol):
    """Whatever computes scores, its only output, from inputs by name."""

    def run(self, feeds: Arrays, /) -> Arrays:
        """Outputs by name."""


def error(network: Network, samples: Samples) -> float:
    """Per cent of the samples that ONNX Runtime gets wrong, in float32."""
    return error_of(find("onnxruntime").prepare(to_onnx(network), threads=1), samples)


def error_of(runner: Runner, samples: Samples) -> float:
    """Per cent of the samples whose largest score is another class."""
    wrong = 0
    for part in samples.batches(_BATCH):
        (scores,) = runner.run({k: np.asarray(v) for k, v in part.inputs.items()}).values()
        assert part.labels is not None
        wrong += int((scores.argmax(1) != part.labels).sum())
    return 100 * wrong / len(samples)
