"""Torch-Pruning's rows: what came of a cut. A stand-in cuts just what each test says."""

import json
import signal
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from benchmarks.peers import by_torch_pruning
from benchmarks.peers.torch_pruning_presets import Preset
from torch import nn

from architectures import ARCHITECTURES

THREE = [0, 2, 5]  # of eight channels
HALF = [0, 2, 5, 7]  # of eight channels, and two of each half


class Stand:
    """In place of the tool: `how` cuts, and `given` is what it was told."""

    given: dict = {}  # noqa: RUF012 - the test's
    how = staticmethod(lambda _: None)

    def __init__(self, module, inputs, **given):
        type(self).given = {"inputs": inputs, **given}
        self.num_heads, self._module = given["num_heads"], module

    def step(self):
        type(self).how(self._module)


@pytest.fixture(autouse=True)
def stand(monkeypatch):
    """The tool as far as it is called; what it sets for the whole process is set back."""
    pruner = type("Pruner", (Stand,), {})
    tool = SimpleNamespace(
        pruner=SimpleNamespace(BasePruner=pruner),
        importance=SimpleNamespace(RandomImportance=lambda: "random"),
    )
    monkeypatch.setitem(sys.modules, "torch_pruning", tool)
    monkeypatch.setattr(by_torch_pruning, "versions", lambda: {"torch-pruning": "0"})
    handler, fast = signal.getsignal(signal.SIGPROF), torch.backends.mha.get_fastpath_enabled()
    with torch.random.fork_rng(devices=[]):
        yield pruner
    signal.signal(signal.SIGPROF, handler)
    torch.backends.mha.set_fastpath_enabled(fast)


def narrow(layer, rows=None, columns=None):
    """Cut a layer by hand."""
    weight = layer.weight.data
    if rows is not None:
        weight, layer.bias = weight[rows], nn.Parameter(layer.bias.data[rows])
    layer.weight = nn.Parameter(weight if columns is None else weight[:, columns])


def rows(kept, behind=None, *, norm=None):
    """Cuts the first layer to `kept`, and what reads it, the third, to the same or others."""

    def how(module):
        narrow(module[0], rows=kept)
        narrow(module[2], columns=kept if behind is None else behind)
        if norm:
            norm(module[1])

    return how


