"""From a Network to the bytes of an ONNX file, operation by operation.

The file has opset 17 and IR version 8. It holds what the network computes and nothing of the
machine or the program that made it; the same network gives the same bytes. Inputs,
outputs and weights keep their names, varying dimensions too.

A network with an operation that no operator file covers goes through torch.onnx instead.
"""

from typing import Any

import torch
from torch import fx

from tersor.codes.code import Code
from tersor.errors import ModelError, UnsupportedError
from tersor.export import by_torch
from tersor.export.call import Call, Size, Value
from tersor.export.carriers import move_codes
from tersor.export.operators import OPERATORS
from tersor.export.padding import fold_padding
from tersor.export.probe import Probe, op_name, probe
from tersor.export.rows import gather_codes
from tersor.export.shortcuts import convolve_shortcuts
from tersor.export.weights import Weights
from tersor.export.writer import Writer
from tersor.network.network import Network
from tersor.network.quantizer import ActivationQuantizer


def to_onnx(network: Network) -> bytes:
    """Write `network` as a complete ONNX file.

    Raises:
        UnsupportedError: An operation has no ONNX form; node and operation are named.
        ModelError: A part is in training mode, a tensor's type is unknown to ONNX, or an
            output is no tensor.
    """
    try:
        _check_known(network)
        return _Export(network).run()
    except UnsupportedError as lacking:
        return by_torch.to_onnx(network, lacking)


def _check_known(network: Network) -> None:
    for node in network.graph.nodes:
        if node.op == "call_function" and op_name(node) not in OPERATORS:
            raise UnsupportedError(
                node=node.name, op=op_name(node), opset="ATen", problem="has no ONNX form"
            )


class _Export:
    """One walk over the graph of a network."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._probe: Probe = probe(network)
        ports = {p.name for p in (*network.inputs, *network.outputs)}
        self._weights = Weights(network, ports)
        self._writer = Writer({*ports, *self._weights.names()})
        self._values: dict[fx.Node, Any] = {}

    def run(self) -> bytes:
        inputs = iter(self._network.inputs)
        for node in self._network.graph.nodes:
            self._writer.enter(node.name)
            if node.op == "placeholder":
                self._values[node] = self._value(node, next(inputs).name)
            elif node.op == "get_attr":
                self._values[node] = self._weight(node)
            elif node.op == "call_module":
                self._values[node] = self._module(node)
            elif node.op == "call_function":
                self._values[node] = self._function(node)
            elif node.op == "output":
                self._publish(node)
        return self._finish()

    def _value(self, node: fx.Node, name: str) -> Value:
        first, second = self._probe.first[node], self._probe.second[node]
        return Value(name, (torch.as_tensor(first), torch.as_tensor(second)))

    def _weight(self, node: fx.Node) -> Value:
        name = self._weights.name(node)
        value = self._value(node, name)
        return Value(name, value.probes, name, self._weights.users(name))

    def _module(self, node: fx.Node) -> Value:
        path = str(node.target)
        module = self._network.module.get_submodule(path)
        if isinstance(module, Code):
            return self._weight(node)
        assert isinstance(module, ActivationQuantizer)  # noqa: S101 - probe has refused others
        w, source = self._writer, self._values[node.all_input_nodes[0]]
        assert isinstance(source, Value)  # noqa: S101 - it takes one tensor
        zero_type = "int8" if module.signed else "uint8"
        scale = w.initializer(f"{path}.scale", module.scale.cpu().numpy())
        zero = w.initializer(
            f"{path}.zero_point", module.zero_point.cpu().numpy().astype(zero_type)
        )
        codes = w.node("QuantizeLinear", source.name, scale, zero)
        return self._value(node, w.settle(w.node("DequantizeLinear", codes, scale, zero)))

    def _function(self, node: fx.Node) -> object:
        first, second = self._probe.first[node], self._probe.second[node]
        if isinstance(first, (bool, int, float)) and first == second:
            return first
        args = fx.map_arg(node.args, lambda n: self._values[n])
        kwargs = dict(fx.map_arg(node.kwargs, lambda n: self._values[n]))
        call = Call(node, args, kwargs)
        if isinstance(first, torch.Tensor):
            call.out = Value("", (first, torch.as_tensor(second)))
        elif isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
            if len(first) != len(second):
                call.fail("gives a varying number of results")
            call.several = [Value("", pair) for pair in zip(first, second, strict=True)]
        found = OPERATORS[op_name(node)](self._writer, call)
        if isinstance(found, str):
            return _wrap(self._writer.settle(found), first, second)
        if isinstance(found, list):
            return [Value(n, v.probes) for n, v in zip(found, call.several, strict=True)]
        return found

    def _publish(self, node: fx.Node) -> None:
        ends = {p.name for p in self._network.inputs}
        results = node.args[0]
        assert isinstance(results, (tuple, list))  # noqa: S101 - a flat tuple
        for port, result in zip(self._network.outputs, results, strict=True):
            value = self._values[result] if isinstance(result, fx.Node) else None
            if not isinstance(value, Value):
                raise ModelError(port.name, "is not a tensor", "Return tensors only.")
            self._writer.publish(value.name, port.name, ends)
            self._rename(value.name, port.name, ends)
            ends.add(port.name)

    def _rename(self, old: str, new: str, ends: set[str]) -> None:
        """Later outputs may be the same value, which has its new name now."""
        if old in ends or old in self._weights.names():
            return
        for node, value in self._values.items():
            if isinstance(value, Value) and value.name == old:
                self._values[node] = Value(new, value.probes)

    def _finish(self) -> bytes:
        w, network = self._writer, self._network
        outputs = {p.name for p in network.outputs}
        fold_padding(w)
        move_codes(w, outputs)
        values = (value for value in self._values.values() if isinstance(value, Value))
        convolve_shortcuts(w, {value.name: value.shape for value in values})
        w.prune(outputs)
        gather_codes(w, lambda name: self._weights.form(name, w))
        w.expand(lambda name: self._weights.form(name, w))
        return w.serialize(network.inputs, network.outputs)


def _wrap(name: str, first: object, second: object) -> Value | Size:
    """What the name of a result stands for."""
    if isinstance(first, int) and isinstance(second, int):
        return Size(name, (first, second))
    return Value(name, (first, second))  # type: ignore[arg-type]
