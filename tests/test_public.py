"""The public names, and what importing the package costs."""

import subprocess
import sys

import pytest

import tersor

NAMES = {
    *("Budget", "Network", "Options", "Recipe", "Samples", "TersorError", "__version__"),
    *("capture", "compress", "load", "open", "read_samples", "split"),
}


def run(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_public_names_are_these():
    assert set(tersor.__all__) == NAMES
    assert set(dir(tersor)) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_public_name_is_there(name):
    assert getattr(tersor, name) is not None


def test_unknown_name_is_refused():
    with pytest.raises(AttributeError, match=r"module 'tersor' has no attribute 'qantize'"):
        _ = tersor.qantize


def test_importing_loads_neither_torch_nor_an_engine_nor_numpy():
    heavy = "{'torch', 'onnx', 'onnxruntime', 'openvino', 'numpy', 'scipy', 'rich', 'click'}"
    code = f"import sys, tersor; print(sorted(set(sys.modules) & {heavy}))"
    assert run(code) == "[]"


def test_version_is_the_one_of_the_package():
    from importlib.metadata import version

    assert tersor.__version__ == version("tersor")
