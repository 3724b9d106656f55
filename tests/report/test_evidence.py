"""What runs how, where the error grows, which layers and samples suffer: words and rows."""

import pytest
import report_factory

from tersor.report import charts, evidence
from tersor.report.document import normal


@pytest.fixture
def report():
    return normal(report_factory.document())


def test_nodes_are_counted_by_kind_and_precision_for_both_models(report):
    table = evidence.operation_table(report["operations"])
    assert table.columns == [
        ("original", "f32"), ("original", "other"),
        ("compressed", "int8"), ("compressed", "f32"), ("compressed", "other"),
    ]  # fmt: skip
    assert table.rows[0] == ("Convolution", [21, 0, 20, 1, 0])
    assert table.rows[-1] == ("all", [30, 2, 29, 1, 14])
    sums = [sum(row[1][i] for row in table.rows[:-1]) for i in range(5)]
    assert table.rows[-1][1] == sums


def test_one_line_tells_both_models(report):
    said = evidence.operations_words(report)
    assert said.startswith("29 of 44 nodes in int8, 1 in f32, 14 other; original 30 of 32")
    assert "(openvino f32)" in said


def test_an_original_that_stayed_is_told_once():
    report = normal(report_factory.unchanged())
    said = evidence.operations_words(report)
    assert said == "30 of 32 nodes in f32, 2 other (openvino f32), as in the original"


def test_an_engine_that_cannot_tell_is_said_to_be_one(report):
    report["operations"].update(engine="torch", original=None, compressed=None)
    assert "torch keeps no profile of its kernels" in evidence.operations_words(report)
    assert evidence.operation_table(report["operations"]) is None
    report["operations"]["compressed"] = {"Conv": {"f32": 2}}
    assert evidence.operations_words(report) == (
        "2 of 2 nodes in f32; original not told (torch f32)"
    )


def test_what_is_missing_in_an_older_document_is_left_out(report):
    for key in ("operations", "path", "worst_samples"):
        del report[key]
    assert evidence.operations_words(report) == evidence.path_words(report) == ""
    assert evidence.samples_words(report) == ""
    assert evidence.operation_table(None) is None
    assert charts.path(report) is None


def test_the_worst_points_are_those_that_add_most(report):
    points = report["path"]["points"]
    found = evidence.worst_points(report)
    assert [p["added"] for p in found] == sorted((p["added"] for p in points), reverse=True)[
        :3
    ]
    assert "layer2.0.conv1" in evidence.path_words(report)
    assert evidence.point_name(points[0]) == "relu_0, rounded"
    assert evidence.point_name(points[2]) == "relu_1, rounded (from conv1)"
    said = evidence.added_words({**points[1], "added": 1e-3, "sqnr_db": 28.44})
    assert said == "adds noise 30.0 dB below the signal, which leaves 28.4 dB"


def test_layers_are_in_the_order_of_their_noise_and_shares_add_up(report):
    found = evidence.by_sensitivity(report)
    assert len(found) == 20  # the last layer stayed float
    assert sum(share for _, share in found) == pytest.approx(1)
    ratios = [layer["alone_sqnr_db"] for layer, _ in found]
    assert ratios == sorted(ratios)
    first, share = found[0]
    noise = [10 ** (-db / 10) for db in ratios]
    assert share == pytest.approx(noise[0] / sum(noise))
    assert evidence.sensitivity_words(report).startswith(
        f"{first['name']} (43.0 dB alone, 11 %"
    )


def test_sensitivity_that_was_not_measured_says_how_to_get_it():
    report = normal(report_factory.unchanged())
    assert evidence.by_sensitivity(report) == []
    said = evidence.sensitivity_words(report)
    assert said.startswith("not measured")
    assert "quantize.static" in said


def test_samples_whose_answer_changed_show_both_answers(report):
    said = evidence.samples_words(report)
    assert said == (
        "validation 100 (3 -> 5, label 3), 117 (3 -> 5, label 3), 134 (3 -> 5), 151 (11.5 dB)"
    )
    report["worst_samples"] *= 2
    assert evidence.samples_words(report).endswith(" and 2 more")


