"""What channels do while samples run once: sums of activations.

Of the activations a of a channel are kept, over samples and positions,

    sum |a|,    how often a = 0,    mean rank of the feature maps

No activation outlives its last reader. The scores that come of them: see `arrays.scores`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tersor.arrays.scores import feature_rank
from tersor.data.samples import Batch, Samples
from tersor.errors import DataError, InputError, ModelError
from tersor.network.network import Network
from tersor.network.running import batch_size_of, each_value, for_running
from tersor.network.workers import over_batches

Sums = NDArray[np.float64]

_BATCH = 16
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


def _whole(samples: Samples, size: int, fixed: int | None) -> Iterator[Batch]:
    """All batches, but for a part of a fixed one."""
    if fixed is not None and len(samples) < fixed:
        problem = f"are {len(samples)}, fewer than the {fixed} of a batch"
        raise DataError("Samples", problem, "Give more samples.")
    return (b for b in samples.batches(size) if fixed is None or b.size == fixed)
