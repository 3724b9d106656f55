"""Surgery: the only place where shapes change.

Channels of groups (`network.channels`) are cut out of every tensor in which they stand, and
every number in the graph that counts positions is written anew: sizes of reshapes, bounds of
slices, groups of convolutions, widths of normalizations. If the channels were 0 before, all
outputs are what they were, up to rounding, with one exception: means over channels, and so
those of layer and group normalization, are taken over the channels that are left. See
`network.following.norms`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import fx

from tersor.errors import ModelError
from tersor.network.arguments import arguments, set_argument
from tersor.network.channels import Channels, channels
from tersor.network.dims import Dim, Kept, kept
from tersor.network.following.norms import Share
from tersor.network.following.trail import Inferred, Rewrite
from tersor.network.network import Network

aten = torch.ops.aten


def cut(network: Network, keep: Mapping[str, Kept], known: Channels | None = None) -> Network:
    """A network without some channels.

    Args:
        network: Stays as it is.
        keep: Of groups by name: which channels stay, (size,) of truth values; groups that
            are not named stay whole.
        known: What `channels` gave for this network; found anew if None.

    Raises:
        InputError: There is no such group, or none of its channels would stay.
        ModelError: An axis would lose all its positions, or a tensor is missing.
    """
    known = known or channels(network)
    work = _Cutting(network.copy(), known, known.keeping(keep))
    work.tensors()
    work.graph()
    work.network.module.recompile()
    return work.network


def _plain(network: Network, path: str) -> torch.Tensor | None:
    """A tensor that no code holds."""
    return None if network.code(path) is not None else network.tensor(path).detach()


@dataclass
class _Cutting:
    """One cut.

    Attributes:
        network: One's own graph.
        known: Of the network before.
        keep: What stays of leaves.
        nodes: Of that graph, by name.
    """

    network: Network
    known: Channels
    keep: Mapping[Dim, Kept]
    nodes: dict[str, fx.Node] = field(init=False)
    _masks: dict[Dim, Kept] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes = {node.name: node for node in self.network.graph.nodes}

    def tensors(self) -> None:
        """Cut all stored tensors."""
        for path, axes in self.known.trail.stored.items():
            value = _plain(self.network, path)
            if value is None:
                continue
            changed = value
            for axis, dim in enumerate(axes):
                mask = self._mask(dim)
                if not mask.any():
                    problem = "would lose all positions of an axis"
                    raise ModelError(path, problem, "Keep more channels.")
                if not mask.all():
                    places = torch.from_numpy(np.flatnonzero(mask)).to(value.device)
                    changed = changed.index_select(axis, places)
            if changed is not value:
                self.network.set_tensor(path, changed)

    def graph(self) -> None:
        """Write all sizes anew."""
        trail = self.known.trail
        for node, rewrite in trail.rewrites.items():
            if self._is_touched(rewrite.arguments):
                self._rewrite(self.nodes[node.name], rewrite)
        for node, scaled in trail.scaled.items():
            factor = self._share(scaled.dims) ** scaled.power
            if factor != 1:
                self._scale(self.nodes[node.name], factor)

    def _is_touched(self, given: Any) -> bool:
        """Whether a size changes."""
        if isinstance(given, Mapping):
            return any(self._is_touched(each) for each in given.values())
        if isinstance(given, list):
            return any(self._is_touched(each) for each in given)
        if isinstance(given, Share):
            return self._share(given.dims) != 1
        if isinstance(given, Inferred):
            return self._is_touched(given.dim)
        return isinstance(given, float) or (
            isinstance(given, Dim) and self._size(given) != given.size
        )

    def _rewrite(self, node: fx.Node, rewrite: Rewrite) -> None:
        found = {name: self._value(each) for name, each in rewrite.arguments.items()}
        if rewrite.target is None:
            for name, value in found.items():
                set_argument(node, name, value)
            return
        node.target = rewrite.target
        node.args = tuple(found.values())
        node.kwargs = {}

    def _value(self, given: Any) -> Any:
        if isinstance(given, list):
            return [self._value(each) for each in given]
        if isinstance(given, Dim):
            return self._size(given)
        if isinstance(given, Inferred):
            return -1
        if isinstance(given, Share):
            return given.value / self._share(given.dims)
        if isinstance(given, fx.Node):
            return self.nodes[given.name]
        return given

    def _mask(self, dim: Dim) -> Kept:
        if dim.root not in self._masks:
            self._masks[dim.root] = kept(dim, self.keep)
        return self._masks[dim.root]

    def _size(self, dim: Dim) -> int:
        return int(self._mask(dim).sum())

    def _share(self, dims: tuple[Dim, ...]) -> float:
        """Positions after over positions before."""
        share = 1.0
        for dim in dims:
            share *= self._size(dim) / max(1, dim.size)
        return share

    def _scale(self, node: fx.Node, factor: float) -> None:
        """Multiply what a node gives, before its bias is added."""
        weight = arguments(node).get("weight")
        target = weight if isinstance(weight, fx.Node) else node
        if target.op == "get_attr" and self._readers(str(target.target)) == [node]:
            path = str(target.target)
            self.network.set_tensor(path, self.network.tensor(path).detach() * factor)
            return
        graph = self.network.graph
        with graph.inserting_after(target):
            times = graph.call_function(aten.mul.Tensor, (target, factor))
        times.meta = dict(target.meta)
        for user in [node] if target is weight else list(target.users):
            if user is not times:
                user.replace_input_with(target, times)

    def _readers(self, path: str) -> list[fx.Node]:
        nodes = (
            n for n in self.network.graph.nodes if n.op == "get_attr" and n.target == path
        )
        return [user for node in nodes for user in node.users]
