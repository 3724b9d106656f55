"""The error's path through a network: how far each value is from the original's, by depth.

Two interpreters run in lockstep, the original's one always just far enough for the value
that the other one has come to; both drop every value after its last reader.

    sqnr_db = 10 log10(sum of original^2 / sum of (compressed - original)^2)

Values are compared where a layer computes one and where one is rounded. The partner of a
value is the node of the same weight, or of the same name and operation, in the original; a
normalization that was folded into a layer belongs to it. What has no partner, or one of
another shape, or one that is zero throughout or not finite, is left out. The noise that a
point adds is its noise-to-signal ratio beyond that of the noisiest traced values that it is
computed from.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from tersor.data.samples import Samples
from tersor.errors import InputError
from tersor.network.arguments import op_name
from tersor.network.layers import layers
from tersor.network.network import Network
from tersor.network.quantizer import rounded_value
from tersor.network.running import each_value

MOST_SAMPLES = 32
_BATCH = 8  # samples at once, where the network does not say
_NORMS = {"batch_norm", "_native_batch_norm_legit_no_training"}


@dataclass(frozen=True, slots=True)
class TracePoint:
    """One value of the compressed network, compared with the original's.

    Attributes:
        name: Of the layer, or of the node whose value is rounded.
        kind: "layer" for what a layer computes, "rounded" for a rounded value.
        op: The operation, as in "conv2d".
        sqnr_db: Signal-to-noise ratio; inf if nothing differs.
        added: Error power over signal power that is not there yet in what it is made from;
            0 where the ratio gets better.
        sources: Names of the traced values that it is made from.
    """

    name: str
    kind: str
    op: str
    sqnr_db: float
    added: float
    sources: tuple[str, ...]


@dataclass
class _Pair:
    """A point to be, and the sums of its squares so far."""

    name: str
    kind: str
    op: str
    partner: str
    above: list[str]
    signal: float = 0.0
    noise: float = 0.0

    @property
    def is_comparable(self) -> bool:
        """Whether the original's value is finite and not all zero, and ours is finite."""
        return 0 < self.signal < math.inf and self.noise < math.inf

    @property
    def ratio(self) -> float:
        """Error power over signal power."""
        return self.noise / self.signal


def trace(original: Network, compressed: Network, samples: Samples) -> list[TracePoint]:
    """How the error grows from the inputs to the outputs, in the order of the graph.

    Args:
        original: A network in evaluation mode.
        compressed: What methods made of it, for the same inputs.
        samples: Inputs of both; the first 32 are looked at, or one batch of a network that
            takes only whole batches.

    Raises:
        InputError: The inputs of both networks differ.
    """
    names = [port.name for port in original.inputs]
    if names != [port.name for port in compressed.inputs]:
        found = [port.name for port in compressed.inputs]
        raise InputError("inputs of the compressed network", got=found, allowed=str(names))
    pairs = _pairs(original, compressed)
    size = original.fixed_batch or _BATCH
    few = samples.take(0, traced(original, samples))
    with torch.no_grad():
        for batch in few.batches(size):
            _compare(original, compressed, original.tensors(batch.inputs), pairs)
    compared = {node: pair for node, pair in pairs.items() if pair.is_comparable}
    return [_point(pair, compared) for pair in compared.values()]


def traced(network: Network, samples: Samples) -> int:
    """How many of `samples` are looked at."""
    size = network.fixed_batch or _BATCH
    return min(len(samples), max(size, MOST_SAMPLES // size * size))


def _point(pair: _Pair, compared: dict[str, _Pair]) -> TracePoint:
    above = [compared[name] for name in pair.above if name in compared]
    before = max((source.ratio for source in above), default=0.0)
    ratio = pair.ratio
    sqnr_db = math.inf if ratio == 0 else -10 * math.log10(ratio)
    sources = tuple(dict.fromkeys(source.name for source in above))
    return TracePoint(
        pair.name, pair.kind, pair.op, sqnr_db, max(ratio - before, 0.0), sources
    )


def _pairs(original: Network, compressed: Network) -> dict[str, _Pair]:
    """The points by the node of the compressed network, in its order."""
    partners = _partners(original, compressed)
    computed = {layer.node: layer for layer in layers(compressed)}
    found: dict[str, _Pair] = {}
    above: dict[fx.Node, list[str]] = {}
    for node in compressed.graph.nodes:
        sources = [n for source in node.all_input_nodes for n in above[source]]
        above[node] = list(dict.fromkeys(sources))
        source = rounded_value(compressed, node)
        at = node if source is None else source
        if at.name not in partners or (source is None and node.name not in computed):
            continue
        kind, op = ("layer", "") if source is None else ("rounded", op_name(at))
        name = at.name
        if source is None:
            name, op = computed[node.name].name, computed[node.name].op
        found[node.name] = _Pair(name, kind, op, partners[at.name], above[node])
        above[node] = [node.name]
    return found


def _partners(original: Network, compressed: Network) -> dict[str, str]:
    """The original's node for each node of the compressed network that has one, by name."""
    before = {node.name: node for node in original.graph.nodes}
    weights = {layer.weight: layer.node for layer in layers(original) if layer.weight}
    moved = {
        layer.node: weights[layer.weight]
        for layer in layers(compressed)
        if layer.weight in weights and layer.node not in before
    }
    alive = {node.name for node in compressed.graph.nodes}
    found = {}
    for node in compressed.graph.nodes:
        partner = before.get(moved.get(node.name, node.name))
        is_moved = node.name in moved
        if partner is not None and (is_moved or _is_alike(node, partner)):
            found[node.name] = _with_normalization(partner, alive).name
    return found


def _is_alike(node: fx.Node, partner: fx.Node) -> bool:
    return node.op == partner.op and node.target == partner.target


def _with_normalization(node: fx.Node, alive: set[str]) -> fx.Node:
    """The last of the normalizations that follow a node and are gone in the other network."""
    users = list(node.users)
    while len(users) == 1 and op_name(users[0]) in _NORMS and users[0].name not in alive:
        node = users[0]
        users = list(node.users)
        first = [u for u in users if op_name(node) != "batch_norm" and u.args[1] == 0]
        if first:
            node, users = first[0], list(first[0].users)
    return node


def _compare(
    original: Network, compressed: Network, arrays: list[Any], pairs: dict[str, _Pair]
) -> None:
    """Run both networks side by side on one batch, and add up what differs."""
    readers: dict[str, int] = {}
    for pair in pairs.values():
        readers[pair.partner] = readers.get(pair.partner, 0) + 1
    exact = each_value(original, arrays)
    waiting: dict[str, Any] = {}
    for name, value in each_value(compressed, arrays):
        if name not in pairs:
            continue
        pair = pairs[name]
        while pair.partner not in waiting:
            found, result = next(exact)
            if found in readers:
                waiting[found] = result
        _add(pair, waiting[pair.partner], value)
        readers[pair.partner] -= 1
        if not readers[pair.partner]:
            del waiting[pair.partner]


def _add(pair: _Pair, exact: Any, found: Any) -> None:
    tensors = isinstance(exact, torch.Tensor) and isinstance(found, torch.Tensor)
    if not tensors or exact.shape != found.shape or not exact.is_floating_point():
        return
    wide = exact.double()
    pair.signal += float(wide.square().sum())
    pair.noise += float((found.to(wide) - wide).square().sum())
