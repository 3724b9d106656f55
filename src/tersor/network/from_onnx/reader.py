"""Reading an ONNX file: walk the nodes of what was parsed, in order, and build the graph."""

from collections import ChainMap
from collections.abc import Mapping, MutableMapping
from pathlib import Path

import onnx
import torch
from onnx import NodeProto
from torch import fx

from tersor.errors import ModelError, TersorError, UnsupportedError
from tersor.network.from_onnx import flow, ops_sizes
from tersor.network.from_onnx.builder import FAILURES, Builder, MisfitError
from tersor.network.from_onnx.file import DEFAULT_DOMAIN, OnnxFile, parse
from tersor.network.from_onnx.functions import body_of, nodes_of
from tersor.network.from_onnx.guards import move_guards
from tersor.network.from_onnx.known import all_nodes, reads
from tersor.network.from_onnx.names import readable
from tersor.network.from_onnx.operation import Operation
from tersor.network.from_onnx.ops_quantize import carried
from tersor.network.from_onnx.ports import World, Worlds, output_port, ports_of, torch_dtype
from tersor.network.from_onnx.table import MICROSOFT, OPERATORS, VALUES_MAKE_SIZES, Result
from tersor.network.from_onnx.tensors import FOUR_BITS, tensor_of
from tersor.network.from_onnx.values import Constant, Sizes, Value, as_sizes
from tersor.network.network import Network, Port

Values = MutableMapping[str, Value]

_FLOW = {"If": flow.branch, "Loop": flow.loop}
_TABLES = {"": OPERATORS, "ai.onnx": OPERATORS, "com.microsoft": MICROSOFT}


def operators() -> list[str]:
    """The ONNX operators that can be read, sorted; those of ONNX itself first."""
    return [*sorted(OPERATORS), *(f"com.microsoft.{name}" for name in sorted(MICROSOFT))]


def read(model: bytes | Path) -> Network:
    """The network that an ONNX file describes, in evaluation mode.

    Floats of rank 1 or more become parameters under their own names, and can be trained;
    a single number given as an initializer is a setting where it is read as an operand.

    Args:
        model: The bytes of a file, or its path. Only with a path may weights lie in other
            files, within the same folder.

    Raises:
        FileError: The file, or one beside it, cannot be read.
        FormatError: The bytes are no ONNX model, or its tensors are damaged.
        ModelError: The graph is not a valid one.
        UnsupportedError: It holds something that Tersor cannot read.
    """
    return build(parse(model))


def build(file: OnnxFile) -> Network:
    """The network of a file that was parsed; errors as `read`."""
    return _Reader(file).network()


