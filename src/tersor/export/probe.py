"""What is known of every value of a network before it is written: type, and sizes.

The graph is run twice on tensors without content (torch's "meta" device), with two
different sizes for each named dimension. A size that is the same in both runs is fixed; one
that differs varies.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from tersor.codes.code import Code
from tersor.errors import UnsupportedError
from tersor.network.network import Network
from tersor.network.operations import guess
from tersor.network.quantizer import ActivationQuantizer
from tersor.network.quick import quick

# Two primes for each named dimension, all differences different. They are scaled so that
# networks which halve their input keep sizes apart, or (small) fit into short tables.
_PRIMES = ((11, 17), (13, 23), (19, 37), (29, 41), (31, 59), (43, 71), (47, 79), (53, 89))
_SCALES = (32, 8, 1)

Found = Mapping[fx.Node, object]


@dataclass(frozen=True, slots=True)
class Probe:
    """Two runs: `first[node]` and `second[node]` are tensors, numbers, or lists of them."""

    first: Found
    second: Found


def probe(network: Network) -> Probe:
    """Run `network` twice without computing anything.

    Raises:
        UnsupportedError: An operation has no rule for its sizes, or refuses them; it is named.
    """
    weights = _weights(network)
    error: UnsupportedError | None = None
    for scale in _SCALES:
        try:
            return Probe(
                *(_run(network, weights, _sizes(network, i, scale), i) for i in (0, 1))
            )
        except UnsupportedError as refused:
            error = error or refused
    assert error is not None  # noqa: S101 - the loop ran
    raise error


def op_name(node: fx.Node) -> str:
    """The name of what a node calls, as in "aten.relu.default" or "operator.mul"."""
    if isinstance(node.target, torch._ops.OpOverload):
        return str(node.target)
    if isinstance(node.target, str):
        return node.target
    module = str(getattr(node.target, "__module__", "")).lstrip("_")
    return f"{module}.{getattr(node.target, '__name__', node.target)}"


def _sizes(network: Network, which: int, scale: int) -> dict[str, int]:
    names = [d for p in network.inputs for d in p.shape if isinstance(d, str)]
    return {
        name: _PRIMES[i % len(_PRIMES)][which] * scale * (1 + i // len(_PRIMES))
        for i, name in enumerate(dict.fromkeys(names))
    }


def _empty(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _weights(network: Network) -> dict[str, torch.Tensor]:
    """An empty twin of each weight, by its dotted name."""
    result: dict[str, torch.Tensor] = {}
    for node in network.graph.nodes:
        name = str(node.target)
        if node.op in {"get_attr", "call_module"} and name not in result:
            owner = network.module if node.op == "get_attr" else None
            module = None if owner else network.module.get_submodule(name)
            if owner is not None or isinstance(module, Code):
                tensor = network.tensor(name)
                result[name] = _empty(tuple(tensor.shape), tensor.dtype)
    return result


def _run(
    network: Network, weights: dict[str, torch.Tensor], sizes: dict[str, int], number: int
) -> dict[fx.Node, object]:
    values: dict[fx.Node, Any] = {}
    ports = iter(network.inputs)
    for node in network.graph.nodes:
        if node.op == "placeholder":
            port = next(ports)
            shape = tuple(sizes[d] if isinstance(d, str) else d for d in port.shape)
            values[node] = _empty(shape, getattr(torch, port.dtype))
        elif node.op == "get_attr":
            values[node] = weights[str(node.target)]
        elif node.op == "call_module":
            values[node] = _module(network, node, values, weights)
        elif node.op == "call_function":
            values[node] = _call(node, values, number)
    return values


def _module(
    network: Network,
    node: fx.Node,
    values: dict[fx.Node, Any],
    weights: dict[str, torch.Tensor],
) -> Any:
    name = str(node.target)
    if name in weights:
        return weights[name]
    module = network.module.get_submodule(name)
    if isinstance(module, ActivationQuantizer):
        return values[node.all_input_nodes[0]]
    raise UnsupportedError(
        node=node.name, op=type(module).__name__, opset="module", problem="is not known"
    )


_RESHAPES = {torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default}


# Results of these have the type and sizes of the first operand, if that is floating point.
_KEEPERS = {
    "aten.batch_norm.default",
    "aten.clone.default",
    "aten.dropout.default",
    "aten.gelu.default",
    "aten.hardsigmoid.default",
    "aten.hardswish.default",
    "aten.hardtanh.default",
    "aten.layer_norm.default",
    "aten.leaky_relu.default",
    "aten.relu.default",
    "aten.relu6.default",
    "aten.sigmoid.default",
    "aten.silu.default",
    "aten.softplus.default",
    "aten.tanh.default",
}
_SUMS = {"aten.add.Tensor", "aten.sub.Tensor", "aten.mul.Tensor"}


def _known(node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    """The result, where it is known without running anything; else None."""
    name = op_name(node)
    if name not in _KEEPERS and name not in _SUMS:
        return None
    sides = [values.get(a) if isinstance(a, fx.Node) else a for a in node.args[:2]]
    x = sides[0]
    if not isinstance(x, torch.Tensor) or not x.is_floating_point():
        return None
    if name in _KEEPERS:
        return x
    y = sides[1]
    alike = isinstance(y, torch.Tensor) and (y.shape, y.dtype) == (x.shape, x.dtype)
    return x if alike else None


def _call(node: fx.Node, values: dict[fx.Node, Any], number: int) -> Any:
    known = _known(node, values)
    if known is not None:
        return known
    args: Any = fx.map_arg(node.args, lambda n: values[n])
    made_up = guess(node.target, args, number)
    if made_up is not None:
        return made_up
    kwargs: dict[str, Any] = dict(fx.map_arg(node.kwargs, lambda n: values[n]))
    target: Any = node.target
    plain = quick(target, args, kwargs)
    if plain is not None:
        return plain
    if target in _RESHAPES:  # strides of empty tensors may differ from the true ones
        target = torch.ops.aten.reshape.default
    if "_assert" in str(target) or "sym_constrain" in str(target):
        return None
    if isinstance(target, torch._ops.OpOverload):
        schema = target._schema.arguments
        names = {a.name for a in schema}
        if "device" in names:
            kwargs["device"] = torch.device("meta")
        positions = [a.name for a in schema if not a.kwarg_only]
        if "device" in positions[: len(args)]:
            at = positions.index("device")
            args = (*args[:at], kwargs.pop("device"), *args[at + 1 :])
    assert callable(target)  # noqa: S101 - a call_function node
    try:
        with torch.no_grad():
            return target(*args, **kwargs)
    except (RuntimeError, NotImplementedError, ValueError, IndexError, TypeError) as error:
        reason = str(error).split("\n", 1)[0].rstrip(".")
        raise UnsupportedError(
            node=node.name, op=op_name(node), opset="ATen", problem=f"refuses: {reason}"
        ) from error
