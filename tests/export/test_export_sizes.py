"""Sizes that vary: constants where they do, arithmetic on sizes only where it is needed."""

import operator

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import fx, nn

from tersor.errors import UnsupportedError
from tersor.export.onnx import _Export
from tersor.export.probe import probe
from tersor.network.network import Network, Port

aten = torch.ops.aten


class Sketch:
    """A graph in the making, with one input."""

    def __init__(self):
        self.graph = fx.Graph()
        self.x = self.graph.placeholder("x")

    def size(self, dim):
        return self.graph.call_function(aten.sym_size.int, (self.x, dim))

    def do(self, function, *args):
        return self.graph.call_function(function, args)


def network_of(write, shape, out):
    sketch = Sketch()
    sketch.graph.output((write(sketch),))
    module = fx.GraphModule(nn.Module(), sketch.graph)
    return Network(module, (Port("x", shape, "float32"),), (Port("y", out, "float32"),))


def values_of(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def export(network):
    return _Export(network).run()


def operators(data):
    return [n.op_type for n in onnx.load_from_string(data).graph.node]


def reshape_to(*sizes):
    return lambda s: s.do(
        aten.reshape.default, s.x, [s.size(0) if d == "n" else d for d in sizes]
    )


# (n, 4, 6) in another shape: what the constant must be.
CONSTANTS = {
    "front": (reshape_to("n", 24), ("n", 24), [-1, 24]),
    "inferred": (reshape_to("n", -1), ("n", 24), [-1, 24]),
    "doubled": (
        lambda s: s.do(aten.view.default, s.x, [s.do(operator.mul, s.size(0), 4), 6]),
        ("4n", 6),
        [-1, 6],
    ),
    "split": (reshape_to("n", 2, 2, 6), ("n", 2, 2, 6), [-1, 2, 2, 6]),
    "moved": (reshape_to(4, "n", 6), (4, "n", 6), [4, -1, 6]),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_one_varying_size_needs_no_arithmetic(name, run_onnx):
    write, out, constant = CONSTANTS[name]
    network = network_of(write, ("n", 4, 6), out)
    data = export(network)
    assert operators(data) == ["Reshape"]
    (shape,) = onnx.load_from_string(data).graph.initializer
    assert numpy_helper.to_array(shape).tolist() == constant
    for size in (1, 5):
        x = values_of(size, 4, 6)
        want = network.run({"x": x})["y"]
        np.testing.assert_array_equal(run_onnx(data, {"x": x})["y"], want)


HW = ("n", 4, "h", "w")
IMAGES = {
    "flatten-copies_batch_and_channels": (
        lambda s: s.do(aten.flatten.using_ints, s.x, 2),
        ("n", 4, "hw"),
        ["Reshape"],
    ),
    "flatten-batch": (
        lambda s: s.do(aten.flatten.using_ints, s.x, 0, 1),
        ("4n", "h", "w"),
        ["Shape", "Shape", "Concat", "Reshape"],
    ),
    "swap-copies_two_and_infers_one": (
        lambda s: s.do(aten.view.default, s.x, [s.size(0), s.size(3), s.size(2), 4]),
        ("n", "w", "h", 4),
        ["Reshape"],
    ),
    "move-needs_sizes": (
        lambda s: s.do(aten.view.default, s.x, [s.size(3), s.size(0), s.size(2), 4]),
        ("w", "n", "h", 4),
        ["Shape", "Shape", "Shape", "Concat", "Reshape"],
    ),
    "half-height": (
        lambda s: s.do(aten.slice.Tensor, s.x, 2, 0, s.do(operator.floordiv, s.size(2), 2)),
        ("n", 4, "h/2", "w"),
        ["Shape", "Div", "Slice"],
    ),
    "last-column": (
        lambda s: s.do(aten.select.int, s.x, 3, s.do(operator.sub, s.size(3), 1)),
        ("n", 4, "h"),
        ["Shape", "Sub", "Squeeze", "Gather"],
    ),
    "expand-to_width": (
        lambda s: s.do(
            aten.expand.default,
            s.do(aten.mean.dim, s.x, [3], True),
            [-1, -1, -1, s.do(operator.add, s.size(3), 2)],
        ),
        ("n", 4, "h", "w+2"),
        ["ReduceMean", "Shape", "Add", "Concat", "Expand"],
    ),
    "expand-of_equal_sizes": (
        lambda s: s.do(aten.expand.default, s.do(aten.relu.default, s.x), [-1, 4, -1, -1]),
        HW,
        ["Relu"],
    ),
    "unflatten": (
        lambda s: s.do(aten.unflatten.int, s.x, 1, [2, 2]),
        ("n", 2, 2, "h", "w"),
        ["Shape", "Shape", "Shape", "Concat", "Reshape"],
    ),
    "upsample": (
        lambda s: s.do(aten.upsample_nearest2d.vec, s.x, None, [2.0, 2.0]),
        ("n", 4, "2h", "2w"),
        ["Resize"],
    ),
    "upsample-to_sizes": (
        lambda s: s.do(aten.upsample_bilinear2d.vec, s.x, [9, 7], False, None),
        ("n", 4, 9, 7),
        ["Shape", "Concat", "Resize"],
    ),
    "ceiling_max_pool": (
        lambda s: s.do(aten.max_pool2d.default, s.x, [2], [2], [0], [1], True),
        ("n", 4, "h", "w"),
        ["MaxPool"],
    ),
    "global_mean": (
        lambda s: s.do(aten.adaptive_avg_pool2d.default, s.x, [1, 1]),
        ("n", 4, 1, 1),
        ["GlobalAveragePool"],
    ),
    "group_norm": (
        lambda s: s.do(aten.group_norm.default, s.x, 2),
        HW,
        ["Reshape", "InstanceNormalization", *["Shape"] * 3, "Concat", "Reshape"],
    ),
    "causal_attention": (
        lambda s: s.graph.call_function(
            aten.scaled_dot_product_attention.default,
            (s.x, s.x, s.x, None, 0.0, True),
            {"scale": 0.5},
        ),
        HW,
        None,
    ),
    "range": (
        lambda s: s.do(
            aten.add.Tensor,
            s.x,
            s.graph.call_function(
                aten.arange.start, (1, s.do(operator.add, s.size(3), 1)), {}
            ),
        ),
        HW,
        None,
    ),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_of_any_size_agree(name, run_onnx, assert_close):
    write, out, ops = IMAGES[name]
    network = network_of(write, HW, out)
    data = export(network)
    if ops is not None:
        assert sorted(operators(data)) == sorted(ops)
    for height, width in ((4, 6), (9, 5)):
        x = values_of(2, 4, height, width)
        assert_close(run_onnx(data, {"x": x}), network.run({"x": x}), 64)


def test_no_elements_are_reshaped_too(run_onnx):
    network = network_of(
        lambda s: s.do(
            aten.reshape.default, s.do(aten.slice.Tensor, s.x, 1, 0, 0), [s.size(0), 0, 3]
        ),
        ("n", 4, 6),
        ("n", 0, 3),
    )
    found = run_onnx(export(network), {"x": values_of(2, 4, 6)})["y"]
    assert found.shape == (2, 0, 3)


def test_a_table_shorter_than_the_first_guess_is_no_obstacle():
    """Positions from a table of 20 rows: only small sizes fit."""
    network = network_of(
        lambda s: s.do(
            aten.add.Tensor,
            s.x,
            s.do(aten.slice.Tensor, s.do(aten.arange.default, 20), 0, 0, s.size(1)),
        ),
        (1, "length"),
        (1, "length"),
    )
    sizes = [tuple(v.shape) for v in probe(network).first.values() if hasattr(v, "shape")]
    assert sizes[0] == (1, 11)


def test_sizes_that_cannot_fit_are_refused_by_name():
    network = network_of(lambda s: s.do(aten.reshape.default, s.x, [7, 5]), ("n", 4), (7, 5))
    with pytest.raises(UnsupportedError, match=r"'reshape_default': aten\.reshape.* refuses"):
        probe(network)
