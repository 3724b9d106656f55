"""From a module and its example to torch's ExportedProgram, with the axes that may vary."""

import inspect
import io
import logging
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.export import Dim, ExportedProgram, ShapesCollection

from tersor.errors import InputError, ModelError
from tersor.network.example import Feed, batch_of, place_of, tensors_of
from tersor.network.steps import any_steps

Dynamic = Mapping[str, Mapping[int, str]]

BATCH, TOKENS = "batch", "tokens"

_REMEDY = "torch.export must be able to trace the model: see the line named, or give ONNX."
_REMEDIES = (  # what torch says, what that means, what to do
    (
        "data-dependent",
        "goes another way for other values of a tensor",
        "Use torch.where, or decide outside of the model.",
    ),
    (
        ".numpy() is not supported",
        "computes with numpy, which cannot be traced",
        "Write that line with torch.",
    ),
)
_HINT = "is_causal"  # how torch's arguments end that tell whether a mask is
_CAUSAL = "True for the usual causal mask, else False. Else torch looks at the mask's values."


@dataclass(frozen=True)
class Axis:
    """An axis that may vary, if the model allows it.

    Attributes:
        tensor: Number of the input.
        axis: Which one.
        name: Name of its size.
        asked: Whether the user asked for it, so that anything else is an error.
    """

    tensor: int
    axis: int
    name: str
    asked: bool = False


@contextmanager
def quiet() -> Iterator[None]:
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


def axes_of(
    feed: Feed, names: Sequence[str], *, batch: bool, dynamic: Dynamic | None
) -> list[Axis]:
    """The axes that should vary: the batch, and the length of token sequences.

    Args:
        feed: The example.
        names: Of its tensors.
        batch: Whether the first axis of every tensor as long as the first one varies.
        dynamic: What the user asks for. None: the second axis of integers and booleans
            of rank 2, of which token ids and masks are made.

    Raises:
        InputError: `dynamic` names an input or an axis that is not there.
    """
    tensors, size = tensors_of(feed), batch_of(feed)
    found = {
        (i, 0): Axis(i, 0, BATCH)
        for i, t in enumerate(tensors)
        if batch and t.ndim and t.shape[0] == size
    }
    if dynamic is None:
        found |= {(axis.tensor, 1): axis for axis in _token_axes(tensors, names)}
    for name, wanted in (dynamic or {}).items():
        if name not in names:
            raise InputError("dynamic", got=name, allowed="one of " + ", ".join(names))
        number = names.index(name)
        for axis, called in wanted.items():
            rank = tensors[number].ndim
            if type(axis) is not int or not 0 <= axis < rank:
                allowed = f"a number from 0 to {rank - 1}"
                raise InputError(f"dynamic: axis of {name}", got=axis, allowed=allowed)
            found[number, axis] = Axis(number, axis, called, asked=True)
    return list(found.values())


def _token_axes(tensors: Sequence[torch.Tensor], names: Sequence[str]) -> list[Axis]:
    found: list[Axis] = []
    lengths: dict[int, str] = {}
    for i, tensor in enumerate(tensors):
        if tensor.ndim != 2 or tensor.is_floating_point() or tensor.is_complex():
            continue
        length = tensor.shape[1]
        called = lengths.setdefault(length, f"{names[i]}_1" if lengths else TOKENS)
        found.append(Axis(i, 1, called))
    return [axis for axis in found if tensors[axis.tensor].shape[1] > 1]


def trace(module: nn.Module, feed: Feed, axes: Sequence[Axis]) -> ExportedProgram:
    """The program of a module; axes vary as far as it allows.

    Raises:
        ModelError: torch.export refuses it; the line and a remedy are named.
    """
    args, kwargs = feed
    with _explicit(module, kwargs), any_steps():
        if axes:
            shapes = cast(Any, ShapesCollection)()
            tensors = tensors_of(feed)
            for i in {axis.tensor for axis in axes}:
                shapes[tensors[i]] = {a.axis: Dim.AUTO for a in axes if a.tensor == i}
            try:
                return torch.export.export(module, args, kwargs, dynamic_shapes=shapes)
            except Exception:  # noqa: BLE001, S110 - torch raises anything; the next try tells
                pass
        try:
            return torch.export.export(module, args, kwargs)
        except Exception as error:
            raise _refusal(module, error) from error


def _refusal(module: nn.Module, error: Exception) -> ModelError:
    """What torch says in one line, where in the user's code, and what to do."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0].rstrip(".") if lines else type(error).__name__
    meaning, remedy = "", _REMEDY
    for said, means, what in _REMEDIES:
        if said in str(error):
            meaning, remedy = f"it {means}: ", what
    undecided = _undecided(error)
    if undecided:
        remedy = f"Pass {', '.join(undecided)} in that call: {_CAUSAL}"
    told = f"cannot be traced: {meaning}{type(error).__name__}: {text}"
    return ModelError(type(module).__name__, told + place_of(error), remedy)


def _undecided(error: Exception) -> list[str]:
    """The arguments that would keep torch from asking a mask's values whether it is causal.

    Where `tgt_mask` is given and `tgt_is_causal` is None, torch's decoders compare the mask
    with a causal one; their arguments are told from the frames that the error went through.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if not any(_HINT in frame.f_code.co_name for frame in frames):
        return []
    for frame in frames:
        known = frame.f_locals if "/torch/" in frame.f_code.co_filename else {}
        names = [name for name in known if name.endswith(_HINT) and known[name] is None]
        found = [n for n in names if known.get(f"{n.removesuffix(_HINT)}mask") is not None]
        if found:
            return found
    return []


@contextmanager
def _explicit(module: nn.Module, kwargs: Mapping[str, object]) -> Iterator[None]:
    """A module whose `forward` names all keyword arguments, in place of `**kwargs`.

    torch.export loses track of axes that vary behind `**kwargs`.
    """
    signature = inspect.signature(module.forward)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    extra = [name for name in kwargs if name not in {p.name for p in own}]
    if not extra:
        yield
        return
    forward, had = module.forward, vars(module).get("forward")

    def explicit(*args: object, **given: object) -> object:
        return forward(*args, **given)

    added = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in extra]
    vars(explicit)["__signature__"] = signature.replace(parameters=[*own, *added])
    vars(module)["forward"] = explicit
    try:
        yield
    finally:
        del vars(module)["forward"]
        if had is not None:
            vars(module)["forward"] = had
