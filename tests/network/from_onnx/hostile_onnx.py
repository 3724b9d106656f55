"""ONNX files made to do harm, by name: each is refused, quickly and in little memory.

Files too strange for the onnx package are written on the wire, field by field.
"""

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx_models import floats, model, node

MANY = 1_500_000


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number, content):
    """A field on the wire: bytes with their length, or a whole number."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def simple(nodes=None, outputs=("y",), weights=None, **more):
    nodes = [node("Add", "x w", "y", name="sum")] if nodes is None else nodes
    weights = {"w": floats(3)} if weights is None else weights
    return model(nodes, {"x": ["N", 3]}, outputs, weights, **more)


def valid(extra_graph=b"", extra_model=b""):
    """A good file, with more fields in its graph and in its model."""
    proto = simple()
    graph = proto.graph.SerializeToString() + extra_graph
    proto.ClearField("graph")
    return proto.SerializeToString() + field(7, graph) + extra_model


def a_node(extra, op=b"Relu"):
    """A graph's node from x to q, with more fields."""
    return field(1, field(1, b"x") + field(2, b"q") + field(4, op) + extra)


def nested(number, inner, depth):
    for _ in range(depth):
        inner = field(number, inner)
    return inner


def nested_graphs(depth):
    """A node with a subgraph with a node with a subgraph ..."""
    graph = b""
    for _ in range(depth):
        attribute = field(1, b"body") + field(20, 5) + field(6, graph)
        graph = field(1, field(2, b"z") + field(4, b"Loop") + field(5, attribute))
    return valid(graph)


def nested_types(depth):
    """A sequence of sequences of ... as the type of an input."""
    kind = b""
    for _ in range(depth):
        kind = field(4, field(1, kind))
    return valid(field(11, field(1, b"s") + field(2, kind)))


def wire(tensor):
    return valid(field(5, tensor))


