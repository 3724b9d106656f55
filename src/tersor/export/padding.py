"""Zero padding in front of a convolution, done by the convolution.

Convolutions pad unevenly in ONNX, but not in PyTorch, where a padding stands before them. Zero
has a code of its own on every grid, so padding commutes with rounding:

    round(pad(round(x))) = pad(round(x))

and one rounding is left where both had the same grid.
"""

from tersor.export.carriers import grid
from tersor.export.writer import Node, Writer


def fold_padding(w: Writer) -> None:
    """Let each convolution take over the zero padding of what it reads."""
    makers = {name: node for node in w.nodes for name in node.outputs}
    for node in w.nodes:
        if node.op != "Conv":
            continue
        padding = _padding_before(w, node.inputs[0], makers)
        added = None if padding is None else _sides(w, padding)
        if padding is not None and added is not None and _is_inside(node, added):
            own = node.attributes["pads"]
            node.attributes["pads"] = [a + b for a, b in zip(own, added, strict=True)]
            node.inputs[0] = padding.inputs[0]


def _padding_before(w: Writer, value: str, makers: dict[str, Node]) -> Node | None:
    """The padding that made `value`, perhaps rounded to the grid of what is padded."""
    node = makers.get(value)
    if node is not None and node.op == "DequantizeLinear":
        chain = [node]
        while len(chain) < 4 and chain[-1].inputs[0] in makers:
            chain.append(makers[chain[-1].inputs[0]])
        around = ["DequantizeLinear", "QuantizeLinear", "Pad", "DequantizeLinear"]
        if [link.op for link in chain] != around or grid(w, node) != grid(w, chain[3]):
            return None
        node = chain[2]
    return node if node is not None and node.op == "Pad" else None


def _sides(w: Writer, padding: Node) -> list[int] | None:
    """How many zeros before, then after each spatial axis; None if it is another padding."""
    pads = w.constant_at(padding.inputs[1])
    zeros = padding.attributes["mode"] == "constant" and len(padding.inputs) == 2
    if pads is None or not zeros:
        return None
    rank = len(pads) // 2
    begins, ends = pads[:rank].tolist(), pads[rank:].tolist()
    if any(begins[:2]) or any(ends[:2]) or min(begins + ends) < 0:
        return None
    return [*begins[2:], *ends[2:]]


def _is_inside(conv: Node, added: list[int]) -> bool:
    """Whether no window of the convolution lies in the padding alone."""
    settings = conv.attributes
    reach = [
        dilation * (size - 1)
        for size, dilation in zip(settings["kernel_shape"], settings["dilations"], strict=True)
    ]
    pads = zip(settings["pads"], added, [*reach, *reach], strict=True)
    return all(own + more <= limit for own, more, limit in pads)
