"""Normalizations, and operations that sum up an axis.

A mean over channels is taken over those that are left; a mean of squares counts those that
were cut as zeros: the sum over what is left, over the number that there was. So layer
normalization of n channels, n' of them left, with mean m over these, becomes

    w (x - m) / sqrt(sum (x - m)^2 / n + eps) + b
        = sqrt(n / n') w (x - m) / sqrt(sum (x - m)^2 / n' + eps n / n') + b,

which any engine has: another weight, another epsilon. Where channels are 0 this is exact for
normalization by the root of the mean square, and for the others if m is 0.
"""

from typing import Any

import torch
from torch import fx

from tersor.network.arguments import arguments, op_name
from tersor.network.dims import Dim, product, tie
from tersor.network.following.trail import (
    Axes,
    Rule,
    Scaled,
    Trail,
    axes_of,
    each,
    first_tensor,
)

_CASTS = {"to", "_to_copy", "type_as", "float", "double", "half"}
_PER_CHANNEL = ("weight", "bias", "running_mean", "running_var")


def normalized(trail: Trail, node: fx.Node) -> Any:
    """Batch and instance normalization: every channel by itself.

    What comes after the channels of an instance may hold channels, too: so group normalization
    is written where there is no operation for it.
    """
    axes, given = trail.of(first_tensor(node)), arguments(node)
    if given.get("use_input_stats"):
        _freeze_unless_weighted(trail, node, axes[2:])
        trail.rewrite(node, eps=Share(given["eps"], axes[2:]))
        trail.scaled[node] = Scaled(axes[2:], -0.5)
    _tie_vectors(trail, node, axes[min(1, len(axes) - 1)])
    value = trail.values[node.name]
    if isinstance(value, torch.Tensor):
        return axes
    return [axes, *(trail.given(each, "it is a statistic") for each in value[1:])]


def _tie_vectors(trail: Trail, node: fx.Node, dim: Dim) -> None:
    given = arguments(node)
    for name in _PER_CHANNEL:
        if isinstance(given.get(name), fx.Node):
            tie(trail.of(given[name])[-1], dim)


def normalized_groups(trail: Trail, node: fx.Node) -> Axes:
    """Groups of channels: whole ones may be cut, or the same channels of each."""
    axes = trail.of(first_tensor(node))
    count = int(arguments(node)["num_groups"])
    group, inner = trail.fresh([count, axes[1].size // count])
    tie(axes[1], product([group, inner]))
    _tie_vectors(trail, node, axes[1])
    eps = Share(arguments(node)["eps"], (inner,))
    trail.rewrite(node, eps=eps, **({"num_groups": group} if count > 1 else {}))
    trail.scaled[node] = Scaled((inner,), -0.5)
    return axes


def normalized_last(trail: Trail, node: fx.Node) -> Any:
    """Layer normalization, and that by the root of the mean square."""
    given = arguments(node)
    axes = trail.of(first_tensor(node))
    last = axes[len(axes) - len(given["normalized_shape"]) :]
    for name in ("weight", "bias"):
        if isinstance(given.get(name), fx.Node):
            for one, dim in zip(trail.of(given[name]), last, strict=True):
                tie(one, dim)
    _freeze_unless_weighted(trail, node, last)
    eps = given["eps"]
    if eps is None:
        eps = torch.finfo(trail.values[first_tensor(node).name].dtype).eps
    trail.rewrite(node, normalized_shape=list(last), eps=Share(eps, last))
    trail.scaled[node] = Scaled(last, -0.5)
    value = trail.values[node.name]
    if isinstance(value, torch.Tensor):
        return axes
    return [axes, *(trail.given(each, "it is a statistic") for each in value[1:])]


def _freeze_unless_weighted(trail: Trail, node: fx.Node, dims: Axes) -> None:
    given = arguments(node)
    if given.get("bias") is not None and given["weight"] is None:
        trail.freeze(node, *dims, why="has no weight that could tell how many there were")


class Share:
    """A number that becomes smaller or larger as a mean's count does.

    Attributes:
        value: Before the cut.
        dims: It is multiplied by their size before over that after.
    """

    def __init__(self, value: float, dims: Axes) -> None:
        self.value, self.dims = value, dims


def scaled_channels(trail: Trail, node: fx.Node) -> Axes:
    """A slope for each channel, or one for all."""
    given = arguments(node)
    axes, slopes = trail.of(given["self"]), trail.of(given["weight"])
    if slopes and slopes[-1].size > 1:
        tie(slopes[-1], axes[min(1, len(axes) - 1)])
    return axes


def reduced(trail: Trail, node: fx.Node) -> Any:
    """Something of all positions of some axes, which therefore stay."""
    return _reduced(trail, node, needs_all=True)


def added_up(trail: Trail, node: fx.Node) -> Any:
    """A sum, to which zeros add nothing, or a mean; see above."""
    axes = trail.of(first_tensor(node))
    found = _reduced(trail, node, needs_all=False)
    gone = [axes[i] for i in axes_of(len(axes), arguments(node).get("dim"))]
    if "mean" in str(node.target) and _is_square(first_tensor(node)):
        trail.scaled[node] = Scaled(tuple(gone), 1.0)
    return found


def _is_square(node: fx.Node) -> bool:
    name, args = op_name(node), node.args
    if name in _CASTS:
        return _is_square(first_tensor(node))
    if name == "mul":
        return args[0] is args[1]
    return name == "square" or (name == "pow" and bool(args[1] == 2))


def lengths(trail: Trail, node: fx.Node) -> Any:
    """The length of vectors: of the common ones, zeros are no part."""
    order = arguments(node).get("ord", arguments(node).get("p", 2))
    return _reduced(trail, node, needs_all=order not in {1, 2})


def _reduced(trail: Trail, node: fx.Node, *, needs_all: bool) -> Any:
    given = arguments(node)
    axes = trail.of(first_tensor(node))
    where = axes_of(len(axes), given.get("dim"))
    if needs_all:
        trail.freeze(node, *(axes[i] for i in where))
    if given.get("keepdim"):
        found = tuple(Dim(1) if i in where else dim for i, dim in enumerate(axes))
    else:
        found = tuple(dim for i, dim in enumerate(axes) if i not in where)
    value = trail.values[node.name]
    if not isinstance(value, list | tuple):
        if tuple(dim.size for dim in found) != tuple(value.shape):
            return trail.unknown(node)
        return found
    return [found for _ in value]


def largest_ones(trail: Trail, node: fx.Node) -> Any:
    """The largest of an axis."""
    axes = trail.of(first_tensor(node))
    (axis,) = axes_of(len(axes), arguments(node)["dim"])
    trail.freeze(node, axes[axis])
    value = trail.values[node.name]
    count = Dim(int(value[0].shape[axis]), "it counts the largest ones")
    return [(*axes[:axis], count, *axes[axis + 1 :]) for _ in value]


RULES: dict[str, Rule] = {
    **each("batch_norm instance_norm", normalized),
    "_native_batch_norm_legit_no_training": normalized,
    "group_norm": normalized_groups,
    **each("layer_norm native_layer_norm rms_norm", normalized_last),
    **each("prelu _prelu_kernel", scaled_channels),
    **each(
        "amax amin max min argmax argmin std var std_mean var_mean prod logsumexp any all "
        "median mode norm nansum count_nonzero aminmax",
        reduced,
    ),
    **each("sum mean", added_up),
    "linalg_vector_norm": lengths,
    "topk": largest_ones,
}
