"""Races of files on engines: which rows come out. Times themselves are not asserted."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from tersor import bench as benchmark
from tersor.bench import BenchOptions, bench
from tersor.errors import EngineError, FileError, FormatError, InputError, ModelError
from tersor.measure import Timing
from tersor.report.bench import render_bench
from tersor.store.model import save_model
from tersor.testing import onnx_models

QUICK = BenchOptions(rounds=1, seconds=0.0, threads=1)


@pytest.fixture
def files(tmp_path):
    """A perceptron as .onnx and as .tsr."""
    model = onnx_models.perceptron()
    (tmp_path / "net.onnx").write_bytes(model)
    save_model(tmp_path / "net.tsr", model, {"run": {"engine": "onnxruntime"}})
    return [tmp_path / "net.onnx", tmp_path / "net.tsr"]


def model_of(tmp_path, shape, kind=TensorProto.FLOAT):
    """A file with one input of that shape."""
    given = helper.make_tensor_value_info("x", kind, shape)
    wanted = helper.make_tensor_value_info("y", kind, None)
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "identity", [given], [wanted])
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    (tmp_path / "one.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "one.onnx"


def test_every_model_runs_on_every_engine_in_the_order_given(files):
    told = []
    rows = bench(
        files,
        engines=["onnxruntime", "reference"],
        options=QUICK,
        on_progress=lambda what, done: told.append((what, done)),
    )
    pairs = [(row["model"], row["engine"]) for row in rows]
    assert pairs == [
        (m, e) for m in ("net.onnx", "net.tsr") for e in ("onnxruntime", "reference")
    ]
    assert rows[0]["ratio"] == 1.0
    assert all(0 < row["q1_ms"] <= row["median_ms"] <= row["q3_ms"] for row in rows)
    assert {(row["batch"], row["threads"], row["precision"]) for row in rows} == {
        (1, 1, "f32")
    }
    assert rows[0]["kernels"]["f32"] == 2
    assert ("prepare", 1.0) in told
    render_bench(rows)


def test_ratios_tell_how_many_times_faster_than_the_first_row(files, monkeypatch):
    slow = Timing(8.0, 7.0, 9.0, 2, quiet=True, rounds_ms=(8.0, 8.0))
    fast = Timing(2.0, 1.0, 3.0, 2, quiet=False, rounds_ms=(2.0, 2.0))
    monkeypatch.setattr(benchmark, "race", lambda *_, **__: [slow, fast])
    rows = bench(files, engines=["onnxruntime"], options=QUICK)
    assert [row["ratio"] for row in rows] == [1.0, 4.0]
    assert [row["quiet"] for row in rows] == [True, False]
    assert [(row["q1_ms"], row["median_ms"], row["q3_ms"]) for row in rows] == [
        (7.0, 8.0, 9.0),
        (1.0, 2.0, 3.0),
    ]


def test_files_of_the_same_name_are_told_apart(files, tmp_path):
    (tmp_path / "more").mkdir()
    other = tmp_path / "more" / "net.onnx"
    other.write_bytes(files[0].read_bytes())
    rows = bench([files[0], other], engines=["onnxruntime"], options=QUICK)
    assert [row["model"] for row in rows] == [str(files[0]), str(other)]


def test_an_engine_that_refuses_gives_a_row_with_its_reason_at_the_end(files, monkeypatch):
    def absent(*_model, **_settings):
        raise EngineError("reference", "is not installed", "Run: pip install onnx.")

    monkeypatch.setattr("tersor.engines.reference.Reference.prepare", absent)
    rows = bench(files[:1], engines=["reference", "onnxruntime"], options=QUICK)
    assert [row["engine"] for row in rows] == ["onnxruntime", "reference"]
    assert (rows[1]["median_ms"], rows[1]["problem"]) == (None, "is not installed")
    rows = bench(files[:1], engines=["reference"], options=QUICK)
    assert [row["problem"] for row in rows] == ["is not installed"]


def test_an_engine_without_a_profile_has_no_kernels(files, monkeypatch):
    def refuse(*_feeds):
        raise EngineError("onnxruntime", "has no profile", "x.")

    monkeypatch.setattr("tersor.engines.onnxruntime._Session.kernels", refuse)
    assert bench(files[:1], engines=["onnxruntime"], options=QUICK)[0]["kernels"] == {}


def test_by_default_only_engines_that_are_ready_at_once_take_part():
    assert "onnxruntime" in benchmark.quick()
    assert not {"reference", "torch_compiled"} & set(benchmark.quick())


@pytest.mark.parametrize(
    ("shape", "kind", "batch", "fits"),
    [
        (("n", 4), TensorProto.FLOAT, 3, (3, 4)),
        (("n", "n"), TensorProto.FLOAT16, 2, (2, 2)),
        (("n", "tokens", 3), TensorProto.INT64, 2, (2, 5, 3)),
        ((1, 4), TensorProto.INT64, 1, (1, 4)),
        ((), TensorProto.BOOL, 1, ()),
    ],
    ids=["batch", "twice", "length", "fixed", "scalar"],
)
def test_inputs_are_made_to_fit(tmp_path, shape, kind, batch, fits):
    from tersor.engines.engine import ends_of

    path = model_of(tmp_path, shape, kind)
    (end,) = ends_of("test", path.read_bytes()).inputs
    made = benchmark._feeds("one.onnx", [end], BenchOptions(batch=batch, length=5))["x"]
    assert made.shape == fits
    assert made.dtype == end.dtype
    assert made.dtype.kind == "f" or np.all(made == 1)


@pytest.mark.parametrize(
    ("shape", "batch", "message"),
    [
        (("n", "length"), 1, r"'x' of varying size beyond the batch \(n x length\)"),
        ((8, 4), 1, r"'x' whose first size is fixed to 8"),
        (None, 1, "'x' of no fixed rank"),
    ],
    ids=["length", "fixed", "rank"],
)
def test_a_size_that_is_not_known_is_refused(tmp_path, shape, batch, message):
    with pytest.raises(ModelError, match=message):
        bench(
            [model_of(tmp_path, shape)],
            engines=["onnxruntime"],
            options=BenchOptions(batch=batch, seconds=0.0, rounds=1),
        )


def test_a_precision_takes_only_engines_that_have_it(files, monkeypatch):
    monkeypatch.setattr(
        "tersor.engines.reference.Reference.precisions", lambda _: ("f32", "bf16")
    )
    engines = ["onnxruntime", "reference"]
    pairs = benchmark._pairs(engines, "bf16")
    assert list(pairs) == [("reference", "bf16")]
    with pytest.raises(InputError, match="one of f32, bf16 for onnxruntime, reference"):
        bench(files, engines=engines, options=BenchOptions(precision="f8"))


def test_what_cannot_be_timed_is_refused(files, tmp_path):
    with pytest.raises(InputError, match="models must be at least 1"):
        bench([])
    with pytest.raises(InputError, match="engine must be one of"):
        bench(files, engines=["fastest"])
    with pytest.raises(FileError, match="is not a file"):
        bench([tmp_path / "missing.onnx"], engines=["onnxruntime"])
    files[1].write_bytes(files[1].read_bytes()[:-20])
    with pytest.raises(FormatError, match=r"net\.tsr: the file is cut"):
        bench(files, engines=["onnxruntime"])
    with pytest.raises(InputError, match="batch must be at least 1"):
        BenchOptions(batch=0)
    with pytest.raises(InputError, match="threads must be at least 1"):
        BenchOptions(threads=0)
    with pytest.raises(InputError, match="length must be at least 1"):
        BenchOptions(length=0)
