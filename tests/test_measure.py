"""Races on a clock of our own, so that every time is exact; and real memory, real files."""

import gc
import itertools

import numpy as np
import pytest

from tersor import engines, machine, measure
from tersor.errors import EngineError, FileError, InputError
from tersor.measure import Contestant, Timing, race, ratio
from tersor.testing import onnx_models


class Clock:
    """Stands in for the module `time`; only runs and naps let time pass."""

    def __init__(self):
        self.now, self.naps = 0.0, []

    def monotonic(self):
        return self.now

    perf_counter = monotonic

    def perf_counter_ns(self):
        return round(self.now * 1e9)

    def process_time(self):
        return 0.0

    def sleep(self, seconds):
        self.naps.append(seconds)
        self.now += seconds


class Runner:
    """A session that takes the given times, in ms, one after the other."""

    def __init__(self, clock, *times_ms, log=None, name=""):
        self.clock, self.times = clock, itertools.cycle(times_ms)
        self.log, self.name = log, name

    def run(self, feeds):
        if self.log is not None:
            self.log.append(self.name)
        self.clock.now += next(self.times) / 1e3
        return {}


class Shares:
    """A monitor that reports the given shares, the last one for ever."""

    def __init__(self, *shares, window_s=0.0):
        self.shares, self.window_s = list(shares), window_s

    def start(self):
        pass

    def share(self):
        return self.shares.pop(0) if len(self.shares) > 1 else self.shares[0]


@pytest.fixture
def clock(monkeypatch):
    """Our clock, and bursts of 2 ms after 2 ms that do not count."""
    clock = Clock()
    monkeypatch.setattr(measure, "time", clock)
    monkeypatch.setattr(machine, "time", clock)
    monkeypatch.setattr(measure, "_WARM_MS", 2.0)
    monkeypatch.setattr(measure, "_BURST_MS", 2.0)
    return clock


def entry(runner):
    return Contestant(runner.name, runner, {})


def timing(*rounds_ms):
    return Timing(1.0, 1.0, 1.0, len(rounds_ms), quiet=True, rounds_ms=rounds_ms)


def test_times_are_those_of_the_clock(clock):
    fast, slow = Runner(clock, 4.0), Runner(clock, 40.0)
    timings = race([entry(fast), entry(slow)], rounds=3, monitor=Shares(0.0))
    assert [t.median_ms for t in timings] == pytest.approx([4.0, 40.0])
    assert [t.runs for t in timings] == [3, 3]
    assert all(t.quiet for t in timings)
    assert timings[1].rounds_ms == pytest.approx((40.0, 40.0, 40.0))


def test_slow_runs_count(clock):
    """Per round one uncounted run and one counted: 10, 20, 30, 1000 in turn."""
    runs = [5.0, 5.0, 5.0, 5.0]  # the first one, and three for the estimate
    counted = [10.0, 20.0, 30.0, 1000.0]
    runner = Runner(clock, *runs, *(t for c in counted for t in (11.0, c)))
    (found,) = race([entry(runner)], rounds=4, monitor=Shares(0.0))
    quartiles = np.percentile(counted, (25, 50, 75))
    assert (found.q1_ms, found.median_ms, found.q3_ms) == pytest.approx(tuple(quartiles))


def test_bursts_of_quick_models_hold_many_runs(clock):
    log = []
    (found,) = race([entry(Runner(clock, 0.5, log=log))], rounds=3, monitor=Shares(0.0))
    assert found.runs == 3 * 4  # 2 ms / 0.5 ms
    assert len(log) == 4 + 3 * (4 + 4)


def test_who_takes_its_own_times_is_asked_for_bursts(clock):
    """Its session takes long, as a way to another process does; that is not counted."""
    asked = []

    def burst(runs):
        asked.append(runs)
        return [0.5, 0.7, 0.6, 0.5][:runs]

    afar = Contestant("afar", Runner(clock, 9.0), {}, burst)
    found, near = race([afar, entry(Runner(clock, 1.0))], rounds=2, monitor=Shares(0.0))
    assert asked == [3, 4, 4]  # 2 ms / 0.5 ms
    assert found.median_ms == pytest.approx(0.55)
    assert ratio(near, found).median == pytest.approx(1 / 0.55)


