"""Fixtures for all tests."""

from pathlib import Path

import pytest

collect_ignore_glob = ["conftest.py", "*/conftest.py"]  # fixtures, not doctests
DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def shared_data():
    """The folder with real data sets and trained models; its README tells what is there."""
    if not DATA.is_dir():
        pytest.skip(f"no real data: {DATA} is not there")
    return DATA
