"""What channels do while samples run once: sums of activations, and of slopes times weights.

Of the activations a of a channel are kept, over samples and positions,

    sum |a|,    how often a = 0,    mean rank of the feature maps

and of the slice of a parameter w at each index of each of its axes, g_b being the slopes of
the loss of batch b,

    sum_b s_b,    sum_b s_b^2,  s_b = sum of g_b w,    sum_b m_b (sum of (g_b w)^2)

with m_b samples in the batch. No activation outlives its last reader, and no gradient the sums
that are made of it. The scores that come of them: see `arrays.scores`.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tersor.arrays.scores import feature_rank, taylor_second_of
from tersor.data.samples import Array, Batch, Samples
from tersor.errors import DataError, InputError, ModelError
from tersor.network.network import Network
from tersor.network.running import Runner, batch_size_of, each_value, for_running
from tersor.network.shapes import batch_size_for
from tersor.network.workers import over_batches

Sums = NDArray[np.float64]
Slices = dict[str, list[Sums]]  # by parameter and axis: sums of g w and of (g w)^2, (2, n)
Outputs = tuple[torch.Tensor, ...]
Loss = Callable[[Outputs, Array | None, Mapping[str, Array]], torch.Tensor]

_BATCH = 16
_ELEMENTS = 1 << 24  # of all values of a batch together, which the backward pass needs
_MAPS = 4  # dimensions of a value that holds feature maps


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """Of one value of C channels, over samples and positions.

    Attributes:
        sum_abs: (C,), sum of magnitudes.
        zeros: int64 (C,), how many are 0.
        count: How many numbers each channel had.
        ranks: (C,), mean rank of the feature maps; None where none was looked at.
    """

    sum_abs: Sums
    zeros: NDArray[np.int64]
    count: int
    ranks: Sums | None = None


@dataclass(frozen=True, slots=True)
class SliceGradients:
    """Of the n slices of a parameter along one axis, summed over batches.

    Attributes:
        first: (n,), sum of s_b.
        squares: (n,), sum of s_b^2.
        fisher: (n,), sum of m_b times the sum of (g_b w)^2.
        batches: How many.
    """

    first: Sums
    squares: Sums
    fisher: Sums
    batches: int

    def taylor_first(self) -> Sums:
        """The mean over batches of `arrays.scores.taylor_first`."""
        return self.squares / self.batches

    def taylor_second(self) -> Sums:
        """See `arrays.scores.taylor_second`, with the Fisher information's diagonal for h.

        That is the mean of m_b g_b^2 where the loss of a batch is a mean over samples, as far
        as slopes of different samples have nothing to do with each other: once training is
        over. In batches of one sample it is so in any case.
        """
        return taylor_second_of(self.first / self.batches, self.fisher / self.batches)


def gather(
    network: Network, samples: Samples, wanted: Mapping[str, int], *, ranked: int = 0
) -> dict[str, ChannelStatistics]:
    """Run samples once, and sum up what the channels of some values do.

    Args:
        network: In evaluation mode.
        samples: Inputs; all are looked at, but for the rest after the last whole batch of a
            network of a fixed one.
        wanted: The axis that counts channels, by name of the node.
        ranked: Of how many samples, the first ones, ranks of feature maps are counted, of
            values of four dimensions. This takes longer than all else.

    Raises:
        InputError: There is no such node, or it has no such axis.
        ModelError: A value is no tensor of floats, or not finite; the node is named.
        DataError: There are fewer samples than in a fixed batch.
    """
    unknown = wanted.keys() - {node.name for node in network.graph.nodes}
    if unknown:
        raise InputError("nodes", got=sorted(unknown), allowed="names of nodes of the network")
    running = for_running(network, keep=wanted)

    def look(batch: Batch) -> dict[str, _Seen]:
        most = min(batch.size, max(0, ranked - batch.start))
        with torch.inference_mode():
            values = each_value(running, running.tensors(batch.inputs), of=wanted)
            few = islice(values, len(wanted))  # nodes behind the last are not run
            return {name: _seen(name, value, wanted[name], most) for name, value in few}

    totals: dict[str, _Seen] = {}
    batches = _whole(samples, batch_size_of(network, samples, _BATCH), network.fixed_batch)
    for found in over_batches(lambda: look, batches, network.device):
        for name, seen in found.items():
            totals[name] = _added(name, totals[name], seen) if name in totals else seen
    return {name: _statistics(total) for name, total in totals.items()}


def gradients(
    network: Network, samples: Samples, loss: Loss, *, batch: int = _BATCH
) -> dict[str, tuple[SliceGradients, ...]]:
    """Run samples once, forth and back, and sum up what slices of parameters do to a loss.

    Args:
        network: In evaluation mode. Weights that codes hold count as the dense ones that
            they give.
        samples: All are looked at, but for the rest after the last whole batch of a network
            of a fixed one.
        loss: Of the outputs, labels and inputs of a batch, a scalar: a mean over samples.
            Several threads call it.
        batch: How many samples run at once, at most; fewer where memory would not do.

    Returns:
        By name of the parameter, all of floats, what was summed along each of its axes.

    Raises:
        ModelError: The loss or a slope is not finite, or no parameter changes the loss.
        DataError: There are fewer samples than in a fixed batch.
    """
    running = for_running(network, packed=False, overwrite=False)
    weights = {name: running.tensor(name).detach() for name in _parameters(network)}
    totals = {n: [np.zeros((3, size)) for size in w.shape] for n, w in weights.items()}
    count = 0

    def make() -> Callable[[Batch], tuple[int, Slices]]:
        return _Slopes(running, weights, loss).of

    batches = _whole(samples, batch_size_for(network, _ELEMENTS, batch), network.fixed_batch)
    for size, found in over_batches(make, batches, network.device):
        count += 1
        for name, axes in found.items():
            for total, (first, squares) in zip(totals[name], axes, strict=True):
                total += (first, np.square(first), size * squares)
    return {
        name: tuple(_slice_gradients(name, total, count) for total in axes)
        for name, axes in totals.items()
    }


class _Seen(NamedTuple):
    """See `ChannelStatistics`; `ranks` are sums over `ranked` samples."""

    sum_abs: Sums
    zeros: NDArray[np.int64]
    numbers: int
    ranks: Sums
    ranked: int


def _seen(name: str, value: Any, axis: int, most: int) -> _Seen:
    """What the channels of a value do; of at most so many samples ranks, too."""
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        raise ModelError(name, "gives no tensor of floats", "Choose other nodes.")
    if axis not in {*range(1, value.ndim), *range(1 - value.ndim, 0)}:
        allowed = f"an axis of {tuple(value.shape)} other than the first"
        raise InputError(f"the channel axis of {name}", got=axis, allowed=allowed)
    kind = torch.promote_types(value.dtype, torch.float32)
    rows = value.movedim(axis, -1).unsqueeze(-2)
    inner = tuple(range(1, value.ndim))  # at least the axis of size 1
    each = torch.linalg.vector_norm(rows, 1, inner, dtype=kind)
    sum_abs = each.sum(0, dtype=torch.float64).cpu().numpy()
    if not np.isfinite(sum_abs).all():
        problem = "gives NaN or infinity on a sample"
        raise ModelError(name, problem, "Check weights and samples.")
    zeros = (rows == 0).sum((0, *inner)).cpu().numpy()
    ranks, ranked = np.zeros(len(sum_abs)), 0
    if value.ndim == _MAPS and most:
        maps = value[:most].movedim(axis, 1).to(kind).cpu().numpy()
        ranks, ranked = feature_rank(maps) * len(maps), len(maps)
    return _Seen(sum_abs, zeros, value.numel() // len(sum_abs), ranks, ranked)


def _added(name: str, total: _Seen, seen: _Seen) -> _Seen:
    sizes = len(total.sum_abs), len(seen.sum_abs)
    if sizes[0] != sizes[1]:
        allowed = "of one size for all samples"
        raise InputError(f"the channel axis of {name}", got=sizes, allowed=allowed)
    return _Seen(
        total.sum_abs + seen.sum_abs,
        total.zeros + seen.zeros,
        total.numbers + seen.numbers,
        total.ranks + seen.ranks,
        total.ranked + seen.ranked,
    )


def _statistics(total: _Seen) -> ChannelStatistics:
    ranks = total.ranks / total.ranked if total.ranked else None
    return ChannelStatistics(total.sum_abs, total.zeros, total.numbers, ranks)


class _Slopes:
    """Runs batches forth and back, with parameters as leaves of its own."""

    def __init__(
        self, network: Network, weights: Mapping[str, torch.Tensor], loss: Loss
    ) -> None:
        self._network, self._loss = network, loss
        self._runner = Runner(network)
        self._found: Slices = {}
        for name, weight in weights.items():
            leaf = weight.detach().requires_grad_()
            then: Any = leaf.register_post_accumulate_grad_hook
            then(partial(self._sum_up, name))
            self._runner.weights[name] = leaf
        self._leaves = list(self._runner.weights.values())

    def of(self, batch: Batch) -> tuple[int, Slices]:
        """Size of the batch, and its sums."""
        self._found = {}
        with torch.enable_grad():
            outputs = self._runner.run(*self._network.tensors(batch.inputs))
            loss = self._loss(outputs, batch.labels, batch.inputs)
        self._runner.env = {}
        if not loss.requires_grad:
            problem = "does not depend on any parameter of the network"
            raise ModelError("The loss", problem, "Choose another one.")
        value = float(loss.detach())
        if not math.isfinite(value):
            problem = f"is {value} on the samples from number {batch.start} on"
            raise ModelError("The loss", problem, "Check weights, samples and labels.")
        loss.backward(inputs=self._leaves)  # type: ignore[no-untyped-call]
        return batch.size, self._found

    def _sum_up(self, name: str, leaf: torch.Tensor) -> None:
        """Sum up a slope that has come, and let it go."""
        products = torch.as_tensor(leaf.grad) * leaf.detach()
        leaf.grad = None
        every = tuple(range(products.ndim))
        self._found[name] = []
        for axis in every:
            rows = products.movedim(axis, -1).unsqueeze(0)
            first = rows.sum(every, dtype=torch.float64)
            squares = torch.linalg.vector_norm(rows, 2, every, dtype=torch.float64).square()
            self._found[name].append(torch.stack([first, squares]).cpu().numpy())


def _slice_gradients(name: str, total: Sums, batches: int) -> SliceGradients:
    if not np.isfinite(total).all():
        problem = "has slopes that are NaN or infinity"
        raise ModelError(name, problem, "Check weights, samples and labels.")
    first, squares, fisher = total
    return SliceGradients(first, squares, fisher, batches)


def _parameters(network: Network) -> list[str]:
    """Names of the parameters of floats that the graph reads, and of weights in codes."""
    plain = {n for n, p in network.module.named_parameters() if p.is_floating_point()}
    held = [n for n in network.graph.nodes if n.op in {"get_attr", "call_module"}]
    paths = dict.fromkeys(str(node.target) for node in held)
    return [path for path in paths if path in plain or network.is_coded(path)]


def _whole(samples: Samples, size: int, fixed: int | None) -> Iterator[Batch]:
    """All batches, but for a part of a fixed one."""
    if fixed is not None and len(samples) < fixed:
        problem = f"are {len(samples)}, fewer than the {fixed} of a batch"
        raise DataError("Samples", problem, "Give more samples.")
    return (b for b in samples.batches(size) if fixed is None or b.size == fixed)
