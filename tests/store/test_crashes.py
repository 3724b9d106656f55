"""Whenever a save ends, and however: the old file or the new one, never a torn one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("crashes.py")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked")


def run(what, folder, count):
    done = subprocess.run(
        [sys.executable, SCRIPT, what, folder, "1", str(count)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_killed_at_two_hundred_moments_the_file_is_whole(tmp_path):
    found = run("kill", tmp_path, 200)
    assert found["in a save"] > 20


def test_on_a_disk_that_is_full_the_old_file_stands_alone(tmp_path):
    assert run("full", tmp_path, 20) == {"refused": 20}


def test_two_that_read_while_one_replaces_see_one_or_the_other(tmp_path):
    assert run("mix", tmp_path, 15) == {"replaced": 15}
