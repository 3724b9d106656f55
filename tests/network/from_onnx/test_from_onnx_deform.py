"""DeformConv, against the evaluator of the onnx package, and there and back."""

import numpy as np
import pytest
from onnx_models import agree, by_runtime, floats, model, node, refused_node

from tersor.export.onnx import to_onnx
from tersor.network.from_onnx.reader import read


def deformed(batch=1, sizes=(4, 5), out=(3, 4), weight=(2, 4, 2, 2), parts=1, **settings):
    """y is the convolution of x, (batch, 4, *sizes)."""
    places = weight[2] * weight[3]
    reads = "x w offset b mask" if settings.pop("masked", False) else "x w offset"
    inputs = {"x": [batch, 4, *sizes], "offset": [batch, 2 * parts * places, *out]}
    if "mask" in reads:
        inputs["mask"] = [batch, parts * places, *out]
    made = node("DeformConv", reads, "y", kernel_shape=weight[2:], **settings)
    weights = {"w": floats(*weight), "b": floats(weight[0], seed=1)}
    return model([made], inputs, ["y"], weights, opset=19)


def feeds_for(proto, batch=1):
    given = {}
    for seed, port in enumerate(proto.graph.input):
        dims = [d.dim_value for d in port.type.tensor_type.shape.dim][1:]
        given[port.name] = floats(batch, *dims, seed=seed)
    return given


CASES = {
    "plain": {},
    "masked": {"masked": True},
    "padded": {"out": (5, 6), "pads": [1, 1, 1, 1]},
    "uneven": {"out": (4, 5), "pads": [0, 1, 1, 0]},
    "strides": {"out": (1, 2), "strides": [3, 2]},
    "dilations": {"out": (2, 4), "dilations": [2, 1]},
    "groups": {"weight": (4, 2, 2, 2), "group": 2},
    "offset_groups": {"parts": 2, "offset_group": 2, "masked": True},
    "a_row": {"out": (4, 4), "weight": (2, 4, 1, 2)},
}


@pytest.mark.parametrize("name", CASES)
def test_equals_the_evaluator(name):
    proto = deformed(**CASES[name])
    agree(proto, feeds_for(proto), terms=256)


def test_any_batch_is_read_and_exported_to_the_same_results():
    proto = deformed("n", masked=True)
    network = read(proto.SerializeToString())
    assert network.fixed_batch is None
    for batch in (1, 3):
        feeds = feeds_for(proto, batch)
        wanted = network.run(feeds)["y"]
        (found,) = by_runtime(Proto(to_onnx(network)), feeds)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)


class Proto(bytes):
    """A file, where a proto is asked for."""

    SerializeToString = bytes.__bytes__


def test_sizes_that_vary_are_refused():
    refused_node(deformed(sizes=("h", 5)), "needs fixed sizes here, but some vary")


def test_too_many_windows_are_refused():
    refused_node(
        deformed(out=(1 << 12, 1 << 12)), r"reads 4 places for each of \[4096, 4096\]"
    )


def test_volumes_are_refused():
    made = node("DeformConv", "x w offset", "y")
    inputs = {"x": [1, 1, 4, 4, 4], "offset": [1, 24, 3, 3, 3]}
    proto = model([made], inputs, ["y"], {"w": floats(1, 1, 2, 2, 2)}, opset=19)
    refused_node(proto, "of 5 dimensions cannot be read")
