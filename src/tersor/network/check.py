"""Whether a network is what `tersor.network.network` says, with weights that can be used."""

import operator

from torch import fx

from tersor.codes.code import Code
from tersor.errors import ModelError
from tersor.network.arguments import is_aten
from tersor.network.functional import works_in_place
from tersor.network.layers import layers
from tersor.network.network import Network
from tersor.network.quantizer import ActivationQuantizer

_REPAIR = "Repair it, or train the model again."
_OURS = "This is a fault in the step that made the graph."


def check(network: Network) -> None:
    """Check the graph, the ports and every weight.

    NaN is refused everywhere, infinity in what a layer reads; a mask of -inf that is only
    added is fine.

    Raises:
        ModelError: The first thing that is wrong, and where.
    """
    try:
        network.graph.lint()
    except (RuntimeError, ValueError) as error:
        raise ModelError("The graph", f"is damaged: {error}", _OURS) from error
    for node in network.graph.nodes:
        _check_node(network, node)
    _check_ports(network)
    _check_weights(network)


def _check_node(network: Network, node: fx.Node) -> None:
    if node.op == "call_method":
        raise ModelError(node.name, "calls a method", _OURS)
    if node.op == "call_function" and not is_aten(node):
        module = str(getattr(node.target, "__module__", ""))
        if node.target is not operator.getitem and module not in {
            "_operator",
            "math",
            "torch",
        }:
            raise ModelError(node.name, f"calls {node.target}, which is not of ATen", _OURS)
    if works_in_place(node):
        raise ModelError(node.name, f"works in place ({node.target})", _OURS)
    if node.op == "call_module":
        module_ = network.module.get_submodule(str(node.target))
        if not isinstance(module_, Code | ActivationQuantizer):
            raise ModelError(node.name, f"calls a {type(module_).__name__}", _OURS)


def _check_ports(network: Network) -> None:
    given = sum(node.op == "placeholder" for node in network.graph.nodes)
    (output,) = (node for node in network.graph.nodes if node.op == "output")
    results = output.args[0]
    if not isinstance(results, tuple) or not all(isinstance(r, fx.Node) for r in results):
        raise ModelError("The graph", "does not return a flat tuple", _OURS)
    counts = {
        "inputs": (len(network.inputs), given),
        "outputs": (len(network.outputs), len(results)),
    }
    for what, (named, found) in counts.items():
        if named != found:
            raise ModelError("The graph", f"has {found} {what}, but {named} names", _OURS)
    names = [port.name for port in (*network.inputs, *network.outputs)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ModelError("The graph", f"has two ends named {twice[0]!r}", _OURS)


def _check_weights(network: Network) -> None:
    by_layers = _read_by_layers(network)
    for name, tensor in network.module.state_dict().items():
        if not tensor.is_floating_point():
            continue
        nans, infinite = int(tensor.isnan().sum()), int(tensor.isinf().sum())
        in_layer = any(name == path or name.startswith(path + ".") for path in by_layers)
        if nans or (infinite and in_layer):
            found = [f"{nans} NaN"] * bool(nans) + [f"{infinite} infinite"] * bool(infinite)
            text = f"holds {' and '.join(found)} of {tensor.numel()} numbers"
            raise ModelError(name, text, _REPAIR)


def _read_by_layers(network: Network) -> set[str]:
    """Dotted names of the tensors that layers read."""
    found = layers(network)
    nodes = {layer.node for layer in found}
    direct = {layer.weight for layer in found if layer.weight}
    return direct | {
        str(source.target)
        for node in network.graph.nodes
        if node.name in nodes
        for source in node.all_input_nodes
        if source.op == "get_attr" or (source.op == "call_module" and not source.args)
    }
