"""Small files that commands work on, and a way to call commands."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

from tersor.cli import main
from tersor.store.model import save_model
from tersor.testing import onnx_models


@dataclass(frozen=True)
class Called:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def document(self):
        """The JSON document on stdout: exactly one."""
        return json.loads(self.out)


@pytest.fixture
def tersor(capsys):
    """A function that calls the command line in this process."""

    def call(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Called(code, *capsys.readouterr())

    return call


@pytest.fixture
def refused(tersor):
    """A function that calls a command which must fail, and returns its one message."""

    def call(*words, code):
        plain = tersor(*words)
        assert (plain.code, plain.out) == (code, "")
        assert plain.err.startswith("Error: ")
        assert plain.err.count("\n") == 1
        assert "bug in Tersor" not in plain.err
        again = tersor(*words, "--json")
        assert (again.code, again.err) == (code, plain.err)
        assert set(again.document) == {"error"}
        assert again.document["error"]["message"] == plain.err.removeprefix("Error: ").strip()
        return plain.err

    return call


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a model as net.onnx and net.tsr, and in.npz for it."""
    monkeypatch.chdir(tmp_path)
    model = onnx_models.perceptron()
    (tmp_path / "net.onnx").write_bytes(model)
    save_model("net.tsr", model, {"run": {"engine": "onnxruntime", "precision": "f32"}})
    np.savez("in.npz", x=inputs(), labels=np.arange(20) % onnx_models.CLASSES)
    return tmp_path


def inputs(n=20):
    shape = (n, onnx_models.FEATURES)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)
