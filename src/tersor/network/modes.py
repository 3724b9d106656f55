"""Training and evaluation behaviour, which in a graph is an argument of a few operations.

Batch and instance normalization that hold running statistics use and update them, or use the
batch's own; dropout drops, or does not. A normalization without running statistics
uses the batch's own in both modes.
"""

from typing import Any

from torch import fx

from tersor.network.arguments import arguments, op_name, set_argument
from tersor.network.network import Network

_SWITCHES = {
    "alpha_dropout": "train",
    "batch_norm": "training",
    "dropout": "train",
    "feature_alpha_dropout": "train",
    "feature_dropout": "train",
    "instance_norm": "use_input_stats",
    "native_dropout": "train",
    "rrelu": "training",
}
_KEPT = "evaluation"  # in a node's meta: what its switch was before training


def set_training(network: Network, *, training: bool) -> Network:
    """A network that behaves as in training, or again as before.

    Tensors are shared: running statistics that training updates change in `network` too,
    unless the caller made a deep copy first.
    """
    result = network.copy()
    for node in result.graph.nodes:
        switch = _SWITCHES.get(op_name(node))
        if switch is not None:
            set_argument(node, switch, _position(node, switch, training=training))
    result.module.recompile()
    result.module.train(training)
    return result


def _position(node: fx.Node, switch: str, *, training: bool) -> Any:
    found = arguments(node)
    if training:
        node.meta.setdefault(_KEPT, found[switch])
        return True
    without_statistics = found.get("running_mean", node) is None
    return node.meta.pop(_KEPT, without_statistics)
