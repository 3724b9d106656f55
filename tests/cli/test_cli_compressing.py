"""`tersor compress` and `tersor demo`: what they check, pass on, write and show."""

import json
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from tests.report import report_factory

from tersor.cli.compressing import FILES
from tersor.data.samples import Samples
from tersor.data.split import Split
from tersor.testing import onnx_models


@dataclass(frozen=True)
class Made:
    """A result as the pipeline makes it, without the work."""

    report: dict
    budget_met: bool = True

    def save(self, directory):
        for name in FILES:
            (directory / name).write_text(json.dumps(self.report))


@pytest.fixture
def asked(monkeypatch):
    """What the pipeline was asked for; it makes a report at once."""
    found = {}

    def compress(model, data, **settings):
        found.update(settings, model=model, data=data)
        settings["options"].on_progress("judge and race", 0.5)
        return found.get("result", Made(report_factory.document()))

    monkeypatch.setattr("tersor.pipeline.compress", compress)
    return found


@pytest.fixture
def samples(folder):
    """More files of samples."""
    for name, n in (("validation", 5), ("test", 6)):
        x = np.zeros((n, onnx_models.FEATURES), np.float32)
        np.savez(f"{name}.npz", x=x, labels=np.zeros(n, int))
    return folder


COMPRESS = ("compress", "net.onnx", "--data", "in.npz")


@pytest.mark.usefixtures("samples")
def test_everything_that_was_typed_is_passed_on(tersor, asked):
    words = [
        *("--validation", "validation.npz", "--test", "test.npz", "--recipe", "w8a8"),
        *("--set", "ranges=minmax", "--set", "samples = 8", "--budget", "size=2x,drop=1pp"),
        *("--metric", "top1", "--batch", "4", "--threads", "1", "--seconds", "3"),
        *("--engine", "onnxruntime", "--engine", "torch", "--output", "a b"),
        *("--level", "best", "--device", "cpu", "--seeds", "3", "--ablate"),
        *("--control", "scratch", "--sure"),
    ]
    assert tersor(*COMPRESS, *words).code == 0
    assert asked["model"].name == "net.onnx"
    assert isinstance(asked["data"], Split)
    assert (len(asked["data"].validation), len(asked["data"].test)) == (5, 6)
    (step,) = asked["recipe"].candidates[0].steps
    assert (step.settings["ranges"], step.settings["samples"]) == ("minmax", 8)
    assert asked["metric"] == "top1"
    assert asked["budget"] is not None
    options = asked["options"]
    assert (options.batch, options.threads, options.seconds) == (4, 1, 3.0)
    assert options.engines == ("onnxruntime", "torch")
    assert (options.codec, options.device) == ("best", "cpu")
    assert (options.seeds, options.ablate, options.control) == (3, True, "scratch")
    assert options.sure
    assert options.checkpoints.parts == ("a b", "checkpoints")


@pytest.mark.usefixtures("folder")
def test_what_was_not_typed_is_left_to_the_pipeline(tersor, asked):
    assert tersor(*COMPRESS).code == 0
    assert isinstance(asked["data"], Samples)
    assert (asked["recipe"].name, asked["budget"], asked["metric"]) == ("fast", None, None)
    assert asked["options"].engines is None
    assert not asked["options"].sure
    assert (asked["options"].codec, asked["options"].device) == ("auto", "auto")


@pytest.mark.usefixtures("asked")
def test_the_files_are_written_and_named_and_the_next_command_is_one_that_works(
    tersor, folder
):
    shown = tersor(*COMPRESS, "--output", "a b")
    assert {path.name for path in (folder / "a b").iterdir()} == set(FILES)
    assert [name for name in FILES if f"a b/{name}" not in shown.out] == []
    assert "resnet20.onnx: " in shown.out
    assert [line.strip() for line in shown.out.splitlines()[-2:]] == [
        "tersor run 'a b/model.tsr' --input in.npz --output out.npz",
        "tersor bench net.onnx 'a b/model.tsr'",
    ]


@pytest.mark.usefixtures("asked")
def test_the_document_is_the_report_with_the_command_that_made_it(tersor, folder):
    called = tersor(*COMPRESS, "--output", "a b", "--json")
    command = "tersor compress net.onnx --data in.npz --output 'a b' --json"
    assert called.document == {**report_factory.document(), "command": command}
    assert json.loads((folder / "a b" / "report.json").read_text())["command"] == command


