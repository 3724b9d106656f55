"""Any model as a file that engines run."""

import onnx
import pytest

from tersor.errors import FileError, FormatError, InputError
from tersor.modelfile import model_file, naming
from tersor.runtime import open as open_model
from tersor.testing import onnx_models

MODULE = """
import torch
def model():
    return torch.nn.Linear(4, 2), (torch.zeros(2, 4),)
"""


@pytest.mark.parametrize("kind", ["onnx", "tsr"])
def test_a_file_that_runs_is_taken_as_it_is(tmp_path, kind):
    path = tmp_path / f"net.{kind}"
    path.write_bytes(onnx_models.perceptron())
    with model_file(path) as found:
        assert found == path


def test_a_callable_is_a_temporary_file(tmp_path, monkeypatch):
    (tmp_path / "file_model.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    with model_file("file_model:model") as found:
        assert open_model(found, engine="onnxruntime").inputs[0].shape == ("batch", 4)
    assert not found.exists()


@pytest.mark.parametrize("kept", [0, 1, 50, -1], ids=lambda n: f"{n} bytes")
def test_an_onnx_file_cut_short_is_refused(tmp_path, kept):
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx_models.perceptron()[:kept])
    with (
        pytest.raises(FormatError, match=r"net\.onnx is not an ONNX model, or is cut short"),
        model_file(path),
    ):
        pass


def test_a_graph_without_outputs_is_refused(tmp_path):
    model = onnx.load_model_from_string(onnx_models.perceptron())
    del model.graph.output[:]
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    refused = pytest.raises(FormatError, match="is not an ONNX model")
    with refused, model_file(tmp_path / "net.onnx"):
        pass


def test_what_is_no_model_is_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="must be an"), model_file("net.pb"):
        pass
    with pytest.raises(FileError, match="is not a file"), model_file(tmp_path / "net.tsr"):
        pass
    (tmp_path / "net.onnx").write_bytes(b"x")
    monkeypatch.setattr("pathlib.Path.read_bytes", _denied)
    with (
        pytest.raises(FileError, match="Permission denied"),
        model_file(tmp_path / "net.onnx"),
    ):
        pass


def _denied(_):
    raise PermissionError(13, "Permission denied")


def test_a_format_error_tells_the_file_once():
    with (
        pytest.raises(FormatError, match=r"^a\.tsr: cut, at byte 7\.") as caught,
        naming("a.tsr"),
    ):
        raise FormatError("cut", offset=7)
    with pytest.raises(FormatError) as again, naming("a.tsr"):
        raise caught.value
    assert again.value is caught.value
