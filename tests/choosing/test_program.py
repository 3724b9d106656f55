"""Forms of a model, and what tells that two of them ask the same work of an engine."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tersor.choosing.program import ORIGINAL, Program, forms
from tersor.export.onnx import to_onnx
from tersor.methods.quantize.static import QuantizeStatic
from tersor.methods.quantize.weights import QuantizeWeights
from tersor.testing import networks, onnx_models


def program(model, name="int8"):
    return Program(name, model, model)


@pytest.fixture(scope="module")
def net():
    return networks.convolutional()


@pytest.fixture(scope="module")
def static(net):
    return program(to_onnx(QuantizeStatic().apply(net, networks.samples_for(net))))


def ops(model):
    return {node.op_type for node in onnx.load_model_from_string(model).graph.node}


def test_a_float_model_has_one_form(net):
    only = program(to_onnx(net))
    assert forms(only) == [only]


def test_int8_runs_as_stored_or_as_float(static):
    stored, as_float = forms(static)
    assert stored is static
    assert (as_float.expand, as_float.title) == ("all", "int8 as float")
    assert "QuantizeLinear" in ops(stored.model)
    assert not ops(as_float.model) & {"QuantizeLinear", "DequantizeLinear"}
    assert as_float.stored == static.model


def test_weights_alone_need_no_roundings_dropped(net):
    stored = program(to_onnx(QuantizeWeights().apply(net)))
    assert [form.expand for form in forms(stored)] == [None, "weights"]


def test_as_float_it_asks_the_same_work_as_the_original(net, static):
    original = program(to_onnx(net), ORIGINAL)
    assert forms(static)[1].signature == original.signature
    assert static.signature != original.signature


def test_numbers_in_weights_do_not_matter_and_shapes_do():
    model = onnx.load_model_from_string(onnx_models.perceptron())
    before = program(model.SerializeToString()).signature
    first = model.graph.initializer[0]
    array = numpy_helper.to_array(first)
    first.CopyFrom(numpy_helper.from_array(array * 2, first.name))
    assert program(model.SerializeToString()).signature == before
    first.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array[:, :-1]), first.name))
    assert program(model.SerializeToString()).signature != before


def test_strides_matter_and_ones_written_out_do_not():
    model = onnx.load_model_from_string(onnx_models.convolutional())
    before = program(model.SerializeToString()).signature
    strides = model.graph.node[0].attribute.add()
    strides.CopyFrom(onnx.helper.make_attribute("strides", [1, 1]))
    assert program(model.SerializeToString()).signature == before
    strides.CopyFrom(onnx.helper.make_attribute("strides", [2, 2]))
    assert program(model.SerializeToString()).signature != before