def chain(middle=None, last=3):
    """Four inputs, eight channels, three outputs."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), middle or nn.Tanh(), nn.Linear(8, last)).eval()


def tried(stand, how, module=None, preset=None, setting="head dims"):
    stand.how = staticmethod(how)
    inputs = (torch.randn(2, 4, generator=torch.Generator().manual_seed(2)),)
    return by_torch_pruning._tried(preset or Preset(), setting, module or chain(), inputs)


def test_a_cut_of_what_belongs_together_is_right(stand):
    found = tried(stand, rows(THREE))
    assert found["why_not"] is None
    assert found["equal"] is True
    assert found["left"] == (3 * 5 + 3 * 3 + 3) / (8 * 5 + 8 * 3 + 3)
    assert found["by_hand"] == ""
    assert found["versions"] == {"torch-pruning": "0"}
    assert min(found["analysis_seconds"], found["cut_seconds"]) >= 0


def test_a_cut_of_other_channels_than_those_behind_is_not(stand):
    found = tried(stand, rows(THREE, behind=[0, 2, 6]))
    assert found["why_not"] is None
    assert found["equal"] is False


@pytest.mark.parametrize(("kept", "left"), [(5, 43), (6, 51)])
def test_at_least_thirty_per_cent_must_go(stand, kept, left):
    found = tried(stand, rows(list(range(kept))))
    assert found["left"] == left / 67
    wanted = (None, True) if kept == 5 else ("76 % of the parameters are left", None)
    assert (found["why_not"], found["equal"]) == wanted


def test_outputs_of_another_shape_are_no_network_that_runs(stand):
    def how(module):
        rows(THREE)(module)
        narrow(module[2], rows=[0, 1])

    found = tried(stand, how)
    assert found["why_not"] == "outputs of shape [(2, 2)]"
    assert found["equal"] is None


def test_a_network_that_does_not_run_any_more_says_so(stand):
    found = tried(stand, lambda module: narrow(module[0], rows=THREE))
    assert found["why_not"].startswith("RuntimeError: mat1 and mat2 shapes")
    assert found["equal"] is None


def test_a_crash_is_a_row_with_the_first_line_of_its_reason(stand):
    def how(_):
        raise KeyError("x" * 300 + "\nsecond")

    found = tried(stand, how)
    assert found["why_not"] == ("KeyError: '" + "x" * 300)[:200]
    assert found["left"] is found["equal"] is None
    assert found["versions"]
    assert found["by_hand"] == ""


def cut_layer_norm(norm):
    norm.weight, norm.bias = (nn.Parameter(t.data[HALF]) for t in (norm.weight, norm.bias))
    norm.normalized_shape = (len(HALF),)


def cut_group_norm(norm):
    norm.weight, norm.bias = (nn.Parameter(t.data[HALF]) for t in (norm.weight, norm.bias))
    norm.num_channels = len(HALF)


def cut_batch_norm(norm):
    norm.weight, norm.bias = (nn.Parameter(t.data[HALF]) for t in (norm.weight, norm.bias))
    norm.running_mean, norm.running_var = norm.running_mean[HALF], norm.running_var[HALF]


@pytest.mark.parametrize(
    ("make", "how"),
    [
        (partial(nn.LayerNorm, 8), cut_layer_norm),
        (partial(nn.GroupNorm, 2, 8), cut_group_norm),
        (partial(nn.BatchNorm1d, 8), cut_batch_norm),
    ],
    ids=["layer", "groups", "batch"],
)
def test_norms_go_by_what_is_left(stand, make, how):
    """Their statistics are those of the four channels; values are drawn, so that it shows."""
    norm = make()
    torch.manual_seed(3)
    for tensor in norm.state_dict().values():
        if tensor.ndim:
            tensor.uniform_(0.5, 2)
    found = tried(stand, rows(HALF, norm=how), chain(norm))
    assert found["why_not"] is None
    assert found["equal"] is True


class Attending(nn.Module):
    """Eight channels in two heads, between two layers."""

    def __init__(self):
        super().__init__()
        self.enter, self.leave = nn.Linear(4, 8), nn.Linear(8, 3)
        self.mix = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        x = self.enter(x)[None]
        return self.leave(self.mix(x, x, x, need_weights=False)[0])


def cut_attention(module):
    """Two channels of each head of four go, and of the stream the same."""
    mix = module.mix
    three = [part * 8 + channel for part in range(3) for channel in HALF]
    mix.in_proj_weight = nn.Parameter(mix.in_proj_weight.data[three][:, HALF])
    mix.in_proj_bias = nn.Parameter(mix.in_proj_bias.data[three])
    mix.embed_dim, mix.head_dim = 4, 2
    narrow(mix.out_proj, rows=HALF, columns=HALF)
    narrow(module.enter, rows=HALF)
    narrow(module.leave, columns=HALF)


def test_attention_divides_by_the_root_of_the_width_that_is_left(stand):
    torch.manual_seed(4)
    module = Attending().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-1, 1)
    found = tried(stand, cut_attention, module)
    assert found["why_not"] is None
    assert found["equal"] is True
    assert stand.given["out_channel_groups"] == {module.mix: 2}


def test_a_part_that_looks_at_all_channels_sees_those_that_are_left():
    """By hand: the mean over channels 1 and 3."""
    x = torch.arange(8.0).reshape(1, 4, 2)
    kept = torch.tensor([1, 3])

    def mean(x):
        return x.mean(1, keepdim=True)

    found = by_torch_pruning._on_kept(mean, kept, 1, False, x)
    assert found.tolist() == [[[4.0, 5.0]]]


def test_what_is_left_of_the_first_axis():
    alive = torch.tensor([[6, 8], [9, 11]])  # of 4 rows of 3
    assert by_torch_pruning._first_axis(alive, torch.Size([4, 3])).tolist() == [2, 3]
    assert by_torch_pruning._first_axis(torch.tensor([1, 3]), torch.Size([4])).tolist() == [
        1,
        3,
    ]


def test_the_tool_is_told_what_a_user_tells(stand):
    """The last layer stays, halves are groups of two; other settings come as they are."""
    preset = Preset(ignored=("0",), halves=("2",), settings=lambda: {"more": 1})
    module = nn.Sequential(*chain(), nn.Linear(3, 2))
    tried(stand, lambda _: None, module, preset)
    given = stand.given
    assert given["ignored_layers"] == [module[3], module[0]]
    assert given["out_channel_groups"] == {module[2]: 2}
    assert (given["pruning_ratio"], given["more"]) == (0.5, 1)
    assert (given["prune_head_dims"], given["prune_num_heads"]) == (True, False)
    assert given["head_pruning_ratio"] == 0
    assert given["inputs"].shape == (2, 4)  # a tensor, where there is one
    assert given["output_transform"]([torch.ones(2), (torch.ones(3),)]) == 5
    tried(stand, lambda _: None, module, preset, "heads")
    given = stand.given
    assert (given["prune_head_dims"], given["prune_num_heads"]) == (False, True)
    assert given["head_pruning_ratio"] == 0.5


class Heads(nn.Module):
    """An attention's layers and numbers."""

    def __init__(self, layers, **numbers):
        super().__init__()
        for name, width in layers.items():
            self.add_module(name, nn.Linear(8, width))
        for name, number in numbers.items():
            setattr(self, name, number)


