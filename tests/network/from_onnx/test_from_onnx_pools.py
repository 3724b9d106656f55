"""Pools of powers: against ONNX Runtime, and against their definition."""

import numpy as np
import onnx
import pytest
from onnx_models import by_runtime, floats, model, node

from tersor.errors import UnsupportedError
from tersor.export.onnx import to_onnx
from tersor.network.from_onnx.reader import read


def pooled(shape, **attributes):
    op = "LpPool" if "kernel_shape" in attributes else "GlobalLpPool"
    return model([node(op, "x", "y", **attributes)], {"x": ["N", *shape]}, ["y"], {})


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((3, 9), {"kernel_shape": [3], "strides": [2]}),
        ((3, 8, 9), {"kernel_shape": [3, 2], "pads": [1, 0, 2, 1], "p": 1}),
        ((3, 8, 9), {"kernel_shape": [2, 3], "strides": [3, 1], "p": 3}),
        ((2, 5, 6, 7), {"kernel_shape": [2, 2, 2]}),
        ((3, 8, 9), {}),
        ((3, 8, 9), {"p": 3}),
        ((3, 9), {"p": 1}),
    ],
    ids=lambda value: str(value).replace(" ", ""),
)
def test_pools_of_powers_agree_with_the_runtime(shape, attributes):
    """Sums of at most 72 powers, none negative: off by 72 roundings at most."""
    proto, feeds = pooled(shape, **attributes), {"x": floats(2, *shape)}
    (wanted,) = by_runtime(proto, feeds)
    network = read(proto.SerializeToString())
    (again,) = by_runtime(onnx.load_model_from_string(to_onnx(network)), feeds)
    for found in (network.run(feeds)["y"], again):
        np.testing.assert_allclose(found, wanted, rtol=72 * 2.0**-23)


def test_a_window_holds_the_root_of_its_sum():
    """|3|, |-4| and the padding: 5, then 4, the root of 0 + 16."""
    network = read(pooled((1, 2), kernel_shape=[2], pads=[0, 1]).SerializeToString())
    x = np.float32([[[3, -4]]])
    np.testing.assert_allclose(network.run({"x": x})["y"], [[[5, 4]]], rtol=1e-6)


@pytest.mark.parametrize(
    ("words", "attributes"),
    [
        ("with dilations or ceil_mode", {"kernel_shape": [2, 2], "dilations": [2, 1]}),
        ("with dilations or ceil_mode", {"kernel_shape": [2, 2], "ceil_mode": 1}),
        ("has a p of 0", {"kernel_shape": [2, 2], "p": 0}),
        ("has a p of -1", {"p": -1}),
    ],
)
def test_what_cannot_be_pooled_is_refused_by_name(words, attributes):
    proto = pooled((3, 8, 9), **attributes)
    with pytest.raises(UnsupportedError, match=f"LpPool .* {words}"):
        read(proto.SerializeToString())
