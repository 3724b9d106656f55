"""Masked: a weight with zeros that stay zero.

    decode = w where the mask is true, else 0

The latent weight w keeps what it held under the zeros, so that an element can come back,
and the gradient of a masked element is exactly 0, unless it is asked to pass straight through:
no optimizer moves what `decode` gives there, whatever it does to the latent weight.

Other codes take a `Masked` in the place of their own latent weight ("int8 over a mask").

The file holds the dense floats; its codecs code positions and values apart.

Source: Han, Pool, Tran, Dally, "Learning both weights and connections for efficient
neural networks", arXiv:1506.02626.
"""

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tersor.codes.code import Code, OnnxForm
from tersor.errors import InputError


class Masked(Code):
    """A weight of which some elements are 0, whatever training does.

    Attributes:
        weight: The latent weight, any shape, float32; also what lies under the zeros.
        mask: bool, of the shape of `weight`; false where the weight is 0.
        straight_through: Whether masked elements get the gradient, too, as if they were not
            masked: whoever lets elements come back while training looks at that.
    """

    mask: torch.Tensor

    def __init__(self, weight: torch.Tensor, mask: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().to(torch.float32, copy=True))
        self.register_buffer("mask", torch.ones_like(weight, dtype=torch.bool))
        self.set_mask(mask)
        self.straight_through = False

    @classmethod
    def encode(cls, weight: torch.Tensor, mask: torch.Tensor) -> Self:
        """Hold `weight` with zeros where `mask` is false.

        Raises:
            InputError: The mask is not bool, or has another shape.
        """
        return cls(weight, mask)

    def set_mask(self, mask: torch.Tensor) -> None:
        """Replace the mask; elements that come back have their latent values.

        Raises:
            InputError: The mask is not bool, or has another shape.
        """
        if mask.dtype != torch.bool:
            raise InputError("mask", got=str(mask.dtype), allowed="of torch.bool")
        if mask.shape != self.weight.shape:
            allowed = f"of shape {tuple(self.weight.shape)}"
            raise InputError("mask", got=tuple(mask.shape), allowed=allowed)
        self.mask.copy_(mask)

    @property
    def sparsity(self) -> float:
        """Fraction of elements that are masked, in [0, 1]."""
        return 1.0 - float(self.mask.sum()) / max(1, self.mask.numel())

    def decode(self) -> torch.Tensor:
        """The dense weight, float32, of the shape of `weight`."""
        kept = torch.where(self.mask, self.weight, 0.0)
        if self.straight_through:
            return self.weight + (kept - self.weight).detach()
        return kept

    def pinned(self) -> torch.Tensor:
        """See `Code.pinned`."""
        return ~self.mask

    def symbols(self) -> dict[str, NDArray[np.generic]]:
        """See `Code.symbols`: `mask`, eight elements a byte, and the other `values`."""
        mask = self.mask.cpu().numpy()
        return {
            "mask": np.packbits(mask),
            "values": self.weight.detach().cpu().numpy()[mask],
        }

    def to_onnx(self, name: str) -> OnnxForm:
        """The dense floats."""
        dense = self.decode().detach().cpu().numpy()
        return OnnxForm({name: dense}, (), name, elements=name)

    def describe(self) -> str:
        """As in "90 % zeros"."""
        return f"{100 * self.sparsity:.3g} % zeros"


def _example(keep: float) -> Masked:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(8, 4, 3, 3, generator=generator)
    return Masked.encode(weight, torch.rand(weight.shape, generator=generator) < keep)


CODE = Masked
EXAMPLES = {
    "a_tenth_left": lambda: _example(0.1),
    "half_left": lambda: _example(0.5),
}
