"""VGG-16 for CIFAR-10, trained here: `python -m benchmarks.vgg`.

Thirteen convolutions with batch normalization and one linear layer, 14.7 million parameters:
the form that papers on pruning cut (Li, Kadav, Durdanovic, Samet, Graf, "Pruning filters for
efficient ConvNets", arXiv:1608.08710). Of the training images 5,000 validate and take no part;
of the others a tenth is held out to choose the epoch. Training multiplies in bf16. One line
goes to results/vgg.jsonl, the weights to build/vgg; a training that was interrupted goes on.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

import tersor
from benchmarks import records
from benchmarks.error_rate import error
from benchmarks.smallest import cifar10
from benchmarks.training import kept_in
from tersor import machine
from tersor.methods.train.augment import Augment
from tersor.methods.train.fine_tune import FineTune
from tersor.network.cost import cost
from tersor.network.network import Network
from tersor.train.optimizer import Optimizer

NAME = "vgg"
SUBJECT = "vgg16"
WORK = records.ROOT / "build" / NAME
STEPS = tuple(  # rates fall, rise once more, and fall again; both hold out the same images
    FineTune(
        epochs=epochs,
        loss="labels",
        optimizer=Optimizer(
            kind="sgd", learning_rate=0.05, weight_decay=5e-4, schedule="warmup"
        ),
        during=(Augment(shift=4, flip=True),),
    )
    for epochs in (16, 30)
)
_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def main() -> None:
    """Train it, unless it is there, and print how good it is."""
    torch.set_num_threads(1)  # the same sums on every machine of this kind
    network = trained()
    (row,) = records.read(NAME)
    parameters = cost(network).parameters
    print(f"VGG-16, {parameters:,} parameters: {row['error']:.2f} % of test images wrong")


class VGG16(nn.Module):
    """VGG-16 for images (N, 3, 32, 32) of ten classes."""

    def __init__(self) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        channels = 3
        for widths in _STAGES:
            for width in widths:
                convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
                parts += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
            parts.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*parts)
        self.classifier = nn.Linear(channels, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Scores (N, 10)."""
        scores: torch.Tensor = self.classifier(self.features(image).flatten(1))
        return scores


def trained() -> Network:
    """The network with the weights of build/vgg; they are trained if they are not there."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = tersor.capture(VGG16(), (torch.zeros(2, 3, 32, 32),))
    for number, step in enumerate(STEPS):
        path = WORK / f"{SUBJECT}-{number}.npz"
        if not path.exists():
            _train(network, step, path, is_last=number + 1 == len(STEPS))
        with np.load(path) as stored:
            network.module.load_state_dict(
                {name: torch.from_numpy(stored[name]) for name in stored.files}
            )
    return network


def _train(network: Network, step: FineTune, path: Path, *, is_last: bool) -> None:
    """Train a copy; its weights go to `path`, and after the last step the line is written."""
    parts = cifar10()
    assert parts.test is not None
    with kept_in(WORK):
        done = step.apply(network, parts.training)
    if is_last:
        row: records.Row = {
            "network": SUBJECT,
            "parameters": cost(done).parameters,
            "macs": cost(done).macs,
            "error": error(done, parts.test),
            "error_validation": error(done, parts.validation),
            "notes": [note.text for note in done.notes],
            "machine": machine.describe(),
            "command": "python -m benchmarks.vgg",
        }
        records.replace(NAME, [row], by=("network",))
    state = {name: tensor.numpy() for name, tensor in done.module.state_dict().items()}
    WORK.mkdir(parents=True, exist_ok=True)
    np.savez(path, allow_pickle=False, **state)


if __name__ == "__main__":
    main()
