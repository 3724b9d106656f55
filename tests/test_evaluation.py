"""One model on labelled samples."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from tersor.arrays.intervals import wilson
from tersor.data.samples import Samples
from tersor.errors import DataError, InputError
from tersor.evaluation import evaluate
from tersor.testing import onnx_models


def scores(n=12, classes=5):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, classes)).astype(np.float32)


ZEROS = Samples({"x": scores()}, np.zeros(12, int))


@pytest.fixture
def identity(tmp_path):
    """A function that writes a model whose output is its input, of a given shape."""

    def write(shape):
        ports = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"
        ]
        node = helper.make_node("Identity", ["x"], ["y"])
        graph = helper.make_graph([node], "identity", ports[:1], ports[1:])
        opset = helper.make_opsetid("", 17)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
        path = tmp_path / "identity.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return write


def test_the_value_is_the_share_of_right_answers_with_wilsons_interval(identity):
    x = scores()
    labels = x.argmax(axis=1)
    labels[:3] = (labels[:3] + 1) % 5
    done = []
    found = evaluate(
        identity(("n", 5)),
        Samples({"x": x}, labels),
        engine="onnxruntime",
        batch_size=5,
        on_progress=done.append,
    )
    assert (found["metric"], found["value"], found["samples"]) == ("top1", 9 / 12, 12)
    assert (found["low"], found["high"]) == wilson(9, 12)
    assert (found["engine"], found["precision"], found["why"]) == ("onnxruntime", "f32", None)
    assert done == [5 / 12, 10 / 12, 1.0]


@pytest.mark.parametrize(
    "shape", [(4, 5), ("n", 5), None], ids=["fixed", "varying", "unknown"]
)
def test_batches_are_as_the_model_wants_them(identity, shape):
    x = scores()
    found = evaluate(
        identity(shape), Samples({"x": x}, x.argmax(axis=1)), engine="onnxruntime"
    )
    assert found["value"] == 1.0


def test_an_error_has_students_interval(identity):
    x = scores()
    found = evaluate(identity(("n", 5)), Samples({"x": x}, x + 2.0), engine="onnxruntime")
    assert (found["metric"], found["higher_is_better"]) == ("mse", False)
    assert found["value"] == pytest.approx(4.0, rel=1e-6)
    assert found["low"] <= found["value"] <= found["high"]


def test_one_sample_gives_no_interval_for_an_error(identity):
    x = scores(1)
    found = evaluate(identity(("n", 5)), Samples({"x": x}, x), engine="onnxruntime")
    assert (found["value"], found["low"], found["high"]) == (0.0, None, None)


def test_a_function_needs_no_labels(identity):
    def largest(outputs, labels):
        assert labels is None
        return outputs["y"].max(axis=1)

    x = scores()
    found = evaluate(
        identity(("n", 5)), Samples({"x": x}), metric=largest, engine="onnxruntime"
    )
    assert found["metric"] == "largest"
    assert found["value"] == pytest.approx(x.max(axis=1).mean(), rel=1e-6)


@pytest.mark.parametrize(
    ("samples", "metric", "error", "message"),
    [
        (Samples({"x": scores()}), None, DataError, "has no labels"),
        (ZEROS, "agreement", InputError, "two models"),
        (
            ZEROS,
            "top3",
            InputError,
            "metric must be one of",
        ),
        (Samples({"x": scores()}, np.full(12, 5)), "top1", DataError, "labels"),
        (
            Samples({"x": scores() + np.nan}, np.zeros(12)),
            None,
            DataError,
            "nan in sample 0",
        ),
        (Samples({"z": scores()}, np.zeros(12, int)), None, DataError, "named z"),
        (Samples({"x": scores(classes=4)}, np.zeros(12, int)), None, DataError, "has shape"),
    ],
    ids=["no labels", "agreement", "metric", "range", "nan", "name", "shape"],
)
def test_what_does_not_fit_is_refused(identity, samples, metric, error, message):
    with pytest.raises(error, match=message):
        evaluate(identity(("n", 5)), samples, metric=metric, engine="onnxruntime")


def test_a_fixed_batch_must_divide_the_samples(identity):
    x = scores(10)
    with pytest.raises(DataError, match="holds 10 samples, but the model takes exactly 4"):
        evaluate(identity((4, 5)), Samples({"x": x}, x.argmax(axis=1)), engine="onnxruntime")


def test_a_tsr_file_is_scored_as_its_onnx_file(tmp_path):
    from tersor.store.model import save_model

    (tmp_path / "net.onnx").write_bytes(onnx_models.perceptron())
    save_model(tmp_path / "net.tsr", onnx_models.perceptron(), {"run": {"engine": "gone"}})
    x = np.random.default_rng(0).standard_normal((9, onnx_models.FEATURES)).astype(np.float32)
    samples = Samples({"x": x}, np.arange(9) % 5)
    a = evaluate(tmp_path / "net.onnx", samples, engine="onnxruntime")
    b = evaluate(tmp_path / "net.tsr", samples)
    assert a["value"] == b["value"]
    assert b["why"] == "The file asks for engine gone, which is not here."
