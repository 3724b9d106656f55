"""The networks that Tersor is judged by: who they are, and that they score as published."""

import sys
from subprocess import run

import numpy as np
import pytest
from benchmarks import subjects
from benchmarks.subject import Published, Subject

from tersor.data.samples import Samples

IMAGES = 500  # of those that the published score was measured on


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
    one = subjects.find(name)
    count = min(IMAGES, one.published.samples)
    share = one.published.value / 100
    allowed = 100 * 4 * np.sqrt(share * (1 - share) * (1 / count - 1 / one.published.samples))
    assert abs(subjects.measured(one, count=count) - one.published.value) <= allowed
