"""Layers before and after a cut: how they are paired, which of them lag, and why."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from tersor import engines
from tersor.network.branches import without
from tersor.network.capture import capture
from tersor.network.channels import channels
from tersor.network.fold import fold_batch_norm
from tersor.network.surgery import cut
from tersor.timing.lagging import Comparison, Pair, compared, laggards, reason
from tersor.timing.table import Table
from tersor.timing.work import Work

NAMES = ["stem", "one.1", "two.0", "head"]


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3)
        self.one = nn.Sequential(nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3, padding=1))
        self.two = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16))
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = x + self.one(x)
        x = x + self.two(x)
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return capture(Residual().eval(), (torch.randn(2, 3, 10, 10),))


@pytest.fixture(scope="module")
def thin(network):
    """12 channels of 16."""
    return cut(network, {"stem": np.arange(16) < 12})


@pytest.fixture
def table(tmp_path):
    def make(of):
        engine = engines.find("reference")
        return Table(engine, threads=1, folder=tmp_path, measure=of)

    return make


def rate(work):
    """A millisecond for a hundred thousand MACs, half of one for what has none."""
    return 0.1 if work.op == "call" else 1e-5 * work.macs or 0.5


def named(found):
    return {pair.name: pair for pair in found.pairs}


def renamed(network):
    """The same with other names of nodes."""
    result = network.copy()
    for node in list(result.graph.nodes):
        if node.op == "call_function":
            node.name = f"{node.name}_anew"
    return result


def test_layers_are_paired_and_their_work_is_told(network, thin):
    found = named(compared(network, thin))
    assert [name for name, pair in found.items() if pair.macs] == NAMES
    inner = found["one.1"]
    assert (inner.macs, inner.macs_left) == (64 * 9 * 16 * 16, 64 * 9 * 12 * 12)
    elements = 2 * 16 * 64 + 16 * 16 * 9, 2 * 12 * 64 + 12 * 12 * 9
    assert (inner.moved_bytes, inner.moved_bytes_left) == (4 * elements[0], 4 * elements[1])
    assert inner.node != inner.name
    assert (inner.ms, inner.ms_left, inner.lag_ms) == (None, None, 0.0)


def test_a_batch_does_as_much_more(network, thin):
    one, many = (named(compared(network, thin, batch=n))["head"] for n in (1, 7))
    assert (many.macs, many.macs_left) == (7 * one.macs, 7 * one.macs_left) == (560, 420)


def test_what_is_gone_takes_the_place_of_nothing_that_stayed(network):
    """By position, the second branch would stand where the first one was."""
    left = without(network, ["one.1"])
    found = named(compared(network, left))
    assert (found["one.1"].after, found["one.1"].macs_left) == (None, 0)
    assert found["one.1"].moved_bytes_left == 0
    assert found["two.0"].is_whole
    assert found["two.0"].after == found["two.0"].before
    assert reason(found["one.1"], None, {}) == ""


def test_nodes_that_other_steps_renamed_are_known_by_their_weights(network, thin):
    """A linear layer may become another operation, and files number nodes anew."""
    found = named(compared(network, renamed(thin)))
    assert [found[name].macs_left for name in NAMES] == [
        named(compared(network, thin))[name].macs_left for name in NAMES
    ]
    assert all(found[name].macs_left for name in NAMES)


def test_weights_that_two_nodes_read_are_paired_in_order():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.only = nn.Linear(8, 8)

        def forward(self, x):
            wide = torch.relu(self.only(x))[:, None].expand(-1, 3, -1)
            return self.only(wide).sum(1)

    shared = capture(Twice().eval(), (torch.randn(4, 8),))
    for other in (shared, renamed(shared)):
        pairs = [p for p in compared(shared, other).pairs if p.macs]
        assert [pair.macs for pair in pairs] == [64, 3 * 64]
        assert all(pair.before == pair.after for pair in pairs)


def test_the_layers_of_a_recurrent_node_have_names_of_their_own():
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(6, 4, num_layers=3, bidirectional=True, batch_first=True)

        def forward(self, x):
            return self.gru(x)[0]

    deep = capture(Deep().eval(), (torch.randn(2, 5, 6),))
    pairs = [p for p in compared(deep, renamed(deep)).pairs if p.macs]
    assert [pair.name for pair in pairs] == [f"gru.weight_ih_l{i}" for i in range(3)]
    assert all(pair.before == pair.after for pair in pairs)
    assert [pair.before.shapes[1][-1] for pair in pairs] == [6, 8, 8]


def test_times_are_those_of_the_table(network, thin, table):
    found = compared(network, thin, table(rate))
    inner = named(found)["one.1"]
    assert (inner.ms, inner.ms_left) == (1e-5 * inner.macs, 1e-5 * inner.macs_left)
    assert inner.lag_ms == pytest.approx(0)
    assert found.call_ms == 0.1
    assert found.new_ms == 0.0
    stem = named(found)["stem"]  # it was measured with the call
    assert stem.ms == pytest.approx(1e-5 * stem.macs - 0.1)
    assert found.ms == pytest.approx(0.1 + sum(pair.ms for pair in found.pairs))
    assert found.ms_left == pytest.approx(0.1 + sum(pair.ms_left for pair in found.pairs))


def test_what_only_the_result_does_counts_too(network, table):
    """Without its normalization folded in, the original has nothing more to do."""
    less = without(network, ["one.1", "two.0"])
    found = compared(less, network, table(rate))
    more = [p for p in compared(network, less, table(rate)).pairs if p.after is None]
    assert more
    assert found.new_ms == pytest.approx(sum(pair.ms for pair in more))
    assert found.ms_left == pytest.approx(compared(network, network, table(rate)).ms)


def test_folding_leaves_all_pairs(network, thin):
    folded = fold_batch_norm(thin)
    assert [p.after for p in compared(network, folded).pairs if p.macs] == [
        p.after for p in compared(network, thin).pairs if p.macs
    ]


def test_measuring_ends_in_time_and_goes_on_the_next_time(network, thin, table):
    made = table(rate)
    found = compared(network, thin, made, seconds=0.0)
    assert (found.ms, found.ms_left, found.new_ms) == (None, None, None)
    assert all(pair.ms is None for pair in found.pairs)
    assert made.measured == 2  # a call and the first layer
    compared(network, thin, made)
    kept = compared(network, thin, table(lambda _: math.nan), seconds=0.0)
    assert kept.ms == compared(network, thin, made).ms


CONV = Work("conv", ((1, 32, 8, 8), (32, 32, 3, 3)), (1, 1), (1, 1), (1, 1))


def pair(after=(5, 32), ms=1.0, ms_left=0.9, before=CONV, name="a"):
    left = None if after is None else before.at(after)
    return Pair(node="n", name=name, before=before, after=left, ms=ms, ms_left=ms_left)


def test_the_lag_is_what_is_left_beyond_the_work():
    assert pair((8, 32), 1.0, 0.75).lag_ms == pytest.approx(0.5)
    assert pair((16, 16), 2.0, 0.25).lag_ms == pytest.approx(-0.25)
    assert pair(None, 1.0, 0.0).lag_ms == 0


def test_the_largest_lags_come_first_and_small_ones_not_at_all():
    rows = [
        pair((16, 32), 1.0, 0.85, name="small lag"),
        pair((16, 32), 1.0, 0.9, name="lags"),
        pair((16, 32), 9.0, 6.0, name="lags the most"),
        pair((16, 32), 1.0, 0.5, name="does not lag"),
        pair((16, 32), 0.1, 0.1, name="does not count"),
        pair((16, 32), 9.0, 4.9, name="lags by little"),
        pair((32, 32), 9.0, 9.0, name="whole"),
    ]
    found = Comparison(pairs=tuple(rows), new_ms=0.0, call_ms=0.0)
    assert [p.name for p in laggards(found, 9)] == ["lags the most", "lags", "small lag"]
    assert [p.name for p in laggards(found, 1)] == ["lags the most"]
    assert laggards(Comparison(pairs=(pair(ms=None, ms_left=None),))) == []


def why(one, table, of, **frozen):
    return reason(one, table(of), frozen)


def idle(work, ms):
    """Next to nothing to do takes a hundredth of a millisecond."""
    return 0.01 if work.op == "move" else ms


def test_blocks_of_channels_are_found_by_measuring(table):
    def of(work):
        return idle(work, float(-(-work.widths[0] // 16)))

    told = why(pair(ms_left=0.7), table, of)
    assert told == "its 5 output channels take as long as 16 would"
    told = why(pair((20, 20), 1.0, 0.8), table, of)
    assert told == "its 20 output channels take as long as 32 would"


def test_blocks_of_channels_that_are_read_are_found_too(table):
    def of(work):
        return idle(work, 0.5 * -(-work.widths[-1] // 16) * work.widths[0])

    told = why(pair((32, 17), 1.0, 0.9), table, of)
    assert told == "its 17 input channels take as long as 32 would"


def test_a_block_that_is_nearly_full_explains_little(table):
    """With 31 of 32 channels made and 16 read, only a block of those that are read would."""

    def of(work):
        return idle(work, float(-(-work.widths[0] // 16)))

    assert why(pair((31, 31), 1.0, 0.98), table, of) == (
        "its 31 output channels take as long as 32 would"
    )
    half = pair((31, 16), 1.0, 0.98)
    told = why(half, table, lambda work: of(work) + work.widths[1] * (work.op == "conv"))
    assert told == ""


def test_a_block_is_no_larger_than_the_layer_was(table):
    narrow = CONV.at((12, 32))
    told = why(pair((5, 32), before=narrow), table, lambda work: idle(work, 1.0))
    assert told == "its 5 output channels take as long as 12 would"


@pytest.mark.parametrize("op", ["matmul", "conv_transpose"])
def test_output_channels_are_counted_where_they_stand(table, op):
    matmul = Work("matmul", ((10, 32), (32, 24)))
    turned = Work("conv_transpose", ((1, 32, 8, 8), (32, 24, 2, 2)), (2, 2), (0, 0), (1, 1))
    work = {"matmul": matmul, "conv_transpose": turned}[op]
    told = why(pair((32, 9), before=work), table, lambda work: idle(work, 1.0))
    assert told == "its 9 output channels take as long as 24 would"


def test_channels_that_only_one_more_block_would_fit_are_no_reason(table):
    """Time rises with every channel, and so it does with bytes."""

    def of(work):
        return idle(work, 0.1 * work.widths[0] * work.widths[-1])

    moved = (2 * 64 + 16 * 64 + 16 * 2 * 9) / (32 * 64 + 32 * 64 + 32 * 32 * 9)
    told = why(pair((16, 2), 1.0, moved + 0.04), table, of)
    assert told == f"{100 * moved:.0f} % of the bytes that it moves are left"
    assert why(pair((16, 2), 1.0, moved + 0.06), table, of) == ""


def test_what_is_small_takes_as_long_as_any_operation(table):
    told = why(pair(ms=0.04, ms_left=0.03), table, lambda work: idle(work, 1.0))
    assert told == "it is so small that it takes little more than any operation, 0.01 ms"
    larger = pair(ms=0.04, ms_left=0.031)
    assert "channels" in why(larger, table, lambda work: idle(work, 1.0))


def test_layers_that_nobody_cut_say_why(table):
    whole = pair((32, 32), 1.0, 1.0, name="fc")
    assert why(whole, table, rate) == "nothing of it was cut"
    told = why(whole, table, rate, fc="it is an output of the network")
    assert told == "its channels are frozen: it is an output of the network"
    assert reason(pair(ms=None, ms_left=None), None, {}) == ""
    in_time = pair((16, 32), 1.0, 0.5)
    assert why(in_time, table, lambda work: idle(work, 1.0)) == ""


def test_frozen_channels_of_a_network_are_told_by_name(network):
    frozen = {each.layer: each.reason for each in channels(network).frozen}
    whole = named(compared(network, network))["head"]
    assert reason(whole, None, frozen).endswith("it is an output of the network")
