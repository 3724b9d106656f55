"""How much each weight matters: how strongly the outputs feel it.

    F_i = E_x E_e (d (e . f(x)) / dw_i)^2 / var f,      e ~ N(0, 1) for each output

The outputs f, scores where there are classes, move by sum_i F_i d_i^2 of their variance if
weights move by d, each by itself: the diagonal of the Gauss-Newton matrix for square errors.
Labels are not needed. The Fisher information of the classes' chances says less: it is nearly
0 wherever the network is sure of itself, though errors there can be large (LeNet-300-100 at
97.5 % zeros, rounded to 6.5 kB by it: 5 % wrong; by F: 1.8 %). e is drawn for each sample, so
that the square of a batch's summed gradient stands for the sum of squares.

Source: Martens, "New insights and perspectives on the natural gradient method",
arXiv:1412.1193, section 9; as importance for quantization: Choi, El-Khamy, Lee,
arXiv:1612.01543, who take the Hessian of the loss.
"""

import copy
from dataclasses import replace

import numpy as np
import torch

from tersor.data.samples import Samples
from tersor.errors import DataError
from tersor.network.network import Network
from tersor.train.batches import in_order, pick
from tersor.train.loop import trainable
from tersor.train.objective import logits_of

_BATCH = 16  # so that a few hundred samples give a few dozen squares
_MOST_SAMPLES = 2048
_SMALLEST = 1e-12

# What was asked last; what it was asked of is held with it, so that its identity stays taken.
_KNOWN: dict[tuple[object, ...], tuple[Network, Samples, dict[str, torch.Tensor]]] = {}


def importance(
    network: Network, samples: Samples, *, seed: int = 0
) -> dict[str, torch.Tensor]:
    """How strongly the first output feels each parameter, per sample.

    Asked again for the very same network and samples, it gives the same without computing it:
    searches try one method with many settings.

    Args:
        network: Stays as it is; behaves as in evaluation.
        samples: Of these, evenly spaced, at most 2,048 are looked at.
        seed: Of what is drawn.

    Returns:
        For each trained parameter, by its name: float64, of its shape, at least 0.

    Raises:
        DataError: The network takes a fixed number of samples, and there are fewer.
    """
    key = (id(network), network.stamp, id(samples), seed)
    if key not in _KNOWN:
        _KNOWN.clear()
        _KNOWN[key] = (network, samples, _computed(network, samples, seed))
    return _KNOWN[key][2]


def _computed(network: Network, samples: Samples, seed: int) -> dict[str, torch.Tensor]:
    own = replace(network, module=copy.deepcopy(network.module))
    parameters = trainable(own)
    found = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in parameters.items()}
    generator = torch.Generator().manual_seed(seed)
    count = min(len(samples), _MOST_SAMPLES)
    rows = np.linspace(0, len(samples) - 1, count).astype(np.intp)
    size, seen = network.fixed_batch or _BATCH, []
    for part in in_order(rows, size, whole=network.fixed_batch is not None):
        scores = logits_of(own)(own.module(*own.tensors(pick(samples, part).inputs))[0])
        noise = torch.randn(scores.shape, generator=generator).to(scores.device)
        felt = (scores * noise).sum()
        gradients = torch.autograd.grad(felt, list(parameters.values()), allow_unused=True)
        for total, gradient in zip(found.values(), gradients, strict=True):
            if gradient is not None:
                total += gradient.double().square()
        seen.append(scores.detach())
    if not seen:
        problem = f"are {len(samples)}, fewer than the {size} of a batch"
        raise DataError("Samples", problem, "Give more samples.")
    variance = torch.cat(seen).double().var(correction=0).clamp_min(_SMALLEST)
    count = sum(len(each) for each in seen)
    return {name: total / (count * variance) for name, total in found.items()}
