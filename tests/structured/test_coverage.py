"""Which networks can be cut: what a row says of a network, and which row counts."""

import json
import os
import sys

import numpy as np
import pytest
from benchmarks import coverage, environments, records
from torch import nn

from architectures import ARCHITECTURES
from architectures.parts import ConvBN, PoolHead, example, image, values
from tersor.errors import EngineError
from tersor.network import surgery


@pytest.fixture(autouse=True)
def networks(monkeypatch):
    """One that can be cut, and one whose only layer gives the output."""
    module = example(lambda: nn.Sequential(ConvBN(3, 8), PoolHead(8, 10)), image(8))
    monkeypatch.setitem(ARCHITECTURES, "tiny", module)
    module = example(lambda: nn.Sequential(nn.Linear(16, 10)), values(16))
    monkeypatch.setitem(ARCHITECTURES, "whole", module)


@pytest.fixture
def interpreter(tmp_path, monkeypatch):
    """The peer's environment has a script in place of Python."""
    path = tmp_path / "python"

    def put(*lines):
        path.write_text("\n".join(["#!/bin/sh", *lines]))
        path.chmod(0o755)

    monkeypatch.setattr(environments, "python", lambda _: path)
    return put


def row(network="a", left=0.5, **facts):
    return {"network": network, "why_not": None, "left": left, "equal": True, **facts}


def failed(network="a", why="broke"):
    return row(network, None, why_not=why, equal=None)


def test_half_of_the_channels_go_and_what_is_left_is_counted():
    """By hand: 3 * 9 weights and two of the norm a channel, ten of the layer behind it."""
    found = coverage.by_tersor("tiny")
    assert found["left"] == (4 * (27 + 2 + 10) + 10) / (8 * (27 + 2 + 10) + 10)
    assert found["why_not"] is None
    assert found["equal"] is True
    assert (found["network"], found["tool"]) == ("tiny", "tersor")
    clocked = [found[key] for key in ("capture_seconds", "analysis_seconds", "cut_seconds")]
    assert 0 < min(clocked) < max(clocked) == clocked[0]


def test_a_network_that_stays_whole_is_not_cut():
    found = coverage.by_tersor("whole")
    assert found["why_not"] == "100 % of the parameters are left"
    assert found["left"] == 1


@pytest.mark.parametrize(("least", "enough"), [(0.48, True), (0.49, False)])
def test_too_little_cut_is_none(monkeypatch, least, enough):
    monkeypatch.setattr(coverage, "_LEAST_CUT", least)  # 166 of 322 are left
    assert (coverage.by_tersor("tiny")["why_not"] is None) == enough


def test_the_wrong_channels_give_other_outputs(monkeypatch):
    real = surgery.cut

    def other(network, keep, found):
        return real(network, {name: ~mask for name, mask in keep.items()}, found)

    monkeypatch.setattr(surgery, "cut", other)
    found = coverage.by_tersor("tiny")
    assert found["why_not"] is None  # it runs, and is as small
    assert found["equal"] is False


def test_outputs_are_alike_up_to_a_part_of_the_largest():
    like = np.array([[0.0, -10.0]])
    assert coverage._alike(np.array([[0.0009, -10.0]]), like)
    assert not coverage._alike(np.array([[0.0011, -10.0]]), like)
    assert not coverage._alike(np.array([[0.0, np.nan]]), like)
    assert not coverage._alike(np.array([[0.0], [-10.0]]), like)


@pytest.mark.parametrize("order", [1, -1], ids=["forth", "back"])
def test_the_best_setting_is_that_of_a_network_that_runs_then_is_right_then_is_small(order):
    rows = [
        failed(),
        row(left=0.2, why_not="outputs of shape [(2, 3)]", equal=None),
        row(left=0.3, equal=False),
        row(left=0.6),
        row(left=0.5),
    ]
    for count in range(1, len(rows) + 1):
        assert coverage.best(rows[:count][::order]) == [rows[count - 1]]


def test_every_network_has_its_own_best():
    rows = [failed("a"), row("b", 0.6), row("a", 0.7), row("b", 0.7), failed("c")]
    assert coverage.best(rows) == [rows[2], rows[1], rows[4]]
    assert coverage.best([]) == []


def test_the_peer_gets_the_names_and_finds_both_packages(interpreter):
    interpreter(
        'printf \'{"network": "%s", "args": "%s", "in": "%s", "path": "%s"}\\n\' '
        '"$3" "$*" "$PWD" "$PYTHONPATH"'
    )
    (found,) = coverage.by_torch_pruning(["vgg", "bert"])
    assert found == {
        "network": "vgg",
        "args": "-m benchmarks.peers.by_torch_pruning vgg bert",
        "in": str(records.ROOT),
        "path": f"{records.ROOT}{os.pathsep}{records.ROOT / 'tests'}",
        "tool": "torch_pruning",
    }


def test_what_the_peer_says_besides_is_no_row(interpreter):
    interpreter("echo loading", f"echo '{json.dumps(row('a'))}'", "echo", "echo [done]")
    assert coverage.by_torch_pruning(["a"]) == [row("a", tool="torch_pruning")]


def test_a_peer_that_ends_too_early_is_an_error_with_the_command(interpreter):
    interpreter(f"echo '{json.dumps(row('a'))}'", "exit 3")
    with pytest.raises(EngineError, match=r"ended with code 3") as caught:
        coverage.by_torch_pruning(["a"])
    assert "python -m benchmarks.peers.by_torch_pruning a" in str(caught.value)


def test_a_peer_without_an_environment_says_how_to_make_it(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "_FOLDER", tmp_path)
    with pytest.raises(EngineError, match=r"benchmarks\.environments torch_pruning"):
        coverage.by_torch_pruning(["a"])


def test_the_results_have_a_line_for_each_network_and_tool(tmp_path, monkeypatch, capsys):
    """Those that were there are replaced; a network that the peer breaks on has one, too."""
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", ["coverage", "--networks", "tiny", "whole"])
    common = {"by_hand": "", "analysis_seconds": 0.1, "cut_seconds": 0.1, "versions": {}}
    old = [
        {**row(name, 0.9, tool="tersor"), **common, "machine": {"cpu": "X"}}
        for name in ("tiny", "other")
    ]
    records.replace(coverage.NAME, old, by=("network", "tool"))
    peer = [failed("tiny"), row("tiny", 0.5), failed("whole", "RuntimeError: a|b")]
    asked = []

    def by_torch_pruning(names):
        asked.extend(names)
        return [{**each, **common, "tool": "torch_pruning"} for each in peer]

    monkeypatch.setattr(coverage, "by_torch_pruning", by_torch_pruning)
    coverage.main()
    assert asked == ["tiny", "whole"]
    found = records.read(coverage.NAME)
    assert [(r["network"], r["tool"], r["left"]) for r in found] == [
        ("other", "tersor", 0.9),
        ("tiny", "tersor", 166 / 322),
        ("whole", "tersor", 1),
        ("tiny", "torch_pruning", 0.5),
        ("whole", "torch_pruning", None),
    ]
    assert all(r["machine"]["cpu"] for r in found)
    assert {r["command"] for r in found[1:]} == {"python -m benchmarks.coverage"}
    told = capsys.readouterr().out
    assert "| tiny | 52 % | 50 % |  |" in told
    assert "Torch-Pruning cuts 1 of 2" in told