class _Reader:
    """A checked file, ready to be built."""

    def __init__(self, file: OnnxFile) -> None:
        self.graph, self.folder, self.inputs = file.graph, file.folder, file.inputs
        self.initializers, self.names = file.initializers, file.names
        self.readers, self.alive = file.readers, file.alive
        self.opset = file.opset
        self.constants: dict[str, Constant] = {}
        self.inner_nodes = 0

    def network(self) -> Network:
        """Build in the first pair of worlds in which every operation accepts its inputs."""
        kinds = {node.op_type for node in all_nodes(self.graph)}
        worlds = Worlds(self.inputs, values_make_sizes=bool(kinds & VALUES_MAKE_SIZES))
        first, *others = worlds.choices()
        try:
            return self._build(worlds, first)
        except _MisfitError as misfit:
            for world in others:
                try:
                    return self._build(worlds, world)
                except (_MisfitError, UnsupportedError):
                    continue
            raise ModelError(misfit.tensor, misfit.problem, misfit.remedy) from None

    def _build(self, worlds: Worlds, world: World) -> Network:
        builder = Builder(worlds=len(world.sizes), sizes_are_telling=world.telling)
        values: Values = {}
        ports = ports_of(self.inputs)
        for port, shapes in zip(ports, worlds.shapes(world), strict=True):
            values[port.name] = builder.placeholder(port.name, shapes, torch_dtype(port))
        for node, name, alive in zip(self.graph.node, self.names, self.alive, strict=True):
            if alive:
                op = self._operation(builder, node, name, values)
                self._import(op, values)
        return self._finish(builder, ports, values)

    def _operation(
        self, builder: Builder, node: NodeProto, name: str, values: Values
    ) -> Operation:
        inputs = [self._value(value, values) if value else None for value in node.input]
        wanted = [bool(self.readers.get(value)) for value in node.output]
        return Operation(builder, node, name, self.opset, inputs, wanted, self._tensor)

    def _import(self, op: Operation, values: Values) -> None:
        function = _TABLES.get(op.node.domain, {}).get(op.node.op_type)
        op.builder.name, op.builder.emitted = readable(op.name), set()
        try:
            result = _symbolic(op)
            result = carried(op, function) if result is None and function else result
            result = self._inner(op, values) if result is None else result
        except TersorError:
            raise
        except (MisfitError, KeyError, ArithmeticError, *FAILURES) as error:
            remedy = "The model is not valid, or its declared shapes are wrong."
            problem = f"({op.node.op_type}) does not fit its inputs: {error}"
            raise _MisfitError(f"Node {op.name!r}", problem, remedy) from None
        results = result if isinstance(result, tuple) else (result,)
        _rename(op, results)
        made = zip(op.node.output, results, strict=False)
        values.update({name: value for name, value in made if name and value is not None})
        self._check_made(op, values)

    def _inner(self, op: Operation, values: Values) -> Result:
        """The results of a node by the nodes within it."""
        if op.node.op_type not in _FLOW or op.node.domain not in DEFAULT_DOMAIN:
            return self._by_definition(op)

        def inside(
            op: Operation, graph: onnx.GraphProto, given: Mapping[str, Value]
        ) -> list[Value]:
            return self._inside(op, graph, ChainMap(dict(given), values))

        return _FLOW[op.node.op_type](op, inside)

    def _inside(self, op: Operation, graph: onnx.GraphProto, values: Values) -> list[Value]:
        """The results of a graph within a node; what is outside of it can be read there."""
        for proto in graph.initializer:
            values[proto.name] = self._constant(proto, f"{op.name}.{proto.name}")
        self.inner_nodes += len(graph.node)
        if self.inner_nodes > flow.NODES_MOST:
            raise op.refuse(f"comes to more than {flow.NODES_MOST} nodes with all others")
        outputs = [output.name for output in graph.output]
        wanted = {name for node in graph.node for name in reads(node)} | set(outputs)
        for node in graph.node:
            inputs = [self._value(name, values) if name else None for name in node.input]
            name = f"{op.name}.{node.name or next(iter(node.output), '')}"
            told = [output in wanted for output in node.output]
            inner = Operation(op.builder, node, name, self.opset, inputs, told, self._tensor)
            self._import(inner, values)
        return [self._value(name, values) for name in outputs]

    def _by_definition(self, op: Operation) -> Result:
        """The results of a node by ONNX's own definition of it."""
        body = body_of(op)
        if body is None:
            raise op.refuse("cannot be read")
        given = zip(body.input, op.inputs, strict=False)
        values = {name: value for name, value in given if value is not None}
        nodes = list(nodes_of(body, op.node))
        read = {name for node in nodes for name in node.input} | set(body.output)
        (opset,) = (e.version for e in body.opset_import if e.domain in DEFAULT_DOMAIN)
        for node in nodes:
            inputs = [values.get(name) for name in node.input]
            wanted = [name in read for name in node.output]
            name = f"{op.name}.{next(iter(node.output), '')}"
            inner = Operation(op.builder, node, name, opset, inputs, wanted, self._tensor)
            self._import(inner, values)
        return tuple(values.get(name) for name in body.output)

    def _check_made(self, op: Operation, values: Values) -> None:
        for i, (output, wanted) in enumerate(zip(op.node.output, op.wanted, strict=True)):
            if output and wanted and output not in values:
                raise op.refuse(f"has an output {i} that cannot be read")

    def _value(self, name: str, values: Values) -> Value:
        if name in values:
            return values[name]
        if name not in self.constants:
            self.constants[name] = self._constant(self.initializers[name], name)
        return self.constants[name]

    def _constant(self, proto: onnx.TensorProto, name: str) -> Constant:
        tensor = self._tensor(proto)
        weight = tensor.is_floating_point() and tensor.ndim > 0
        bits = 4 if proto.data_type in FOUR_BITS else 0
        return Constant(tensor, name, weight=weight, given=True, bits=bits)

    def _tensor(self, proto: onnx.TensorProto) -> torch.Tensor:
        return tensor_of(proto, self.folder)

    def _finish(self, builder: Builder, inputs: tuple[Port, ...], values: Values) -> Network:
        results, ports = [], []
        for i, info in enumerate(self.graph.output):
            builder.name = readable(info.name)
            value = self._value(info.name, values)
            if not isinstance(value, fx.Node):
                node = NodeProto(op_type="output")
                op = Operation(
                    builder, node, info.name, self.opset, [value], [True], self._tensor
                )
                value = op.tensor(0)
            if isinstance(value, Constant):
                value = builder.attribute(value)
            results.append(value)
            seen, dtype = builder.shape(value), builder.example(value).dtype
            if dtype == torch.bfloat16:
                remedy = "Tersor gives tensors of the types that numpy has; cast it."
                raise ModelError(f"Output {info.name!r}", "is of type bfloat16", remedy)
            ports.append(output_port(info, seen, dtype, f"dim_{i}_"))
        builder.graph.output(tuple(results))
        builder.graph.eliminate_dead_code(lambda node: node.op in {"placeholder", "output"})
        move_guards(builder.graph, builder.root)
        module = fx.GraphModule(builder.root, builder.graph)
        return Network(module, inputs, tuple(ports))


class _MisfitError(ModelError):
    """An operation refuses its inputs; in other worlds it might not."""


def _symbolic(op: Operation) -> Result | None:
    """The result as sizes, if an input is sizes and no input is a tensor."""
    function = ops_sizes.OPERATORS.get(op.node.op_type)
    if function is None or not any(isinstance(value, Sizes) for value in op.inputs):
        return None
    inputs = [as_sizes(value) for value in op.inputs if value is not None]
    found = [value for value in inputs if value is not None]
    if len(found) < len(inputs) or ops_sizes.grows(found):
        return None
    result: Result | None = function(op, found)
    return result


def _rename(op: Operation, results: tuple[Value | None, ...]) -> None:
    """Give the node that makes the first result the name that the user knows."""
    first = results[0]
    if not isinstance(first, fx.Node) or first not in op.builder.emitted:
        return
    if first.op == "call_function" and op.builder.name:
        first._rename(op.builder.name)
