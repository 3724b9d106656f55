"""Layer-wise imitation: every block learns to give what the original's block gives.

A block is what lies between one activation function, sum or concatenation on the trunk of the
network and the one before it (`network.stages`): a layer, or all of a residual block. Its loss
is the share of the variance of the teacher's value that its own value misses, through a learnt
projection where the network is thinner (or wider): see `train.projection`. This loss trains
the block's own weights and nothing before them: a block takes what the blocks before it give
and makes the best of it, with their errors. So no layer waits for news from far behind it, and
few samples are enough: the way of a thin network that is to take over what a wide one has
learnt. What the training's own loss asks reaches all layers as ever, those behind the last
block as their only loss.

The losses of all blocks are summed: each is alone with its weights. The reported loss has
weight times their mean. A second pass backwards is needed, but none forwards.

The teacher is what the network was before its first change. It needs no labels.

Sources: Zhou et al., "Go wide, then narrow: efficient training of deep thin networks",
arXiv:2007.00811 (imitation layer by layer, then fine-tuning: two steps of a recipe); He,
Zhang, Sun, "Channel pruning for accelerating very deep neural networks", arXiv:1707.06168,
section 3.2 (each layer with the inputs that the compressed network gives it).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import fx, nn

from tersor.errors import InputError
from tersor.network.network import Network, Note
from tersor.network.stages import blocks
from tersor.train.during import Forward, Needs, Part, Run
from tersor.train.loop import trainable
from tersor.train.pairs import Pairs, paired
from tersor.train.projection import Transfer

_NAME = "distil.layers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Imitate the teacher layer by layer.

    Attributes:
        weight: Of what the loss gets.
    """

    weight: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise InputError("weight", got=self.weight, allowed="0 or more")

    def start(self, run: Run) -> Part:
        """See `During.start`."""
        if not self.weight:
            return Part()
        pairs = paired(run, [(name, name) for name in blocks(run.teacher)])
        weights = blocks_of(run.network, [pair.own for pair in pairs.found])
        pairs = pairs.only(
            lambda pair: bool(weights[pair.own]), "nothing before it is trained"
        )
        return _Imitating(self.weight, run, pairs)


class _Imitating(Part):
    def __init__(self, weight: float, run: Run, pairs: Pairs) -> None:
        self._weight, self._run, self._pairs = weight, run, pairs
        self._transfer = Transfer(pairs.found, run.network.device)
        self._trained: list[list[nn.Parameter]] = []  # of each block, and its projection

    def needs(self) -> Needs:
        return self._transfer.needs()

    def parameters(self) -> Sequence[nn.Parameter]:
        return list(self._transfer.parameters())

    def loss(self, forward: Forward) -> torch.Tensor:
        if not self._trained:  # all parts have started by now
            self._trained = self._of_blocks()
        losses = self._transfer.missed(forward)
        guides = [guide(*each) for each in zip(losses, self._trained, strict=True)]
        mean, total = torch.stack(losses).mean().detach(), torch.stack(guides).sum()
        return self._weight * (mean + total - total.detach())

    def _of_blocks(self) -> list[list[nn.Parameter]]:
        network, names = self._run.network, [pair.own for pair in self._pairs.found]
        known, blocks = trainable(network), blocks_of(network, names)
        return [
            [*(known[each] for each in blocks[name]), *projection.parameters()]
            for name, projection in zip(names, self._transfer.maps, strict=True)
        ]

    def notes(self) -> Sequence[Note]:
        return self._pairs.notes(_NAME, "blocks that learnt from the teacher's")

    def state(self) -> dict[str, torch.Tensor]:
        return dict(self._transfer.state_dict())

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        self._transfer.load_state_dict(dict(state))


def guide(loss: torch.Tensor, parameters: Sequence[nn.Parameter]) -> torch.Tensor:
    """A scalar whose gradient is that of a loss, for these parameters and no others."""
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    pairs = zip(parameters, found, strict=True)
    products = [(p * g).sum() for p, g in pairs if g is not None]
    return torch.stack([loss.new_zeros(()), *products]).sum()


def blocks_of(network: Network, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Names of the trained parameters from which a node is computed, by the node.

    Args:
        network: One's own.
        names: Nodes; the way back from each ends at the others.
    """
    nodes = {node.name: node for node in network.graph.nodes}
    wanted, known = set(names), trainable(network)
    found = {}
    for name in names:
        weights = _weights(nodes[name], wanted)
        found[name] = tuple(
            each
            for each in known
            if any(each == path or each.startswith(f"{path}.") for path in weights)
        )
    return found


def _weights(node: fx.Node, stops: set[str]) -> set[str]:
    """Dotted names of the tensors and codes between a node and the stops before it."""
    found: set[str] = set()
    seen, waiting = {node}, [*node.all_input_nodes]
    while waiting:
        source = waiting.pop()
        if source in seen or source.name in stops:
            continue
        seen.add(source)
        if source.op in {"get_attr", "call_module"}:
            found.add(str(source.target))
        waiting += source.all_input_nodes
    return found


DURING = Layers
EXAMPLE = Layers()
IDENTITY = Layers(weight=0.0)
