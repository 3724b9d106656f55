"""`tersor evaluate`, `run`, `bench`."""

import numpy as np
import pytest

from tersor.runtime import open as open_model
from tersor.testing import onnx_models

QUICK = ("--rounds", "1", "--seconds", "0", "--threads", "1")


def expected():
    with np.load("in.npz") as arrays:
        return open_model("net.onnx", engine="onnxruntime").run({"x": arrays["x"]})["y"]


@pytest.fixture
def damaged(folder):
    """The folder with files that cannot be used."""
    for name in ("net.onnx", "net.tsr", "in.npz"):
        whole = (folder / name).read_bytes()
        (folder / f"cut{name[-5 if name.endswith('onnx') else -4 :]}").write_bytes(whole[:300])
    with np.load("in.npz") as arrays:
        x, labels = arrays["x"], arrays["labels"]
    np.savez("names.npz", image=x, labels=labels)
    np.savez("shapes.npz", x=x[:, :-1], labels=labels)
    np.savez("types.npz", x=x.astype("i4"), labels=labels)
    np.savez("classes.npz", x=x, labels=labels + onnx_models.CLASSES)
    np.savez("unlabelled.npz", x=x)
    x[3, 1] = np.nan
    np.savez("nan.npz", x=x, labels=labels)
    return folder


@pytest.mark.parametrize("model", ["net.onnx", "net.tsr"])
@pytest.mark.parametrize("batch", [[], ["--batch", "7"]], ids=["at once", "in batches"])
@pytest.mark.usefixtures("folder")
def test_run_writes_what_the_engine_computes(tersor, model, batch):
    words = ("--input", "in.npz", "--output", "out.npz", "--engine", "onnxruntime")
    called = tersor("run", model, *words, *batch, "--json")
    assert called.document["outputs"] == {"y": {"shape": [20, 5], "dtype": "float32"}}
    assert called.document["engine"] == "onnxruntime"
    with np.load("out.npz") as found:
        assert list(found.files) == ["y"]
        n = onnx_models.FEATURES + onnx_models.HIDDEN
        wanted = expected()
        assert np.abs(found["y"] - wanted).max() <= n * 2.0**-23 * np.abs(wanted).max()


@pytest.mark.usefixtures("folder")
def test_run_says_what_it_did(tersor):
    shown = tersor(
        "run", "net.tsr", "--input", "in.npz", "--output", "out.npz", "--threads", 1
    )
    lines = shown.out.splitlines()
    assert lines[0].startswith("Wrote out.npz: ")
    assert lines[1:] == ["  y  20x5  float32", "onnxruntime f32, threads 1"]


@pytest.mark.usefixtures("folder")
def test_run_says_why_it_is_not_the_engine_that_the_file_asks_for(tersor):
    from tersor.store.model import save_model

    save_model("far.tsr", onnx_models.perceptron(), {"run": {"engine": "gone"}})
    shown = tersor("run", "far.tsr", "--input", "in.npz", "--output", "out.npz")
    assert shown.out.endswith("Note: The file asks for engine gone, which is not here.\n")


@pytest.mark.usefixtures("folder")
def test_outputs_that_do_not_split_into_batches_are_refused(refused, monkeypatch):
    from tersor.runtime import Runnable

    monkeypatch.setattr(Runnable, "run", lambda *_: {"y": np.zeros((1, 5))})
    words = ("--input", "in.npz", "--output", "out.npz", "--batch", "10")
    assert "It cannot be split into batches" in refused("run", "net.onnx", *words, code=1)


@pytest.mark.parametrize(
    ("model", "source", "more", "code", "message"),
    [
        ("missing.onnx", "in.npz", [], 1, "missing.onnx is not a file"),
        ("net.pb", "in.npz", [], 2, "must be an .onnx, .pt2 or .tsr file"),
        ("cut.onnx", "in.npz", [], 1, "cut.onnx is not an ONNX model, or is cut short"),
        ("cut.tsr", "in.npz", [], 1, "cut.tsr: the file is cut"),
        ("net.onnx", "missing.npz", [], 1, "missing.npz cannot be read"),
        ("net.onnx", "cut.npz", [], 1, "cut.npz is no .npz file of arrays, or is damaged"),
        ("net.onnx", "names.npz", [], 1, "needs inputs named x, and got image"),
        ("net.onnx", "shapes.npz", [], 1, "has shape (20, 11) where (n, 12) belongs"),
        ("net.onnx", "types.npz", [], 1, "is int32 where float32 belongs"),
        ("net.onnx", "in.npz", ["--engine", "gpu"], 2, "engine must be one of"),
        ("net.onnx", "in.npz", ["--output", "o.txt"], 2, "a file name that ends with .npz"),
        ("net.onnx", "in.npz", ["--output", "no/o.npz"], 1, "no is not a folder"),
        ("net.onnx", "in.npz", ["--output", "in.npz"], 1, "it would be overwritten"),
    ],
    ids=[
        *("missing", "suffix", "cut onnx", "cut tsr", "no data", "cut data", "names"),
        *("shapes", "types", "engine", "output", "folder", "same"),
    ],
)
@pytest.mark.usefixtures("damaged")
def test_run_refuses_in_one_line(refused, model, source, more, code, message):
    words = ["--input", source, "--output", "o.npz", *more]
    assert message in refused("run", model, *words, code=code)


