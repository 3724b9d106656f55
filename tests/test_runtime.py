"""Opening model files and running them."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tersor import engines, machine, runtime
from tersor.engines.engine import End
from tersor.errors import DataError, EngineError, FileError, FormatError, InputError
from tersor.export.onnx import to_onnx
from tersor.methods.quantize.static import QuantizeStatic
from tersor.testing import networks, onnx_models

HERE = "tersor.runtime.available"


@pytest.fixture
def relu_file(tmp_path):
    path = tmp_path / "relu.onnx"
    path.write_bytes(onnx_models.relu())
    return path


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """A function that makes a .tsr file which asks for what it is told."""

    def make(**run):
        meta = {"run": run} if run else {}
        model = SimpleNamespace(load_model=lambda _: (onnx_models.relu(), meta))
        monkeypatch.setitem(sys.modules, "tersor.store.model", model)
        return tmp_path / "relu.tsr"

    return make


@pytest.fixture
def expansions(monkeypatch):
    """The expansions that are applied, in order."""
    done = []

    def step(name):
        return lambda model: done.append(name) or model

    module = SimpleNamespace(
        expand_weights=step("weights"), strip_activation_rounding=step("roundings")
    )
    monkeypatch.setitem(sys.modules, "tersor.store.expand", module)
    return done


X = np.array([[-1.0, 0.0, 2.0, -3.0]], np.float32)


def test_onnx_file_runs(relu_file):
    model = runtime.open(relu_file, engine="onnxruntime", threads=1)
    assert model.run({"x": X})["y"].tolist() == [[0.0, 0.0, 2.0, 0.0]]
    assert (model.engine, model.precision, model.threads) == ("onnxruntime", "f32", 1)
    assert model.inputs == (End("x", ("n", 4), "float32"),)
    assert model.outputs == (End("y", ("n", 4), "float32"),)
    assert model.why is None


def test_defaults_are_the_preferred_engine_and_one_thread_per_core(relu_file):
    model = runtime.open(str(relu_file))
    preferred = [n for n in ("openvino", "onnxruntime") if n in engines.available()]
    assert model.engine == preferred[0]
    assert model.threads == machine.default_threads()


def test_a_file_is_run_as_it_asks(packed):
    model = runtime.open(packed(engine="reference", precision="f32"))
    assert (model.engine, model.why) == ("reference", None)


def test_an_absent_engine_is_replaced_and_said(packed, monkeypatch):
    monkeypatch.setattr(HERE, lambda: ["onnxruntime", "reference"])
    model = runtime.open(packed(engine="openvino"))
    assert model.engine == "onnxruntime"
    assert model.why == "The file asks for engine openvino, which is not here."


def test_an_absent_precision_is_replaced_and_said(packed):
    model = runtime.open(packed(engine="onnxruntime", precision="bf16"))
    assert model.precision == "f32"
    assert model.why == "The file asks for bf16, which onnxruntime does not have here."


def test_a_precision_is_meant_for_its_engine_only(packed):
    path = packed(engine="openvino", precision="bf16")
    model = runtime.open(path, engine="onnxruntime")
    assert (model.precision, model.why) == ("f32", None)


def test_the_caller_has_the_last_word(packed):
    model = runtime.open(packed(engine="reference"), engine="onnxruntime", precision="f32")
    assert model.engine == "onnxruntime"
    with pytest.raises(InputError, match=r"precision must be one of f32 .*Got 'bf16'"):
        runtime.open(packed(engine="reference"), engine="onnxruntime", precision="bf16")


@pytest.mark.parametrize(
    ("expand", "done"),
    [(None, []), ("weights", ["weights"]), ("all", ["weights", "roundings"])],
    ids=["nothing", "weights", "all"],
)
def test_expansions_are_those_that_the_file_asks_for(packed, expansions, expand, done):
    runtime.open(packed(engine="onnxruntime", expand=expand))
    assert expansions == done


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        ({"expand": "some"}, "Unknown expansion 'some'"),
        ({"engine": 7}, "The note `run.engine` is not a text"),
    ],
    ids=["expansion", "type"],
)
def test_strange_notes_are_refused(packed, run, problem):
    with pytest.raises(FormatError, match=problem):
        runtime.open(packed(**run))


def test_notes_that_are_no_table_are_refused():
    with pytest.raises(FormatError, match="The note `run` is not a table"):
        runtime._wishes_of({"run": "openvino"})


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("absent.onnx", r"absent\.onnx cannot be read \(No such file"),
        ("model.pt", r"model\.pt is neither a \.tsr nor an \.onnx file"),
    ],
    ids=["absent", "other kind"],
)
def test_unreadable_file_is_refused(tmp_path, name, problem):
    with pytest.raises(FileError, match=problem):
        runtime.open(tmp_path / name)


def test_file_that_is_no_model_is_refused(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(EngineError, match="cannot read the model"):
        runtime.open(path)


@pytest.mark.parametrize("kind", ["bytes", "mapped", "file", "address"])
def test_a_packed_model_runs_from_wherever_its_bytes_are(tmp_path, kind):
    fsspec = pytest.importorskip("fsspec")
    from tersor.store.model import save_model
    from tersor.store.source import mapped

    path = tmp_path / "relu.tsr"
    save_model(path, onnx_models.relu(), {})
    fsspec.filesystem("memory").pipe("/relu.tsr", path.read_bytes())
    with path.open("rb") as file:
        origin = {
            "bytes": path.read_bytes(),
            "mapped": mapped(path),
            "file": file,
            "address": "memory://relu.tsr",
        }[kind]
        model = runtime.open(origin, engine="onnxruntime", threads=1)
    assert model.run({"x": X})["y"].tolist() == [[0.0, 0.0, 2.0, 0.0]]


def test_bytes_that_are_no_packed_model_are_refused():
    with pytest.raises(FormatError):
        runtime.open(onnx_models.relu())


def test_no_engine_for_bytes_is_said(monkeypatch):
    from tersor.store.model import packed

    monkeypatch.setattr(HERE, list)
    with pytest.raises(EngineError, match=r"for these bytes has no engine"):
        runtime.open(packed(onnx_models.relu()))


def test_unknown_engine_lists_the_known(relu_file):
    with pytest.raises(InputError, match="one of onnxruntime"):
        runtime.open(relu_file, engine="tensorrt")


def test_no_engine_at_all_is_said(relu_file, monkeypatch):
    monkeypatch.setattr(HERE, list)
    with pytest.raises(EngineError, match=r"relu\.onnx has no engine .*: none is installed"):
        runtime.open(relu_file)


def refusing(name):
    def prepare(*_, **__):
        raise EngineError(name, "refused the model", "Try another engine.")

    return SimpleNamespace(name=name, prepare=prepare, precisions=lambda: ("f32",))


def test_an_engine_that_refuses_is_replaced_and_said(relu_file, packed, monkeypatch):
    find = engines.find
    monkeypatch.setattr(HERE, lambda: ["openvino", "onnxruntime"])
    fake = {"openvino": refusing("openvino")}
    monkeypatch.setattr(runtime, "find", lambda name: fake.get(name) or find(name))
    model = runtime.open(relu_file)
    assert model.engine == "onnxruntime"
    assert model.why == "Engine openvino refused the model. Try another engine."
    assert runtime.open(packed(engine="openvino")).why == model.why  # tried once only
    with pytest.raises(EngineError, match="openvino refused the model"):
        runtime.open(relu_file, engine="openvino")


@pytest.mark.parametrize(
    ("feeds", "problem"),
    [
        ({"z": X}, r"needs inputs named x, and got z\. Name them like the model"),
        ({}, r"needs inputs named x, and got nothing"),
        ({"x": X.astype(np.float64)}, r"'x': it is float64 .*x\.astype\('float32'\)\.$"),
        ({"x": X[0]}, r"'x': it has shape \(4,\) where \(n, 4\) belongs"),
        ({"x": X[:, :3]}, r"'x': it has shape \(1, 3\) where \(n, 4\) belongs"),
    ],
    ids=["name", "nothing", "type", "rank", "size"],
)
def test_feeds_that_do_not_fit_are_refused(relu_file, feeds, problem):
    model = runtime.open(relu_file, engine="onnxruntime")
    with pytest.raises(DataError, match=problem) as caught:
        model.run(feeds)
    assert caught.value.what == "The model"


def test_running_a_file_loads_no_torch(relu_file):
    code = (
        "import sys, numpy as np; from tersor import runtime;"
        f"m = runtime.open({str(relu_file)!r}, engine='onnxruntime');"
        "m.run({'x': np.zeros((1, 4), np.float32)}); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("flags", "expand", "warned"),
    [
        (("avx2",), None, True),
        (("avx2", "avx_vnni"), None, False),
        (("neon",), None, False),
        (("avx2",), "all", False),
        (("avx2",), "weights", False),
    ],
)
def test_a_file_of_eight_bits_says_so_where_sums_saturate(
    tmp_path, monkeypatch, flags, expand, warned
):
    from tersor.store.model import save_model

    network = networks.perceptron()
    made = QuantizeStatic(weight_bits=8).apply(network, networks.samples_for(network, 16))
    run = {"engine": "onnxruntime", "precision": "f32"}
    run |= {} if expand is None else {"expand": expand}
    save_model(tmp_path / "net.tsr", to_onnx(made), {"run": run})
    monkeypatch.setattr(runtime, "isa_flags", lambda: flags)
    warning = runtime.open(tmp_path / "net.tsr", threads=1).warning
    assert (warning is not None) == warned
    if warned:
        assert "weights have eight bits" in warning