# Bombs: little on the wire, much in memory once protobuf has unpacked it.
BOMBS = {
    "empty_nodes": lambda: valid(field(1, b"") * MANY),
    "empty_initializers": lambda: valid(field(5, b"") * MANY),
    "empty_inputs": lambda: valid(field(11, b"") * MANY),
    "empty_value_infos": lambda: valid(field(13, b"") * MANY),
    "empty_annotations": lambda: valid(field(14, b"") * MANY),
    "empty_sparse": lambda: valid(field(15, b"") * MANY),
    "empty_opsets": lambda: valid(extra_model=field(8, b"") * MANY),
    "empty_notes": lambda: valid(extra_model=field(14, b"") * MANY),
    "empty_functions": lambda: valid(extra_model=field(25, b"") * MANY),
    "empty_trainings": lambda: valid(extra_model=field(20, b"") * MANY),
    "empty_names_in_a_node": lambda: valid(a_node(field(1, b"") * MANY)),
    "empty_attributes": lambda: valid(a_node(field(5, b"") * MANY)),
    "empty_tensors_in_an_attribute": lambda: valid(
        a_node(field(5, field(1, b"a") + field(20, 9) + field(10, b"") * MANY))
    ),
    "empty_graphs_in_an_attribute": lambda: valid(
        a_node(field(5, field(1, b"a") + field(20, 10) + field(11, b"") * MANY))
    ),
    "numbers_in_an_attribute": lambda: valid(
        a_node(field(5, field(1, b"a") + field(20, 7) + field(8, 1) * (2 * MANY)))
    ),
    "packed_numbers_in_an_attribute": lambda: valid(
        a_node(field(5, field(1, b"a") + field(20, 7) + field(8, b"\1" * (8 * MANY))))
    ),
    "dims_of_an_input": lambda: valid(
        field(
            11,
            field(1, b"i") + field(2, field(1, field(1, 1) + field(2, field(1, b"") * MANY))),
        )
    ),
    "packed_dims": lambda: wire(field(1, b"\1" * (8 * MANY)) + field(2, 1) + field(8, b"t")),
    "dims": lambda: wire(field(1, 1) * (2 * MANY) + field(2, 1) + field(8, b"t")),
    "packed_elements": lambda: wire(
        field(1, 2) + field(2, 7) + field(8, b"t") + field(7, b"\1" * (8 * MANY))
    ),
    "elements": lambda: wire(
        field(1, 2) + field(2, 7) + field(8, b"t") + field(7, 1) * (2 * MANY)
    ),
    "strings": lambda: wire(
        field(1, 2) + field(2, 8) + field(8, b"t") + field(6, b"") * (2 * MANY)
    ),
    "external_facts": lambda: wire(
        field(1, 2) + field(2, 1) + field(8, b"t") + field(14, 1) + field(13, b"") * MANY
    ),
    "deep_subgraphs": lambda: nested_graphs(3000),
    "deep_types": lambda: nested_types(3000),
    "unknown_groups": lambda: valid(extra_model=(b"\xa3\x1f" * MANY)),
    "an_endless_number": lambda: valid(extra_model=b"\xff" * MANY),
    "small_nodes": lambda: valid(
        (field(1, field(1, b"x") + field(2, b"q") + field(4, b"Relu"))) * (MANY // 5)
    ),
}

BIG = {"big": np.array([1 << 20, 1 << 20]), "wide": np.array([1 << 31]), "one": np.float32(1)}
BIG |= {
    "zero": np.int64(0),
    "unit": np.int64(1),
    "many": np.int64(1 << 33),
    "i1": np.array([1]),
}
BIG |= {"pads": np.array([0, 1 << 40, 0, 1 << 40]), "half": np.array([1, 1 << 19], np.float32)}
BIG |= {"few": np.array([1 << 14, 1 << 14]), "row": floats(1, 4), "i2": np.array([3, 1 << 40])}
BIG |= {"bits": np.arange(4096) % 2, "cube": np.array([1 << 20, 1, 1]), "i0": np.array([0])}
BIG |= {
    "sizes": np.array([1, 1 << 30]),
    "col": np.arange(4096)[:, None],
    "line": np.arange(4096),
}


def asks(*nodes, **more):
    """A model whose nodes make `y` of the constants in BIG."""
    return lambda: model(nodes, {"x": [2, 4]}, ["y"], BIG, **more).SerializeToString()


# Constants that would be computed while reading, and sizes that no memory holds.
GREEDY = {
    "constant_of_shape": asks(node("ConstantOfShape", "big", "y")),
    "expand": asks(node("Expand", "one big", "y")),
    "expand_sizes": asks(node("Expand", "i1 big", "y")),
    "tile": asks(node("Tile", "row i2", "y")),
    "tile_x": asks(node("Tile", "x i2", "y")),
    "range": asks(node("Range", "zero many unit", "y")),
    "pad": asks(node("Pad", "row pads", "y")),
    "pad_x": asks(node("Pad", "x pads", "y")),
    "resize": asks(node("Resize", "row - half", "y")),
    "resize_sizes": asks(node("Resize", "x - - sizes", "y"), opset=13),
    "resize_cubic": asks(node("Resize", "x - half", "y", mode="cubic")),
    "one_hot": asks(node("OneHot", "i1 wide line", "y")),
    "repeated_sizes": asks(
        node("Shape", "x", "s0"),
        *(node("Concat", f"s{i} s{i}", f"s{i + 1}", axis=0) for i in range(40)),
        node("ConstantOfShape", "s40", "y"),
    ),
    "gathered_sizes": asks(
        node("Shape", "x", "s"),
        node("Gather", "s bits", "a"),
        node("Unsqueeze", "a i1", "b"),
        node("Gather", "b bits", "c", axis=0),
        node("ConstantOfShape", "c", "y"),
    ),
    "expanded_twice": asks(
        node("Expand", "one few", "a"),
        node("Unsqueeze", "a i0", "b"),
        node("Expand", "b cube", "y"),
    ),
}


# Sizes that would multiply while reading; the models themselves are harmless.
GROWING = {
    "outer_sizes": asks(node("Mul", "col line", "y")),
    "outer_by_steps": asks(
        node("Add", "col line", "a"), node("Mul", "a a", "b"), node("Add", "b b", "y")
    ),
}


def cycle():
    nodes = [node("Add", "x b", "a"), node("Relu", "a", "b"), node("Relu", "b", "y")]
    return simple(nodes).SerializeToString()


def long_names(letters):
    """A node that cannot be read, with a name, an input and a domain of megabytes."""
    long = "n" * letters
    made = helper.make_node("Relu", ["x", long], ["y"], name=long, domain=long)
    return simple([made]).SerializeToString()


def long_op(letters):
    return simple([node("O" * letters, "x", "y")]).SerializeToString()


def long_output(letters):
    return simple(outputs=["o" * letters]).SerializeToString()


def long_tensor(letters):
    proto = simple()
    proto.graph.initializer[0].name = "t" * letters
    proto.graph.initializer[0].dims[0] = 4
    proto.graph.node[0].input[1] = "t" * letters
    return proto.SerializeToString()


def long_location(letters):
    proto = simple()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="l" * letters)
    return proto.SerializeToString()


