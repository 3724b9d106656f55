"""Times on disk: what is read back, what is ignored, and what is never damaged."""

import json
from pathlib import Path

import pytest

from tersor.timing import shelf
from tersor.timing.shelf import Entry, Shelf, default_folder, facts

ABOUT = {"engine": "made_up", "version": "1.0"}


@pytest.fixture
def made(tmp_path):
    return Shelf(tmp_path / "a" / "b", ABOUT)


def test_what_is_put_is_read_by_others(made, tmp_path):
    assert made.read() == {}
    made.add("one", Entry(0.125, 2))
    made.add("two", Entry(3.0))
    made.add("one", Entry(0.1, 3))
    assert Shelf(tmp_path / "a" / "b", ABOUT).read() == {
        "two": Entry(3.0),
        "one": Entry(0.1, 3),
    }


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nonsense",
        "null",
        "[]",
        '["key", 1.0]',
        '["key", 1.0, 1, 1]',
        '["key", "1.0", 1]',
        '["key", NaN, 1]',
        '["key", Infinity, 1]',
        '["key", -1.0, 1]',
        '["key", 0.0, 1]',
        '["key", 1.0, 0]',
        '["key", 1.0, true]',
        '["key", 1.0, 1.5]',
        "[1, 1.0, 1]",
        '[["key"], 1.0, 1]',
        '["key", 1.0, 1',
        "[" * 100_000,
    ],
)
def test_lines_that_cannot_be_read_are_ignored(made, line):
    made.add("before", Entry(1.0))
    with made.path.open("a") as file:
        file.write(f"{line}\n" + json.dumps(["after", 2.0, 1]) + "\n")
    assert made.read() == {"before": Entry(1.0), "after": Entry(2.0)}


def test_bytes_that_are_no_text_are_ignored(made):
    made.add("before", Entry(1.0))
    made.path.write_bytes(made.path.read_bytes() + b"\xff\xfe\x00\n")
    assert made.read() == {"before": Entry(1.0)}


def test_a_file_about_something_else_is_not_read(made):
    made.add("one", Entry(1.0))
    made.path.write_text(made.path.read_text().replace("1.0", "1.1", 1))
    assert made.read() == {}
    made.add("two", Entry(2.0))
    assert made.read() == {"two": Entry(2.0)}


def test_the_latest_are_kept(made, monkeypatch):
    monkeypatch.setattr(shelf, "MOST", 3)
    for i in (0, 1, 2, 0, 3):
        made.add(f"key {i}", Entry(1.0 + i))
    assert list(made.read()) == ["key 2", "key 0", "key 3"]


def test_a_failed_write_leaves_the_file_and_nothing_else(made, monkeypatch):
    made.add("one", Entry(1.0))

    def refuse(*_):
        raise OSError("no")

    monkeypatch.setattr(Path, "replace", refuse)
    made.add("two", Entry(2.0))
    assert made.read() == {"one": Entry(1.0)}
    assert list(made.path.parent.iterdir()) == [made.path]


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    made = Shelf(tmp_path / "file" / "folder", ABOUT)
    made.add("one", Entry(1.0))
    assert made.read() == {}


def test_whatever_times_depend_on_is_another_file(tmp_path):
    given = ("openvino", "2026.0", "f32", 1)
    others = [
        ("onnxruntime", "2026.0", "f32", 1),
        ("openvino", "2026.1", "f32", 1),
        ("openvino", "2026.0", "bf16", 1),
        ("openvino", "2026.0", "f32", 2),
    ]
    paths = {Shelf(tmp_path, facts(*each)).path for each in (given, *others)}
    assert len(paths) == 5
    assert Shelf(tmp_path, facts(*given)).path in paths
    assert facts(*given)["cpu"]


def test_default_folder_is_the_cache_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "tersor" / "latency"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert default_folder() == tmp_path / "home" / ".cache" / "tersor" / "latency"
