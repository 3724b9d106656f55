"""Operations that multiply and add up: convolutions, products of matrices, recurrent layers.

What is added up may be cut on both sides at once: a position that is 0 adds nothing. A
convolution in groups has input channels (group, one of the group's inputs) and output
channels (group, one of the group's outputs): whole groups may be cut, and the same channels
of each.
"""

import math
from collections.abc import Sequence
from typing import Any

from torch import fx

from tersor.network.arguments import arguments
from tersor.network.dims import Dim, product, tie, total
from tersor.network.following.trail import (
    POSITIONS,
    Axes,
    Rule,
    Trail,
    axis_of,
    each,
    first_tensor,
)

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def convolved(trail: Trail, node: fx.Node) -> Axes:
    """A convolution, transposed or not."""
    given = arguments(node)
    x, weight = trail.of(given["input"]), trail.of(given["weight"])
    if len(x) != len(weight):
        return _unknown(trail, node)
    transposed = "transpose" in str(node.target) or bool(given.get("transposed"))
    groups = int(given["groups"])
    (group,) = trail.fresh([groups])
    own = weight[1]
    if transposed:
        tie(x[1], weight[0])
        if groups > 1:
            (inner,) = trail.fresh([weight[0].size // groups])
            tie(weight[0], product([group, inner]))
        out = product([group, own])
    else:
        out = weight[0]
        tie(x[1], product([group, own]))
        if groups > 1:
            (inner,) = trail.fresh([out.size // groups])
            tie(out, product([group, inner]))
    _tie_bias(trail, given["bias"], out)
    if groups > 1:
        trail.rewrite(node, groups=group)
    trail.freeze(node, *x[2:], *weight[2:], why="moves along them")
    return (x[0], out, *trail.fresh(trail.shape(node)[2:], POSITIONS))


def _unknown(trail: Trail, node: fx.Node) -> Axes:
    found: Axes = trail.unknown(node)
    return found


def _tie_bias(trail: Trail, bias: Any, out: Dim) -> None:
    if isinstance(bias, fx.Node):
        tie(trail.of(bias)[-1], out)


def linear(trail: Trail, node: fx.Node) -> Axes:
    """Rows of a weight are outputs."""
    given = arguments(node)
    x, weight = trail.of(given["input"]), trail.of(given["weight"])
    tie(x[-1], weight[-1])
    _tie_bias(trail, given["bias"], weight[0])
    return (*x[:-1], *weight[:-1])


def multiplied(trail: Trail, node: fx.Node) -> Axes:
    """Products of matrices, the axes before the last two broadcast."""
    one, other = [trail.of(a) for a in list(arguments(node).values())[:2]]
    return _multiplied(one, other)


def _multiplied(one: Axes, other: Axes) -> Axes:
    tie(one[-1], other[max(-2, -len(other))])
    rows = one[-2:-1]
    columns = other[-1:] if len(other) > 1 else ()
    return (*_broadcast(one[:-2], other[:-2]), *rows, *columns)


def _broadcast(one: Axes, other: Axes) -> Axes:
    found = list(one if len(one) >= len(other) else other)
    less = other if len(one) >= len(other) else one
    for place, dim in enumerate(reversed(less), 1):
        if dim.size == found[-place].size:
            tie(dim, found[-place])
        elif dim.size > found[-place].size:
            found[-place] = dim
    return tuple(found)


def added(trail: Trail, node: fx.Node) -> Axes:
    """A product of matrices plus something that is broadcast."""
    given = arguments(node)
    names = ("mat1", "mat2") if "mat1" in given else ("batch1", "batch2")
    axes = _multiplied(*(trail.of(given[name]) for name in names))
    return _broadcast(axes, trail.of(given["self"]))


def attended(trail: Trail, node: fx.Node) -> Axes:
    """Scaled dot products: the scale stays what it was for all channels.

    What is attended to stays, since softmax counts all of it. With `enable_gqa` each head of
    keys and values serves several heads of queries.
    """
    given = arguments(node)
    query, key, value = (trail.of(given[name]) for name in ("query", "key", "value"))
    tie(query[-1], key[-1])
    tie(key[-2], value[-2])
    trail.freeze(node, key[-2])
    before = _heads(trail, node, (query, key, value))
    if isinstance(given.get("attn_mask"), fx.Node):
        mask = trail.of(given["attn_mask"])
        _broadcast(mask, (*before, query[-2], key[-2]))
    if given.get("scale") is None and not query[-1].is_frozen:
        trail.rewrite(node, scale=1 / math.sqrt(query[-1].size))
    return (*before, query[-2], value[-1])


def _heads(trail: Trail, node: fx.Node, given: tuple[Axes, Axes, Axes]) -> Axes:
    query, key, value = given
    if not arguments(node).get("enable_gqa") or query[-3].size == key[-3].size:
        before = _broadcast(key[:-2], value[:-2])
        return _broadcast(query[:-2], before)
    tie(key[-3], value[-3])
    (each,) = trail.fresh([query[-3].size // key[-3].size])
    tie(query[-3], product([key[-3], each]))
    _broadcast(key[:-3], value[:-3])
    return (*_broadcast(query[:-3], key[:-3]), query[-3])


def summed(trail: Trail, node: fx.Node) -> Axes:
    """An equation of letters: the same letter is the same axis."""
    terms, result = _equation(node)
    letters: dict[str, Dim] = {}
    dots = 0
    for term, tensor in zip(terms, arguments(node)["tensors"], strict=True):
        axes = trail.of(tensor)
        term, count = _spelled(term, len(axes))
        dots = max(dots, count)
        for letter, dim in zip(term, axes, strict=True):
            known = letters.setdefault(letter, dim)
            if known.size == dim.size:
                tie(dim, known)
            elif known.size == 1:
                letters[letter] = dim
    return tuple(letters[c] for c in result.replace("...", _digits(dots)))


def _equation(node: fx.Node) -> tuple[list[str], str]:
    """The terms of the factors, and that of the result."""
    inputs, arrow, result = arguments(node)["equation"].replace(" ", "").partition("->")
    if not arrow:
        flat = inputs.replace(".", "").replace(",", "")
        once = sorted(letter for letter in set(flat) if flat.count(letter) == 1)
        result = "".join(["..." if "." in inputs else "", *once])
    return inputs.split(","), result


def axes_of_result(node: fx.Node, factor: str, rank: int) -> tuple[int, ...]:
    """Which axes of a stored factor of an equation the result has, too.

    Args:
        node: The equation.
        factor: Dotted name; () is returned if the tensor does not stand there as it is.
        rank: Of that tensor.
    """
    terms, result = _equation(node)
    for term, tensor in zip(terms, arguments(node)["tensors"], strict=True):
        if tensor.target == factor:
            spelled = _spelled(term, rank)[0]
            return tuple(i for i, c in enumerate(spelled) if c.isdigit() or c in result)
    return ()


def _digits(count: int) -> str:
    return "0123456789"[:count][::-1]


def _spelled(term: str, rank: int) -> tuple[str, int]:
    """A term with a digit for each axis that dots stand for, the last one 0; their count."""
    if "..." not in term:
        return term, 0
    count = rank - (len(term) - 3)
    return term.replace("...", _digits(count)), count


def recurrent(trail: Trail, node: fx.Node) -> Any:
    """Recurrent layers: a unit goes with all of its gates, and with its state.

    All layers and directions have as many units, since their states stand in one tensor.
    Units stay where results are projections of them: torch tells these from others by their
    number.
    """
    given = arguments(node)
    if "data" in given:  # sequences of several lengths, packed
        return trail.unknown(node)
    states = given["hx"] if isinstance(given["hx"], list | tuple) else [given["hx"]]
    x, hidden = trail.of(given["input"]), trail.of(states[0])
    ways = 2 if given["bidirectional"] else 1
    params, cells = given["params"], given["num_layers"] * ways
    size = len(params) // cells
    unit = trail.of(states[-1])[-1]
    result = hidden[-1]
    if unit.size != result.size:
        trail.freeze(node, unit, why="tells projections by the number of units")
    inputs = x[-1]
    time, batch = _steps(x, is_batch_first=bool(given["batch_first"]))
    trail.freeze(node, time, why="goes along them")
    for layer, *several, _ in (trail.of(state) for state in states):
        trail.freeze(node, layer, why="has a state for each layer and direction")
        for dim in several:
            tie(dim, batch)
    for start in range(0, len(params), size * ways):
        for way in range(ways):
            own = params[start + way * size : start + (way + 1) * size]
            _cell(trail, node, own, (inputs, result, unit))
        inputs = total([result] * ways)
    sequence = (*x[:-1], inputs)
    return [sequence, *(trail.of(state) for state in states)]


def _steps(x: Axes, *, is_batch_first: bool) -> tuple[Dim, Dim]:
    """The axis of time of an input, and that of samples; the first, where there is one."""
    if len(x) < 3:
        return x[0], x[0]
    return (x[1], x[0]) if is_batch_first else (x[0], x[1])


def _cell(trail: Trail, node: fx.Node, params: Sequence[fx.Node], dims: Axes) -> None:
    """One layer in one direction.

    Args:
        trail: Where it stands.
        node: The operation.
        params: Matrices (gates units, inputs) and (gates units, results), vectors (gates
            units), and for results that are projections a matrix (results, units).
        dims: Inputs, results, units.
    """
    inputs, result, unit = dims
    name = str(node.target).split(".")[1]
    vectors = [tensor for tensor in params[2:] if len(trail.of(tensor)) == 1]
    if len(vectors) == len(params) - 2:
        tie(result, unit)
    else:
        rows, columns = trail.of(params[-1])
        tie(rows, result)
        tie(columns, unit)
    for tensor in (*params[:2], *vectors):
        axes = trail.of(tensor)
        gates = Dim(_GATES[name], f"{node.name} ({name}) has a gate for each")
        tie(axes[0], product([gates, unit]))
    tie(trail.of(params[0])[1], inputs)
    tie(trail.of(params[1])[1], result)


def reset_before(trail: Trail, node: fx.Node) -> Any:
    """The recurrent unit that resets its state before the product."""
    given = arguments(node)
    x, state = trail.of(given["x"]), trail.of(given["h"])
    trail.freeze(node, x[0], why="goes along them")
    tie(state[0], x[1])
    params = [given[name] for name in ("w_ih", "w_hh", "b_ih", "b_hh")]
    _cell(trail, node, params, (x[-1], state[-1], state[-1]))
    return [(*x[:-1], state[-1]), state]


def unfolded(trail: Trail, node: fx.Node) -> Axes:
    """Patches of an image: channels with all taps of each."""
    axes, given = trail.of(first_tensor(node)), arguments(node)
    taps = Dim(math.prod(given["kernel_size"]), POSITIONS)
    patches = trail.fresh(trail.shape(node)[-1:], POSITIONS)
    return (*axes[:-3], product([axes[-3], taps]), *patches)


def pooled(trail: Trail, node: fx.Node) -> Any:
    """Images of another size, channel by channel."""
    axes, value = trail.of(first_tensor(node)), trail.values[node.name]
    several = isinstance(value, list | tuple)
    shape = (value[0] if several else value).shape
    spatial = _spatial(node, len(axes))
    trail.freeze(node, *axes[spatial:])
    found = (*axes[:spatial], *trail.fresh(shape[spatial:], POSITIONS))
    return [found for _ in value] if several else found


def _spatial(node: fx.Node, rank: int) -> int:
    """The first axis of an image: one to three of them come last, as the name tells."""
    name = str(node.target)
    count = next((n for n in (3, 2, 1) if f"{n}d" in name), None)
    return rank - count if count is not None else axis_of(rank, 2)


RULES: dict[str, Rule] = {
    **each(
        "conv1d conv2d conv3d convolution conv_transpose1d conv_transpose2d conv_transpose3d",
        convolved,
    ),
    **each(
        "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d "
        "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d "
        "adaptive_max_pool2d adaptive_max_pool3d max_pool2d_with_indices "
        "max_pool1d_with_indices _adaptive_avg_pool2d upsample_nearest1d upsample_nearest2d "
        "upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d "
        "upsample_linear1d upsample_bilinear2d _upsample_bilinear2d_aa upsample_bicubic2d "
        "_upsample_bicubic2d_aa upsample_trilinear3d reflection_pad1d reflection_pad2d "
        "replication_pad1d replication_pad2d",
        pooled,
    ),
    "linear": linear,
    **each("matmul mm bmm mv dot", multiplied),
    **each("addmm baddbmm", added),
    "scaled_dot_product_attention": attended,
    "einsum": summed,
    **each("lstm gru rnn_tanh rnn_relu", recurrent),
    "tersor.gru": reset_before,
    "im2col": unfolded,
}
