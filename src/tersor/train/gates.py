"""How much each channel matters, by the slopes of gates.

Think of a gate g_c = 1 that multiplies channel c before it is read. A reader's weights w_c
meet the channel's values a_c, so that the slope of any scalar L is

    dL / dg_c = sum a_c dL / da_c = sum over all readers of w_c . dL / dw_c,

which one backward pass gives for all channels. Channels that no weight reads meet in a product
of two values, as those of queries and keys do: (1 / 2) sum w_c . dL / dw_c over the weights
and biases that make either. Closing the gate moves L by about dL / dg_c:

    first order     E_batch (dL / dg_c)^2,               L the loss of the labels
    second order    E_x E_e (d (e . f(x)) / dg_c)^2 / var f,     e ~ N(0, 1) for each output

the second without labels: by how much of their variance the outputs f move (the Gauss-Newton
matrix of their square error), added up over outputs of several kinds, each over its own
variance. Both add up over channels as if these were independent.

Source: Molchanov, Mallya, Tyree, Frosio, Kautz, "Importance estimation for neural network
pruning", arXiv:1906.10771, equations (5) and (8); Martens, arXiv:1412.1193, section 9; Theis,
Korshunova, Tejani, Huszár, "Faster gaze prediction with dense networks and Fisher pruning",
arXiv:1801.05787.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from tersor.arrays.scores import taylor
from tersor.data.samples import Samples
from tersor.errors import DataError
from tersor.network.channels import Channels, Group, Member
from tersor.network.layers import layers
from tersor.network.network import Network
from tersor.train.batches import in_order, pick
from tersor.train.objective import labels_of, logits_of, resolve

_BATCH = 16  # so that a few hundred samples give a few dozen squares
_MOST_SAMPLES = 2048
_SPREAD_BATCHES = 4  # about, that tell spreads of outputs
_SMALLEST = 1e-12  # spread
_FACTOR = 1 / 2  # of a product of two values each tells the whole slope

Scores = dict[str, NDArray[np.float64]]


def gate_scores(
    network: Network, known: Channels, samples: Samples, *, labelled: bool, seed: int = 0
) -> Scores:
    """What closing each channel's gate costs, per sample.

    Args:
        network: Stays as it is; behaves as in evaluation.
        known: Its channels.
        samples: Of these, evenly spaced, at most 2,048 are looked at.
        labelled: First order, by the labels; else second order, by the outputs.
        seed: Of what is drawn.

    Returns:
        By name of the group: (size,), at least 0.

    Raises:
        DataError: There are no labels, or fewer samples than a batch that is fixed.
    """
    if not known.groups:
        return {}
    own = replace(network, module=copy.deepcopy(network.module))
    gates = _Gates(own, known.groups)
    found: dict[str, list[NDArray[np.float64]]] = {group.name: [] for group in known.groups}
    scalars = _losses(own, samples) if labelled else _projections(own, samples, seed)
    count = 0
    for scalar, size in scalars:
        for name, slopes in gates.slopes(scalar).items():
            found[name].append(slopes)
        count += size
    if not count:
        problem = f"are {len(samples)}, fewer than the {network.fixed_batch} of a batch"
        raise DataError("Samples", problem, "Give more samples.")
    return {name: taylor(np.stack(slopes), count) for name, slopes in found.items()}


Scalars = Iterator[tuple[torch.Tensor, int]]


def _parts(network: Network, samples: Samples) -> Iterator[NDArray[np.intp]]:
    rows = np.linspace(0, len(samples) - 1, min(len(samples), _MOST_SAMPLES)).astype(np.intp)
    fixed = network.fixed_batch
    yield from in_order(rows, fixed or _BATCH, whole=fixed is not None)


def _projections(network: Network, samples: Samples, seed: int) -> Scalars:
    """Outputs along random directions, over their spreads, batch by batch."""
    generator = torch.Generator().manual_seed(seed)
    parts = list(_parts(network, samples))
    spreads = _spreads(network, samples, parts[:: max(1, len(parts) // _SPREAD_BATCHES)])
    for part in parts:
        scalar = torch.zeros((), device=network.device)
        for output, spread in zip(_outputs(network, samples, part), spreads, strict=True):
            noise = torch.randn(output.shape, generator=generator).to(output)
            scalar = scalar + (output * noise).sum() / spread
        yield scalar, len(part)


def _outputs(network: Network, samples: Samples, part: NDArray[np.intp]) -> list[torch.Tensor]:
    """All that are numbers; scores where the first is chances."""
    first, *others = network.module(*network.tensors(pick(samples, part).inputs))
    outputs = [logits_of(network)(first), *others]
    return [output for output in outputs if output.is_floating_point()]


@torch.no_grad()
def _spreads(
    network: Network, samples: Samples, parts: Sequence[NDArray[np.intp]]
) -> list[float]:
    """Standard deviations of outputs; infinite where one is always the same."""
    seen = [_outputs(network, samples, part) for part in parts]
    found = []
    for outputs in zip(*seen, strict=True):
        values = torch.cat([output.flatten() for output in outputs]).double()
        deviation = float(values.std(correction=0))
        found.append(deviation if deviation > _SMALLEST else math.inf)
    return found


def _losses(network: Network, samples: Samples) -> Scalars:
    """The loss of the labels, batch by batch, summed over samples."""
    objective = resolve("labels", network, has_labels=samples.labels is not None)
    for part in _parts(network, samples):
        batch = pick(samples, part)
        outputs = network.module(*network.tensors(batch.inputs))
        loss = objective.loss(outputs, labels_of(batch.labels, network.device), None)
        yield loss * len(part), len(part)


class _Gates:
    """Slopes of the gates of all groups."""

    def __init__(self, network: Network, groups: Sequence[Group]) -> None:
        biases = {layer.weight: layer.bias for layer in layers(network)}
        self._groups = [(group, *_asked(group, biases)) for group in groups]
        paths = {m.path for _, members, _ in self._groups for m in members}
        self._tensors = {path: network.tensor(path) for path in sorted(paths)}
        for path, tensor in self._tensors.items():
            if not tensor.requires_grad and tensor.is_floating_point():
                network.set_tensor(path, tensor.detach().clone())
                network.tensor(path).requires_grad_()
                self._tensors[path] = network.tensor(path)
        self._floats = [p for p, t in self._tensors.items() if t.is_floating_point()]

    def slopes(self, scalar: torch.Tensor) -> Scores:
        """Of a scalar, by name of the group."""
        tensors = [self._tensors[path] for path in self._floats]
        gradients = torch.autograd.grad(scalar, tensors, allow_unused=True)
        products = {
            path: None if g is None else (g * tensor.detach())
            for path, tensor, g in zip(self._floats, tensors, gradients, strict=True)
        }
        found = {}
        for group, members, share in self._groups:
            found[group.name] = np.zeros(group.size)
            for member in members:
                each = products.get(member.path)
                if each is not None:
                    found[group.name] += share * _per_channel(each, member, group.size)
        return found


def _asked(group: Group, biases: Mapping[str, str | None]) -> tuple[list[Member], float]:
    """Who tells the slope, and what share of the sum over them it is."""
    readers = [m for m in group.members if m.reads]
    if readers:
        return readers, 1.0
    makers = {m.path for m in group.members if m.makes}
    makers |= {bias for path in makers if (bias := biases.get(path))}
    return [m for m in group.members if m.path in makers], _FACTOR


def _per_channel(products: torch.Tensor, member: Member, size: int) -> NDArray[np.float64]:
    axes = [axis for axis in range(products.ndim) if axis != member.axis]
    sums = (products.sum(axes) if axes else products).double().cpu().numpy()
    own = member.channels >= 0
    found = np.zeros(size)
    np.add.at(found, member.channels[own], sums[own])
    return found