@pytest.mark.usefixtures("folder")
def test_evaluate_counts_right_answers(tersor):
    words = ("evaluate", "net.onnx", "--data", "in.npz", "--engine", "onnxruntime")
    found = tersor(*words, "--json").document
    right = (expected().argmax(axis=1) == np.arange(20) % onnx_models.CLASSES).mean()
    assert (found["metric"], found["value"], found["samples"]) == ("top1", right, 20)
    assert found["low"] <= right <= found["high"]
    shown = tersor(*words).out.splitlines()
    assert shown[0].startswith(f"top1  {100 * right:.2f} %  (95 %: ")
    assert shown[1].startswith("20 samples, onnxruntime f32, threads ")


OWN = """
def half(outputs, labels):
    return outputs["y"].max(axis=1) * 0 + 0.5
"""


@pytest.mark.usefixtures("folder")
def test_evaluate_takes_a_function_of_the_users(tersor, folder, monkeypatch):
    (folder / "own_metric.py").write_text(OWN)
    monkeypatch.syspath_prepend(folder)
    shown = tersor("evaluate", "net.tsr", "--data", "in.npz", "--metric", "own_metric:half")
    assert shown.out.splitlines()[0] == "half  0.5  (95 %: 0.5 to 0.5)"


@pytest.mark.parametrize(
    ("model", "data", "more", "code", "message"),
    [
        ("missing.onnx", "in.npz", [], 1, "missing.onnx is not a file"),
        ("cut.tsr", "in.npz", [], 1, "cut.tsr: the file is cut"),
        ("net.onnx", "missing.npz", [], 1, "missing.npz"),
        ("net.onnx", "cut.npz", [], 1, "cut.npz"),
        ("net.onnx", "names.npz", [], 1, "have arrays named image"),
        ("net.onnx", "shapes.npz", [], 1, "has shape (20, 11)"),
        ("net.onnx", "types.npz", [], 1, "holds int32, but the model takes float32"),
        ("net.onnx", "nan.npz", [], 1, "holds nan in sample 3"),
        ("net.onnx", "classes.npz", [], 1, "labels"),
        ("net.onnx", "unlabelled.npz", [], 1, "Add an array named labels"),
        ("net.onnx", "in.npz", ["--metric", "best"], 2, "metric must be one of top1"),
        ("net.onnx", "in.npz", ["--metric", "top1:z"], 2, "metric output must be one of y"),
        ("net.onnx", "in.npz", ["--metric", "agreement"], 2, "compares two models"),
        ("net.onnx", "in.npz", ["--metric", "no_such:thing"], 2, "Got 'no_such'"),
        ("net.onnx", "in.npz", ["--engine", "gpu"], 2, "engine must be one of"),
    ],
    ids=[
        *("missing", "cut", "no data", "cut data", "names", "shapes", "types", "nan"),
        *("classes", "labels", "metric", "output", "agreement", "module", "engine"),
    ],
)
@pytest.mark.usefixtures("damaged")
def test_evaluate_refuses_in_one_line(refused, model, data, more, code, message):
    assert message in refused("evaluate", model, "--data", data, *more, code=code)


@pytest.mark.usefixtures("folder")
def test_bench_tells_rows_and_machine(tersor):
    words = ("bench", "net.onnx", "net.tsr", "--engine", "onnxruntime", *QUICK)
    found = tersor(*words, "--json")
    assert found.code == 0
    assert [row["model"] for row in found.document["rows"]] == ["net.onnx", "net.tsr"]
    assert found.document["rows"][0]["ratio"] == 1.0
    assert found.document["machine"]["python"]
    shown = tersor(*words).out
    assert "Latency, batch 1, threads 1" in shown
    assert "net.tsr" in shown


def test_bench_takes_engines_by_default_by_name_and_all():
    from tersor.cli.options import engines_of
    from tersor.engines import available, find

    assert engines_of(()) is None
    assert engines_of(("torch", "torch")) == ("torch",)
    assert engines_of(("all",)) == tuple(n for n in available() if find(n).fast)


@pytest.mark.usefixtures("folder")
def test_bench_fails_if_nothing_ran_and_still_shows_why(tersor, monkeypatch):
    from tersor.errors import EngineError

    def absent(*_model, **_settings):
        raise EngineError("reference", "is not installed", "x.")

    monkeypatch.setattr("tersor.engines.reference.Reference.prepare", absent)
    called = tersor("bench", "net.onnx", "--engine", "reference", *QUICK)
    assert called.code == 1
    assert "is not installed" in called.out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["missing.onnx"], 1, "missing.onnx is not a file"),
        (["net.onnx", "cut.onnx"], 1, "cut.onnx is not an ONNX model"),
        (["net.onnx", "cut.tsr"], 1, "cut.tsr: the file is cut"),
        (["net.onnx", "--engine", "gpu"], 2, "engine must be one of all, onnxruntime"),
        (["net.onnx", "--precision", "f8"], 2, "precision must be one of"),
    ],
    ids=["missing", "cut onnx", "cut tsr", "engine", "precision"],
)
@pytest.mark.usefixtures("damaged")
def test_bench_refuses_in_one_line(refused, words, code, message):
    assert message in refused("bench", *words, *QUICK, code=code)
