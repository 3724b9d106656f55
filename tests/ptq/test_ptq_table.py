"""The tables of the benchmark, from rows written by hand."""

import pytest
from benchmarks import ptq_table, records

MACHINE = {
    "cpu": "X",
    "isa": ["avx2", "avx512f"],
    "default_threads": 2,
    "packages": {"numpy": "2"},
}


def row(tool, setting, **facts):
    speed = {
        key: {
            "median_ms": ms,
            "over_float": {"median": 12 / ms},
            "over_peers": {"median": 6 / ms, "q1": 5 / ms, "q3": 7 / ms},
            "quiet": True,
        }
        for key, ms in facts.pop("ms", {"openvino 1": 6.0, "openvino 16": 6.0}).items()
    }
    return {
        "network": "resnet20",
        "tool": tool,
        "setting": setting,
        "why_not": None,
        "drop": {"value": 0.1, "low": -0.1, "high": 0.3},
        "smaller": 3.0,
        "seconds": 5.0,
        "peak_bytes": 500e6,
        "quiet": True,
        "speed": speed,
        "machine": MACHINE,
        **facts,
    }


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")

    def put(*rows):
        records.replace("ptq", rows, by=("network", "tool", "setting"))

    return put


@pytest.mark.usefixtures("results")
def test_without_results_every_table_says_so():
    tables = ptq_table.TABLES | ptq_table.DETAILS
    assert {make() for make in tables.values()} == {"Not measured yet."}


def test_rows_replace_those_of_the_same_key_only(results):
    results(row("nncf", "a"), row("nncf", "b"))
    results(row("nncf", "b", seconds=7.0), row("inc", "a"))
    found = [(r["tool"], r["setting"], r["seconds"]) for r in records.read("ptq")]
    assert found == [("nncf", "a", 5.0), ("nncf", "b", 7.0), ("inc", "a", 5.0)]


def test_a_peer_is_shown_at_its_best_in_every_figure(results):
    worse = {"value": 0.5, "low": 0.2, "high": 0.8}
    results(
        row("nncf", "a", drop=worse, ms={"openvino 1": 3.0}, seconds=2.0),
        row("nncf", "b", smaller=3.5, ms={"onnxruntime 16": 24.0}, peak_bytes=400e6),
        row("nncf", "c", why_not="broke"),
    )
    assert ptq_table.ptq().splitlines()[-1] == (
        "| resnet20 | NNCF | +0.10 (-0.10 to +0.30) | 3.50x | 4.00x OV | 0.50x ORT "
        "| 2.0 s | 400 MB |"
    )


def test_tersor_is_shown_at_its_best_as_peers_are_and_its_time_is_that_of_quantizing(results):
    results(
        row("tersor", "quantize", smaller=9.0, seconds=20.0),
        row("tersor", "compress", seconds=3.0, ms={"openvino 1": 3.0, "openvino 16": 9.0}),
        row("nncf", "a"),
    )
    assert "| 9.00x | 4.00x OV | 2.00x OV | 20.0 s | 500 MB |" in ptq_table.ptq()
    assert "| 9.00x, NNCF 3.00x | 4.00x, NNCF 2.00x | 2.00 " in ptq_table.versus()


def test_beside_tersor_stands_the_peer_that_is_best_in_each_figure(results):
    worse = {"value": 0.5, "low": 0.2, "high": 0.8}
    results(
        row("tersor", "compress", smaller=4.5, ms={"openvino 1": 4.0, "openvino 16": 12.0}),
        row("nncf", "a", drop=worse, ms={"openvino 1": 6.0, "openvino 16": 8.0}),
        row("inc", "a", smaller=3.5, ms={"onnxruntime 1": 5.0, "onnxruntime 16": 9.0}),
        row("torchao", "a", why_not="broke"),
    )
    assert ptq_table.versus().splitlines()[-1] == (
        "| resnet20 | +0.10, Neural Compressor +0.10 | 4.50x, Neural Compressor 3.50x "
        "| 3.00x, Neural Compressor 2.40x | 1.50 (1.25 to 1.75) "
        "| 1.00x, NNCF 1.50x | 0.50 (0.42 to 0.58) "
        "| Neural Compressor 2.40x, NNCF 1.50x |"
    )


def test_a_peer_that_loses_more_than_a_point_is_no_rival_at_equal_accuracy(results):
    much = {"value": 1.01, "low": 0.5, "high": 1.5}
    just = {"value": 1.0, "low": 0.5, "high": 1.5}
    results(
        row("tersor", "compress"),
        row("nncf", "a", drop=much, ms={"openvino 1": 2.0, "openvino 16": 2.0}),
        row("inc", "a", drop=just, ms={"openvino 1": 4.0}),
    )
    line = ptq_table.versus().splitlines()[-1]
    assert "| 2.00x, NNCF 6.00x |" in line  # the fastest of all stays in sight
    assert line.endswith("| Neural Compressor 3.00x, none |")


def test_without_peers_tersor_stands_alone(results):
    results(row("tersor", "compress"), row("nncf", "a", why_not="broke", speed={}))
    assert "| +0.10 | 3.00x | 2.00x |" in ptq_table.versus()


def test_a_tool_that_failed_is_a_line_with_the_reason(results):
    results(row("inc", "qdq", why_not="ended with code 1: a|b", speed={}))
    assert "| Neural Compressor | ended with code 1: a/b | - | - |" in ptq_table.ptq()


def test_losses_are_told(results):
    results(
        row("tersor", "compress", ms={"openvino 1": 8.0, "openvino 16": 5.0}),
        row("tersor", "quantize", seconds=9.0, ms={"openvino 1": 9.0}),
        row("nncf", "a", drop={"value": -0.2, "low": -0.3, "high": 0.0}),
    )
    assert ptq_table.losses() == (
        "Where Tersor loses: resnet20: NNCF drops -0.20, not +0.10; "
        "resnet20, batch 1: 0.75x the fastest peer's speed; "
        "resnet20: NNCF needs 5 s, not 9."
    )


def test_no_loss_is_told_too(results):
    results(
        row("tersor", "compress", ms={"openvino 1": 6.5}),  # within the spread
        row("tersor", "quantize", ms={"openvino 1": 6.6}),
        row("nncf", "a", drop={"value": 0.0, "low": 0.0, "high": 0.0}),  # inside the interval
    )
    assert ptq_table.losses() == "No tool beats Tersor in any of these figures."


def test_the_machine_says_how_much_was_loud(results):
    loud = row("nncf", "a", quiet=False, versions={"nncf": "3"})
    loud["speed"]["openvino 1"]["quiet"] = False
    loud["speed"]["refused"] = {"torch": "why"}
    results(loud)
    assert ptq_table.machine() == (
        "X (avx512f), 2 threads; nncf 3, numpy 2. 2 of the measurements never got quiet."
    )


def test_the_summary_has_a_line_for_each_setting():
    text = ptq_table.summary([row("nncf", "a"), row("inc", "b", why_not="broke")])
    assert [line.split()[-1] for line in text.splitlines()] == ["OV", "broke"]


def test_text_between_marks_is_made_anew_and_nothing_else():
    text = "a\n<!-- one -->\nold\n<!-- end -->\nb <!-- two -->\n"
    made = records.with_tables(text, {"one": lambda: r"1 \g<0>", "three": lambda: "3"})
    assert made == "a\n<!-- one -->\n1 \\g<0>\n<!-- end -->\nb <!-- two -->\n"
