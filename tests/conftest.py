"""Fixtures for all tests."""

import gc
import math
import signal
from pathlib import Path

import pytest

from tersor import measure

collect_ignore_glob = ["conftest.py", "*/conftest.py"]  # fixtures, not doctests
DATA = Path(__file__).parents[2] / "shared" / "data"
TOLD = pytest.StashKey[list[str]]()


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # so that children can be stopped


class Alone:
    """Sees no other processes, in windows as short as they come."""

    window_s = 0.0

    def start(self):
        """Begin a window."""

    def share(self):
        """Nobody took anything."""
        return 0.0


@pytest.fixture(scope="session", autouse=True)
def alone():
    """Races do not wait for a quiet moment: no test is about how fast this machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "Others", Alone)
        yield


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Times of layers that tests measure are not kept for users."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def made_up_memory():
    """Reports tell a made-up peak memory: measuring it starts two processes per report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tersor.pipeline.publishing.peak_memory_of", lambda *_, **__: 50_000_000)
        yield


@pytest.fixture
def clock_tells_nothing(monkeypatch):
    """All runs count as equally fast: what a recipe pins is chosen, whatever else runs."""
    monkeypatch.setattr("tersor.choosing.contest.EQUAL", math.inf)


@pytest.fixture
def only_when_asked(request):
    """Tests that take long run with `pytest -m slow` only."""
    if "slow" not in request.config.option.markexpr:
        pytest.skip("takes long; pytest -m slow runs it")


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


def pytest_collection_finish():
    """What was imported stays: races, which collect garbage first, need not look at it."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash.get(TOLD, []):
        terminalreporter.write_line(line)
