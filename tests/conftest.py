"""Fixtures for all tests."""

import signal
from pathlib import Path

import pytest

collect_ignore_glob = ["conftest.py", "*/conftest.py"]  # fixtures, not doctests
DATA = Path(__file__).parents[2] / "shared" / "data"


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # so that children can be stopped


@pytest.fixture
def shared_data():
    """The folder with real data sets and trained models; its README tells what is there."""
    if not DATA.is_dir():
        pytest.skip(f"no real data: {DATA} is not there")
    return DATA
