"""From an `nn.Module`, or a file that torch.export.save wrote, to a Network.

`torch.export` runs the module once in evaluation mode and writes down its operations. The
first axis of every input is the batch and may vary afterwards, if the module allows it.
Inputs and outputs that are nested (dicts, tuples, dataclasses) become a flat list, with
names from arguments, keys and fields, dotted where they are nested.
"""

import inspect
import io
import logging
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from tersor.errors import InputError, ModelError
from tersor.network.exported import network_of, user_inputs, user_outputs
from tersor.network.network import Network

Example = torch.Tensor | tuple[Any, ...] | list[Any] | dict[str, Any]
Feed = tuple[tuple[Any, ...], dict[str, Any]]


def capture(
    module: nn.Module,
    example_inputs: Example,
    *,
    dynamic_batch: bool = True,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> Network:
    """The network that computes what `module` computes in evaluation mode.

    Weights are copied: the module and its training flags stay as they are.

    Args:
        module: Any module that torch.export can trace.
        example_inputs: One tensor, a tuple of positional arguments, or a dict of keyword
            arguments; numbers, None and nested containers are allowed. Everything but the
            tensors becomes fixed.
        dynamic_batch: Whether the first axis of every tensor may vary. Where the module does
            not allow it, the sizes of the example become fixed.
        input_names: Names for the tensors, in order, in place of the arguments' names.
        output_names: Names for the results, in order.

    Raises:
        ModelError: torch.export refuses the module, or it is no function of its inputs.
        UnsupportedError: It holds an operation that is no plain tensor operation.
        InputError: There are no tensors, or too few or too many names.
    """
    feed = _feed(example_inputs)
    tensors = [leaf for leaf in pytree.tree_leaves(feed) if isinstance(leaf, torch.Tensor)]
    if not tensors:
        raise InputError("example_inputs", got=example_inputs, allowed="or hold a tensor")
    with _evaluating(module), _quiet(), torch.no_grad():
        program = _export(module, feed, dynamic=dynamic_batch)
        inputs = _chosen("input_names", input_names, _input_names(module, feed))
        outputs = _chosen("output_names", output_names, _output_names(program))
        return network_of(program, *_unique(inputs, outputs))


def load_pt2(path: str | Path) -> Network:
    """The network in a file that torch.export.save wrote.

    Nothing of the file is unpickled or run; see `tersor.network.archive`.

    Raises:
        FileError: The file cannot be read.
        FormatError: It is no such file, is damaged, or holds more than tensors and operations.
        ModelError, UnsupportedError: As `capture`.
    """
    from tersor.network.archive import read_program

    with _quiet(), torch.no_grad():
        program = read_program(Path(path))
        names = _unique(user_inputs(program), _output_names(program))
        return network_of(program, *names)


def _feed(example: Example) -> Feed:
    if isinstance(example, dict):
        return (), dict(example)
    if isinstance(example, tuple | list):
        return tuple(example), {}
    return (example,), {}


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


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings, log lines and prints of torch, whose errors reach the user as ours."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    nowhere = io.StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(nowhere), redirect_stderr(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _export(module: nn.Module, feed: Feed, *, dynamic: bool) -> ExportedProgram:
    """Trace with a varying batch, else with the sizes of the example."""
    if dynamic:
        args, kwargs = _at_least_two(feed)
        batch = Dim("batch")
        varying = pytree.tree_map(lambda leaf: _varying(leaf, batch), (args, kwargs))
        shapes = varying[0] if not kwargs else varying[1]
        try:
            return torch.export.export(module, args, kwargs, dynamic_shapes=shapes)
        except Exception:  # noqa: BLE001, S110 - torch raises anything; the next try tells
            pass
    args, kwargs = feed
    try:
        return torch.export.export(module, args, kwargs)
    except Exception as error:
        raise ModelError(type(module).__name__, _complaint(error), _REMEDY) from error


_REMEDY = "torch.export must be able to trace the model: see the line named, or give ONNX."


def _varying(leaf: Any, batch: Any) -> Any:
    is_batched = isinstance(leaf, torch.Tensor) and leaf.ndim > 0
    return {0: batch} if is_batched else None


def _at_least_two(feed: Feed) -> Feed:
    """The example with a batch of one repeated: torch.export takes a size of 1 for fixed."""
    leaves, spec = pytree.tree_flatten(feed)
    sizes = {x.shape[0] for x in leaves if isinstance(x, torch.Tensor) and x.ndim}
    if sizes != {1}:
        return feed
    doubled = [
        torch.cat([x, x]) if isinstance(x, torch.Tensor) and x.ndim else x for x in leaves
    ]
    repeated: Feed = pytree.tree_unflatten(doubled, spec)
    return repeated


def _complaint(error: Exception) -> str:
    """The first line of what torch says, and where in the user's code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0].rstrip(".") if lines else type(error).__name__
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "/torch/" not in frame.filename and frame.filename != __file__
    ]
    place = f" (at {own[-1].filename}:{own[-1].lineno})" if own else ""
    return f"cannot be traced: {type(error).__name__}: {text}{place}"


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
