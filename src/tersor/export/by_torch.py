"""The way round for networks with operations that our own operator files lack: torch.onnx.

It takes seconds, needs the package onnxscript, and gives opset 18 or later. Stack traces,
paths and metadata are taken out of what it writes. Compressed weights go in as inputs and come
out in their own ONNX form, so that they stay compressed. A weight that torch.onnx rewrites (a
matrix that it transposes, say) loses its name.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from importlib.util import find_spec

import onnx
import torch
from onnx import helper, numpy_helper
from torch import fx

from tersor.codes.code import Code, OnnxForm
from tersor.errors import UnsupportedError
from tersor.export.writer import IR_VERSION, port_info
from tersor.network.network import Network, Port
from tersor.network.quantizer import ActivationQuantizer

_SIZES = (4, 16, 64)  # what varying dimensions are while torch.export looks
_OPSET = 18  # the least that torch.onnx writes
_TALK = ("doc_string", "metadata_props")


def to_onnx(network: Network, lacking: UnsupportedError) -> bytes:
    """Write `network` through torch.onnx.

    Args:
        network: What to write.
        lacking: Why our own exporter cannot.

    Raises:
        UnsupportedError: torch.onnx refuses, or the package onnxscript is not installed. It
            names the node and the operation of `lacking`.
    """
    if find_spec("onnxscript") is None:
        raise _refusal(lacking, "install the package onnxscript to let torch.onnx try")
    try:
        with _silence():
            module, codes = _codes_as_inputs(network)
            model = _write(network, module, codes)
    except Exception as error:  # torch.onnx raises anything
        reason = str(error).strip().split("\n", 1)[0][:200].rstrip(".")
        raise _refusal(lacking, f"torch.onnx refuses too ({reason})") from error
    _strip(model)
    _name_ends(model.graph, network, codes)
    for position, (path, code) in enumerate(codes.items()):
        _put_back(model.graph, code.to_onnx(path), position)
    return bytes(model.SerializeToString(deterministic=True))


def _refusal(lacking: UnsupportedError, more: str) -> UnsupportedError:
    return UnsupportedError(
        node=lacking.node,
        op=lacking.op,
        opset=lacking.opset,
        problem=f"{lacking.problem}; {more}",
    )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Nothing that torch.onnx tells reaches the terminal."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _codes_as_inputs(network: Network) -> tuple[fx.GraphModule, dict[str, Code]]:
    """A module that takes the compressed weights as inputs, before the real ones."""
    module = network.copy().module
    graph = module.graph
    codes: dict[str, Code] = {}
    for node in list(graph.nodes):
        if node.op != "call_module":
            continue
        held = module.get_submodule(str(node.target))
        if isinstance(held, Code):
            codes.setdefault(str(node.target), held)
        elif isinstance(held, ActivationQuantizer):
            _spell_out(node, held)
    for path in reversed(codes):
        with graph.inserting_before(next(iter(graph.nodes))):
            taken = graph.placeholder("code_" + path.replace(".", "_"))
        for node in list(graph.nodes):
            if node.op == "call_module" and node.target == path:
                node.replace_all_uses_with(taken)
                graph.erase_node(node)
        module.delete_submodule(path)
    module.recompile()
    return module, codes


def _spell_out(node: fx.Node, held: ActivationQuantizer) -> None:
    """Replace a rounding by the two operations that torch.onnx knows."""
    import torch.ao.quantization.fx._decomposed  # registers them

    ops = torch.ops.quantized_decomposed
    dtype = torch.int8 if held.signed else torch.uint8
    grid = (float(held.scale), int(held.zero_point), held.low, held.high, dtype)
    with node.graph.inserting_before(node):
        codes = node.graph.call_function(
            ops.quantize_per_tensor.default, (node.args[0], *grid)
        )
        real = node.graph.call_function(ops.dequantize_per_tensor.default, (codes, *grid))
    node.replace_all_uses_with(real)
    node.graph.erase_node(node)


def _write(
    network: Network, module: fx.GraphModule, codes: dict[str, Code]
) -> onnx.ModelProto:
    with torch.no_grad():
        weights = [code().detach().cpu() for code in codes.values()]
    error: Exception | None = None
    for size in _SIZES:
        names = {d for p in network.inputs for d in p.shape if isinstance(d, str)}
        sizes = {name: size * (1 + i) for i, name in enumerate(sorted(names))}
        inputs = [_zeros(port, sizes) for port in network.inputs]
        dynamic = [
            {i: torch.export.Dim.AUTO for i, d in enumerate(p.shape) if isinstance(d, str)}
            for p in network.inputs
        ]
        shapes = ((*({} for _ in weights), *dynamic),)
        try:
            program = torch.export.export(
                _Positional(module), (*weights, *inputs), dynamic_shapes=shapes
            )
            break
        except Exception as refused:  # noqa: BLE001 - tried again with larger sizes
            error = error or refused
    else:
        assert error is not None  # noqa: S101 - the loop ran
        raise error
    written = torch.onnx.export(
        program, dynamo=True, optimize=True, verbose=False, opset_version=_OPSET
    )
    assert written is not None  # noqa: S101 - nothing was written to a file
    return written.model_proto


class _Positional(torch.nn.Module):
    """Takes any number of inputs: torch.export then has one name for all of them."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__()
        self.network = module

    def forward(self, *args: torch.Tensor) -> object:
        return self.network(*args)