@pytest.mark.usefixtures("folder")
def test_a_missed_budget_is_code_3_with_results_written(tersor, asked, folder):
    asked["result"] = Made(report_factory.missed(), budget_met=False)
    shown = tersor(*COMPRESS)
    assert shown.code == 3
    assert "Budget MISSED" in shown.out
    assert {path.name for path in (folder / "compressed").iterdir()} == set(FILES)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--data", "missing.npz"], 1, "missing.npz"),
        (["--data", "cut.npz"], 1, "cut.npz"),
        (["--recipe", "w9"], 2, "recipe must be"),
        (["--recipe", "missing.toml"], 1, "missing.toml is not a file"),
        (["--set", "rangs=mse"], 2, "did you mean that?"),
        (["--set", "ranges=all"], 2, "ranges must be"),
        (["--set", "ranges"], 2, "--set must be of the form key=value. Got 'ranges'"),
        (["--budget", "size=ten"], 2, "ten"),
        (["--metric", "best"], 2, "metric must be one of top1"),
        (["--engine", "gpu"], 2, "engine must be one of"),
        (["--seconds", "0"], 2, "Invalid value for '--seconds'"),
        (["--seeds", "0"], 2, "Invalid value for '--seeds'"),
        (["--control", "other"], 2, "Invalid value for '--control'"),
        (["--output", "in.npz"], 1, "in.npz cannot be made"),
        (["--output", "in.npz/deep"], 1, "cannot be made"),
    ],
    ids=[
        *("data", "cut data", "recipe", "recipe file", "key", "value", "pair", "budget"),
        *("metric", "engine", "seconds", "seeds", "control", "output"),
        "deep output",
    ],
)
def test_mistakes_are_found_before_the_work(refused, asked, folder, words, code, message):
    (folder / "cut.npz").write_bytes((folder / "in.npz").read_bytes()[:300])
    before = sorted(path.name for path in folder.iterdir())
    assert message in refused(*COMPRESS, *words, code=code)
    assert asked == {}
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize(
    ("model", "code", "message"),
    [
        ("missing.onnx", 1, "missing.onnx is not a file"),
        ("net.pb", 2, "must be an .onnx, .pt2 or .tsr file"),
        ("cut.tsr", 1, "cut.tsr: the file is cut"),
    ],
)
def test_what_is_no_model_is_refused(refused, asked, folder, model, code, message):
    (folder / "cut.tsr").write_bytes((folder / "net.tsr").read_bytes()[:-30])
    assert message in refused("compress", model, "--data", "in.npz", code=code)
    assert asked == {}
    assert not (folder / "compressed").exists()


def test_the_input_is_never_overwritten(refused, asked, folder):
    (folder / "compressed").mkdir()
    (folder / "net.onnx").rename(folder / "compressed" / "model.onnx")
    words = ("compress", "compressed/model.onnx", "--data", "in.npz")
    assert "model.onnx is also read: it would be overwritten" in refused(*words, code=1)
    assert asked == {}


def test_a_folder_that_was_there_stays_when_the_work_fails(refused, folder):
    (folder / "out").mkdir()
    words = ("compress", "missing.onnx", "--data", "in.npz", "--output", "out")
    refused(*words, code=1)
    assert list((folder / "out").iterdir()) == []


def test_a_demo_that_cannot_be_leaves_nothing(refused, folder, monkeypatch):
    from tersor.demo import DemoError

    def run(*_directory, **_settings):
        raise DemoError("The demonstration needs scikit-learn.")

    monkeypatch.setattr("tersor.demo.run", run)
    assert "needs scikit-learn" in refused("demo", "--output", "show", code=1)
    assert not (folder / "show").exists()


def test_demo_shows_the_report_and_where_the_files_are(tersor, folder, monkeypatch):
    told = []

    def run(directory, *, on_progress=None):
        on_progress("train", 0.5)
        told.append(directory)
        return Made(report_factory.document())

    part = Samples({"image": np.ones((3, 1, 8, 8), np.float32)}, np.arange(3))
    made = SimpleNamespace(run=run, digits=lambda: (part, part, part))
    monkeypatch.setitem(sys.modules, "tersor.demo", made)
    shown = tersor("demo", "--output", "show")
    assert shown.code == 0
    assert shown.out.splitlines()[-2:] == [
        "  tersor evaluate show/model.tsr --data show/test.npz",
        "  tersor run show/model.tsr --input show/test.npz --output out.npz",
    ]
    with np.load("show/test.npz") as arrays:
        assert arrays["image"].shape == (3, 1, 8, 8)
        assert arrays["labels"].tolist() == [0, 1, 2]
    assert [path.resolve() for path in told] == [folder / "show"]
    assert "show/report.html" in shown.out
    assert tersor("demo", "--output", "show", "--json").document == report_factory.document()
