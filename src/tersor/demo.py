"""The demonstration: a small network is trained and compressed, all in about a minute.

The 1797 handwritten digits of 8x8 pixels that come with scikit-learn are divided by chance,
but always in the same way, into training (60 %), validation (20 %) and test (20 %). The
network has three stages of 64, 128 and 256 channels, with batch normalization and one
residual addition; it is trained with cross entropy, Adam and a falling step size.

Source of the digits: Alpaydin and Kaynak, "Optical recognition of handwritten digits", UCI
Machine Learning Repository, 1998 (the test part).
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tersor.data.samples import Samples
from tersor.errors import TersorError

if TYPE_CHECKING:
    from torch import nn

    from tersor.pipeline.result import Result

Progress = Callable[[str, float], None]

_EPOCHS = 8
_BATCH = 64
_PEAK = 3e-3  # largest step size
_RECIPE = "fast"


class DemoError(TersorError):
    """The demonstration needs a package that is not here."""


def run(directory: str | Path, *, on_progress: Progress | None = None) -> "Result":
    """Train the network, compress it, and write everything.

    Args:
        directory: Gets what `Result.save` writes; made if it is not there.
        on_progress: Called with the name of the phase and the fraction of it that is done.

    Raises:
        DemoError: scikit-learn is not installed.
        FileError: The directory cannot be written.
    """
    from tersor.data.split import split
    from tersor.network.capture import capture
    from tersor.pipeline import Options, compress
    from tersor.reading import Loaded

    module, train_part, validation, test = train(on_progress=on_progress)
    example = _tensor(train_part.inputs["image"][:2])
    network = capture(module, example, input_names=["image"], output_names=["digit"])
    parts = split(train_part, validation=validation, test=test)
    model = Loaded(network, None, "digits")
    result = compress(model, parts, recipe=_RECIPE, options=Options(on_progress=on_progress))
    result.save(directory)
    return result


def train(
    seed: int = 0, on_progress: Progress | None = None
) -> "tuple[nn.Module, Samples, Samples, Samples]":
    """Train the network; the same seed gives the same weights on the same machine.

    Args:
        seed: Of the first weights and of the order of the samples.
        on_progress: Called with "train" and the fraction that is done.

    Returns:
        The module in evaluation mode; then training, validation and test samples, with the
        input "image" (n, 1, 8, 8) float32, in [0, 1], and the digits as labels (n,).

    Raises:
        DemoError: scikit-learn is not installed.
    """
    import torch
    from torch import nn

    parts = digits()
    images, labels = _tensor(parts[0].inputs["image"]), _tensor(parts[0].labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = network()
        optimizer = torch.optim.Adam(module.parameters(), lr=_PEAK)
        steps = _EPOCHS * -(-len(images) // _BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=_PEAK, total_steps=steps
        )
        for epoch in range(_EPOCHS):
            for chosen in torch.split(torch.randperm(len(images)), _BATCH):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(module(images[chosen]), labels[chosen])
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
            if on_progress is not None:
                on_progress("train", (epoch + 1) / _EPOCHS)
    return module.eval(), *parts


def digits() -> tuple[Samples, Samples, Samples]:
    """Training, validation and test samples; always the same division.

    Raises:
        DemoError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DemoError(
            "The demonstration needs scikit-learn for its digits. It is not installed. "
            'Install it with: pip install "tersor[demo]"'
        ) from None
    pixels, labels = load_digits(return_X_y=True)
    images = (pixels / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    order = np.random.default_rng(0).permutation(len(images))
    ends = [len(order) * 6 // 10, len(order) * 8 // 10]
    train_part, validation, test = (
        Samples({"image": images[rows]}, labels[rows].astype(np.int64))
        for rows in np.split(order, ends)
    )
    return train_part, validation, test


def network() -> "nn.Module":
    """The untrained network: (n, 1, 8, 8) to (n, 10)."""
    import torch
    from torch import nn

    class Digits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = _block(1, 64)
            self.same = _block(64, 64)
            self.down1 = _block(64, 128, stride=2)
            self.down2 = _block(128, 256, stride=2)
            self.head = nn.Linear(256, 10)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            features = self.stem(image)
            features = self.down2(self.down1(features + self.same(features)))
            digit: torch.Tensor = self.head(features.mean((2, 3)))
            return digit

    return Digits()


def _block(inputs: int, outputs: int, stride: int = 1) -> "nn.Module":
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def _tensor(array: NDArray[Any] | None) -> Any:
    import torch

    return torch.from_numpy(array)