def test_every_layer_that_makes_heads_is_told_how_many():
    fused, apart = Heads({"qkv": 24, "proj": 8}, heads=4), Heads({"c_attn": 24}, heads=2)
    few = Heads({"q_proj": 8, "k_proj": 4, "v_proj": 4, "o_proj": 8}, heads=4, kv_heads=2)
    plain = Heads({"query": 8, "key": 8, "value": 8}, heads=2)
    found = by_torch_pruning._heads(nn.Sequential(fused, apart, few, plain, nn.Linear(8, 8)))
    assert found == {
        fused.qkv: 4,
        apart.c_attn: 2,
        few.q_proj: 4,
        few.k_proj: 2,
        few.v_proj: 2,
        **dict.fromkeys((plain.query, plain.key, plain.value), 2),
    }


def test_numbers_of_heads_follow_the_cut():
    fused = Heads({"qkv": 12}, heads=4, head_dim=2, width=8)
    plain = Heads({"query": 6, "key": 6, "value": 6}, heads=2, head_size=4)
    few = Heads({"q_proj": 4, "k_proj": 2, "v_proj": 2}, heads=4, kv_heads=2, head_dim=2)
    left = {fused.qkv: 2, plain.query: 2, plain.key: 2, few.q_proj: 2, few.k_proj: 1}
    by_torch_pruning._set_heads(nn.Sequential(fused, plain, few), left)
    assert (fused.heads, fused.head_dim, fused.width) == (2, 2, 4)
    assert (plain.heads, plain.head_size) == (2, 3)
    assert not hasattr(plain, "head_dim")
    assert (few.heads, few.kv_heads, few.head_dim) == (2, 1, 2)


@pytest.mark.parametrize(
    ("preset", "by_hand"),
    [
        (Preset(ignored=("0",), halves=("2",)), ""),
        (Preset(after=lambda _: None), "attributes"),
        (Preset(forward=lambda: None), "forward functions"),
        (Preset(forward=lambda: None, after=lambda _: None), "forward functions"),
    ],
    ids=["arguments", "after", "forward", "both"],
)
def test_what_was_written_by_hand_is_told(preset, by_hand):
    assert by_torch_pruning._by_hand(preset, chain()) == by_hand


