"""Weights as training sees them: with gradients, whatever code holds them."""

import torch

from tersor.network.network import Network


def live_weight(network: Network, path: str) -> torch.Tensor:
    """The weight of that dotted name, differentiable with respect to what is trained.

    Raises:
        ModelError: There is none.
    """
    code = network.code(path)
    return network.tensor(path) if code is None else code()
