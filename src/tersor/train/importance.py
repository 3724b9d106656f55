"""How much each weight matters: the diagonal of the Fisher information.

    F_i = E_x E_{y ~ p(y|x)} (d/dw_i log p(y|x))^2

where p are the chances that the network itself gives to classes, so that labels are not
needed and a network without errors still says what matters. The loss rises by about
1/2 sum_i F_i e_i^2 if weights move by e (in the expectation; gradients are 0 there). Labels
are drawn sample by sample, their gradients have mean 0, and so the square of a batch's summed
gradient stands for the sum of squares. Outputs that are no scores of classes count as means of
Gaussians whose variance is that of the outputs.

Source: Kunstner, Balles, Hennig, "Limitations of the empirical Fisher approximation",
arXiv:1905.12558, equation (3); Choi, El-Khamy, Lee, arXiv:1612.01543 (for quantization).
"""

import copy
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from tersor.data.samples import Samples
from tersor.network.network import Network
from tersor.train.batches import in_order, pick
from tersor.train.loop import trainable
from tersor.train.objective import Outputs, has_classes, logits_of

_BATCH = 64
_MOST_SAMPLES = 2048


def importance(
    network: Network, samples: Samples, *, seed: int = 0
) -> dict[str, torch.Tensor]:
    """The diagonal of the Fisher information, per sample.

    Args:
        network: Stays as it is; behaves as in evaluation.
        samples: Of these, evenly spaced, at most 2,048 are looked at; labels are not.
        seed: Of the labels that are drawn.

    Returns:
        For each trained parameter, by its name: float64, of its shape, at least 0.
    """
    own = replace(network, module=copy.deepcopy(network.module))
    parameters = trainable(own)
    found = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in parameters.items()}
    generator = torch.Generator().manual_seed(seed)
    count = min(len(samples), _MOST_SAMPLES)
    rows = np.linspace(0, len(samples) - 1, count).astype(np.intp)
    size, seen = network.fixed_batch or _BATCH, 0
    for part in in_order(rows, size, whole=network.fixed_batch is not None):
        outputs = own.module(*own.tensors(pick(samples, part).inputs))
        likely = _log_likelihood(own, tuple(outputs), generator)
        gradients = torch.autograd.grad(likely, list(parameters.values()), allow_unused=True)
        for total, gradient in zip(found.values(), gradients, strict=True):
            if gradient is not None:
                total += gradient.double().square()
        seen += len(part)
    return {name: total / max(1, seen) for name, total in found.items()}


def _log_likelihood(
    network: Network, outputs: Outputs, generator: torch.Generator
) -> torch.Tensor:
    """Of targets that are drawn from what the network says, summed over samples."""
    output = outputs[0]
    if has_classes(output):
        scores = logits_of(network)(output)
        chances = scores.detach().softmax(-1).cpu()
        drawn = torch.multinomial(chances, 1, generator=generator)[:, 0]
        return -functional.cross_entropy(scores, drawn.to(scores.device), reduction="sum")
    deviation = output.detach().std(correction=0).clamp_min(1e-12)
    noise = torch.randn(output.shape, generator=generator).to(output.device)
    return (output * noise).sum() / deviation
