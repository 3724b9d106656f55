"""The geometry of the charts."""

import pytest
import report_factory
from hypothesis import given
from hypothesis import strategies as st

from tersor.report import charts


@given(st.floats(1e-3, 1e3), st.floats(1.01, 1e4), st.booleans())
def test_ticks_are_inside_round_and_few(low, times, log):
    axis = charts.Axis(low, low * times, log=log)
    ticks = axis.ticks()
    slack = 1e-9 * axis.high
    assert all(axis.low - slack <= tick <= axis.high + slack for tick in ticks)
    assert ticks == sorted(set(ticks))
    assert len(ticks) <= 16
    digits = {f"{abs(tick):.9e}".partition("e")[0].rstrip("0.") for tick in ticks}
    assert not log or digits <= {"1", "2", "5"}


@given(st.floats(0, 10), st.floats(0, 10))
def test_an_axis_keeps_the_order(a, b):
    axis = charts.Axis(0, 10)
    assert (axis.at(a) <= axis.at(b)) or a > b
    assert 0 <= axis.at(a) <= 100


def test_boxes_stand_on_their_quartiles_the_fastest_first():
    (race,) = charts.races(report_factory.document())
    assert [box.kind for box in race.boxes[:5]] == [
        "refused", "refused", "chosen", "other", "original"
    ]  # fmt: skip
    assert all(b.left <= b.middle <= round(b.left + b.width, 2) for b in race.boxes)
    middles = [box.middle for box in race.boxes]
    assert middles == sorted(middles)
    assert len(race.boxes) == 11  # the twelfth did not run
    assert race.log  # 6.65 ms / 0.402 ms is more than 15
    assert race.reference == race.boxes[5].middle  # the original on openvino in float32


def test_each_batch_size_has_its_own_chart_and_only_one_the_reference():
    document = report_factory.document()
    for one in document["candidates"][:3]:
        one["batch"] = 16
    small, large = charts.races(document)
    assert (small.batch, large.batch) == (1, 16)
    assert small.reference is not None
    assert large.reference is None
    assert not large.log  # 1.902 ms / 0.702 ms


def test_size_bars_share_one_scale():
    original, tsr, onnx = charts.sizes(report_factory.document())
    assert original.weights_width + original.rest_width == pytest.approx(100)
    assert tsr.weights_width + tsr.rest_width == pytest.approx(
        100 * 270_912 / 1_157_041, abs=0.01
    )
    assert (onnx.weights, onnx.weights_width) == (None, 0)


def test_weights_that_exceed_their_file_are_not_drawn():
    document = report_factory.document()
    document["compressed"]["file_bytes"] = 1000
    assert charts.sizes(document)[1].weights is None


def test_the_loss_is_drawn_in_order_and_inside():
    loss = charts.loss(report_factory.document())
    assert 0 < loss.low < loss.zero < loss.value.at < loss.high < loss.limit.at < 100
    document = report_factory.document()
    document["drop_pp"]["low"] = None
    assert charts.loss(document) is None


def test_no_loss_at_all_is_drawn_in_the_middle():
    loss = charts.loss(report_factory.unchanged())
    assert (loss.low, loss.value.at, loss.high, loss.limit) == (50, 50, 50, None)


def test_a_training_is_a_line_whose_lowest_point_is_marked():
    (curve,) = charts.curves(report_factory.document())
    assert [x for x, _ in curve.line] == [7.0, 52.75, 98.5]
    heights = [y for _, y in curve.line]
    assert heights[0] < heights[2] < heights[1]  # from the top: the second epoch is lowest
    assert curve.best == (*curve.line[1], "epoch 2: 0.25")
    assert (curve.what, curve.epochs) == ("held-out error", 3)


def test_without_held_out_samples_the_loss_is_shown():
    document = report_factory.document()
    document["trainings"][0]["errors"] = [None, None, None]
    (curve,) = charts.curves(document)
    assert curve.what == "loss"
    assert curve.best[2] == "epoch 3: 0.75"


@pytest.mark.parametrize("losses", [[1.0], [1.0, float("nan")], []])
def test_what_is_no_line_is_not_drawn(losses):
    document = report_factory.document()
    document["trainings"][0].update(losses=losses, errors=[None] * len(losses))
    assert charts.curves(document) == []


def test_errors_that_are_equal_but_for_the_loss_lie_on_one_height():
    document = report_factory.document()
    document["trainings"][0]["errors"] = [0.1 + 2e-7, 0.1 + 1e-7, 0.1]
    (curve,) = charts.curves(document)
    assert max(y for _, y in curve.line) - min(y for _, y in curve.line) < 0.1
