"""From torch's ExportedProgram to a Network."""

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import (
    ConstantArgument,
    InputKind,
    InputSpec,
    OutputKind,
    TensorArgument,
)

from tersor.errors import ModelError, UnsupportedError
from tersor.network.arguments import arguments, op_name
from tersor.network.functional import functionalize, works_in_place
from tersor.network.network import Dimension, Network, Port

_STORED = {
    InputKind.PARAMETER,
    InputKind.BUFFER,
    InputKind.CONSTANT_TENSOR,
}
_WHOLE = torch.iinfo(torch.int64).max


def network_of(
    program: ExportedProgram,
    inputs: Sequence[str],
    outputs: Sequence[str],
    sizes: Mapping[str, str] | None = None,
) -> Network:
    """The network that computes what `program` does.

    Args:
        program: What torch.export gives, of any dialect.
        inputs: Names for the inputs that are tensors, in order.
        outputs: Names for the outputs that are tensors, in order.
        sizes: Names for torch's symbols of sizes that vary; by default see `_Dimensions`.

    Raises:
        ModelError: The program keeps a state, or returns something else than tensors.
        UnsupportedError: It holds an operation that is no plain tensor operation.
    """
    graph = _copied(program.graph)
    _refuse_state(program, graph)
    if not functionalize(graph):
        program = _rewritten(program)
        graph = _copied(program.graph)
    _refuse(program, graph)
    for node in graph.nodes:
        _compose(node)
    return _Builder(program, graph).network(inputs, outputs, _Dimensions(dict(sizes or {})))


def _copied(graph: fx.Graph) -> fx.Graph:
    result = fx.Graph()
    result.output(result.graph_copy(graph, {}))
    return result


def _rewritten(program: ExportedProgram) -> ExportedProgram:
    """The program with torch's own rewriting of views; dropout is lost on the way."""
    try:
        rewritten: ExportedProgram = program.run_decompositions({})
    except Exception as error:
        text = str(error).split("\n", 1)[0]
        raise ModelError(
            "The model",
            f"changes tensors in place in a way that torch cannot rewrite: {text}",
            "Write it without operations in place.",
        ) from error
    return rewritten


def _refuse_state(program: ExportedProgram, graph: fx.Graph) -> None:
    """Refuse a model that changes a tensor of its own and reads it again.

    Raises:
        ModelError: The tensor is named.
    """
    order = {node: i for i, node in enumerate(graph.nodes)}
    placeholders = (n for n in graph.nodes if n.op == "placeholder")
    specs = zip(placeholders, program.graph_signature.input_specs, strict=True)
    stored = {node: str(s.target) for node, s in specs if s.kind in _STORED}
    for node in graph.nodes:
        changed = node.args[0] if works_in_place(node) else None
        if not isinstance(changed, fx.Node) or changed not in stored:
            continue
        if node.users or any(order[user] > order[node] for user in changed.users):
            raise _state_error(stored[changed])


def _state_error(name: str) -> ModelError:
    return ModelError(
        name,
        "is changed when the model runs",
        "Pass the state in as an input and return it.",
    )


def _refuse(program: ExportedProgram, graph: fx.Graph) -> None:
    """Refuse what no graph of plain operations can hold.

    Raises:
        ModelError, UnsupportedError: As `network_of` says.
    """
    for given in program.graph_signature.input_specs:
        if given.kind in {InputKind.CUSTOM_OBJ, InputKind.TOKEN}:
            raise ModelError(
                str(given.target or given.arg.name),
                "is an object of its own class and no tensor",
                "Replace it by tensors.",
            )
    for wanted in program.graph_signature.output_specs:
        if wanted.kind == OutputKind.BUFFER_MUTATION:
            raise _state_error(str(wanted.target))
    for node in graph.nodes:
        if works_in_place(node):
            raise UnsupportedError(
                node=node.name, op=str(node.target), opset="ATen", problem="works in place"
            )
        name = str(node.target)
        if node.op == "call_function" and "higher_order" in name + type(node.target).__name__:
            raise UnsupportedError(
                node=node.name, op=name, opset="ATen", problem="calls other graphs"
            )


