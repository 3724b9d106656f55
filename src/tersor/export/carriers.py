"""Integers that only move: between two roundings to one grid an engine moves the codes.

    round(move(round(x))) = move(round(x))      for reshape, slice, max pool, zero padding, ...

So what follows a rounding reads the codes, and no engine has to find out that the second
rounding changes nothing. A concatenation moves all its inputs, if they share the grid.
"""

from collections import Counter
from collections.abc import Collection

from tersor.export.writer import Node, Writer

_CARRIERS = {
    *("Concat", "Flatten", "MaxPool", "Pad", "Reshape", "Slice"),
    *("Squeeze", "Transpose", "Unsqueeze"),
}


def move_codes(w: Writer, outputs: Collection[str]) -> None:
    """Let carriers between two roundings to the same grid read and give codes.

    Args:
        w: The whole graph.
        outputs: Names of the network's outputs.
    """
    makers = {name: node for node in w.nodes for name in node.outputs}
    reads = Counter(name for node in w.nodes for name in node.inputs)
    gone: set[int] = set()
    for rounding in w.nodes:
        if rounding.op != "QuantizeLinear" or rounding.inputs[0] not in makers:
            continue
        maker = makers[rounding.inputs[0]]
        moved = maker.outputs[0]
        if _is_rounded(w, maker, rounding):
            again, codes = rounding.outputs[0], maker.inputs[0]
            for node in w.nodes:
                node.rename(again, codes)
            gone.add(id(rounding))
        elif _moves(maker) and reads[moved] == 1 and moved not in outputs:
            sources = [makers.get(name) for name in _moved_by(maker)]
            found = [s for s in sources if s is not None and _is_rounded(w, s, rounding)]
            if len(found) == len(sources):
                _let_codes_through(maker, found, rounding)
                makers[rounding.outputs[0]] = maker
                gone.add(id(rounding))
    w.nodes = [node for node in w.nodes if id(node) not in gone]


def _is_rounded(w: Writer, source: Node, rounding: Node) -> bool:
    """Whether `source` gives values on the grid of `rounding`."""
    return source.op == "DequantizeLinear" and grid(w, source) == grid(w, rounding)


def _moved_by(carrier: Node) -> list[str]:
    """The values that it moves; the other inputs are settings."""
    return carrier.inputs if carrier.op == "Concat" else carrier.inputs[:1]


def _let_codes_through(carrier: Node, sources: list[Node], rounding: Node) -> None:
    carrier.inputs[: len(sources)] = [source.inputs[0] for source in sources]
    carrier.outputs = list(rounding.outputs)
    if carrier.op == "Pad":
        carrier.inputs.append(rounding.inputs[2])


def grid(w: Writer, rounding: Node) -> list[object]:
    """Scale and zero point of a rounding, by value."""
    found = ((name, w.constant_at(name)) for name in rounding.inputs[1:])
    return [name if a is None else (a.dtype, a.tolist()) for name, a in found]


def _moves(node: Node) -> bool:
    """Whether the node gives elements of what it reads, and zeros at most."""
    if node.op == "Pad" and (node.attributes["mode"] != "constant" or len(node.inputs) > 2):
        return False
    return node.op in _CARRIERS and len(node.outputs) == 1
