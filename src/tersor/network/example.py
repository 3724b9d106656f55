"""A user's module and its example inputs, made ready to be traced.

Tracing takes a module in float32 on the CPU, an example whose batch has a size that no
other axis has (else torch.export may take two axes for one), and results of types that it
can take apart.
"""

import copy
import dataclasses
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.utils import _pytree as pytree

from tersor.errors import ModelError

Feed = tuple[tuple[Any, ...], dict[str, Any]]

_HALF = (torch.float16, torch.bfloat16)
_BATCHES = (3, 5, 7, 11, 13, 17, 19, 23)


def feed_of(example: Any) -> Feed:
    """Positional and keyword arguments: a dict is the latter, a tuple or list the former."""
    if isinstance(example, Mapping):
        return (), dict(example)
    if isinstance(example, tuple | list):
        return tuple(example), {}
    return (example,), {}


def tensors_of(feed: Any) -> list[torch.Tensor]:
    """All tensors of nested containers, in order."""
    return [leaf for leaf in pytree.tree_leaves(feed) if isinstance(leaf, torch.Tensor)]


def plain(module: nn.Module, feed: Feed) -> tuple[nn.Module, Feed, list[str]]:
    """Module and example in float32 on the CPU, and what was done for that.

    The module is copied if it has to be changed. Weights that are computed from others
    (torch.nn.utils.parametrize) become what they are now.

    Raises:
        ModelError: It cannot be copied.
    """
    stored = [*module.parameters(), *module.buffers()]
    tensors = [*stored, *tensors_of(feed)]
    halves = sorted({str(t.dtype).removeprefix("torch.") for t in tensors if t.dtype in _HALF})
    devices = sorted({t.device.type for t in tensors} - {"cpu"})
    computed = any(parametrize.is_parametrized(part) for part in module.modules())
    done = [f"{name} became float32" for name in halves]
    done += [f"copied from {name} to the CPU" for name in devices]
    done += ["parametrized weights became fixed"] * computed
    if not done:
        return module, feed, []
    try:
        module = copy.deepcopy(module)
        for part in list(module.modules()):
            if parametrize.is_parametrized(part):
                _compute(part)
        cast(Any, module)._apply(_single)
    except Exception as error:
        told = " ".join(str(error).split())[:200]
        raise ModelError(
            type(module).__name__,
            f"cannot be copied to be converted to float32 on the CPU ({told})",
            "Call .float().cpu() on it before it is captured.",
        ) from error
    moved: Feed = pytree.tree_map_only(torch.Tensor, _single, feed)
    return module, moved, done


def _compute(part: nn.Module) -> None:
    """Hold the values of parametrized weights, in a copy: its class is that of the original.

    torch's own remove_parametrizations changes the class, and with it the original.
    """
    names = list(cast(Any, part).parametrizations)
    values = {name: getattr(part, name).detach().clone() for name in names}
    part.__class__ = cast(Any, parametrize.type_before_parametrizations(part))
    del part.parametrizations
    for name, value in values.items():
        part.register_parameter(name, nn.Parameter(value, requires_grad=False))


def _single(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float().cpu() if tensor.dtype in _HALF else tensor.cpu()


def batch_of(feed: Feed) -> int | None:
    """The size of the first axis of the first tensor that has one."""
    return next((t.shape[0] for t in tensors_of(feed) if t.ndim), None)


def with_other_batch(feed: Feed) -> Feed:
    """The example with as many rows as no other axis has; rows are repeated or left out."""
    size = batch_of(feed)
    taken = {d for t in tensors_of(feed) for d in t.shape[1:]}
    taken |= {t.shape[0] for t in tensors_of(feed) if t.ndim and t.shape[0] != size}
    count = next((n for n in _BATCHES if n not in taken), None)
    if not size or count is None:
        return feed
    rows = torch.arange(count) % size
    leaves, spec = pytree.tree_flatten(feed)
    changed = [
        x[rows] if isinstance(x, torch.Tensor) and x.ndim and x.shape[0] == size else x
        for x in leaves
    ]
    made: Feed = pytree.tree_unflatten(changed, spec)
    return made


def rehearse(module: nn.Module, feed: Feed) -> None:
    """Run the module once as it is, and teach torch the dataclasses that it returns.

    Raises:
        ModelError: It fails on the example; the line is named.
    """
    args, kwargs = feed
    with _unchanged(module), torch.random.fork_rng(devices=[]):
        try:
            result = module(*args, **kwargs)
        except Exception as error:
            told = " ".join(str(error).split())[:300].rstrip(".")
            text = f"fails on its example inputs: {type(error).__name__}: {told}"
            raise ModelError(
                type(module).__name__,
                text + place_of(error),
                "Give an example that the model runs on.",
            ) from error
    for kind in {*_dataclasses(result), *_dataclasses(feed)}:
        torch.export.register_dataclass(kind)


def place_of(error: BaseException) -> str:
    """Where in the user's code it happened, with the line itself; or nothing."""
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(part in frame.filename for part in ("/torch/", "/tersor/network/"))
    ]
    if not own:
        return ""
    line = f": {own[-1].line}" if own[-1].line else ""
    return f" (at {own[-1].filename}:{own[-1].lineno}{line})"


@contextmanager
def _unchanged(module: nn.Module) -> Iterator[None]:
    """Buffers that the module changes get their values back."""
    owners = [(part, dict(part._buffers)) for part in module.modules()]
    values = {id(b): b.clone() for _, held in owners for b in held.values() if b is not None}
    try:
        yield
    finally:
        for part, held in owners:
            part._buffers.update(held)
            for buffer in held.values():
                if buffer is not None:
                    buffer.copy_(values[id(buffer)])


def _dataclasses(value: Any) -> Iterator[type[Any]]:
    """The dataclasses in nested containers that torch does not know."""
    if isinstance(value, Mapping):
        children = list(value.values())
    elif isinstance(value, list | tuple):
        children = list(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        if type(value) not in pytree.SUPPORTED_NODES:
            yield type(value)
        children = [getattr(value, field.name) for field in dataclasses.fields(value)]
    else:
        return
    for child in children:
        yield from _dataclasses(child)