def _is_tensor_input(spec: InputSpec) -> bool:
    return spec.kind == InputKind.USER_INPUT and isinstance(spec.arg, TensorArgument)


def user_inputs(program: ExportedProgram) -> list[str]:
    """The placeholders' names of the inputs that are tensors."""
    specs = program.graph_signature.input_specs
    return [str(s.arg.name) for s in specs if _is_tensor_input(s)]


def user_outputs(program: ExportedProgram) -> list[bool]:
    """For each of the user's outputs: whether it is a tensor; otherwise it is None.

    Raises:
        ModelError: An output is something else.
    """
    found = []
    for spec in program.graph_signature.output_specs:
        if spec.kind != OutputKind.USER_OUTPUT:
            continue
        nothing = isinstance(spec.arg, ConstantArgument) and spec.arg.value is None
        if not nothing and not isinstance(spec.arg, TensorArgument):
            raise ModelError("The model", "returns a number", "Let it return tensors only.")
        found.append(not nothing)
    return found


@dataclass
class _Builder:
    """A new graph in the making: inputs first, weights read just before they are needed."""

    program: ExportedProgram
    old: fx.Graph
    graph: fx.Graph = field(default_factory=fx.Graph)
    root: nn.Module = field(default_factory=nn.Module)
    made: dict[fx.Node, fx.Node] = field(default_factory=dict)
    clones: dict[int, str] = field(default_factory=dict)
    stored: dict[fx.Node, str] = field(default_factory=dict)

    def network(
        self, inputs: Sequence[str], outputs: Sequence[str], dimensions: "_Dimensions"
    ) -> Network:
        """The finished network."""
        signature = self.program.graph_signature
        old = [n for n in self.old.nodes if n.op == "placeholder"]
        pairs = list(zip(old, signature.input_specs, strict=True))
        self.stored = {n: str(s.target) for n, s in pairs if s.kind in _STORED}
        given = [n for n, s in pairs if _is_tensor_input(s)]
        for node, name in zip(given, inputs, strict=True):
            self.made[node] = self.graph.placeholder(_identifier(name))
        self._copy_results()
        results = [
            out
            for spec, out in zip(signature.output_specs, self._outputs(), strict=True)
            if spec.kind == OutputKind.USER_OUTPUT and isinstance(out, fx.Node)
        ]
        self.graph.output(tuple(self.made[r] for r in results))
        module = fx.GraphModule(self.root, self.graph, class_name="Workshop")
        module.graph.lint()
        return Network(
            module.train(mode=False),
            tuple(dimensions.port(n, g) for n, g in zip(inputs, given, strict=True)),
            tuple(dimensions.port(n, r) for n, r in zip(outputs, results, strict=True)),
        )

    def _outputs(self) -> Iterable[Any]:
        output = next(n for n in reversed(self.old.nodes) if n.op == "output")
        results = output.args[0]
        assert isinstance(results, list | tuple)  # noqa: S101 - torch.export flattens
        return results

    def _copy_results(self) -> None:
        """Copy all nodes that an output needs."""
        needed = _needed(self.old)
        for node in self.old.nodes:
            if node not in needed or node in self.made or node.op == "output":
                continue
            passed = _passes(node)
            if passed is not None:
                self.made[node] = self._of(passed)
            elif node.op == "call_function":
                for source in node.all_input_nodes:
                    self._of(source)
                copied = self.graph.node_copy(node, self._of)
                copied.meta = {}
                self.made[node] = copied
        for result in self._outputs():
            if isinstance(result, fx.Node):
                self._of(result)

    def _of(self, node: fx.Node) -> fx.Node:
        """The new node for an old one; a weight's is made when it is first asked for."""
        if node not in self.made:
            self.made[node] = self._weight(node)
        return self.made[node]

    def _weight(self, node: fx.Node) -> fx.Node:
        path = self.stored.get(node)
        if path is None:
            raise UnsupportedError(
                node=node.name, op=node.op, opset="ATen", problem="is no input and no weight"
            )
        held = self.program.state_dict.get(path)
        tensor = self.program.constants[path] if held is None else held
        first = self.clones.setdefault(id(tensor), path)
        if first == path:
            self._hold(path, tensor)
            read = self.graph.get_attr(path)
        else:  # tied to a weight that stands there already
            read = self.graph.get_attr(first)
        return read

    def _hold(self, path: str, tensor: torch.Tensor) -> None:
        """Put a copy of the tensor under its dotted name."""
        *parents, leaf = path.split(".")
        owner = self.root
        for part in parents:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        copied = tensor.detach().clone(memory_format=torch.contiguous_format)
        if isinstance(tensor, nn.Parameter) and tensor.is_floating_point():
            owner.register_parameter(leaf, nn.Parameter(copied))
        else:
            owner.register_buffer(leaf, copied)


