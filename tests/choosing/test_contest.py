"""Who wins: laws of the choice, with made-up times."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tersor.choosing import contest, entry
from tersor.choosing.contest import EQUAL, Terms, hold
from tersor.choosing.judge import Judge
from tersor.choosing.program import ORIGINAL, Program, forms
from tersor.data.check import fit
from tersor.data.lazy import lazy
from tersor.data.samples import Samples
from tersor.errors import DataError, EngineError, InputError
from tersor.export.onnx import to_onnx
from tersor.measure import Timing
from tersor.methods.quantize.static import QuantizeStatic
from tersor.plan.recipe import Pin
from tersor.testing import networks, onnx_models
from tersor.verify import Reference

ENGINES = ("onnxruntime", "reference")
NET = networks.convolutional()
SAMPLES = networks.samples_for(NET, 64)


@pytest.fixture(scope="module")
def programs():
    """The original, and the int8 model in both forms."""
    small = QuantizeStatic().apply(NET, SAMPLES)
    model, stored = to_onnx(NET), to_onnx(small)
    int8 = Program("int8", stored, stored, None, small.run, {"scores": 1.0}, 4)
    return Program(ORIGINAL, model, model), forms(int8)


def judge(limit=100.0, metric=None):
    return Judge(Reference(NET.run, SAMPLES), SAMPLES, metric, limit, 64)


def terms(engines=ENGINES, pin=None):
    feeds = {"x": np.asarray(SAMPLES.inputs["x"][:1])}
    return Terms(feeds, 1, 1.0, engines, pin)


@pytest.fixture
def times(monkeypatch):
    """Times of the race by beginnings of titles; all else takes 10 ms."""
    table = {}
    monkeypatch.setattr(contest, "_look", lambda _, __: 0.01)

    def race(contestants, *, rounds, **_):
        found = [
            next((ms for start, ms in table.items() if c.name.startswith(start)), 10.0)
            for c in contestants
        ]
        return [Timing(ms, ms, ms, 9, quiet=True, rounds_ms=(ms,) * rounds) for ms in found]

    monkeypatch.setattr(contest, "race", race)
    return table


def test_the_fastest_within_the_limit_wins(programs, times):
    times |= {"int8 on onnxruntime": 5.0, "int8 on reference": 6.0}
    outcome = hold(programs[0], programs[1], judge(), terms())
    assert outcome.winner.title == "int8 on onnxruntime f32"
    assert outcome.winner.why_not is None
    assert outcome.winner.speed == 2.0
    second = next(e for e in outcome.entries if e.title == "int8 on reference f32")
    assert second.why_not == "1.20x slower than the chosen one"
    assert second.verdict is not None


def test_what_is_far_behind_is_not_judged(programs, times):
    times |= {"int8 on onnxruntime": 5.0, "int8 on reference": 9.0}
    outcome = hold(programs[0], programs[1], judge(), terms())
    unjudged = next(e for e in outcome.entries if e.title == "int8 on reference f32")
    assert unjudged.verdict is None


def test_no_faster_means_the_same_work_with_the_smaller_file(programs, times):
    times |= {"int8 on": 11.0, "original on onnxruntime": 8.0}
    outcome = hold(programs[0], programs[1], judge(), terms())
    assert outcome.winner.title == "int8 as float on onnxruntime f32"
    assert outcome.winner.median_ms == outcome.best.median_ms == 8.0
    assert outcome.winner.twin is outcome.best


def test_a_finalist_whose_twin_is_no_head_is_compared_in_the_last_race(programs, times):
    times |= {"original on openvino bf16": 20.0}  # where the machine has it
    times |= {"original on onnxruntime": 8.0, "original on openvino": 8.5}
    times |= {"original on reference": 9.0, "int8 on": 20.0}
    outcome = hold(programs[0], programs[1], judge(), terms((*ENGINES, "openvino")))
    assert outcome.winner.title == "int8 as float on onnxruntime f32"
    assert len({len(e.timing.rounds_ms) for e in outcome.entries if e.median_ms < 10}) == 1


@pytest.mark.parametrize(
    ("ms", "winner"),
    [
        pytest.param(8.2, "int8 on onnxruntime f32", id="within 3 %, smaller"),
        pytest.param(8.3, "original on onnxruntime f32", id="beyond"),
    ],
)
def test_of_runs_that_a_clock_hardly_tells_apart_the_smaller_file_wins(
    programs, times, ms, winner
):
    times |= {"int8 on onnxruntime": ms, "original on onnxruntime": 8.0}
    outcome = hold(programs[0], programs[1][:1], judge(), terms())
    assert outcome.winner.title == winner
    assert outcome.best.median_ms == 8.0
    if not outcome.winner.is_original:
        assert outcome.winner.program.file_bytes < outcome.best.program.file_bytes
        assert outcome.best.why_not == "as fast, but the chosen file is smaller"


def test_of_equal_files_the_faster_wins(programs, times):
    times |= {"int8 on onnxruntime": 5.0, "int8 on reference": 4.9}
    outcome = hold(programs[0], programs[1], judge(), terms())
    assert outcome.winner.title == "int8 on reference f32"
    second = next(e for e in outcome.entries if e.title == "int8 on onnxruntime f32")
    assert second.why_not == "1.02x slower than the chosen one"


def test_beyond_the_limit_the_original_stays(programs, times):
    times |= {"int8 on": 1.0}
    outcome = hold(programs[0], programs[1], judge(limit=-1.0), terms())
    assert outcome.winner is outcome.best
    assert outcome.winner.is_original
    refused = next(e for e in outcome.entries if e.title == "int8 on onnxruntime f32")
    assert refused.failed
    drop = refused.verdict.drop_pp.value
    assert refused.why_not == f"drop {drop:.2f} pp exceeds -1.00 pp"


def test_an_engine_that_computes_something_else_is_out(programs, times):
    times |= {"int8": 1.0}
    strict = [replace(p, noise={"scores": 0.0}, workshop=NET.run) for p in programs[1]]
    outcome = hold(programs[0], strict, judge(), terms())
    assert outcome.winner.is_original
    refused = [e for e in outcome.entries if e.failed]
    assert {e.program.name for e in refused} == {"int8"}
    assert all("on the engine" in e.why_not for e in refused)


def test_a_pin_is_preferred_unless_it_is_too_slow(programs, times):
    times |= {"int8 on onnxruntime": 5.0, "int8 on reference": 6.0}
    pin = Pin("reference", "f32")
    outcome = hold(programs[0], programs[1], judge(), terms(pin=pin))
    assert outcome.winner.place == ("reference", "f32")
    times["int8 on reference"] = 11.0
    outcome = hold(programs[0], programs[1], judge(), terms(pin=pin))
    assert outcome.winner.place == ("onnxruntime", "f32")


def test_a_program_that_an_engine_refuses_is_listed(programs, times):
    times |= {"int8 on": 1.0}
    original, rivals = programs
    model = onnx.load_model_from_string(rivals[0].model)
    model.graph.node[0].op_type = "Nonsense"
    broken = replace(rivals[0], model=model.SerializeToString())
    outcome = hold(original, [broken], judge(), terms())
    refused = [e for e in outcome.entries if e.failed]
    assert len(refused) == len(ENGINES)
    assert all(" refused it: " in e.why_not for e in refused)
    assert outcome.winner.is_original


@pytest.mark.usefixtures("times")
def test_an_original_that_nobody_runs_is_an_error():
    model = onnx.load_model_from_string(onnx_models.perceptron())
    model.graph.node[0].op_type = "Nonsense"
    broken = Program(ORIGINAL, model.SerializeToString(), b"")
    with pytest.raises(EngineError, match="every refuses the original"):
        hold(broken, [], judge(), terms())


@given(st.lists(st.floats(1.0, 100.0), min_size=6, max_size=6))
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_winner_is_never_slower_than_the_original(programs, times, ms):
    titles = [f"{p.title} on {e}" for p in (programs[0], *programs[1]) for e in ENGINES]
    times |= dict(zip(titles, ms, strict=True))
    outcome = hold(programs[0], programs[1], judge(), terms())
    own = [e.median_ms for e in outcome.entries if e.is_original]
    assert min(own) == outcome.best.median_ms
    assert outcome.winner.median_ms <= EQUAL * min(own)
    if outcome.winner.median_ms > min(own):
        assert outcome.winner.program.file_bytes < outcome.best.program.file_bytes
    assert outcome.best is outcome.baseline  # both engines compute in float32
    assert sum(e.why_not is None for e in outcome.entries) == 1


def test_engines_that_compile_for_long_are_tried_only_if_named():
    assert "torch_compiled" not in [name for name, _ in entry.places(None)]
    assert "torch_compiled" in [name for name, _ in entry.places(("torch_compiled",))]


def test_an_unknown_engine_is_refused():
    with pytest.raises(InputError, match="engine must be one of"):
        entry.places(("tensorrt",))


def test_an_absent_engine_is_reported(monkeypatch):
    from tersor.engines import find

    monkeypatch.setattr(type(find("openvino")), "version", lambda _: None)
    with pytest.raises(EngineError, match="openvino is not installed"):
        entry.places(("openvino",))


def test_quantized_files_are_not_run_node_by_node(programs):
    where = [("torch", "f32"), ("onnxruntime", "f32")]
    found = [e.title for e in entry.entries([programs[0], *programs[1]], where, 1)]
    assert "int8 on torch f32" not in found
    assert {"original on torch f32", "int8 as float on torch f32"} < set(found)


def test_kernels_are_asked_for_once(programs, monkeypatch):
    one = entry.Entry(programs[1][0], "onnxruntime", "f32", 1)
    feeds = {"x": np.asarray(SAMPLES.inputs["x"][:1])}
    assert one.kernels(feeds)["int8"] > 3
    monkeypatch.setattr(type(one.session), "operations", None)
    assert one.kernels(feeds)["int8"] > 3
    assert one.operations(feeds)["QLinearConv"]["int8"] >= 2


def test_labels_count(programs, times):
    times |= {"int8 on onnxruntime": 5.0}
    labels = NET.run(dict(SAMPLES.inputs))["scores"].argmax(axis=1)
    samples = Samples(SAMPLES.inputs, labels)
    one = Judge(Reference(NET.run, samples), samples, "top1", 100.0, 64)
    outcome = hold(programs[0], programs[1], one, terms())
    assert outcome.winner.verdict.metric == "top1"
    assert outcome.winner.verdict.original.value == 1.0


@pytest.mark.usefixtures("times")
def test_samples_that_cannot_be_read_are_no_fault_of_an_entry(programs):
    broken = np.asarray(SAMPLES.inputs["x"]).copy()
    broken[-1] = np.nan
    late = fit(Samples({"x": lazy(broken)}), [("x", ("n", *broken.shape[1:]), "float32")])
    reader = Judge(Reference(NET.run, late), late, None, 100.0, 64)
    with pytest.raises(DataError, match="holds nan in sample 63"):
        hold(programs[0], programs[1], reader, terms())


@pytest.mark.usefixtures("times")
def test_what_is_without_hope_at_a_first_look_takes_no_time_of_the_race(programs, monkeypatch):
    monkeypatch.setattr(
        contest, "_look", lambda e, _: 1.0 if e.engine == "reference" else 0.03
    )
    outcome = hold(programs[0], programs[1], judge(), terms())
    slow = [e for e in outcome.entries if e.engine == "reference"]
    assert {e.timing for e in slow} == {None}
    assert {e.why_not for e in slow} == {"33x slower than the fastest, at a first look"}
    assert outcome.winner.engine == "onnxruntime"


@pytest.mark.usefixtures("times")
def test_a_slow_run_that_takes_hardly_any_time_is_raced(programs, monkeypatch):
    monkeypatch.setattr(
        contest, "_look", lambda e, _: 0.01 if e.engine == "reference" else 1e-4
    )
    outcome = hold(programs[0], programs[1], judge(), terms())
    assert all(e.timing is not None for e in outcome.entries)
