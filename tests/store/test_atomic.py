"""After a failure, whatever it is, the old file stands and nothing else is there."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tersor.errors import FileError
from tersor.store.atomic import write_atomically


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_bytes_are_written(tmp_path):
    assert write_atomically(tmp_path / "new", b"abc") == 3
    assert contents(tmp_path) == {"new": b"abc"}


def test_a_writer_writes(tmp_path):
    assert write_atomically(str(tmp_path / "new"), lambda file: file.write(b"abcd")) == 4
    assert contents(tmp_path) == {"new": b"abcd"}


def test_an_old_file_is_replaced_and_keeps_its_permissions(tmp_path):
    old = tmp_path / "file"
    old.write_bytes(b"old")
    old.chmod(0o640)
    write_atomically(old, b"new")
    assert contents(tmp_path) == {"file": b"new"}
    assert old.stat().st_mode & 0o777 == 0o640


def test_a_new_file_gets_the_usual_permissions(tmp_path):
    write_atomically(tmp_path / "ours", b"")
    (tmp_path / "theirs").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "theirs").stat().st_mode


def test_a_link_is_followed(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("file")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"


def test_the_check_sees_the_whole_file_before_it_appears(tmp_path):
    seen = []

    def check(path):
        seen.append((path.read_bytes(), (tmp_path / "new").exists()))

    write_atomically(tmp_path / "new", b"abc", check)
    assert seen == [(b"abc", False)]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("when", ["before", "between", "check"])
def test_after_a_failure_the_old_file_stands_alone(tmp_path, when, failure):
    (tmp_path / "file").write_bytes(b"old")

    def writer(file):
        if when == "before":
            raise failure
        file.write(b"new" * 1000)
        file.flush()
        if when == "between":
            raise failure

    def check(_):
        raise failure

    with pytest.raises(failure):
        write_atomically(tmp_path / "file", writer, check)
    assert contents(tmp_path) == {"file": b"old"}


def test_a_full_disk_is_a_file_error(tmp_path):
    def writer(file):
        file.write(b"new")
        raise OSError(28, "No space left on device")

    with pytest.raises(FileError, match=r"cannot be written \(No space left") as caught:
        write_atomically(tmp_path / "file", writer)
    assert caught.value.path == tmp_path / "file"
    assert contents(tmp_path) == {}


def test_bytes_that_read_back_differently_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "read_bytes", lambda _: b"abd")
    with pytest.raises(FileError, match="reads back differently"):
        write_atomically(tmp_path / "file", b"abc")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("missing/file", "No such file or directory"),
        ("plain/file", "Not a directory"),
        ("n" * 300, "File name too long"),
    ],
    ids=["no_folder", "file_as_folder", "long_name"],
)
def test_an_impossible_path_is_a_file_error(tmp_path, place, problem):
    (tmp_path / "plain").touch()
    with pytest.raises(FileError, match=rf"cannot be written \({problem}"):
        write_atomically(tmp_path / place, b"")
    assert list(contents(tmp_path)) == ["plain"]


def test_a_folder_is_a_file_error(tmp_path):
    with pytest.raises(FileError, match="is a folder"):
        write_atomically(tmp_path, b"")


def test_a_killed_process_leaves_the_old_file(tmp_path):
    target = tmp_path / "file"
    target.write_bytes(b"old")
    script = (
        "import sys, time\n"
        "from tersor.store.atomic import write_atomically\n"
        "def writer(file):\n"
        "    file.write(b'new' * 10**6); file.flush(); print('half', flush=True)\n"
        "    time.sleep(60)\n"
        "write_atomically(sys.argv[1], writer)\n"
    )
    path = os.pathsep.join(sys.path)
    with subprocess.Popen(
        [sys.executable, "-c", script, target],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        assert process.stdout.readline() == b"half\n"
        process.send_signal(signal.SIGKILL)
    assert target.read_bytes() == b"old"


def test_an_interrupted_process_cleans_up(tmp_path):
    target = tmp_path / "file"
    script = (
        "import sys, time\n"
        "from tersor.store.atomic import write_atomically\n"
        "def writer(file):\n"
        "    file.write(b'new'); file.flush(); print('half', flush=True); time.sleep(60)\n"
        "try:\n"
        "    write_atomically(sys.argv[1], writer)\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(7)\n"
    )
    path = os.pathsep.join(sys.path)
    with subprocess.Popen(
        [sys.executable, "-c", script, target],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        assert process.stdout.readline() == b"half\n"
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 7
    assert contents(tmp_path) == {}