def long_attribute(letters):
    return simple([node("Resize", "x - w", "y", mode="m" * letters)]).SerializeToString()


LONG = {
    f.__name__: f
    for f in (long_names, long_op, long_output, long_tensor, long_location, long_attribute)
}


def lying_shape():
    proto = simple()
    proto.graph.initializer[0].dims[0] = 1 << 40
    return proto.SerializeToString()


def not_a_number(value):
    made = node("Clip", "x", "y", min=value, max=1.0)
    return simple([made], opset=7).SerializeToString()


def of_subgraphs():
    return branching(c=([], TensorProto.BOOL))


def on_what_is_computed():
    """A condition that is true for some values of the input."""
    return branching(node("ReduceSum", "x", "s", keepdims=0), node("Cast", "s", "c", to=9))


def branching(*before, **inputs):
    """Nodes that make a condition of inputs, and an If on it."""
    body = helper.make_graph([node("Relu", "x", "z")], "body", [], [])
    body.output.append(helper.make_empty_tensor_value_info("z"))
    made = node("If", "c", "y", then_branch=body, else_branch=body)
    return model([*before, made], {"x": [3], **inputs}, ["y"]).SerializeToString()


def function_of_itself():
    """A function that calls itself, and a node that calls it."""
    body = [node("Again", "a", "b", domain="own")]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    proto = simple([node("Again", "x", "y", domain="own")])
    proto.opset_import.append(imports[1])
    proto.functions.append(helper.make_function("own", "Again", ["a"], ["b"], body, imports))
    return proto.SerializeToString()


def twice(what):
    proto = (
        simple([node("Add", "x w", "y"), node("Relu", "x", "y")]) if what == "value" else None
    )
    if what == "initializer":
        proto = simple()
        proto.graph.initializer.append(numpy_helper.from_array(floats(3), "w"))
    if what == "input":
        proto = simple()
        proto.graph.input.append(proto.graph.input[0])
    if what == "output":
        proto = simple()
        proto.graph.output.append(proto.graph.output[0])
    return proto.SerializeToString()


WRONG = {
    "cycle": cycle,
    "self_loop": lambda: simple([node("Add", "x y", "y")]).SerializeToString(),
    "dangling_edge": lambda: simple([node("Add", "x gone", "y")]).SerializeToString(),
    "dangling_output": lambda: simple(outputs=["gone"]).SerializeToString(),
    "lying_shape": lying_shape,
    "made_twice": lambda: twice("value"),
    "initialized_twice": lambda: twice("initializer"),
    "given_twice": lambda: twice("input"),
    "no_graph": lambda: field(1, 8) + field(8, field(2, 17)),
    "empty_graph": lambda: field(1, 8) + field(8, field(2, 17)) + field(7, b""),
    "no_node": lambda: simple([]).SerializeToString(),
    "unknown_opset": lambda: simple(opset=1 << 40).SerializeToString(),
    "negative_opset": lambda: simple(opset=-1).SerializeToString(),
    "unknown_domain": lambda: simple(
        [node("Relu", "x", "y", domain="org.elsewhere")]
    ).SerializeToString(),
    "subgraphs": of_subgraphs,
    "function_of_itself": function_of_itself,
    "huge_input": lambda: model(
        [node("Relu", "x", "y")], {"x": [1 << 31] * 4}, ["y"]
    ).SerializeToString(),
    "large_input": lambda: model(
        [node("Relu", "x", "y")], {"x": [1 << 20, 1 << 20]}, ["y"]
    ).SerializeToString(),
}
