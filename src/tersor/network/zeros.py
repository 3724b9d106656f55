"""Channels that can be cut out without any change to the outputs.

A channel of a group is dead if

1. no mean is taken over the group's channels, which would be another one without it;
2. wherever channels are added up its value is 0 whatever the inputs are; or, if they are
   multiplied by a stored weight there, the channel is 0 in all stored tensors in which it
   stands.

Which elements of a value are 0 whatever the inputs are is told by running every operation on
numbers that have nothing to do with each other, large and small, of both signs, with 0 where
it is known to be: what is 0 every time is 0. So relu of a very negative bias counts as alive,
since nobody knows the inputs, and sigmoid of 0, too.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from tersor.network.arguments import arguments, op_name
from tersor.network.channels import Channels, Group
from tersor.network.dims import Dim, Kept, owners
from tersor.network.following import norms, products
from tersor.network.following.trail import Rule, axes_of, first_tensor, reason
from tersor.network.network import Network

_APART = (norms.normalized, norms.normalized_groups, norms.scaled_channels)
_PLACES = (products.pooled, products.unfolded)
_OF_TWO = (products.convolved, products.linear, products.multiplied, products.added)
_RECURRENT = (products.recurrent, products.reset_before)
_SUMS: dict[str, Rule] = {
    **{name: rule for name, rule in norms.RULES.items() if rule not in _APART},
    **{name: rule for name, rule in products.RULES.items() if rule not in _PLACES},
}
_WEIGHTED = {name for name, rule in products.RULES.items() if rule is not products.attended}
_MEANS = {"layer_norm", "native_layer_norm", "group_norm", "instance_norm"}
_TRIALS = [(1.0, 1), (1.0, -1), (1e3, 1), (1e3, -1), (1e-3, 0), (30.0, 0)]  # size and sign


def averaged(known: Channels) -> dict[str, str]:
    """Groups over whose channels a mean is taken: without some zeros it is another one.

    Args:
        known: A network's channels.

    Returns:
        The reason, with the node that takes the mean, by name of the group.
    """
    found: dict[Dim, str] = {}
    for node in known.trail.axes:
        for dim in _averaged_by(known, node):
            for leaf in dim.leaves():
                found.setdefault(leaf, reason(node, "takes a mean over them"))
    return {g.name: why for g in known.groups if (why := found.get(g.dim.root)) is not None}


def _averaged_by(known: Channels, node: fx.Node) -> list[Dim]:
    name, scaled = op_name(node), known.trail.scaled.get(node)
    if name in _MEANS and scaled is not None:
        return list(scaled.dims)
    if name != "mean" or scaled is not None:  # a mean of squares is scaled by who cuts
        return []
    own = known.trail.of(first_tensor(node))
    return [own[i] for i in axes_of(len(own), arguments(node).get("dim"))]


def statistics(network: Network, name: str) -> set[str]:
    """Stored running statistics of normalizations.

    Args:
        network: Any network.
        name: "running_mean" or "running_var".
    """
    norms_ = (n for n in network.graph.nodes if op_name(n) in {"batch_norm", "instance_norm"})
    held = (arguments(node).get(name) for node in norms_)
    return {str(n.target) for n in held if isinstance(n, fx.Node) and n.op == "get_attr"}


def dead(network: Network, known: Channels) -> dict[str, Kept]:
    """Channels that can be cut out without any change, if at least one of a group is left.

    Args:
        network: In evaluation mode.
        known: Its channels.

    Returns:
        (size,), by name of the group; groups without a dead channel are left out.
    """
    means = averaged(known)
    plain, weighted = _read(network, known)
    variances = statistics(network, "running_var")
    found = {}
    for group in known.groups:
        root = group.dim.root
        if group.name in means:
            continue
        alive = plain.get(root, False) | (
            weighted.get(root, False) & ~_all_zero(network, group, variances)
        )
        if not alive.all():
            found[group.name] = ~alive
    return found


def _all_zero(network: Network, group: Group, but: set[str]) -> NDArray[np.bool_]:
    """Channels that are 0 wherever they stand, (size,)."""
    there = np.zeros(group.size, bool)
    for member in group.members:
        if member.path not in but:
            value = network.tensor(member.path).detach() != 0
            there |= _of_leaf(value, member.axis, member.channels, group.size)
    return ~there


def _of_leaf(
    there: torch.Tensor, axis: int, channels: NDArray[np.intp], size: int
) -> NDArray[np.bool_]:
    """Whether anything is there of each channel, (size,)."""
    axes = [i for i in range(there.ndim) if i != axis]
    rows = there.sum(axes) if axes else there.long()
    own = channels >= 0
    found = np.bincount(channels[own], rows.cpu().numpy()[own], minlength=size)
    return found > 0


Seen = dict[Dim, NDArray[np.bool_]]


def _read(network: Network, known: Channels) -> tuple[Seen, Seen]:
    """Channels that may not be 0 where they are added up: without a weight, and with one."""
    plain: Seen = {g.dim.root: np.zeros(g.size, bool) for g in known.groups}
    weighted: Seen = {g.dim.root: np.zeros(g.size, bool) for g in known.groups}
    whole = any(port.dtype[:5] != "float" for port in network.inputs)
    for flipped in (False, True)[: 1 + whole]:
        run = _Zeros(network, known, plain, weighted)
        inputs = [n for n in network.graph.nodes if n.op == "placeholder"]
        with torch.no_grad():
            run.run(*(run.input(known.trail.values[n.name], flipped=flipped) for n in inputs))
    return plain, weighted


class _Zeros(fx.Interpreter):
    """Runs a graph on numbers that have nothing to do with each other."""

    def __init__(self, network: Network, known: Channels, plain: Seen, weighted: Seen) -> None:
        super().__init__(network.module)
        self.extra_traceback = False
        self._axes = {node.name: axes for node, axes in known.trail.axes.items()}
        self._plain, self._weighted = plain, weighted
        self._constant: set[fx.Node] = set()
        self._random = torch.Generator().manual_seed(0)
        self._device = network.device

    def input(self, like: torch.Tensor, *, flipped: bool) -> torch.Tensor:
        """Floats, or ones and zeros in equal parts."""
        if like.is_floating_point():
            return self._filled(torch.ones(like.shape, device=self._device), 1.0, 0)
        places = torch.arange(like.numel(), device=self._device).reshape(like.shape)
        return ((places + flipped) % 2).to(like.dtype)

    def run_node(self, n: fx.Node) -> Any:
        """The value, with other numbers wherever it may not be 0."""
        if n.op in {"placeholder", "output"}:
            return super().run_node(n)
        name = op_name(n) or str(n.target).removesuffix(".default")
        is_constant = all(read in self._constant for read in n.all_input_nodes)
        if name in _SUMS:
            for read in n.all_input_nodes:
                if is_constant or read not in self._constant:
                    self._look(n, self.env[read], self._axes[read.name], name)
        if is_constant:
            self._constant.add(n)
            result = super().run_node(n)
        else:
            result = self._embedded(n) if name == "embedding" else self._tried(n)
        if name in _SUMS and _SUMS[name] in _RECURRENT:
            self._look(n, result, self._axes[n.name], name)
        return result

    def _embedded(self, n: fx.Node) -> torch.Tensor:
        weight = self.env[arguments(n)["weight"]]
        shape = (*self.env[arguments(n)["indices"]].shape, weight.shape[-1])
        return self._filled((weight != 0).any(0).expand(shape), 1.0, 0)

    def _tried(self, n: fx.Node) -> Any:
        """What an operation gives, with 0 where it is 0 in all trials."""
        is_module = n.op == "call_module"
        call: Any = self.fetch_attr(str(n.target)) if is_module else n.target
        found: list[Any] = []
        for scale, sign in _TRIALS:
            given = {read: self._given(read, scale, sign) for read in n.all_input_nodes}
            args, kwargs = fx.map_arg((n.args, n.kwargs), given.__getitem__)
            found.append(call(*args, **kwargs))
        if isinstance(found[0], list | tuple):
            return [self._generic(list(each)) for each in zip(*found, strict=True)]
        return self._generic(found)

    def _given(self, node: fx.Node, scale: float, sign: int) -> Any:
        value = self.env[node]
        if node in self._constant:
            return value
        if isinstance(value, list | tuple):
            return [self._renewed(each, scale, sign) for each in value]
        return self._renewed(value, scale, sign)

    def _renewed(self, value: Any, scale: float, sign: int) -> Any:
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            return self._filled(value != 0, scale, sign)
        return value

    def _generic(self, found: list[Any]) -> Any:
        if not isinstance(found[0], torch.Tensor) or not found[0].is_floating_point():
            return found[0]
        there = torch.stack([each != 0 for each in found]).any(0)
        return self._filled(there, 1.0, 0)

    def _filled(self, there: torch.Tensor, scale: float, sign: int) -> torch.Tensor:
        """Numbers of about one size, of one sign or of both (0), and zeros."""
        numbers = scale * (0.5 + torch.rand(there.shape, generator=self._random))
        if sign == 0:
            numbers *= torch.randint(0, 2, there.shape, generator=self._random) * 2 - 1
        return numbers.to(self._device) * (sign or 1) * there

    def _look(self, n: fx.Node, value: Any, axes: Any, name: str) -> None:
        """Note which channels may not be 0."""
        if isinstance(axes, list):
            for each, own in zip(value, axes, strict=True):
                self._look(n, each, own, name)
            return
        stored = {
            leaf
            for read in n.all_input_nodes
            if read in self._constant and name in _WEIGHTED
            for leaf in self._leaves(read)
        }
        for axis, dim in enumerate(axes):
            for leaf in {leaf for leaf in dim.leaves() if leaf in self._plain}:
                if not self._goes_along(n, leaf, _SUMS[name]):
                    seen = self._weighted if leaf in stored else self._plain
                    seen[leaf] |= _of_leaf(value != 0, axis, owners(dim, leaf), leaf.size)

    def _goes_along(self, n: fx.Node, leaf: Dim, rule: Rule) -> bool:
        """Whether a product takes the channels one by one, and adds up others."""
        if rule is products.attended:
            return leaf not in self._axes[arguments(n)["query"].name][-1].leaves()
        if rule is products.summed:
            return self._is_kept(n, leaf)
        if rule not in _OF_TWO:
            return False
        # what two tensors are added up over stands in both of them, and not in the result
        return all(self._leaves(each).count(leaf) == 1 for each in (n, *n.all_input_nodes))

    def _is_kept(self, n: fx.Node, leaf: Dim) -> bool:
        """Whether one letter of an equation stands for a leaf, and is in its result."""
        given = arguments(n)
        terms, _, result = given["equation"].replace(" ", "").partition("->")
        if "." in terms:
            return False
        letters = {
            letter
            for term, tensor in zip(terms.split(","), given["tensors"], strict=True)
            for letter, dim in zip(term, self._axes[tensor.name], strict=True)
            if leaf in dim.leaves()
        }
        return len(letters) == 1 and letters <= set(result)

    def _leaves(self, node: fx.Node) -> list[Dim]:
        axes = self._axes[node.name]
        dims = axes if isinstance(axes, tuple) else [dim for each in axes for dim in each]
        return [leaf for dim in dims for leaf in dim.leaves()]
