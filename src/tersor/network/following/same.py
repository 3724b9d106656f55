"""Operations that work element by element, or make tensors of one content.

Broadcast axes are tied where they have the same size; of what is copied along a new axis any
positions may be cut.
"""

from typing import Any

import torch
from torch import fx

from tersor.network.arguments import arguments
from tersor.network.dims import Dim, tie
from tersor.network.following.trail import (
    Axes,
    Rule,
    Trail,
    axes_of,
    each,
    first_tensor,
    reason,
)

_INDEX_CONTENT = "makes numbers that count positions"


def broadcast(trail: Trail, node: fx.Node) -> Axes:
    """The axes of a result whose operands are broadcast."""
    shape = trail.shape(node)
    found: list[Dim | None] = [None] * len(shape)
    for read in node.all_input_nodes:
        axes = trail.axes.get(read)
        if not isinstance(axes, tuple):
            continue
        for place, dim in enumerate(reversed(axes), 1):
            known = found[-place] if place <= len(shape) else None
            if dim.size != shape[-place] or (dim.size == 1 and known is not None):
                continue
            if known is None:
                found[-place] = dim
            else:
                tie(dim, known)
    return tuple(dim or Dim(size) for dim, size in zip(found, shape, strict=True))


def unchanged(trail: Trail, node: fx.Node) -> Axes:
    """The axes of the first argument."""
    return trail.of(first_tensor(node))


def along(trail: Trail, node: fx.Node) -> Any:
    """The same shape, but what happens along some axes needs all of their positions."""
    given = arguments(node)
    axes = trail.of(first_tensor(node))
    where = given.get("dim", given.get("dims", -1))
    for axis in axes_of(len(axes), where):
        trail.freeze(node, axes[axis])
    value = trail.values[node.name]
    return axes if isinstance(value, torch.Tensor) else [axes for _ in value]


def triangle(trail: Trail, node: fx.Node) -> Axes:
    """The last two axes are compared with each other."""
    axes = trail.of(first_tensor(node))
    trail.freeze(node, *axes[-2:])
    return axes


def filled(trail: Trail, node: fx.Node) -> Axes:
    """A tensor of one content, whose sizes are told."""
    axes = trail.fresh(trail.shape(node))
    trail.rewrite(node, size=_sizes(arguments(node)["size"], axes))
    return axes


def _sizes(given: Any, axes: Axes) -> list[Any]:
    """Whole numbers become dimensions; computed sizes stay."""
    return [
        dim if isinstance(size, int) and size >= 0 else size
        for size, dim in zip(given, axes, strict=True)
    ]


def counted(trail: Trail, node: fx.Node) -> Any:
    """A tensor whose content depends on where it stands."""
    return trail.given(trail.values[node.name], reason(node, _INDEX_CONTENT))


def expanded(trail: Trail, node: fx.Node) -> Axes:
    """Axes of one position are repeated, and new ones come before."""
    given = arguments(node)
    own, shape = trail.of(first_tensor(node)), trail.shape(node)
    offset = len(shape) - len(own)
    axes = tuple(
        own[i - offset] if i >= offset and own[i - offset].size == size else Dim(size)
        for i, size in enumerate(shape)
    )
    if "size" in given:
        trail.rewrite(node, size=_sizes(given["size"], axes))
    else:
        for dim, like in zip(axes, trail.of(given["other"]), strict=True):
            if dim.size == like.size:
                tie(dim, like)
    return axes


def size_asked(trail: Trail, node: fx.Node) -> Axes:
    """A size that the graph computes with must stay."""
    read = first_tensor(node)
    axes = trail.of(read)
    which = arguments(node).get("dim")
    wanted = axes if which is None else [axes[axes_of(len(axes), which)[0]]]
    trail.freeze(node, *wanted, why="computes with its size")
    return ()


RULES: dict[str, Rule] = {
    **each(
        "alias clone contiguous detach dropout feature_dropout alpha_dropout "
        "feature_alpha_dropout lift_fresh_copy to type_as hardswish hardsigmoid hardtanh "
        "relu6 silu mish elu celu selu gelu leaky_relu relu softplus softsign logsigmoid "
        "log_sigmoid threshold rrelu _to_copy sigmoid tanh fill zeros_like ones_like "
        "full_like empty_like nan_to_num bernoulli float double half int long bool pin_memory "
        "cpu",
        unchanged,
    ),
    **each(
        "floor_divide __and__ __or__ __xor__ __lshift__ __rshift__",
        broadcast,
    ),
    **each(
        "softmax log_softmax _softmax _log_softmax softmin cumsum cumprod logcumsumexp cummax "
        "cummin sort argsort flip roll",
        along,
    ),
    **each(
        "zeros ones full empty new_zeros new_ones new_full new_empty",
        filled,
    ),
    **each(
        "arange linspace eye tril_indices triu_indices scalar_tensor logspace hann_window "
        "hamming_window blackman_window",
        counted,
    ),
    **each("tril triu", triangle),
    **each("expand expand_as broadcast_to", expanded),
    **each("sym_size sym_numel sym_stride", size_asked),
}
