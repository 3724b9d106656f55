"""Mixes are judged on the engine that runs them the fastest."""

import numpy as np
import pytest

from tersor.choosing import looking
from tersor.choosing.looking import Fastest
from tersor.errors import EngineError
from tersor.methods.quantize.static import QuantizeStatic
from tersor.testing import networks

NET = networks.convolutional()
SAMPLES = networks.samples_for(NET, 16)
FEEDS = {"x": np.asarray(SAMPLES.inputs["x"][:1])}
BOTH = [("onnxruntime", "f32"), ("reference", "f32"), ("onnxruntime", "bf16")]


class Slow:
    """An engine whose runs take a number of made-up seconds."""

    def __init__(self, seconds, clock, refuses=False):
        self.seconds, self.clock, self.refuses, self.runs = seconds, clock, refuses, 0

    def prepare(self, onnx, threads):
        if self.refuses:
            raise EngineError("slow", "refuses it", "Try another.")
        return self

    def run(self, feeds):
        self.runs += 1
        self.clock[0] += self.seconds


@pytest.fixture
def engines(monkeypatch):
    clock = [0.0]
    made = {"onnxruntime": Slow(2.0, clock), "reference": Slow(1.0, clock)}
    monkeypatch.setattr(looking, "find", made.__getitem__)
    monkeypatch.setattr(looking.time, "perf_counter", lambda: clock[0])
    return made


def test_the_fastest_of_the_first_network_runs_all(engines):
    runner = Fastest(BOTH, FEEDS, 1)
    assert runner(NET) == engines["reference"].run
    engines["reference"].seconds = 9.0
    looked = engines["onnxruntime"].runs
    assert runner(NET) == engines["reference"].run
    assert engines["onnxruntime"].runs == looked


def test_an_engine_that_refuses_is_passed_over(engines):
    engines["reference"].refuses = True
    assert Fastest(BOTH, FEEDS, 1)(NET) == engines["onnxruntime"].run


def test_where_all_refuse_the_reason_is_told(engines):
    for engine in engines.values():
        engine.refuses = True
    with pytest.raises(EngineError, match="slow refuses it"):
        Fastest(BOTH, FEEDS, 1)(NET)


def test_what_runs_node_by_node_is_no_place_for_quantized_networks():
    small = QuantizeStatic().apply(NET, SAMPLES)
    runner = Fastest([("torch", "f32"), ("onnxruntime", "f32")], FEEDS, 1)
    assert runner.engines == ["onnxruntime"]
    assert runner(small)(FEEDS)["scores"].shape == (1, 5)
    assert Fastest([("torch", "f32")], FEEDS, 1).engines == ["torch"]
