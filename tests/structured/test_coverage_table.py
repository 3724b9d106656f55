"""The tables of which networks can be cut, from rows written by hand."""

import json

import pytest
from benchmarks import coverage_table, records


def row(network, tool="tersor", **facts):
    seconds = {"analysis_seconds": 0.25, "cut_seconds": 0.5}
    if tool == "tersor":
        seconds["capture_seconds"] = 1.0
    return {
        "network": network,
        "tool": tool,
        "by_hand": "",
        "why_not": None,
        "left": 0.26,
        "equal": True,
        "machine": {"cpu": "X"},
        "versions": {"tersor": "1"},
        **seconds,
        **facts,
    }


def peer(network, **facts):
    versions = {"torch-pruning": "2", "torch": "3"}
    return row(network, "torch_pruning", **{"versions": versions, **facts})


def broken(network, why, **facts):
    """As `by_torch_pruning` has it: nothing was cut, and so nothing was clocked."""
    found = peer(network, why_not=why, left=None, equal=None, **facts)
    return {key: value for key, value in found.items() if not key.endswith("_seconds")}


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)

    def put(*rows):
        text = "".join(json.dumps(each) + "\n" for each in rows)
        (tmp_path / "coverage.jsonl").write_text(text)

    return put


@pytest.mark.usefixtures("results")
def test_without_results_it_is_said():
    assert coverage_table.coverage() == coverage_table.measured() == "Not measured yet."
    assert coverage_table.scores() == (
        "Tersor was not measured yet. Torch-Pruning was not measured yet."
    )


def test_a_network_is_a_line_whoever_has_cut_it(results):
    results(
        row("vgg"),
        row("swin", left=0.266),
        row("solo"),
        peer("swin", left=0.549, by_hand="forward functions"),
        peer("vgg", left=0.63, equal=False),
        peer("theirs"),
    )
    assert coverage_table.coverage().splitlines() == [
        "| network | Tersor leaves | Torch-Pruning leaves | written for it by hand |",
        "|---|---|---|---|",
        "| vgg | 26 % | 63 %, other outputs |  |",
        "| swin | 27 % | 55 % | forward functions |",
        "| solo | 26 % | - |  |",
        "| theirs | - | 26 % |  |",
    ]


@pytest.mark.parametrize(
    ("why", "cell"),
    [
        ("KeyError: a|b", "KeyError: a/b"),
        ("AssertionError: ", "AssertionError"),
        ("x" * 71, "x" * 70),
        ("80 % of the parameters are left", "80 % of the parameters are left"),
    ],
    ids=["bar", "no_words", "long", "too_little"],
)
def test_why_a_network_was_not_cut_fits_into_its_cell(results, why, cell):
    results(row("vgg"), broken("vgg", why))
    (line,) = coverage_table.coverage().splitlines()[2:]
    assert line == f"| vgg | 26 % | {cell} |  |"


def test_what_runs_what_is_right_and_what_was_written_by_hand_are_counted(results):
    """Of four one breaks, one is wrong, and by hand counts only where it was of use."""
    results(
        row("a"),
        row("b", why_not="90 % of the parameters are left", left=0.9),
        peer("a", by_hand="attributes"),
        peer("b", equal=False),
        peer("c", by_hand="forward functions"),
        broken("d", "broke", by_hand="attributes"),
    )
    before = "what comes before the cut takes {} s of the processor"
    after = "the cut 0.5 s (medians of those that it cuts)"
    assert coverage_table.scores() == (
        "Tersor cuts 1 of 2, all of them with the outputs of the network with zeros; "
        f"{before.format(1.2)}, {after}. "
        "Torch-Pruning cuts 3 of 4, 2 of them with the outputs of the network with zeros, "
        f"2 after something was written by hand; {before.format(0.25)}, {after}."
    )


def test_times_are_medians_over_what_was_cut(results):
    results(
        *(row(str(n), capture_seconds=n, cut_seconds=n / 10) for n in (1, 2, 30)),
        row("4", capture_seconds=500, why_not="90 % of the parameters are left"),
    )
    told = coverage_table.scores()
    assert "takes 2.2 s of the processor, the cut 0.2 s (medians" in told  # 2 and 0.25


def test_a_tool_that_cuts_nothing_has_no_times(results):
    results(row("a"), broken("a", "broke"))
    assert coverage_table.scores().endswith("Torch-Pruning cuts none of 1.")


def test_the_machine_and_all_versions_are_told(results):
    results(row("a"), peer("a"), row("b", machine={"cpu": "W"}))
    told = coverage_table.measured()
    assert told == "W and X; tersor 1, torch 3, torch-pruning 2."


def test_the_committed_results_compare_the_tools_on_the_same_networks():
    rows = records.read(coverage_table.NAME)
    named = {
        tool: [each["network"] for each in rows if each["tool"] == tool]
        for tool in coverage_table.TOOLS
    }
    assert len(named["tersor"]) == len(set(named["tersor"])) > 35
    assert sorted(named["tersor"]) == sorted(named["torch_pruning"])
