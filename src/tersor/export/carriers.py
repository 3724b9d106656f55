"""Integers that only move: between two roundings to one grid an engine moves the codes.

    round(move(round(x))) = move(round(x))      for reshape, slice, max pool, zero padding, ...

So what follows a rounding reads the codes, and no engine has to find out that the second
rounding changes nothing.
"""

from collections import Counter
from collections.abc import Collection

from tersor.export.writer import Node, Writer

_CARRIERS = {
    *("Flatten", "MaxPool", "Pad", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"),
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
        rounds = rounding.op == "QuantizeLinear"
        carrier = makers.get(rounding.inputs[0]) if rounds else None
        source = makers.get(carrier.inputs[0]) if carrier is not None else None
        if carrier is None or source is None or not _moves(carrier):
            continue
        moved = carrier.outputs[0]
        alone = reads[moved] == 1 and moved not in outputs
        rounded = source.op == "DequantizeLinear" and grid(w, source) == grid(w, rounding)
        if alone and rounded:
            carrier.inputs[0] = source.inputs[0]
            carrier.outputs = list(rounding.outputs)
            if carrier.op == "Pad":
                carrier.inputs.append(rounding.inputs[2])
            makers[rounding.outputs[0]] = carrier
            gone.add(id(rounding))
    w.nodes = [node for node in w.nodes if id(node) not in gone]


def grid(w: Writer, rounding: Node) -> list[object]:
    """Scale and zero point of a rounding, by value."""
    found = ((name, w.constant_at(name)) for name in rounding.inputs[1:])
    return [name if a is None else (a.dtype, a.tolist()) for name, a in found]


def _moves(node: Node) -> bool:
    """Whether the node gives elements of its first input, and zeros at most."""
    if node.op == "Pad" and (node.attributes["mode"] != "constant" or len(node.inputs) > 2):
        return False
    return node.op in _CARRIERS and len(node.outputs) == 1
