"""Fixtures for all tests."""

import signal
from pathlib import Path

import pytest

collect_ignore_glob = ["conftest.py", "*/conftest.py"]  # fixtures, not doctests
DATA = Path(__file__).parents[2] / "shared" / "data"
TOLD = pytest.StashKey[list[str]]()


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # so that children can be stopped


@pytest.fixture
def shared_data():
    """The folder with real data sets and trained models; its README tells what is there."""
    if not DATA.is_dir():
        pytest.skip(f"no real data: {DATA} is not there")
    return DATA


@pytest.fixture
def tell(request):
    """Print a line at the end of the whole run."""
    return request.config.stash.setdefault(TOLD, []).append


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash.get(TOLD, []):
        terminalreporter.write_line(line)
