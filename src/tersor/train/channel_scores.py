"""Scores of channels, by name: how much each channel of each group matters.

    l1, l2               norms of the weights that make a channel (Li et al., arXiv:1608.08710)
    geometric_median     distance from all others of its layer (FPGM, arXiv:1811.00250)
    batch_norm           size of a normalization's weight (arXiv:1708.06519)
    taylor               slope of the labels' loss by a gate, squared (arXiv:1906.10771)
    taylor_second        by how much of their variance the outputs move without it; no labels
    activation           mean magnitude of what is read (Molchanov et al., arXiv:1611.06440)
    apoz                 how often that is not 0 (arXiv:1607.03250)
    rank                 rank of feature maps (HRank, arXiv:2002.10179)
    reconstruction       lasso: how well readers do without it (arXiv:1707.06168)
    random               the control

Scores of slopes are in one unit over the whole network. All others are divided by the mean of
their group, so that groups compare.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import fx

from tersor.arrays import scores
from tersor.arrays.channel_lasso import Contributions, contributions, joined, lasso_scores
from tersor.data.lazy import select
from tersor.data.samples import Samples
from tersor.errors import InputError, ModelError
from tersor.network.arguments import arguments
from tersor.network.channel_statistics import ChannelStatistics, gather
from tersor.network.channels import Channels, Group, Member
from tersor.network.dims import owners
from tersor.network.layers import Layer, layers, weighted_layers
from tersor.network.moments import Lockstep, Moments, as_rows
from tersor.network.network import Network
from tersor.train.gates import gate_scores

Name = Literal[
    "taylor_second",
    "taylor",
    "l1",
    "l2",
    "geometric_median",
    "batch_norm",
    "activation",
    "apoz",
    "rank",
    "reconstruction",
    "random",
]
Scores = dict[str, NDArray[np.float64]]
PerSlice = Callable[[NDArray[Any], int], NDArray[np.float64]]

WEIGHTS_ONLY = ("l1", "l2", "geometric_median", "batch_norm", "random")
_MOST_SAMPLES = 512
_RANKED = 16  # samples, of which ranks of feature maps are taken
_NORMS = ("batch_norm", "instance_norm", "group_norm", "layer_norm", "rms_norm")
_SLICES: dict[str, PerSlice] = {
    "l1": scores.l1,
    "l2": scores.l2,
    "geometric_median": scores.geometric_median,
}


def channel_scores(
    name: Name, network: Network, known: Channels, samples: Samples | None, *, seed: int = 0
) -> Scores:
    """How much each channel matters.

    Args:
        name: Of the score.
        network: Stays as it is.
        known: Its channels.
        samples: To look at; evenly spaced, some hundreds of them. None will do for scores of
            weights.
        seed: Of what is drawn.

    Returns:
        By name of the group: (size,), at least 0, larger for what matters more.

    Raises:
        InputError: The score needs samples, and there are none.
        DataError: It needs labels, or more samples.
        ModelError: A score is not finite.
    """
    found = _scores(name, network, known, samples, seed)
    for group, each in found.items():
        if not np.isfinite(each).all():
            raise ModelError(
                group, "has scores that are not finite", "Check samples and weights."
            )
    return found


def _scores(
    name: Name, network: Network, known: Channels, samples: Samples | None, seed: int
) -> Scores:
    if name in WEIGHTS_ONLY:
        return _compared(_of_weights(name, network, known, seed))
    if samples is None:
        allowed = f"given for the score {name}; without: {', '.join(WEIGHTS_ONLY)}"
        raise InputError("samples", got=None, allowed=allowed)
    if name in {"taylor", "taylor_second"}:
        return gate_scores(network, known, samples, labelled=name == "taylor", seed=seed)
    few = _few(samples)
    if name == "reconstruction":
        return _compared(_of_readers(network, known, few))
    return _compared(_of_values(name, network, known, few))


def _few(samples: Samples) -> Samples:
    if len(samples) <= _MOST_SAMPLES:
        return samples
    rows = np.linspace(0, len(samples) - 1, _MOST_SAMPLES).astype(np.intp)
    return Samples({name: select(array, rows) for name, array in samples.inputs.items()})


def _compared(found: Mapping[str, NDArray[np.float64]]) -> Scores:
    """Divided by the mean of each group."""
    means = {name: float(each.mean()) for name, each in found.items()}
    return {
        name: each / means[name] if means[name] > 0 else each for name, each in found.items()
    }


def _spread(
    values: NDArray[np.floating[Any]], channel: NDArray[np.intp], size: int
) -> NDArray[np.float64]:
    """Sums over the positions of each channel."""
    own = channel >= 0
    found = np.zeros(size)
    np.add.at(found, channel[own], values[own])
    return found


def _of_weights(name: str, network: Network, known: Channels, seed: int) -> Scores:
    found = {}
    norms = {la.weight for la in layers(network) if la.op in _NORMS}
    for number, group in enumerate(known.groups):
        if name == "random":
            found[group.name] = scores.random_scores(group.size, seed + number)
            continue
        makers = [m for m in group.members if m.makes]
        if name == "batch_norm":
            makers = [m for m in group.members if m.path in norms] or makers
        of = scores.l1 if name == "batch_norm" else _SLICES[name]
        total = np.zeros(group.size)
        for member in makers or group.members:
            weight = network.tensor(member.path).detach().cpu().numpy()
            total += _spread(of(weight, member.axis), member.channels, group.size)
        found[group.name] = total
    return found


def _of_values(name: str, network: Network, known: Channels, samples: Samples) -> Scores:
    """By what readers of the channels get."""
    places = _places(network, known)
    wanted = dict(places.values())
    ranked = _RANKED if name == "rank" else 0
    gathered = gather(network, samples, wanted, ranked=ranked)
    axes = {node.name: found for node, found in known.trail.axes.items()}
    found = {}
    for group in known.groups:
        if group.name not in places:
            found[group.name] = np.ones(group.size)
            continue
        node, axis = places[group.name]
        owner = owners(axes[node][axis], group.dim)
        found[group.name] = _spread(_seen(name, gathered[node]), owner, group.size)
    return found


def _seen(name: str, statistics: ChannelStatistics) -> NDArray[np.float64]:
    if name == "apoz":
        return scores.apoz(statistics.zeros, statistics.count)
    if name == "rank" and statistics.ranks is not None:
        return statistics.ranks
    return scores.activation_mean(statistics.sum_abs, statistics.count)


def _places(network: Network, known: Channels) -> dict[str, tuple[str, int]]:
    """A value in which the channels of each group are read, and its axis; one of each."""
    nodes = {node.name: node for node in network.graph.nodes}
    found: dict[str, tuple[str, int]] = {}
    counted: dict[str, int] = {}
    for layer in weighted_layers(network):
        read = _read(layer, nodes[layer.node])
        axes = known.trail.axes.get(read, ())
        dims = list(enumerate(axes)) if isinstance(axes, tuple) else []
        for axis, dim in reversed(dims):  # most layers add up the last of those with channels
            leaves = set(dim.leaves())
            for group in known.groups:
                own = group.dim.root in leaves and group.name not in found
                if own and counted.setdefault(str(read), axis) == axis:
                    found[group.name] = str(read), axis
    return found


def _read(layer: Layer, node: fx.Node) -> Any:
    """The node that gives what a layer reads."""
    given = arguments(node)
    names = ("other", "mat2") if layer.op == "matmul_left" else ("input", "mat1", "self")
    return next((given[name] for name in names if name in given), None)


def _of_readers(network: Network, known: Channels, samples: Samples) -> Scores:
    """By the lasso over all layers that read a group."""
    readers = {m.path: m for g in known.groups for m in g.members if m.reads}
    plain = [layer for layer in weighted_layers(network) if layer.weight in readers]
    parts: dict[str, list[Contributions]] = {group.name: [] for group in known.groups}
    for moments in Lockstep(network, plain, samples):
        weight = network.tensor(moments.layer.weight).detach().double().cpu().numpy()
        for group in known.groups:
            member = _reader(group, moments.layer)
            if member is not None:
                parts[group.name].append(_contributed(weight, moments, member, group.size))
    return {
        group.name: lasso_scores(joined(parts[group.name]))
        if parts[group.name]
        else np.ones(group.size)
        for group in known.groups
    }


def _reader(group: Group, layer: Layer) -> Member | None:
    return next((m for m in group.members if m.reads and m.path == layer.weight), None)


def _contributed(
    weight: NDArray[np.float64], moments: Moments, member: Member, size: int
) -> Contributions:
    """What channels give to a layer."""
    layer = moments.layer
    shape = [-1 if axis == member.axis else 1 for axis in range(weight.ndim)]
    columns = np.broadcast_to(member.channels.reshape(shape), weight.shape)
    channel = as_rows(columns, layer)[:, 0]
    rows = as_rows(weight, layer)
    if moments.biased:  # the bias is no channel's
        channel = np.pad(channel, [(0, 0), (0, 1)], constant_values=-1)
        rows = np.pad(rows, [(0, 0), (0, 0), (0, 1)])
    return contributions(rows, moments.seen, channel, size)
