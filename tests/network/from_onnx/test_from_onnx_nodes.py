"""The node tests that the onnx package ships, for all operators that can be read."""

import importlib
import pkgutil
import warnings

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.case import node as cases_of_onnx

from tersor.errors import TersorError
from tersor.network.from_onnx.reader import operators, read

KINDS = {"float32", "int64", "int32", "bool", "int8", "uint8"}
# Their expected values take seconds to compute, and no operator of theirs can be read.
LEFT_OUT = {"lppool", "attention", "rnn", "lstm", "gru", "ai_onnx_ml", "deformconv"}
# What the reader refuses on purpose, by the words of its message.
REFUSED = (
    "with dilations cannot be read",
    "is in training mode",
    "with a scale per block cannot be read",
    "with batch dimensions cannot be read",
    "has no shape",
    "has an output 1 that cannot be read",
    "uses opset 1",
    "that is not constant",
    "reducing over zero-size dimension",
    "keeps the aspect ratio",
)


@pytest.fixture(scope="module")
def cases():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # their own numpy code overflows on purpose
        for _, name, _ in pkgutil.iter_modules(cases_of_onnx.__path__):
            if name not in LEFT_OUT:
                importlib.import_module(f"{cases_of_onnx.__name__}.{name}")
    return [case for case in cases_of_onnx._NodeTestCases if is_ours(case)]


def is_ours(case):
    arrays = [a for pair in case.data_sets for side in pair for a in side]
    known = set(operators())
    return (
        len(case.data_sets) == 1
        and all(
            isinstance(a, np.ndarray | np.generic) and a.dtype.name in KINDS for a in arrays
        )
        and all(n.op_type in known for n in case.model.graph.node)
    )


def settings_inside(case):
    """The model with its later inputs, such as axes and shapes, as initializers."""
    proto = onnx.ModelProto()
    proto.CopyFrom(case.model)
    arrays = case.data_sets[0][0]
    first = 1 if len(arrays) > 1 else 0
    for info, array in list(zip(case.model.graph.input, arrays, strict=True))[first:]:
        if (
            array.dtype.kind != "f"
            or array.size < 3
            or "resize" in case.name
            or "onehot" in case.name
        ):
            proto.graph.initializer.append(
                numpy_helper.from_array(np.asarray(array), info.name)
            )
    return proto


def outcome(case):
    """None if the case agrees, else why it was refused."""
    try:
        network = read(case.model.SerializeToString())
    except TersorError:
        try:
            network = read(settings_inside(case).SerializeToString())
        except TersorError as error:
            return str(error)
    arrays, expected = case.data_sets[0]
    feeds = {
        i.name: np.asarray(a) for i, a in zip(case.model.graph.input, arrays, strict=True)
    }
    got = network.run({port.name: feeds[port.name] for port in network.inputs})
    for port, wanted in zip(network.outputs, expected, strict=True):
        assert got[port.name].dtype == wanted.dtype, case.name
        assert got[port.name].shape == wanted.shape, case.name
        # rtol is the case's own; 1e-6 lets sums of a few terms near 0 differ
        np.testing.assert_allclose(
            got[port.name], wanted, rtol=case.rtol, atol=1e-6, err_msg=case.name
        )
    return None


def test_every_node_test_passes_or_is_refused_by_name(cases):
    outcomes = {case.name: outcome(case) for case in cases}
    refused = {name: why for name, why in outcomes.items() if why is not None}
    surprises = {n: w for n, w in refused.items() if not any(known in w for known in REFUSED)}
    assert surprises == {}
    assert len(outcomes) - len(refused) >= 880
    assert len(refused) <= 40