def test_first_runs_after_a_switch_do_not_count(clock):
    log = []

    class Cold(Runner):
        def run(self, feeds):
            switched = bool(log) and log[-1] != self.name
            log.append(self.name)
            self.clock.now += 0.100 if switched else 0.003

    contestants = [entry(Cold(clock, name=name)) for name in "ab"]
    for found in race(contestants, rounds=4, monitor=Shares(0.0)):
        assert found.q3_ms == pytest.approx(3.0)


def test_every_round_has_everybody_and_the_order_changes(clock):
    log = []
    names = "abc"
    contestants = [entry(Runner(clock, 5.0, log=log, name=name)) for name in names]
    race(contestants, rounds=6, monitor=Shares(0.0))
    counted = log[3 * 4 + 1 :: 2]  # after the first runs, one that counts follows one not
    rounds = ["".join(counted[i : i + 3]) for i in range(0, 18, 3)]
    assert rounds == ["abc", "bca", "cab", "cba", "acb", "bac"]


def test_pools_come_to_rest_before_the_next_burst(clock):
    race([entry(Runner(clock, 5.0)) for _ in "ab"], rounds=2, monitor=Shares(0.0))
    assert clock.naps == [0.005] * (2 * 2 * 2)  # two slices per burst


def test_a_pool_that_never_rests_is_not_waited_for(clock, monkeypatch):
    monkeypatch.setattr(clock, "process_time", lambda: clock.now)
    race([entry(Runner(clock, 5.0)) for _ in "ab"], rounds=1, monitor=Shares(0.0))
    assert sum(clock.naps) == pytest.approx(2 * 0.2, abs=0.011)


def test_loud_windows_are_repeated(clock):
    """The model is ten times slower in the two windows in which others are busy."""
    loud = Runner(clock, *([2.0] * 4), *([20.0] * 4), *([2.0] * 100))
    (found,) = race([entry(loud)], rounds=5, monitor=Shares(0.5, 0.06, 0.05))
    assert found.quiet
    assert found.runs == 5
    assert found.q3_ms == pytest.approx(2.0)
    assert clock.naps == pytest.approx([0.1, 0.2])


def test_never_quiet_is_said_and_the_least_disturbed_windows_count(clock):
    runner = Runner(clock, *([2.0] * 4), *([50.0] * 2), *([2.0] * 2), *([50.0] * 2000))
    shares = Shares(0.9, 0.1, 0.8)
    (found,) = race([entry(runner)], rounds=1, seconds=10.0, monitor=shares)
    assert not found.quiet
    assert found.median_ms == pytest.approx(2.0)
    assert clock.now < 7.0  # half of the time is the most to wait for quiet


def test_a_few_quiet_rounds_are_enough_when_it_gets_loud(clock):
    shares = Shares(*([0.0] * 5), 0.9)
    (found,) = race([entry(Runner(clock, 2.0))], rounds=50, seconds=4.0, monitor=shares)
    assert found.quiet
    assert found.runs == 5


def test_the_deadline_bounds_the_race(clock):
    (found,) = race([entry(Runner(clock, 400.0))], seconds=2.0, monitor=Shares(0.0))
    assert found.runs == 3  # 0.8 s each, with the run that does not count
    assert found.quiet


def test_the_deadline_ends_a_window_too(clock):
    shares = Shares(0.0, window_s=100.0)
    (found,) = race([entry(Runner(clock, 400.0))], seconds=2.0, monitor=shares)
    assert found.runs == 3


def test_one_round_is_run_however_long_it_takes(clock):
    (found,) = race([entry(Runner(clock, 9e3))], seconds=0.0, monitor=Shares(0.0))
    assert (found.runs, found.median_ms) == (1, pytest.approx(9e3))


def test_windows_hold_rounds_until_the_monitor_can_tell(clock):
    shares = Shares(0.0, window_s=0.09)
    (found,) = race([entry(Runner(clock, 10.0))], rounds=1, monitor=shares)
    assert found.runs == 5  # 20 ms each


