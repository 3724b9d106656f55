"""The clock on an engine whose time is made up, and once on a real one."""

from collections import Counter

import onnx
import pytest

from tersor import engines, machine
from tersor.timing import clock
from tersor.timing.clock import copies, milliseconds
from tersor.timing.work import Work

CALL_MS, LAYER_MS = 0.03, 0.05
CONV = Work("conv", ((1, 16, 8, 8), (16, 16, 3, 3)), (1, 1), (1, 1), (1, 1))


class Time:
    """A clock that only runs when it is told to; stands in for the module `time`."""

    def __init__(self):
        self.now_ms = 0.0
        self.rests = 0

    def perf_counter(self):
        return self.now_ms / 1e3

    def perf_counter_ns(self):
        return round(self.now_ms * 1e6)

    monotonic = process_time = perf_counter
    process_time_ns = perf_counter_ns

    def sleep(self, seconds):
        self.now_ms += 1e3 * seconds
        self.rests += 1


class Engine:
    """Takes CALL_MS and for each layer LAYER_MS, longer when it is disturbed."""

    name = "made_up"

    def __init__(self, time, disturbed=lambda _: 1.0):
        self.time, self.disturbed = time, disturbed
        self.runs = 0

    def prepare(self, model, *, threads, precision="f32"):
        ops = Counter(n.op_type for n in onnx.load_model_from_string(model).graph.node)
        return Session(self, CALL_MS + LAYER_MS * ops["Conv"])


class Session:
    def __init__(self, engine, ms):
        self.engine, self.ms = engine, ms

    def run(self, feeds):
        self.engine.runs += 1
        self.engine.time.now_ms += self.ms * self.engine.disturbed(self.engine.runs)


@pytest.fixture
def time(monkeypatch):
    made_up = Time()
    monkeypatch.setattr(clock, "time", made_up)
    monkeypatch.setattr(machine, "time", made_up)
    return made_up


def measured(engine, work=CONV, **settings):
    given = {"threads": 1, "precision": "f32", "budget_ms": 20.0, **settings}
    return milliseconds(engine, work, **given)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_layer_is_told_without_the_call(time, threads):
    assert measured(Engine(time), threads=threads) == pytest.approx(LAYER_MS, rel=1e-3)
    assert (time.rests > 0) == (threads > 1)


def test_bursts_that_were_disturbed_do_not_count(time):
    engine = Engine(time, lambda run: 1.0 if run // 100 % 3 == 0 else 1.7)
    assert measured(engine) == pytest.approx(LAYER_MS, rel=1e-3)


def test_single_runs_that_were_disturbed_do_not_count(time):
    engine = Engine(time, lambda run: 4.0 if run % 7 == 0 else 1.0)
    assert measured(engine) == pytest.approx(LAYER_MS, rel=1e-3)


def test_fed_layers_and_calls_are_whole_runs(time):
    fed = Work(CONV.op, CONV.shapes, (1, 1), (1, 1), (1, 1), is_fed=True)
    assert measured(Engine(time), fed) == pytest.approx(CALL_MS + LAYER_MS, rel=1e-3)
    assert measured(Engine(time), Work("call", ())) == pytest.approx(CALL_MS, rel=1e-3)


def test_time_is_bounded_on_a_restless_machine(time):
    """Bursts never agree: each run takes a tenth longer than the one before."""
    engine = Engine(time, lambda run: 1.001**run)
    measured(engine, budget_ms=20.0)
    assert 20.0 < time.now_ms < 10 * 20.0 + 100.0


def test_a_quiet_machine_takes_the_budget(time):
    measured(Engine(time), budget_ms=20.0)
    assert 20.0 < time.now_ms < 3 * 20.0


def test_a_layer_never_takes_less_than_nothing(time):
    made_up = Engine(time)
    work = Work("matmul", ((4, 4), (4, 4)))  # of no time in this engine
    assert 0 < measured(made_up, work) < 1e-4


@pytest.mark.parametrize(
    ("work", "number"),
    [
        (CONV, 16),  # quick: as many as allowed
        (Work("matmul", ((1024, 1024), (1024, 1024))), 2),  # slow: few
        (Work("matmul", ((1, 4096), (4096, 8192))), 1),  # more would not fit memory
        (Work("matmul", ((64, 256), (256, 256)), is_cold=True), 64),
        (Work("matmul", ((64, 1024), (1024, 1024)), is_cold=True), 4),
        (Work("matmul", ((64, 1024), (1024, 1024))), 2),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
def test_number_of_layers(work, number):
    assert copies(work) == number


def test_a_wider_layer_takes_longer_on_a_real_engine():
    def took(width):
        work = Work("conv", ((1, width, 16, 16), (width, width, 3, 3)), (1, 1), (1, 1), (1, 1))
        return measured(engines.find("onnxruntime"), work, budget_ms=5.0)

    assert 0 < took(16) < took(128)