def _zeros(port: Port, sizes: dict[str, int]) -> torch.Tensor:
    shape = tuple(sizes[d] if isinstance(d, str) else d for d in port.shape)
    return torch.zeros(shape, dtype=getattr(torch, port.dtype))


def _strip(model: onnx.ModelProto) -> None:
    """Leave nothing of the machine and of the program's text."""
    model.producer_name = "tersor"
    model.ir_version = max(IR_VERSION, helper.find_min_ir_version_for(model.opset_import))
    for field in ("producer_version", "domain", "model_version", *_TALK):
        model.ClearField(field)
    for function in model.functions:
        _strip_nodes(function)
    _strip_graph(model.graph)
    model.graph.name = "network"


def _strip_graph(graph: onnx.GraphProto) -> None:
    _strip_nodes(graph)
    graph.ClearField("value_info")
    for part in (*graph.input, *graph.output, *graph.initializer):
        for field in _TALK:
            part.ClearField(field)
    for tensor in graph.initializer:
        if tensor.name.startswith("network."):
            _rename(graph, tensor.name, tensor.name.removeprefix("network."))


def _strip_nodes(holder: onnx.GraphProto | onnx.FunctionProto) -> None:
    for field in _TALK:
        holder.ClearField(field)
    for node in holder.node:
        for field in _TALK:
            node.ClearField(field)
        node.name = next((name for name in node.output if name), node.name)
        for attribute in node.attribute:
            attribute.ClearField("doc_string")
    for inner in _inner_graphs(holder):
        _strip_graph(inner)


def _name_ends(graph: onnx.GraphProto, network: Network, codes: dict[str, Code]) -> None:
    """Give inputs and outputs the names and dimensions of the ports."""
    ends = [(v, None) for v in graph.input[: len(codes)]]
    given = list(zip(graph.input[len(codes) :], network.inputs, strict=True))
    given += list(zip(graph.output, network.outputs, strict=True))
    for i, (value, _) in enumerate([*ends, *given]):
        _rename(graph, value.name, f"{i}:end")
    for value, port in given:
        _rename(graph, port.name, f"{port.name}:inner")
        _rename(graph, value.name, port.name)
        value.CopyFrom(port_info(port))


def _put_back(graph: onnx.GraphProto, form: OnnxForm, position: int) -> None:
    """Replace the first input by the form of the weight that it stands for."""
    taken = graph.input[0].name
    del graph.input[0]
    _rename(graph, taken, form.output)
    for name, array in form.initializers.items():
        graph.initializer.append(numpy_helper.from_array(array, name))
    nodes = [
        helper.make_node(n.op, n.inputs, n.outputs, name=n.outputs[0], **n.attributes)  # type: ignore[arg-type]
        for n in form.nodes
    ]
    for i, node in enumerate(nodes):
        graph.node.insert(position + i, node)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Call the value `old` `new`, in graphs inside too."""
    for part in (*graph.input, *graph.output, *graph.initializer):
        part.name = new if part.name == old else part.name
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = new
        node.name = new if node.name == old else node.name
    for inner in _inner_graphs(graph):
        _rename(inner, old, new)


def _inner_graphs(holder: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.GraphProto]:
    for node in holder.node:
        for attribute in node.attribute:
            yield from attribute.graphs
            if attribute.HasField("g"):
                yield attribute.g
