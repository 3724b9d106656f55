"""From an `nn.Module`, or a file that torch.export.save wrote, to a Network.

`torch.export` runs the module once in evaluation mode and writes down its operations. The
first axis of every input is the batch and may vary afterwards, if the module allows it; so
may the length of token sequences, and what the user names. What was asked of the module in
vain is in the network's notes.

Inputs and outputs that are nested (dicts, tuples, dataclasses) become a flat list, with
names from arguments, keys and fields, dotted where they are nested.
"""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from tersor.errors import InputError, ModelError
from tersor.network.example import (
    Feed,
    feed_of,
    plain,
    rehearse,
    tensors_of,
    with_other_batch,
)
from tersor.network.exported import fixed_size, network_of, user_inputs, user_outputs
from tersor.network.network import Network, Note
from tersor.network.tracing import Axis, Dynamic, axes_of, quiet, trace

Example = torch.Tensor | tuple[Any, ...] | list[Any] | dict[str, Any]


def capture(
    module: nn.Module,
    example_inputs: Example,
    *,
    dynamic_batch: bool = True,
    dynamic: Dynamic | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> Network:
    """The network that computes what `module` computes in evaluation mode.

    Weights are copied: the module and its training flags stay as they are. Half precision
    becomes float32, and what lies on another device is copied to the CPU.

    Args:
        module: Any module that torch.export can trace.
        example_inputs: One tensor, a tuple of positional arguments, or a dict of keyword
            arguments; numbers, None and nested containers are allowed. Everything but the
            tensors becomes fixed.
        dynamic_batch: Whether the first axis of every tensor may vary that is as long as
            that of the first tensor. Where the module does not allow it, the sizes of the
            example become fixed: networks then run batches of that size only.
        dynamic: Further axes that must be able to vary, by input and axis, with a name for
            the size, as in {"input_ids": {1: "tokens"}}. By default, the second axis of
            integers and booleans of rank 2 (token ids, masks) varies if the module allows it;
            {} keeps all but the batch fixed.
        input_names: Names for the tensors, in order, in place of the arguments' names.
        output_names: Names for the results, in order.

    Raises:
        ModelError: The module fails on the example, torch.export refuses it, it is no
            function of its inputs, or it fixes an axis of `dynamic`.
        UnsupportedError: It holds an operation that is no plain tensor operation.
        InputError: There are no tensors, too few or too many names, or `dynamic` names what
            is not there.
    """
    feed = feed_of(example_inputs)
    if not tensors_of(feed):
        raise InputError("example_inputs", got=example_inputs, allowed="or hold a tensor")
    inputs = _chosen("input_names", input_names, _input_names(module, feed))
    axes = axes_of(feed, inputs, batch=dynamic_batch, dynamic=dynamic)
    with quiet(), torch.no_grad():
        module, feed, done = plain(module, feed)
        with _evaluating(module):
            rehearse(module, feed)
            program = _program(module, feed, axes)
        names = _chosen("output_names", output_names, _output_names(program))
        inputs, outputs = _unique(inputs, names)
        called, fixed = _sizes(program, axes, inputs)
        network = network_of(program, inputs, outputs, called)
    known = {a.name: tensors_of(feed)[a.tensor].shape[a.axis] for a in axes if a.axis}
    network = replace(network, sizes={n: known[n] for n in called.values() if n in known})
    told = [Note(type(module).__name__, "capture", done=True, text=text) for text in done]
    return network.with_notes(*told, *fixed)


def load_pt2(path: str | Path) -> Network:
    """The network in a file that torch.export.save wrote.

    Nothing of the file is unpickled or run; see `tersor.network.archive`.

    Raises:
        FileError: The file cannot be read.
        FormatError: It is no such file, is damaged, or holds more than tensors and operations.
        ModelError, UnsupportedError: As `capture`.
    """
    from tersor.network.archive import read_program

    with quiet(), torch.no_grad():
        program = read_program(Path(path))
        names = _unique(user_inputs(program), _output_names(program))
        return network_of(program, *names)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while."""
    flags = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, flag in flags.items():
            part.training = flag


def _program(module: nn.Module, feed: Feed, axes: Sequence[Axis]) -> ExportedProgram:
    """The program of a module; a first axis that it fixes has the size of the example."""
    tried = _traced_example(module, feed, axes)
    program = trace(module, tried, axes)
    given = _given(program)
    baked = [
        number
        for number, (value, own) in enumerate(zip(given, tensors_of(feed), strict=True))
        if own.ndim and fixed_size(value.shape[0]) not in {None, own.shape[0]}
    ]
    if not baked:
        return program
    varying = [a for a in axes if fixed_size(given[a.tensor].shape[a.axis]) is None]
    return trace(module, _with_rows_of(feed, tried, baked), varying)


def _with_rows_of(feed: Feed, other: Feed, numbers: Iterable[int]) -> Feed:
    """Another example, in which the tensors of these numbers are as they were."""
    leaves, spec = pytree.tree_flatten(other)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
    own = tensors_of(feed)
    for number in numbers:
        leaves[places[number]] = own[number]
    made: Feed = pytree.tree_unflatten(leaves, spec)
    return made


def _given(program: ExportedProgram) -> list[torch.Tensor]:
    """The inputs that are tensors, as the program knows them: in order, without values."""
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    return [nodes[name].meta["val"] for name in user_inputs(program)]


def _traced_example(module: nn.Module, feed: Feed, axes: Sequence[Axis]) -> Feed:
    """The example, with another batch if it may vary and the module runs on it."""
    if not any(axis.axis == 0 for axis in axes):
        return feed
    other = with_other_batch(feed)
    try:
        rehearse(module, other)
    except ModelError:
        return feed
    return other


def _sizes(
    program: ExportedProgram, axes: Sequence[Axis], names: Sequence[str]
) -> tuple[dict[str, str], list[Note]]:
    """The names of torch's symbols, and a note for each axis that came out fixed.

    Raises:
        ModelError: The user asked for such an axis.
    """
    called: dict[str, str] = {}
    fixed: list[Note] = []
    given = _given(program)
    for axis in axes:
        size: Any = given[axis.tensor].shape[axis.axis]
        name = names[axis.tensor]
        if fixed_size(size) is None:
            called.setdefault(str(size.node.expr), axis.name)
        elif axis.asked:
            raise ModelError(
                name,
                f"cannot vary in axis {axis.axis}: the model fixes it at {size}",
                "Leave it out of `dynamic`, or change what fixes it.",
            )
        else:
            text = f"the model fixes axis {axis.axis} ({axis.name}) at {size}"
            fixed.append(Note(name, "capture", done=False, text=text))
    return called, fixed


def _input_names(module: nn.Module, feed: Feed) -> list[str]:
    """A name for each tensor, from the names of the arguments."""
    args, kwargs = feed
    arguments: dict[str, Any] = dict(zip(_positional(module, len(args)), args, strict=True))
    arguments.update(kwargs)
    found, _ = pytree.tree_flatten_with_path(arguments)
    return [_dotted(path) for path, leaf in found if isinstance(leaf, torch.Tensor)]


def _positional(module: nn.Module, count: int) -> list[str]:
    """Names for the first `count` positional arguments of the module."""
    names: list[str] = []
    for parameter in inspect.signature(module.forward).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}_{i}" for i in range(count - len(names))]
        elif parameter.kind is not parameter.VAR_KEYWORD:
            names.append(parameter.name)
    return names[:count]


def _output_names(program: ExportedProgram) -> list[str]:
    """A name for each tensor that is returned, from keys and fields; else "output"."""
    spec = program.call_spec.out_spec
    tensors = user_outputs(program)
    if spec is None:
        return ["output"] * sum(tensors)
    tree = pytree.tree_unflatten(list(range(spec.num_leaves)), spec)
    found, _ = pytree.tree_flatten_with_path(tree)
    return [_dotted(path) or "output" for (path, i) in found if tensors[i]]


def _dotted(path: Iterable[Any]) -> str:
    """Keys, fields and positions, with dots between; a position alone in front is left out."""
    parts = []
    for key in path:
        if isinstance(key, pytree.MappingKey):
            parts.append(str(key.key))
        elif isinstance(key, pytree.GetAttrKey):
            parts.append(str(key.name))
        elif parts and isinstance(key, pytree.SequenceKey):
            parts.append(str(key.idx))
    return ".".join(parts)


def _chosen(what: str, wanted: Sequence[str] | None, found: list[str]) -> list[str]:
    if wanted is None:
        return found
    if len(wanted) != len(found) or len(set(wanted)) != len(wanted) or "" in wanted:
        raise InputError(what, got=list(wanted), allowed=f"{len(found)} different names")
    return list(wanted)


def _unique(inputs: Sequence[str], outputs: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names with "_1", "_2" and so on behind those that came before."""
    taken: set[str] = set()
    unique = []
    for name in (*inputs, *outputs):
        candidate, number = name, 0
        while candidate in taken:
            number += 1
            candidate = f"{name}_{number}"
        taken.add(candidate)
        unique.append(candidate)
    return unique[: len(inputs)], unique[len(inputs) :]
