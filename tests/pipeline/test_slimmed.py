"""What was cut, found from the result's sizes alone; and its work and time, layer by layer."""

import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from tersor.choosing.making import Maker
from tersor.data.samples import Samples
from tersor.data.split import split
from tersor.errors import EngineError
from tersor.network.branches import without
from tersor.network.capture import capture
from tersor.network.channels import channels
from tersor.network.cost import cost
from tersor.network.fold import fold_batch_norm
from tersor.network.network import Note
from tersor.network.surgery import cut
from tersor.pipeline import Options, compress
from tersor.pipeline.slimmed import Place, channels_left, slimmed
from tersor.plan.recipe import Step
from tersor.plan.recipe_file import parse_recipe
from tersor.report.schema import check
from tersor.report.shown_channels import Slimmed
from tersor.report.terminal import print_report
from tersor.testing import networks

RECIPE = """
name = "cut"
max_drop_pp = 100.0
[[step]]
method = "prune.channels"
[step.target]
macs = 0.5
[[step]]
method = "train.fine_tune"
epochs = 0
"""
PLACE = Place("onnxruntime", "f32", 1, 1, 60.0)


class Padded(nn.Module):
    """A shortcut that pads channels with zeros, and heads in one matrix."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3, padding=1)
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = nn.functional.pad(x, (0, 0, 0, 0, 4, 4)) + self.second(x)
        x = x.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.head(self.out(mixed.transpose(1, 2).flatten(2)).mean(1))


def padded():
    torch.manual_seed(0)
    return capture(Padded().eval(), (torch.randn(2, 3, 6, 6),))


@pytest.fixture(autouse=True)
def made_up_clock(monkeypatch, tmp_path):
    """Layers take a tenth of a millisecond for each 16 output channels that are begun."""

    def milliseconds(engine, work, **_):
        del engine
        if work.op in {"move", "call"}:
            return 1e-3
        return 0.1 * -(-work.output[-1 if work.op == "matmul" else 1] // 16)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("tersor.timing.table.milliseconds", milliseconds)


def drawn(network, seed):
    """Some channels of each group, at least one."""
    rng = np.random.default_rng(seed)
    keep = {}
    for group in channels(network).groups:
        keep[group.name] = rng.random(group.size) < rng.random()
        keep[group.name][rng.integers(group.size)] = True
    return keep


MAKERS = [networks.convolutional, networks.perceptron, networks.encoder, padded]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("make", MAKERS)
def test_what_was_kept_is_found_again(make, seed):
    network, keep = make(), drawn(make(), seed)
    found = channels_left(network, channels(network), cut(network, keep))
    assert found == {name: int(mask.sum()) for name, mask in keep.items()}
    assert found


@pytest.mark.parametrize("make", MAKERS)
def test_what_was_not_cut_is_whole(make):
    network = make()
    known = channels(network)
    whole = {group.name: group.size for group in known.groups}
    assert channels_left(network, known, network) == whole
    assert slimmed(network, network, PLACE) is None


def compressed(network, text):
    """What a recipe gives for samples of which the network itself tells the labels."""
    samples = networks.samples_for(network, 120)
    labels = next(iter(network.run(dict(samples.inputs)).values())).argmax(1)
    parts = split(Samples(samples.inputs, labels), train=True)
    options = Options(seconds=0.3, threads=1, engines=("onnxruntime",))
    return compress(network, parts, recipe=parse_recipe(text), options=options)


@pytest.mark.usefixtures("made_up_memory")
def test_the_report_of_a_recipe_that_cuts_shows_it(tmp_path):
    result = compressed(networks.convolutional(), RECIPE)
    found = result.report["channels"]
    sizes = {one["name"]: one["left"] for one in found["groups"]}
    stem = result.network.tensor("stem.weight").shape[0]
    assert sizes["stem"] == stem < 8
    assert found["macs_left"] <= 0.5 * found["macs"]
    assert (found["pace"]["engine"], found["pace"]["threads"]) == ("onnxruntime", 1)
    assert found["pace"]["ms"] > 0
    paths = result.save(tmp_path / "out")
    assert json.loads(paths["report.json"].read_text())["channels"] == found
    row = f'<td class="num">8</td><td class="num" data-v="{stem}">{stem}</td>'
    assert row in paths["report.html"].read_text()


@pytest.mark.usefixtures("made_up_memory")
def test_a_target_that_cannot_be_reached_is_told_though_the_original_is_kept(tmp_path):
    text = RECIPE.replace("macs = 0.5", "macs = 0.0001").replace("= 100.0", "= 0.0")
    result = compressed(networks.convolutional(), text)
    assert result.report["channels"] is None
    (remark, nothing) = result.report["remarks"]
    assert (remark["candidate"], remark["method"], remark["done"]) == (
        "cut",
        "prune.channels",
        False,
    )
    assert "of the macs are left, not 0.01 %: each group keeps a tenth" in remark["text"]
    assert nothing["text"] == "0 epochs: nothing is trained"
    page = result.save(tmp_path / "out")["report.html"].read_text()
    assert remark["text"] in page
    console = Console(width=200, record=True, file=io.StringIO())
    print_report(result.report, console)
    assert f"cut (prune.channels): {remark['text']}" in console.export_text()


def test_several_cuts_folding_and_rounding_are_seen_through():
    network = networks.convolutional()
    once = cut(network, {"stem": np.arange(8) < 6})
    twice = cut(once, {"stem": np.arange(6) != 1})
    samples = networks.samples_for(network, 32)
    step = Step("quantize.static", {"min_sqnr_db": 0.0})
    rounded = Maker(fold_batch_norm(twice), samples).after([step])
    assert rounded.is_coded("branch.weight")
    found = slimmed(network, rounded, PLACE)
    (stem,) = [one for one in found["groups"] if one["name"] == "stem"]
    assert (stem["size"], stem["left"]) == (8, 5)
    assert (found["macs"], found["macs_left"]) == (cost(network).macs, cost(twice).macs)
    layers = [(one["name"], one["macs_left"]) for one in found["pace"]["layers"]]
    assert layers == [(r.layer.name, r.macs) for r in cost(twice).layers if r.macs]


def test_groups_and_frozen_channels_are_those_that_inspect_shows():
    network = networks.convolutional()
    found = slimmed(network, cut(network, {"stem": np.arange(8) < 6}), PLACE)
    check(found, Slimmed)
    shown = channels(network).describe()
    assert [{k: v for k, v in g.items() if k != "left"} for g in found["groups"]] == shown[
        "groups"
    ]
    assert found["frozen"] == shown["frozen"]
    assert found["removed"] == []


def test_a_branch_that_is_gone_has_no_channels_left():
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)
            self.one = nn.Sequential(
                nn.Conv2d(8, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1)
            )

        def forward(self, x):
            x = self.stem(x)
            return self.head((x + self.one(x)).mean((2, 3)))

    network = capture(Net().eval(), (torch.randn(2, 3, 8, 8),))
    told = Note("one", "prune.layers", done=True, text="removed")
    kept = Note("two", "prune.layers", done=False, text="kept as asked")
    other = Note("stem", "prune.channels", done=True, text="6 of 8 channels left")
    result = without(network, ["one"]).with_notes(kept, told, other)
    found = slimmed(network, result, PLACE)
    left = {one["name"]: one["left"] for one in found["groups"]}
    assert left == {"stem": 8, "one.0": 0}
    assert found["removed"] == [{"name": "one", "method": "prune.layers", "text": "removed"}]
    pace = {one["name"]: one for one in found["pace"]["layers"]}
    assert (pace["one.0"]["macs_left"], pace["one.0"]["ms_left"]) == (0, 0.0)


def test_the_layers_that_lag_are_named_with_the_reason():
    network = networks.perceptron()
    found = slimmed(network, cut(network, {"first": np.arange(32) < 17}), PLACE)["pace"]
    assert (found["engine"], found["precision"], found["threads"]) == ("onnxruntime", "f32", 1)
    assert found["lagging"] == ["first", "second"]
    first, second, third = found["layers"]
    assert first["why"] == "its 17 output channels take as long as 32 would"
    assert (first["macs"], first["macs_left"]) == (12 * 32, 12 * 17)
    assert first["ms"] == first["ms_left"] == pytest.approx(0.199)  # without the call
    assert first["lag_ms"] == pytest.approx(0.199 * 15 / 32)
    assert second["why"] == "its 17 input channels take as long as 32 would"
    assert third["why"] == "its channels are frozen: it is an output of the network"
    assert found["ms"] == found["ms_left"] == pytest.approx(0.001 + 0.199 + 0.1 + 0.1)
    assert found["between_ms"] == found["between_ms_left"] == pytest.approx(0.001)
    assert found["why_not"] is None


def test_times_that_would_take_too_long_to_measure_are_left_out():
    network = networks.perceptron()
    small = cut(network, {"first": np.arange(32) < 17})
    found = slimmed(network, small, Place("onnxruntime", "f32", 1, 1, 0.0))["pace"]
    assert found["why_not"] == "measuring layers was to take no longer than 0 s"
    assert found["ms"] is found["between_ms"] is None
    assert [one["ms"] for one in found["layers"]] == [None] * 3
    assert found["lagging"] == []
    assert found["layers"][0]["why"] is None
    assert "output of the network" in found["layers"][2]["why"]


def test_an_engine_that_refuses_a_layer_tells_no_times(monkeypatch):
    def refuse(*_, **__):
        raise EngineError("onnxruntime", "refuses it", "Take another.")

    monkeypatch.setattr("tersor.timing.table.milliseconds", refuse)
    network = networks.perceptron()
    found = slimmed(network, cut(network, {"first": np.arange(32) < 17}), PLACE)["pace"]
    assert found["why_not"] == "onnxruntime refuses it"
    assert (found["ms"], found["lagging"]) == (None, [])
    assert [one["macs_left"] for one in found["layers"]] == [12 * 17, 17 * 16, 16 * 3]
