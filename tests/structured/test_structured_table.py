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
        name: Case("net", "none", {}, peers, 1.0)
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
