"""The table of networks made thinner, from rows written by hand."""

import pytest
from benchmarks import records, structured, structured_table
from benchmarks.structured import Case

HEADS = [
    "| case | peers | seeds | MACs left | parameters left | error | before | minutes |",
    "|---|---|--:|--:|--:|--:|--:|--:|",
]


def row(seed=0, case="a-50", **facts):
    return {
        "case": case,
        "seed": seed,
        "macs": 0.5,
        "parameters": 0.75,
        "error": 9.0,
        "error_float": 8.27,
        "seconds": 300.0,
        **facts,
    }


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Two cases, and what was measured of them."""
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    cases = {
        name: Case("net", "none", {}, peers)
        for name, peers in {"b-73": "B: -0.69 pp", "a-50": "A: 90.9 %"}.items()
    }
    monkeypatch.setattr(structured, "CASES", cases)
    return lambda *rows: records.replace("structured", rows, by=("case", "seed"))


@pytest.mark.usefixtures("results")
def test_without_results_there_are_no_lines():
    assert structured_table.thinner().splitlines() == HEADS


def test_one_seed_is_told_without_a_spread(results):
    results(row(macs=0.4994, parameters=0.7406, error=9.536, seconds=940.0))
    assert structured_table.thinner().splitlines() == [
        *HEADS,
        "| a-50 | A: 90.9 % | 1 | 49.9 % | 74.1 % | 9.54 % | 8.27 % | 16 |",
    ]


def test_several_seeds_are_their_median_least_and_most(results):
    results(
        row(0, error=9.0, macs=0.5, parameters=0.7, seconds=60.0),
        row(1, error=8.5, macs=0.48, parameters=0.8, seconds=600.0),
        row(2, error=9.9, macs=0.49, parameters=0.71, seconds=120.0),
    )
    assert structured_table.thinner().splitlines()[2:] == [
        "| a-50 | A: 90.9 % | 3 | 49.0 % | 71.0 % | 9.00 % (8.50 % to 9.90 %) | 8.27 % | 2 |"
    ]


def test_of_two_seeds_the_median_is_between(results):
    results(row(0, error=9.0, seconds=60.0), row(1, error=8.5, seconds=300.0))
    assert "| 8.75 % (8.50 % to 9.00 %) | 8.27 % | 3 |" in structured_table.thinner()


def test_lines_stand_in_the_order_of_the_cases_and_others_are_left_out(results):
    results(row(), row(case="gone-50"), row(case="b-73", macs=0.727))
    found = [line.split(" | ")[:4] for line in structured_table.thinner().splitlines()[2:]]
    assert found == [
        ["| b-73", "B: -0.69 pp", "1", "72.7 %"],
        ["| a-50", "A: 90.9 %", "1", "50.0 %"],
    ]


def speed(median):
    return {"speedup": {"median": median, "q1": median - 0.1, "q3": median + 0.1}}


def of_speed(seed=0, batch=16, **facts):
    times = {"original": speed(1.0), "slim": speed(1.4), "slim int8": speed(3.0)}
    return {"case": "a-50", "seed": seed, "batch": batch, "macs": 0.5, "times": times, **facts}


@pytest.mark.usefixtures("results")
def test_speeds_are_those_of_the_first_seed_and_a_peer_may_be_missing():
    rows = [of_speed(), of_speed(seed=1, macs=0.1)]
    records.replace("slim_speed", rows, by=("case", "seed", "batch"))
    (line,) = structured_table.speeds().splitlines()[2:]
    assert line == "| a-50 | 16 | 1.4 (1.3 to 1.5) | 3 (2.9 to 3.1) | - | 2.00x |"


@pytest.mark.usefixtures("results")
def test_layers_that_lag_are_told_at_the_larger_batch():
    assert structured_table.lagging() == "Not measured yet."
    rows = [of_speed(lagging=["first: why", "second: how"]), of_speed(batch=1, lagging=["x"])]
    records.replace("slim_speed", rows, by=("case", "seed", "batch"))
    assert structured_table.lagging() == "- a-50, batch 16: first: why; second: how."


def cut(batch, **facts):
    test = {"drop": 0.5, "low": -0.25, "high": 1.0, "agreement": 93.0}
    row = {"case": "net", "cut": "half", "is_chosen": True, "macs": 0.5, "test": test}
    return {**row, "batch": batch, "times": speed(1.5), "seconds": 12.4, **facts}


@pytest.mark.usefixtures("results")
def test_a_cut_has_one_line_for_both_batches():
    rows = [cut(1), cut(16, times=speed(2.0)), cut(1, cut="less", is_chosen=False)]
    rows[2]["test"] = {**rows[2]["test"], "agreement": None}
    records.replace("slim_unlabelled", rows, by=("case", "cut", "batch"))
    drop, slow = "+0.50 (-0.25 to +1.00)", "1.5 (1.4 to 1.6)"
    assert structured_table.unlabelled().splitlines()[2:] == [
        f"| net | half | yes | 50.0 % | {drop} | 93.0 % | {slow} | 2 (1.9 to 2.1) | 12 |",
        f"| net | less |  | 50.0 % | {drop} | - | {slow} | - | 12 |",
    ]
