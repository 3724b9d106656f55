"""How the weights of a network stand in the file: under their dotted names, each once."""

from collections.abc import Container
from dataclasses import replace

import numpy as np
from torch import fx

from tersor.codes.code import Code, OnnxForm, OnnxNode
from tersor.export.writer import Array, Writer, element_type
from tersor.network.network import Network


class Weights:
    """The weights that the graph of a network reads.

    A tensor that stands under two names is written once, under the first; one that is called
    like an input or output gets "_" at its end, as often as it needs.
    """

    def __init__(self, network: Network, ports: Container[str] = ()) -> None:
        self._network = network
        self._path: dict[str, str] = {}
        self._first: dict[str, str] = {}
        self._users: dict[str, int] = {}
        seen: dict[int, str] = {}
        readers = [n for n in network.graph.nodes if n.op == "get_attr" or self._is_code(n)]
        taken = {str(node.target) for node in readers}
        for node in readers:
            path = name = str(node.target)
            while name in ports or (name != path and name in taken):
                name += "_"
            taken.add(name)
            first = seen.setdefault(id(self._find(path)), name)
            self._path.setdefault(first, path)
            self._first[path] = first
            self._users[first] = self._users.get(first, 0) + len(node.users)

    def names(self) -> set[str]:
        """The names that are taken."""
        return set(self._first.values())

    def name(self, node: fx.Node) -> str:
        """The name in the file of the weight that `node` reads."""
        return self._first[str(node.target)]

    def users(self, name: str) -> int:
        """How many nodes read it."""
        return self._users[name]

    def form(self, name: str, w: Writer) -> OnnxForm | None:
        """The form of the weight of that name; None if it is not a weight.

        Args:
            name: Any name of a value in the file.
            w: The file, which knows the weights that are stored in another order.
        """
        if name not in self._users:
            return None
        held, order = self._find(self._path[name]), w.gates.get(name)
        if isinstance(held, Code) and name not in w.floats:
            form = held.to_onnx(name)
            if order is not None:
                return _gates_form(form, order)
            return _transpose_form(form) if name in w.transposed else form
        tensor = self._network.tensor(self._path[name]).detach()
        element_type(tensor.dtype)
        array: Array = tensor.cpu().numpy()
        if order is not None:
            array = _reordered(array, order)[None]
        if name in w.transposed:
            array = np.ascontiguousarray(array.T)
        return OnnxForm({name: array}, (), name)

    def _find(self, path: str) -> object:
        owner, _, leaf = path.rpartition(".")
        return getattr(self._network.module.get_submodule(owner), leaf)

    def _is_code(self, node: fx.Node) -> bool:
        return node.op == "call_module" and isinstance(
            self._network.module.get_submodule(str(node.target)), Code
        )


def _transpose_form(form: OnnxForm) -> OnnxForm:
    """The form of a transposed matrix: its elements transposed, or a node that does it."""
    if form.elements is None:
        last = f"{form.output}.untransposed"
        renamed = tuple(_rename(n, form.output, last) for n in form.nodes)
        arrays = {last if k == form.output else k: v for k, v in form.initializers.items()}
        flip = OnnxNode("Transpose", (last,), (form.output,), {"perm": [1, 0]})
        return OnnxForm(arrays, (*renamed, flip), form.output)
    flipped = np.ascontiguousarray(form.initializers[form.elements].T)
    nodes = tuple(
        _along(n, 1 - axis) if (axis := _axis(form, n)) is not None else n for n in form.nodes
    )
    return replace(
        form, initializers={**form.initializers, form.elements: flipped}, nodes=nodes
    )


def _axis(form: OnnxForm, node: OnnxNode) -> int | None:
    """The axis, 0 or more, along which a node has a scale per index; None if it has none."""
    axis = node.attributes.get("axis", 1)
    if node.op != "DequantizeLinear" or not isinstance(axis, int):
        return None
    scale, codes = form.initializers[node.inputs[1]], form.initializers[node.inputs[0]]
    return axis % codes.ndim if scale.ndim == 1 else None


def _along(node: OnnxNode, axis: int) -> OnnxNode:
    return replace(node, attributes={**node.attributes, "axis": axis})


def _reordered(array: Array, order: tuple[int, ...]) -> Array:
    """Equal parts of the first dimension in another order."""
    parts = np.split(array, len(order))
    return np.concatenate([parts[i] for i in order])


def _gates_form(form: OnnxForm, order: tuple[int, ...]) -> OnnxForm:
    """The form of gates in another order, with a first dimension of 1, by stored elements."""
    if form.elements is None:
        return _gates_by_nodes(form, order)
    elements = _reordered(form.initializers[form.elements], order)[None]
    arrays, nodes = {**form.initializers, form.elements: elements}, []
    for node in form.nodes:
        axis = _axis(form, node)
        if axis == 0:
            for name in node.inputs[1:]:
                arrays[name] = _reordered(form.initializers[name], order)
        nodes.append(node if axis is None else _along(node, axis + 1))
    return replace(form, initializers=arrays, nodes=tuple(nodes))


def _gates_by_nodes(form: OnnxForm, order: tuple[int, ...]) -> OnnxForm:
    whole = f"{form.output}.gates"
    nodes = [_rename(n, form.output, whole) for n in form.nodes]
    arrays = {whole if k == form.output else k: v for k, v in form.initializers.items()}
    axis = f"{form.output}.axis"
    arrays[axis] = np.array([0])
    parts = tuple(f"{whole}.{i}" for i in range(len(order)))
    joined = f"{whole}.joined"
    nodes += [
        OnnxNode("Split", (whole,), parts, {"axis": 0}),
        OnnxNode("Concat", tuple(parts[i] for i in order), (joined,), {"axis": 0}),
        OnnxNode("Unsqueeze", (joined, axis), (form.output,), {}),
    ]
    return OnnxForm(arrays, tuple(nodes), form.output)


def _rename(node: OnnxNode, old: str, new: str) -> OnnxNode:
    inputs = tuple(new if n == old else n for n in node.inputs)
    outputs = tuple(new if n == old else n for n in node.outputs)
    return OnnxNode(node.op, inputs, outputs, node.attributes)
