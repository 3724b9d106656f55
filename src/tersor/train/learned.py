"""Masks that are learnt: what stands for weights while gates or scores are trained.

Such a code lives as long as one training. In the end the weights that it keeps are held by
`Masked`, as after any other pruning.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tersor.arrays.masks import largest
from tersor.codes.code import Code, OnnxForm
from tersor.codes.masked import Masked
from tersor.network.network import Network
from tersor.network.pruning import Prunable, prunable


class LearnedMask(Code):
    """A weight whose mask is being learnt. Subclasses are final.

    Attributes:
        weight: The latent weight, float32.
        allowed: bool, of its shape: false where the weight was 0 before, and stays so.
    """

    allowed: torch.Tensor

    def __init__(self, code: Masked) -> None:
        super().__init__()
        self.weight = nn.Parameter(code.weight.detach().clone())
        self.register_buffer("allowed", code.mask.clone())

    @abstractmethod
    def kept(self) -> torch.Tensor:
        """bool: which elements stay."""

    @abstractmethod
    def final(self) -> torch.Tensor:
        """The weight once the mask is learnt; elements that do not stay are left out."""

    def pinned(self) -> torch.Tensor | None:
        """See `Code.pinned`."""
        return ~self.allowed

    def symbols(self) -> dict[str, NDArray[np.generic]]:
        """See `Code.symbols`: the dense floats."""
        return {"values": self.decode().detach().cpu().numpy()}

    def to_onnx(self, name: str) -> OnnxForm:
        """The dense floats."""
        return OnnxForm({name: self.decode().detach().cpu().numpy()}, (), name)

    def describe(self) -> str:
        """As in "mask being learnt"."""
        return "mask being learnt"


M = TypeVar("M", bound=LearnedMask)


@dataclass(frozen=True)
class Learning(Generic[M]):
    """The weights of a network whose masks are being learnt.

    Attributes:
        found: The layers.
        codes: One for each layer.
    """

    found: Prunable
    codes: tuple[M, ...]

    def finish(self) -> None:
        """Hold every weight by `Masked`; at least one element of each stays."""
        for layer, code in zip(self.found.layers, self.codes, strict=True):
            with torch.no_grad():
                kept, weight = code.kept() & code.allowed, code.final()
                if not bool(kept.any()):
                    one = largest(weight.abs().cpu().numpy(), 1)
                    kept = torch.from_numpy(one).to(weight.device)
            self.found.network.set_code(layer.weight, Masked.encode(weight * kept, kept))


def learn(
    network: Network, make: Callable[[Masked], M], *, method: str, keep: Sequence[str]
) -> Learning[M]:
    """Put learnt masks in the places of all weights that can be pruned.

    Args:
        network: One's own.
        make: Gives the code for a weight.
        method: Who asks.
        keep: Names of layers that are left alone.

    Raises:
        ModelError: As `network.pruning.prunable`.
    """
    found = prunable(network, method, keep)
    codes = tuple(make(code) for code in found.codes)
    for layer, code in zip(found.layers, codes, strict=True):
        network.set_code(layer.weight, code)
    return Learning(found, codes)