def test_progress_ends_at_the_wanted_rounds(clock):
    seen = []
    race(
        [entry(Runner(clock, 5.0))],
        rounds=3,
        monitor=Shares(0.0, 0.9, 0.0),
        on_progress=lambda done, wanted: seen.append((done, wanted)),
    )
    assert seen == [(1, 3), (1, 3), (2, 3), (3, 3)]


def test_garbage_is_not_collected_during_the_race_but_after(clock):
    seen = []

    class Spy(Runner):
        def run(self, feeds):
            seen.append(gc.isenabled())
            return super().run(feeds)

    race([entry(Spy(clock, 5.0))], rounds=1, monitor=Shares(0.0))
    assert not any(seen)
    assert gc.isenabled()


@pytest.mark.usefixtures("clock")
def test_refusal_of_a_contestant_comes_through():
    class Broken:
        def run(self, feeds):
            raise EngineError("any", "broke", "Mend it.")

    with pytest.raises(EngineError, match="broke"):
        race([Contestant("broken", Broken(), {})], monitor=Shares(0.0))
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("contestants", "settings", "what"),
    [
        (0, {}, "contestants must be at least 1"),
        (1, {"rounds": 0}, "rounds must be at least 1"),
        (1, {"seconds": -1.0}, "seconds must be at least 0"),
        (1, {"seconds": float("nan")}, "seconds must be at least 0"),
    ],
    ids=["nobody", "no round", "negative time", "NaN"],
)
def test_impossible_race_is_refused(clock, contestants, settings, what):
    with pytest.raises(InputError, match=what):
        race([entry(Runner(clock, 1.0))] * contestants, monitor=Shares(0.0), **settings)


def test_ratio_pairs_rounds():
    """The machine slowed down fourfold in the second round: the ratio does not see it."""
    found = ratio(timing(6.0, 24.0, 5.0), timing(3.0, 12.0, 1.0))
    assert (found.q1, found.median, found.q3) == (2.0, 2.0, 3.5)


def test_ratio_of_different_races_is_refused():
    with pytest.raises(InputError, match=r"of one race. Got '2 and 1 rounds'"):
        ratio(timing(1.0, 2.0), timing(1.0))


def test_a_real_race_gives_one_timing_each():
    session = engines.find("onnxruntime").prepare(onnx_models.relu(), threads=1)
    feeds = {"x": np.ones((1, 4), np.float32)}
    pair = [Contestant(name, session, feeds) for name in "ab"]
    timings = race(pair, rounds=2, seconds=2.0)
    assert all(0.0 < t.q1_ms <= t.median_ms <= t.q3_ms for t in timings)
    assert len(timings[0].rounds_ms) == len(timings[1].rounds_ms) >= 1
    assert ratio(*timings).median > 0.0


def test_file_bytes_counts_bytes(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"12345")
    assert measure.file_bytes(path) == 5
    with pytest.raises(FileError, match=r"absent cannot be read \(No such file") as caught:
        measure.file_bytes(tmp_path / "absent")
    assert caught.value.path == tmp_path / "absent"


@pytest.fixture
def relu_file(tmp_path):
    path = tmp_path / "relu.onnx"
    path.write_bytes(onnx_models.relu())
    return path


def test_peak_memory_holds_what_the_model_is_fed(relu_file):
    feeds = [{"x": np.zeros((n, 4), np.float32)} for n in (1, 4_000_000)]
    small, large = (
        measure.peak_memory_of(relu_file, f, engine="onnxruntime", threads=1) for f in feeds
    )
    assert 20e6 < small < 1e9
    assert large - small > 64e6  # the input alone


def test_peak_memory_says_why_it_cannot_be_measured(relu_file):
    feeds = {"y": np.zeros((1, 4), np.float32)}
    problem = r"failed in a process of its own: The model needs inputs named x, and got y"
    with pytest.raises(EngineError, match=problem):
        measure.peak_memory_of(relu_file, feeds, engine="onnxruntime")


def test_peak_memory_gives_up_in_time(relu_file):
    feeds = {"x": np.zeros((1, 4), np.float32)}
    with pytest.raises(EngineError, match=r"took longer than 0\.01 s to open"):
        measure.peak_memory_of(relu_file, feeds, seconds=0.01)
