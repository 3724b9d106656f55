"""Augmentation: images are moved, turned and mirrored a little, anew in every step.

Each image of a batch gets its own shift, angle and side. What comes in from outside is what
lies at the edge. Networks of several inputs: those with four dimensions are images, and all of
a sample are changed alike.

Source: Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural
networks", NeurIPS 2012, section 4.1 (shifts and mirroring).
"""

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

from tersor.errors import InputError, ModelError
from tersor.train.during import Part, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Augment:
    """Change images at random.

    Attributes:
        shift: Most pixels by which an image moves in each direction; whole pixels where
            images are not turned.
        turn: Most degrees by which an image is turned about its middle.
        flip: Whether half of the images are mirrored, left to right.
    """

    shift: int = 2
    turn: float = 0.0
    flip: bool = False

    def __post_init__(self) -> None:
        if self.shift < 0:
            raise InputError("shift", got=self.shift, allowed="0 or more pixels")
        if not 0 <= self.turn <= 180:
            raise InputError("turn", got=self.turn, allowed="in [0, 180] degrees")

    def start(self, run: Run) -> Part:
        """See `During.start`."""
        if not any(len(port.shape) == 4 for port in run.network.inputs):
            raise ModelError("The network", "takes no images", "Leave train.augment out.")
        return _Augmenting(self, run)


class _Augmenting(Part):
    def __init__(self, settings: Augment, run: Run) -> None:
        self._settings, self._run = settings, run

    def inputs(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        images = [each for each in tensors if each.ndim == 4]
        change = self._turned if self._settings.turn else self._moved
        drawn = torch.rand(4, len(images[0]), generator=self._run.generator())
        return [change(each, drawn) if each.ndim == 4 else each for each in tensors]

    def _moved(self, images: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """Shifted by whole pixels, and mirrored: pixels are only copied."""
        n, _, height, width = images.shape
        most = self._settings.shift
        down, right = (drawn[:2] * (2 * most + 1)).long() - most
        rows = (torch.arange(height) + down[:, None]).clamp(0, height - 1)
        columns = (torch.arange(width) + right[:, None]).clamp(0, width - 1)
        if self._settings.flip:
            columns = torch.where(drawn[2, :, None] < 0.5, columns.flip(1), columns)
        device = images.device
        which = torch.arange(n)[:, None, None].to(device)
        rows, columns = rows[:, :, None].to(device), columns[:, None, :].to(device)
        # indices around a slice put its dimension last
        return (
            images[which, :, rows, columns]
            .movedim(-1, 1)
            .contiguous(memory_format=_format(images))
        )

    def _turned(self, images: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """Shifted, mirrored and turned, with bilinear interpolation."""
        height, width = images.shape[-2:]
        angle = (2 * drawn[3] - 1) * math.radians(self._settings.turn)
        side = torch.ones_like(angle)
        if self._settings.flip:
            side = torch.where(drawn[2] < 0.5, -1.0, 1.0)
        down, right = (2 * drawn[:2] - 1) * self._settings.shift
        cos, sin = angle.cos(), angle.sin()
        rows = [
            torch.stack([cos * side, -sin * height / width, 2 * right / width], 1),
            torch.stack([sin * side * width / height, cos, 2 * down / height], 1),
        ]
        theta = torch.stack(rows, 1).to(images.device, images.dtype)
        shape = list(images.shape)
        grid = functional.affine_grid(theta, shape, align_corners=False)
        found = functional.grid_sample(
            images, grid, padding_mode="border", align_corners=False
        )
        return found.contiguous(memory_format=_format(images))


def _format(images: torch.Tensor) -> torch.memory_format:
    last = images.is_contiguous(memory_format=torch.channels_last)
    plain = images.is_contiguous()
    return torch.channels_last if last and not plain else torch.contiguous_format


DURING = Augment
EXAMPLE = Augment(shift=1, flip=True)
IDENTITY = Augment(shift=0)
