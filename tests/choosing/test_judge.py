"""What the judge lets pass, and what not."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tersor.choosing.judge import Judge, few_of
from tersor.choosing.program import Program
from tersor.data.samples import Samples
from tersor.errors import VerifyError
from tersor.verify import Reference, Score

X = np.random.default_rng(0).standard_normal((100, 6)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)


def exact(feeds):
    return {"y": feeds["x"] @ W}


def judge(limit=1.0, labels=None, metric=None, **more):
    samples = Samples({"x": X}, labels)
    return Judge(Reference(exact, samples), samples, metric, limit, 64, **more)


def flipped(count):
    """The exact model, but for the class of the first `count` samples."""

    def run(feeds):
        y = exact(feeds)["y"].copy()
        for row in y[: count if len(y) == 64 else 0]:
            row[:] = -row
        return {"y": y}

    return run


@pytest.mark.parametrize(("count", "passes"), [(0, True), (2, True), (3, False)])
def test_a_proportion_may_lose_the_limit_and_no_more(count, passes):
    found = judge(limit=2.0)
    objection = found.objection(found.verdict(flipped(count)))
    assert (objection is None) == passes
    if not passes:
        assert objection == "drop 3.00 pp exceeds 2.00 pp"


@pytest.mark.parametrize("count", [0, 2])
def test_a_judge_that_is_sure_asks_the_whole_interval_to_keep_the_limit(count):
    verdict = judge().verdict(flipped(count))
    drop = verdict.drop_pp
    assert drop.value < drop.high
    assert judge(drop.high, sure=True).objection(verdict) is None
    below = (drop.value + drop.high) / 2
    assert judge(below).objection(verdict) is None
    assert judge(below, sure=True).objection(verdict) == (
        f"drop {drop.value:.2f} pp, at 95 % up to {drop.high:.2f} pp, exceeds {below:.2f} pp"
    )


def test_a_judge_that_is_sure_asks_so_of_every_metric():
    labels = exact({"x": X})["y"] + 0.1
    changed = lambda f: {"y": exact(f)["y"] * 1.001}  # noqa: E731
    found = judge(labels=labels, metric="mse")
    verdict = found.verdict(changed)
    worse, worst = (
        100 * x / verdict.original.value for x in (verdict.drop.value, verdict.drop.high)
    )
    assert worse < worst
    found.limit_pp = (worse + worst) / 2
    assert found.objection(verdict) is None
    found.sure = True
    assert f"up to {worst:.2f} %, exceeds" in found.objection(verdict)


def test_without_an_interval_nobody_is_sure():
    verdict = judge().verdict(exact)
    alone = replace(verdict, drop_pp=Score(0.0, None, None))
    assert judge(sure=True).objection(alone) == (
        "drop 0.00 pp on too few samples for an interval exceeds 1.00 pp"
    )


@pytest.mark.parametrize(("noise", "passes"), [(0.0, True), (1e-3, True), (0.5, False)])
def test_an_error_may_grow_by_the_limit_in_per_cent(noise, passes):
    labels = exact({"x": X})["y"] + 0.1
    found = judge(limit=5.0, labels=labels, metric="mse")
    objection = found.objection(found.verdict(lambda f: {"y": exact(f)["y"] - noise}))
    assert (objection is None) == passes
    assert passes or objection.startswith("mse 3500.")


@pytest.mark.parametrize(("noise", "passes"), [(0.01, True), (1.0, False)])
def test_where_the_original_is_the_teacher_noise_decides(noise, passes):
    found = judge(metric="mse")
    objection = found.objection(found.verdict(lambda f: {"y": exact(f)["y"] + noise}))
    assert (objection is None) == passes
    assert passes or "dB is below 20 dB" in objection


def program(**changes):
    return Program("int8", b"", b"", **{"workshop": exact, **changes})


def test_an_engine_may_differ_by_what_quantization_did():
    off = lambda f: {"y": exact(f)["y"] + 0.1}  # noqa: E731
    assert judge().try_engine(program(noise={"y": 0.11}), off, "f32") is None
    assert "Output 'y' on the engine" in judge().try_engine(
        program(noise={"y": 0.09}), off, "f32"
    )
    assert judge().try_engine(program(noise={"y": 0.09}, expand="all"), off, "f32") is None


def test_narrow_floats_may_round_once_per_layer():
    off = lambda f: {"y": exact(f)["y"] * 1.01}  # noqa: E731
    with pytest.raises(VerifyError):
        judge().check_engine(program(depth=10), off, "f32")
    assert judge().check_engine(program(depth=10), off, "bf16").samples == 64


def test_the_original_needs_no_check():
    assert judge().check_engine(program(workshop=None), exact, "f32") is None


@pytest.mark.parametrize(("batch", "count"), [(64, 64), (10, 60), (1, 64), (100, 100)])
def test_a_few_samples_are_whole_batches(batch, count):
    assert len(few_of(Samples({"x": X}), batch)) == count


def test_other_metrics_are_named():
    found = judge()
    verdict = SimpleNamespace(
        drop_pp=None, metric="f1", original=Score(0.5, None, None),
        drop=Score(0.1, None, None), sqnr_db={},
    )  # fmt: skip
    assert found.objection(verdict) == "f1 20.00 % worse exceeds 1.00 %"
