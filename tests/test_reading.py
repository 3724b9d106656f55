import numpy as np
import pytest

import tersor
from tersor.errors import FileError, InputError
from tersor.export.onnx import to_onnx
from tersor.reading import read
from tersor.store.model import save_model
from tersor.testing.networks import perceptron

MODULE = """
import torch
def model():
    return torch.nn.Linear(4, 2), (torch.zeros(2, 4),)
def captured():
    import tersor
    return tersor.capture(*model(), dynamic_batch=False)
def nothing():
    return 3
"""


def feeds(n, size=12):
    return np.random.default_rng(0).standard_normal((n, size)).astype(np.float32)


@pytest.mark.parametrize("kind", ["onnx", "tsr"])
def test_a_file_gives_the_network_and_its_untouched_bytes(tmp_path, kind):
    network = perceptron()
    model = to_onnx(network)
    path = tmp_path / f"net.{kind}"
    if kind == "onnx":
        path.write_bytes(model)
    else:
        save_model(path, model, {})
    loaded = read(path)
    assert (loaded.name, loaded.onnx) == (f"net.{kind}", model)
    x = {"x": feeds(3)}
    assert np.array_equal(loaded.network.run(x)["y"], network.run(x)["y"])


def test_a_callable_gives_its_module(tmp_path, monkeypatch):
    (tmp_path / "own_model.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    network = tersor.load("own_model:model")
    assert network.inputs[0].shape == ("batch", 4)
    assert tersor.load("own_model:captured").inputs[0].shape == (2, 4)
    with pytest.raises(
        InputError, match=r"returns \(module, inputs\), or what tersor.capture"
    ):
        tersor.load("own_model:nothing")


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"model must be an \.onnx, \.pt2 or \.tsr file"):
        read("model.pb")
    with pytest.raises(FileError, match="is not a file"):
        read(tmp_path / "missing.onnx")
