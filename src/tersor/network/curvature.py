"""How much the outputs of a network mind a change of each element of its weights.

    h_w = mean over samples of sum_o (dy_o / dw)^2 / power(y)

so that h_w d^2 is what a small change d of that element adds to the error power of the outputs
over their power: the diagonal of the Gauss-Newton matrix of squared errors. It needs neither
labels nor a loss. Each batch gives one estimate, by one backward pass: signs v are drawn for
all outputs of all samples, and (d(v . y) / dw)^2 has that sum as its expectation, since the
signs are independent.

Source: Hutchinson, "A stochastic estimator of the trace of the influence matrix",
Communications in Statistics 18, 1989; Martens, "New insights and perspectives on the natural
gradient method", arXiv:1412.1193, section 8.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tersor.data.samples import Samples
from tersor.errors import ModelError
from tersor.network.network import Network

_SAMPLES = 256
_BATCH = 8


def curvature(
    network: Network, samples: Samples, paths: Sequence[str], *, seed: int = 0
) -> dict[str, NDArray[np.float32]]:
    """h_w of each element of the weights of these names, of their shapes.

    Args:
        network: It stays as it is.
        samples: The first 256 are looked at.
        paths: Dotted names of weights, plain or held by a code.
        seed: Of the signs.

    Raises:
        ModelError: No output is a float.
    """
    own = network.copy()
    for path in paths:
        own.release(path, network.tensor(path).detach().clone())
    weights = [own.tensor(path).requires_grad_() for path in paths]
    sums = [torch.zeros_like(weight) for weight in weights]
    generator = torch.Generator(own.device).manual_seed(seed)
    size, seen = network.fixed_batch or _BATCH, 0
    for batch in samples.take(0, max(size, _SAMPLES // size * size)).batches(size):
        if batch.size < size and network.fixed_batch:
            break
        with torch.enable_grad():
            total = _signed(own.module(*own.tensors(batch.inputs)), generator)
        found = torch.autograd.grad(total, weights, materialize_grads=True)
        for held, gradient in zip(sums, found, strict=True):
            held += gradient.square()
        seen += batch.size
    means = (held / max(seen, 1) for held in sums)
    return {path: mean.cpu().numpy() for path, mean in zip(paths, means, strict=True)}


def _signed(outputs: Sequence[torch.Tensor], generator: torch.Generator) -> torch.Tensor:
    """The sum v . y over all float outputs, each divided by the root of its power."""
    floats = [y for y in outputs if y.is_floating_point()]
    if not floats:
        raise ModelError("The network", "gives no output in floats", "Weigh nothing.")
    total = torch.zeros((), device=floats[0].device)
    for y in floats:
        signs = torch.randint(0, 2, y.shape, generator=generator, device=y.device) * 2 - 1
        power = y.detach().square().sum() / len(y)
        total = total + (y * signs).sum() / power.clamp(min=1e-30).sqrt()
    return total
