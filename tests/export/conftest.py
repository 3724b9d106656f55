"""Networks and comparisons for the tests of the exporter."""

import numpy as np
import onnx
import onnxruntime
import pytest
from torch import nn

from tersor.network.capture import capture


class Function(nn.Module):
    """A function of one tensor as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, in0):
        return self.function(in0)


class FunctionOfTwo(Function):
    def forward(self, in0, in1):
        return self.function(in0, in1)


@pytest.fixture(scope="session")
def network_of():
    """Capture a module or function; inputs are called in0, in1."""

    def build(function, examples):
        if isinstance(function, nn.Module):
            module = function
        else:
            module = (Function if len(examples) == 1 else FunctionOfTwo)(function)
        names = [f"in{i}" for i in range(len(examples))]
        return capture(module, tuple(examples), input_names=names)

    return build


@pytest.fixture(scope="session")
def run_onnx():
    """Check a file strictly, then run it on ONNX Runtime."""

    def run(data, feeds):
        onnx.checker.check_model(data, full_check=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        # else ONNX Runtime rounds activations to 8 bits where only weights are integers
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
        session = onnxruntime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"]
        )
        names = [o.name for o in session.get_outputs()]
        return dict(zip(names, session.run(None, feeds), strict=True))

    return run


@pytest.fixture(scope="session")
def assert_close():
    """Equal names, types and shapes; floats within terms * eps * the largest value."""

    def check(got, want, terms=16):
        assert list(got) == list(want)
        assert want
        for name, expected in want.items():
            found = got[name]
            assert found.dtype == expected.dtype, name
            assert found.shape == expected.shape, name
            if expected.dtype.kind != "f":
                np.testing.assert_array_equal(found, expected, err_msg=name)
                continue
            finite = np.abs(expected[np.isfinite(expected)])
            largest = max(1.0, float(finite.max(initial=0.0)))
            tolerance = terms * np.finfo(expected.dtype).eps * largest
            np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance, err_msg=name)

    return check