def _needed(graph: fx.Graph) -> set[fx.Node]:
    """The nodes on which an output depends."""
    needed: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if node.op == "output" or node in needed:
            needed.update(node.all_input_nodes)
    return needed


def _passes(node: fx.Node) -> fx.Node | None:
    """The input that the node gives as it is, if it does nothing else."""
    name = op_name(node)
    if name in {"alias", "detach", "lift_fresh_copy", "lift_fresh"}:
        return node.all_input_nodes[0]
    if name == "slice":
        found = arguments(node)
        whole = found["start"] in {0, None} and found["end"] in {_WHOLE, None}
        return node.all_input_nodes[0] if whole and found["step"] == 1 else None
    return None


def _compose(node: fx.Node) -> None:
    """Write operations of a graph as those that say all that they mean.

    The normalization of decomposed graphs becomes the whole one that it was; axes of one
    position that are left out are named, so that no other one goes when it has one position.
    """
    if op_name(node) == "squeeze" and len(node.args) == 1:
        shape = node.all_input_nodes[0].meta["val"].shape
        ones = [axis for axis, size in enumerate(shape) if fixed_size(size) == 1]
        node.target = torch.ops.aten.squeeze.dims
        node.args = (node.args[0], ones)
    if node.target is not operator.getitem or node.args[1] != 0:
        return
    source = node.args[0]
    assert isinstance(source, fx.Node)  # noqa: S101 - a tuple comes from a node
    if op_name(source) == "_native_batch_norm_legit_no_training":
        x, weight, bias, mean, var, momentum, eps = arguments(source).values()
        node.target = torch.ops.aten.batch_norm.default
        node.args = (x, weight, bias, mean, var, False, momentum, eps, False)


def _identifier(name: str) -> str:
    """The name as a Python identifier, as code wants it."""
    word = re.sub(r"\W", "_", name)
    return word if word[:1].isalpha() else f"input_{word}"


def fixed_size(size: Any) -> int | None:
    """A size of torch's as a number, if it cannot vary."""
    if isinstance(size, int):
        return size
    return int(size) if size.node.expr.is_number else None


@dataclass
class _Dimensions:
    """Names for the sizes that vary: "batch" for the first axis, else input and axis."""

    names: dict[str, str] = field(default_factory=dict)

    def port(self, name: str, node: fx.Node) -> Port:
        """The port of that name for the value of `node`."""
        value = node.meta["val"]
        shape = tuple(self._size(name, axis, size) for axis, size in enumerate(value.shape))
        dtype = str(value.dtype).removeprefix("torch.")
        if dtype == "bfloat16" or dtype.startswith(("float8", "q")):
            raise ModelError(
                name, f"is of type {dtype}, which numpy does not have", "Use float32."
            )
        return Port(name, shape, dtype)

    def _size(self, port: str, axis: int, size: Any) -> Dimension:
        known = fixed_size(size)
        if known is not None:
            return known
        expression = str(size.node.expr)
        if re.fullmatch(r"[A-Za-z_]\w*", expression):
            first = axis == 0 and "batch" not in self.names.values()
            return self.names.setdefault(expression, "batch" if first else f"{port}_{axis}")
        return re.sub(r"[A-Za-z_]\w*", lambda m: self.names.get(m[0], m[0]), expression)