def test_numbers_of_heads_are_attributes_written_by_hand():
    module = Heads({"qkv": 24}, heads=4)
    assert by_torch_pruning._by_hand(Preset(), module) == "attributes"


def test_attributes_are_written_anew_before_the_network_runs(stand):
    def after(module):
        narrow(module[2], columns=THREE)  # what the stand-in has left undone

    found = tried(stand, lambda m: narrow(m[0], rows=THREE), preset=Preset(after=after))
    assert (found["why_not"], found["equal"]) == (None, True)


class Two(nn.Sequential):
    """A chain that says it has heads."""

    heads = 2


@pytest.fixture
def networks(monkeypatch):
    """One without heads, and one with."""
    inputs = (torch.ones(2, 4),)
    monkeypatch.setitem(ARCHITECTURES, "plain", lambda: (chain(), inputs))
    monkeypatch.setitem(ARCHITECTURES, "headed", lambda: (Two(*chain()), inputs))
    makers = {"1": 2}
    monkeypatch.setattr(
        by_torch_pruning, "_heads", lambda m: makers if isinstance(m, Two) else {}
    )
    monkeypatch.setattr(by_torch_pruning, "_set_heads", lambda _, __: None)


def printed(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.usefixtures("networks")
def test_a_line_is_printed_for_each_network_and_setting(stand, capsys, monkeypatch):
    begun = []
    presets = {"plain": Preset(forward=lambda: begun.append("plain"))}
    monkeypatch.setattr(by_torch_pruning, "PRESETS", presets)
    stand.how = staticmethod(rows(THREE))
    by_torch_pruning.main(["plain", "headed"])
    found = printed(capsys)
    assert begun == ["plain"]
    assert [(row["network"], row["setting"], row["by_hand"]) for row in found] == [
        ("plain", "head dims", "forward functions"),
        ("headed", "head dims", "attributes"),
        ("headed", "heads", "attributes"),
    ]
    assert all(row["equal"] and row["left"] == 27 / 67 for row in found)  # from a fresh copy


@pytest.mark.usefixtures("networks")
def test_a_network_that_takes_too_long_is_given_up_and_the_next_one_tried(
    stand, capsys, monkeypatch
):
    """The timer is a stand-in: signals may come at any time, to any thread of the process."""
    timers = []

    def how(module):
        if isinstance(module, Two):
            signal.getsignal(signal.SIGPROF)(signal.SIGPROF, None)
        rows(THREE)(module)

    monkeypatch.setattr(signal, "setitimer", lambda *timer: timers.append(timer))
    monkeypatch.setattr(by_torch_pruning, "_PATIENCE_S", 0.1)
    stand.how = staticmethod(how)
    by_torch_pruning.main(["headed", "plain"])
    slow, plain = printed(capsys)
    assert slow["why_not"] == "TimeoutError: took longer than 0.1 s of the processor"
    assert (slow["network"], slow["setting"]) == ("headed", "head dims")
    assert (plain["network"], plain["why_not"]) == ("plain", None)
    assert timers == [(signal.ITIMER_PROF, 0.1), (signal.ITIMER_PROF, 0)] * 2


def test_values_are_given_back_wherever_a_tool_has_put_them():
    """Weights, biases, and statistics; rows come in another order."""
    module = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4)).eval()
    module[1].running_mean.uniform_(1, 2)
    original = {name: t.clone().numpy() for name, t in module.state_dict().items()}
    keeper = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4))
    keeper.load_state_dict(module.state_dict())
    by_torch_pruning._number(module)
    narrow(module[0], rows=[3, 1])
    module[1].running_mean = module[1].running_mean[[3, 1]]
    by_torch_pruning._restore(module, keeper, by_torch_pruning._numbers(module))
    for name in ("0.weight", "0.bias", "1.running_mean"):
        found = module.state_dict()[name].numpy()
        np.testing.assert_array_equal(found, original[name][[3, 1]])
    np.testing.assert_array_equal(module[1].running_var.numpy(), original["1.running_var"])