def test_forms_that_share_the_originals_time_are_one_sentence(report):
    candidates = report["candidates"]
    assert len(evidence.raced(candidates)) == len(candidates) - 6
    assert evidence.repeated_words(candidates) == (
        "Not raced, since they ask the same work of the engine as the original: int8 as "
        "float, partly int8 as float (on onnxruntime f32, openvino f32, openvino bf16)."
    )


@pytest.mark.parametrize(
    "known",
    [{"chosen": True}, {"metric_value": 0.9}, {"allowed": False}, {"same_work": False}],
)
def test_a_form_of_which_more_is_known_keeps_its_row(report, known):
    one = {**report["candidates"][-1], **known}
    assert evidence.raced([one]) == [one]
    assert evidence.repeated_words([one]) == ""


def test_the_line_goes_from_left_to_right_and_lower_is_noisier(report):
    chart = charts.path(report)
    points = report["path"]["points"]
    assert len(chart.line) == len(points)
    across = [x for x, _ in chart.line]
    assert across == sorted(set(across))
    assert (across[0], across[-1]) == (7, 98.5)
    assert chart.line[0][1] == 0  # exact: on the upper edge
    heights = [y for _, y in chart.line[1:]]
    assert heights == sorted(heights)  # in this document the noise only grows
    assert 0 < heights[0] < heights[-1] < 100
    assert [d.number for d in chart.dots if d.number] == [3, 2, 1]
    assert all(0 <= y <= 100 for y, _ in chart.ticks)


def test_a_long_path_keeps_only_its_worst_dots(report):
    report["path"]["points"] = [dict(p) for _ in range(5) for p in report["path"]["points"]]
    chart = charts.path(report)
    assert len(chart.line) == len(report["path"]["points"]) > 150
    assert [dot.number for dot in chart.dots] == [3, 2, 1]


def test_values_finer_than_float32_lie_on_the_upper_edge(report):
    points = report["path"]["points"]
    points[0]["sqnr_db"] = 141.0
    assert charts.path(report).line[0][1] < 10
    for point in points:
        point["sqnr_db"] = None
    assert charts.path(report) is None


def tried(floats, drop_pp, objection=None):
    return {"float_layers": floats, "drop_pp": drop_pp, "objection": objection}


def searched(report, tries, names):
    found = {"candidate": "partly", "layers": 8, "tries": tries, "float_layers": names}
    report["searches"] = [found]
    return evidence.search_words(normal(report))


def test_a_search_for_a_rate_tells_what_it_tried_and_took(report):
    tries = [
        {"rate": 0.1, "file_bytes": 2000, "drop_pp": 3.0, "objection": "too much"},
        {"rate": 0.01, "file_bytes": 3000, "drop_pp": 0.5, "objection": None},
    ]
    report["searches"] = []
    report["ratings"] = [{"candidate": "small", "tries": tries, "rate": 0.01}]
    assert evidence.search_words(report) == (
        "small: rate 0.01 was taken of these: 0.01 (3.0 kB, loses 0.50 pp); "
        "0.1 (2.0 kB, loses 3.00 pp, too much)."
    )
    report["ratings"] = [{"candidate": "small", "tries": tries[:1], "rate": None}]
    assert evidence.search_words(report).startswith("small: none of the rates keeps the limit")


def test_a_search_tells_what_it_tried_and_found(report):
    report["ratings"] = []
    assert evidence.search_words({**report, "searches": []}) == ""
    tries = [tried(0, 3.0, "drop 3.00 pp exceeds"), tried(4, 0.5), tried(2, None, "too much")]
    head = (
        "partly: with so many of 8 layers in float: 0 (loses 3.00 pp, misses the limit), "
        "4 (loses 0.50 pp, keeps it), 2 (misses it)."
    )
    assert searched(report, tries, ["a", "b"]) == f"{head} In float: a, b."
    assert searched(report, tries, None) == f"{head} No mix keeps the limit."
    many = searched(report, tries, [f"l{i}" for i in range(8)])
    assert many == f"{head} In float: l0, l1, l2, l3, l4, l5 and 2 more."
    said = searched(report, [tried(0, 0.1)], [])
    assert said == "partly: no layer has to stay float for the limit's sake."
