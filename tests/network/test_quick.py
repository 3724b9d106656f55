import os
import subprocess
import sys

import pytest
import torch

from tersor.export.onnx import to_onnx
from tersor.network.quick import quick
from tersor.testing.networks import convolutional

aten = torch.ops.aten
X = (2, 6, 9, 8)
CALLS = {
    "conv": (aten.conv2d.default, X, (4, 6, 3, 3)),
    "settings": (aten.conv2d.default, X, (4, 6, 3, 3), (4,), [2, 1], [1], [1, 2], 1),
    "groups": (aten.conv2d.default, X, (12, 2, 2, 3), None, [2], [0], [1], 3),
    "conv1d": (aten.conv1d.default, (2, 6, 9), (4, 6, 3), (4,), [2], [1]),
    "conv3d": (aten.conv3d.default, (1, 2, 5, 6, 7), (3, 2, 1, 2, 3)),
    "average": (aten.avg_pool2d.default, X, [2, 3]),
    "average, set": (aten.avg_pool2d.default, X, [3, 3], [2], [1], False, False),
    "max": (aten.max_pool2d.default, X, [3, 3], [2, 2], [1, 0], [1, 2]),
    "hardtanh": (aten.hardtanh.default, X, 0.0, 6.0),
}
REFUSED = {
    "channels": (aten.conv2d.default, X, (4, 5, 3, 3)),
    "bias": (aten.conv2d.default, X, (4, 6, 3, 3), (5,)),
    "words": (aten.conv2d.padding, X, (4, 6, 3, 3), None, [1], "same"),
    "too small": (aten.conv2d.default, X, (4, 6, 10, 3)),
    "stride": (aten.conv2d.default, X, (4, 6, 3, 3), None, [0]),
    "rounded up": (aten.max_pool2d.default, X, [2, 2], [2, 2], [0], [1], True),
    "padding": (aten.max_pool2d.default, X, [2, 2], [2, 2], [2]),
}
IN_A_NEW_PROCESS = """
import sys
from pathlib import Path
import numpy as np
from tersor.data.samples import Samples
from tersor.export.onnx import to_onnx
from tersor.methods.quantize.static import QuantizeStatic
from tersor.network.from_onnx.reader import read
from tersor.network.shapes import shapes
network = read(Path(sys.argv[1]))
shapes(network)
samples = Samples({"x": np.ones((4, *network.inputs[0].shape[1:]), np.float32)})
to_onnx(QuantizeStatic().apply(network, samples))
print([name for name in ("sympy", "torch._dynamo") if name in sys.modules])
"""


def tensors(call):
    made = (torch.empty(a, device="meta") if isinstance(a, tuple) else a for a in call[1:])
    return call[0], tuple(made)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_the_shape_is_that_which_torch_finds(call):
    target, args = tensors(call)
    found, wanted = quick(target, args, {}), target(*args)
    assert found is not None
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_unusual_or_wrong_is_left_to_torch(call):
    target, args = tensors(call)
    assert quick(target, args, {}) is None


def test_quantizing_a_convolutional_network_from_file_to_file_loads_no_compiler(tmp_path):
    """It would take two seconds, and a hundred megabytes."""
    path = tmp_path / "model.onnx"
    path.write_bytes(to_onnx(convolutional()))
    command = [sys.executable, "-c", IN_A_NEW_PROCESS, str(path)]
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | paths
    )
    assert done.stdout.strip() == "[]"
