"""A short run guided by coverage; `make fuzz` is the long one."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="needs atheris")
@pytest.mark.parametrize(("what", "runs"), [("codecs", 4000), ("tsr", 1000)])
def test_nothing_but_our_errors_is_raised(tmp_path, what, runs):
    options = [f"-runs={runs}", "-seed=1", "-timeout=10", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.guided", what, *options],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Done {runs} runs" in done.stderr
