"""What was cut and what keeps the time up, in words."""

import copy

import pytest
import report_factory

from tersor.report import channel_words
from tersor.report.document import normal


@pytest.fixture
def report():
    return normal(report_factory.document())


def without_channels():
    return normal({**report_factory.document(), "channels": None})


def test_one_sentence_tells_how_much_is_left(report):
    """Of the group of which nothing is known neither its size nor its rest is counted."""
    said = channel_words.channels_said(report)
    assert said == (
        "2 of 4 groups of channels were cut; 20 of 48 channels are left, and 50.0 % of the "
        "multiply-accumulates (MACs). Heads or branches went as a whole in 1 place."
    )
    report["channels"]["removed"] = []
    assert channel_words.channels_said(report).endswith("multiply-accumulates (MACs).")


def test_nothing_is_said_where_nothing_was_cut():
    report = without_channels()
    assert channel_words.channels_said(report) == channel_words.pace_said(report) == ""
    assert channel_words.group_rows(report) == channel_words.pace_rows(report) == []
    assert channel_words.late_said(report) == channel_words.kept_said(report) == []
    del report["channels"]
    assert channel_words.channels_said(report) == ""


def test_groups_name_a_few_of_their_layers_each_once(report):
    trunk, inner, gone, unknown = channel_words.group_rows(report)
    assert trunk.makers == "conv1, layer1.0.conv2, layer1.1.conv2 + 2"
    assert (trunk.before, trunk.after, trunk.share) == (16, 16, 1.0)
    assert (inner.makers, inner.share) == ("layer1.0.conv1", 0.25)
    assert (gone.after, gone.share) == (0, 0.0)
    assert (unknown.after, unknown.share) == (None, None)
    report["channels"]["groups"][0]["makers"] = ["a.weight", "a.weight", "b.weight"]
    assert channel_words.group_rows(report)[0].makers == "a, b"


def test_the_time_that_is_left_stands_beside_the_work(report):
    """MACs are those of the layers listed: 1,622,016 of 7,520,256."""
    assert channel_words.pace_said(report) == (
        "Layers measured one by one on openvino f32 and added up: 0.100 ms before, 0.0633 ms "
        "after. 63 % of the time are left, and 22 % of the MACs."
    )


def test_layers_that_lag_are_told_with_both_shares_and_the_reason(report):
    why = "nothing that was measured explains it"
    assert channel_words.late_said(report) == [
        (
            "layer1.0.conv1",
            "takes 102 % of its time for 25 % of its MACs: 4 take as long as 16 would",
        ),
        (
            "layer1.0.conv2",
            f"takes 42 % of its time for 25 % of its MACs: {why}",
        ),
    ]
    assert [row.is_late for row in channel_words.pace_rows(report)] == [0, 1, 1, 0]


def test_what_nobody_cut_is_told_where_it_counts(report):
    whole, between = channel_words.kept_said(report)
    assert whole == (
        "16 % of the time left goes to layers that do as much as before. "
        "conv1: nothing of it was cut."
    )
    assert between == (
        "30 % of the time left goes to calling the engine, and to moving values between "
        "layers."
    )
    pace = report["channels"]["pace"]
    pace.update(ms_left=1.0)  # so that all of it is little
    assert channel_words.kept_said(report) == []


def test_of_many_layers_that_nobody_cut_the_slowest_are_named(report):
    pace = report["channels"]["pace"]
    first = pace["layers"][0]
    more = [{**copy.deepcopy(first), "name": f"m{i}", "ms_left": 0.001 * i} for i in range(5)]
    pace["layers"] = [first, *more]
    said, _ = channel_words.kept_said(report)
    why = "nothing of it was cut"
    assert said.endswith(f"before. conv1: {why}; m4: {why}; m3: {why}; and 3 more.")


def test_times_that_are_not_known_say_how_to_get_them(report):
    pace = report["channels"]["pace"]
    pace.update(ms=None, ms_left=None, why_not="measuring was to take no longer than 2 s")
    said = channel_words.pace_said(report)
    assert said == (
        "What each layer takes is not known: measuring was to take no longer than 2 s. "
        "Measured layers are kept in a cache: compress again, with more --seconds."
    )


def test_rows_tell_shares_and_leave_out_what_is_not_known(report):
    rows = channel_words.pace_rows(report)
    assert [row.macs_share for row in rows] == [1.0, 0.25, 0.25, 0.0]
    assert rows[1].ms_share == pytest.approx(0.024 / 0.0235)
    for layer in report["channels"]["pace"]["layers"]:
        layer.update(ms=None, ms_left=None)
    assert {row.ms_share for row in channel_words.pace_rows(report)} == {None}
