"""Tables of integers, read row by row: an embedding dequantizes only what it gathered.

    float(codes[i]) * scale[i]      instead of      (float(codes) * scale)[i]

The numbers are the same, and an engine holds the integers alone.
"""

from collections.abc import Callable

import torch

from tersor.codes.code import OnnxForm
from tersor.export.writer import Node, Writer, element_type

Forms = Callable[[str], OnnxForm | None]


def gather_codes(w: Writer, form_of: Forms) -> None:
    """Let every Gather of rows read the codes of its table, where these are int8."""
    result: list[Node] = []
    for node in w.nodes:
        form = form_of(node.inputs[0]) if _takes_rows(node) else None
        read = None if form is None else _read(w, node, form)
        result += [node] if read is None else read
    w.nodes = result


def _takes_rows(node: Node) -> bool:
    return node.op == "Gather" and node.attributes.get("axis", 0) == 0


def _read(w: Writer, node: Node, form: OnnxForm) -> list[Node] | None:
    """The nodes that read rows of a table; None if its form is not one of scaled int8 rows."""
    if [n.op for n in form.nodes] != ["DequantizeLinear"]:
        return None
    codes, scale, *zeros = form.nodes[0].inputs
    table, scales = form.initializers[codes], form.initializers[scale]
    by_row = scales.ndim == 1
    axis = form.nodes[0].attributes.get("axis", 1)
    shifted = any(form.initializers[zero].any() for zero in zeros)
    if table.dtype != "int8" or (by_row and (axis != 0 or shifted)):
        return None
    for name in (codes, scale, *(() if by_row else zeros)):
        w.initializer(name, form.initializers[name])
    out, indices = node.outputs[0], node.inputs[1]
    picked, floats, factors, column = (
        w.unique(f"{out}.{part}") for part in ("codes", "floats", "scales", "column")
    )
    gather = Node("Gather", [codes, indices], [picked])
    if not by_row:
        return [gather, Node("DequantizeLinear", [picked, scale, *zeros], [out])]
    last = w.constant([-1], torch.int64, "axis")
    return [
        gather,
        Node("Cast", [picked], [floats], {"to": element_type(torch.float32)}),
        Node("Gather", [scale, indices], [factors]),
        Node("Unsqueeze", [factors, last], [column]),
        Node("Mul", [floats, column], [out]),
    ]
