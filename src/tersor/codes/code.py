"""What a code is: a few small tensors that stand for one dense weight.

A code is a module that stands in the graph where the weight stood. Called, it gives the
dense weight; its parameters can be trained; its symbols are what the file stores.

A module in this folder is a code if it defines two names:

    CODE       the class
    EXAMPLES   functions without arguments that make one, by names that read aloud
"""

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


@dataclass(frozen=True, slots=True)
class OnnxNode:
    """One ONNX node of a code's expansion; see `onnx.helper.make_node`."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OnnxForm:
    """A weight as an engine sees it: arrays, and nodes that make the dense weight of them.

    Attributes:
        initializers: Arrays by name. Every name starts with the weight's own name.
        nodes: In order of execution; none if an initializer is the dense weight itself.
        output: Name of the value that is the dense weight.
        elements: Name of the initializer that has one number for each element of the weight,
            in its shape, so that it can be stored in another order; None if there is none.
    """

    initializers: dict[str, NDArray[np.generic]]
    nodes: tuple[OnnxNode, ...]
    output: str
    elements: str | None = None


class Code(nn.Module, ABC):
    """A compressed weight. Subclasses are final."""

    @abstractmethod
    def decode(self) -> torch.Tensor:
        """The dense weight, differentiable with respect to the code's parameters."""

    @abstractmethod
    def pinned(self) -> torch.Tensor | None:
        """Where the weight stays 0 whatever training does: bool, of its shape.

        None if nowhere.
        """

    @abstractmethod
    def symbols(self) -> dict[str, NDArray[np.generic]]:
        """What is stored, by name: integer arrays to be coded, small float tables."""

    @abstractmethod
    def to_onnx(self, name: str) -> OnnxForm:
        """The weight called `name` as an engine sees it."""

    @abstractmethod
    def describe(self) -> str:
        """A few words for reports, as in "int8 per channel"."""

    def forward(self) -> torch.Tensor:
        """See `decode`."""
        return self.decode()


def held(weight: torch.Tensor | Code, dtype: torch.dtype) -> nn.Parameter | Code:
    """A latent weight of one's own: a parameter, or a copy of the code that is to hold it."""
    if isinstance(weight, Code):
        return copy.deepcopy(weight)
    return nn.Parameter(weight.detach().to(dtype, copy=True))


def latent_of(weight: torch.Tensor | Code) -> torch.Tensor:
    """The value of a latent weight, which another code (a mask, say) may hold."""
    return weight() if isinstance(weight, Code) else weight


def pinned_of(weight: torch.Tensor | Code) -> torch.Tensor | None:
    """See `Code.pinned`; None for a plain tensor."""
    return weight.pinned() if isinstance(weight, Code) else None
