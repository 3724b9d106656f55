"""Whole heads, branches and blocks: what goes matters least, and nothing else changes."""

import re
from functools import cache

import numpy as np
import pytest
import torch
from torch.nn import functional

import tersor
from architectures import ARCHITECTURES
from tersor.data.samples import Samples
from tersor.engines import find as engine
from tersor.errors import InputError, ModelError
from tersor.export.onnx import to_onnx
from tersor.methods.prune.heads import PruneHeads, _by_output
from tersor.methods.prune.layers import PruneLayers, _Choice
from tersor.network.branches import branches, without
from tersor.network.channels import channels
from tersor.network.cost import cost
from tersor.network.heads import heads
from tersor.testing.networks import convolutional, encoder, perceptron, samples_for


@cache
def captured(name):
    """An architecture as module and network; shared by all tests, so do not write."""
    module, inputs = ARCHITECTURES[name]()
    return module, tersor.capture(module, inputs)


@cache
def pictures(count=64, size=16):
    images = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))
    return Samples({"x": images.numpy()})


@cache
def sentences(name, count=64, length=10):
    (port, *_) = captured(name)[1].inputs
    ids = np.random.default_rng(0).integers(0, 40, (count, length))
    return Samples({port.name: ids})


def outputs(network, samples):
    return network.run(dict(samples.inputs))["output"]


def removed(result):
    return [note.layer for note in result.notes if note.done]


# Branches and blocks.


def divergence(network, small, samples):
    """Mean KL of the classes' chances, before to after."""
    p, q = (torch.from_numpy(outputs(n, samples)).double() for n in (network, small))
    return float(functional.kl_div(q.log_softmax(-1), p.softmax(-1), reduction="batchmean"))


def greedy(network, samples, count):
    """Names of branches: each time the one whose removal moves the outputs least."""
    gone = []
    for _ in range(count):
        left = [b for b in branches(network) if not b.reason and b not in gone]
        moved = {b: divergence(network, without(network, [*gone, b]), samples) for b in left}
        gone.append(min(moved, key=moved.get))
    return [branch.name for branch in gone]


@pytest.mark.parametrize("name", ["vit", "mlp_mixer"])
@pytest.mark.parametrize("count", [1, 3])
def test_branches_go_that_move_the_outputs_least(name, count):
    _, network = captured(name)
    result = PruneLayers(count=count).apply(network, pictures())
    wanted = greedy(network, pictures(), count)
    assert removed(result) == wanted
    small = without(network, wanted)
    np.testing.assert_array_equal(outputs(result, pictures()), outputs(small, pictures()))
    told = sum(float(re.search(r"output (\S+):", n.text)[1]) for n in result.notes)
    assert told == pytest.approx(divergence(network, result, pictures()), rel=0.02)


def changes(module, samples):
    """1 - mean cosine of what goes into each block and what comes out."""
    found = []

    def look(_, args, result):
        angle = functional.cosine_similarity(args[0], result, dim=-1).mean()
        found.append(1 - float(angle))

    hooks = [block.register_forward_hook(look) for block in module.blocks]
    with torch.no_grad():
        module(torch.from_numpy(samples.inputs["x"]))
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("name", ["vit", "mlp_mixer"])
def test_blocks_go_that_change_their_input_least(name):
    module, network = captured(name)
    wanted = changes(module, pictures())
    settings = PruneLayers(score="distance", whole=True)
    (note,) = settings.apply(network, pictures()).notes
    assert note.layer == f"blocks.{int(np.argmin(wanted))}"
    told = float(re.search(r"distance (\S+):", note.text)[1])
    assert told == pytest.approx(min(wanted), rel=0.01)


def test_channels_are_compared_where_images_have_them():
    module, network = captured("resnet_cifar_a")
    wanted = {}
    with torch.no_grad():
        x = torch.from_numpy(pictures().inputs["x"])
        y = torch.relu(module.bn1(module.conv1(x)))
        inner = torch.relu(module.layer1[0].bn1(module.layer1[0].conv1(y)))
        total = y + module.layer1[0].bn2(module.layer1[0].conv2(inner))
        wanted = 1 - float(functional.cosine_similarity(y, total, dim=1).mean())
    keep = ("layer1.1", "layer2.1", "layer3.1")
    result = PruneLayers(score="distance", keep=keep).apply(network, pictures())
    (note,) = (note for note in result.notes if note.done)
    told = float(re.search(r"distance (\S+):", note.text)[1])
    assert (note.layer, told) == ("layer1.0", pytest.approx(wanted, rel=0.01))


@pytest.mark.parametrize("left", [0.9, 0.7, 0.5])
@pytest.mark.parametrize("score", ["output", "distance"])
def test_as_many_go_as_the_target_wants_and_no_more(left, score):
    _, network = captured("vit")
    whole = cost(network).macs
    result = PruneLayers(macs=left, score=score).apply(network, pictures())
    assert cost(result).macs <= left * whole
    names = removed(result)
    assert cost(without(network, names[:-1])).macs > left * whole


def test_a_target_out_of_reach_takes_all_and_says_so():
    _, network = captured("resnet_cifar_a")
    result = PruneLayers(macs=0.1).apply(network, pictures())
    assert set(removed(result)) == {"layer1.0", "layer1.1", "layer2.1", "layer3.1"}
    share = cost(result).macs / cost(network).macs
    told = result.notes[-1]
    assert told.text == (
        f"10.0% of MACs were to be left: without all that can go {share:.1%} of MACs are left"
    )
    reasons = {n.layer: n.text for n in result.notes if not n.done}
    assert reasons["layer2.0"] == "its shortcut changes what it adds to (pad)"
    few = PruneLayers(count=9).apply(network, pictures())
    assert few.notes[-1].text.startswith("9 were to go: without all that can go ")


def test_saving_more_than_is_needed_is_worth_nothing():
    _, network = captured("edsr")
    units = [(branch,) for branch in branches(network) if not branch.reason]
    prices = {"blocks.0": 0.5, "blocks.1": 0.6, "blocks.0.0 to body": 1.0}
    choice = _Choice(network, units, 1, 0.8)
    gone = choice.cheapest(lambda asked, _: [prices[b.name] for (b,) in asked])
    assert [(branch.name, price) for (branch,), price in gone.items()] == [("blocks.0", 0.5)]


def test_inner_branches_go_with_the_outer_and_keep_it():
    _, network = captured("edsr")
    few = pictures(8)
    result = PruneLayers(count=3, keep=("blocks.0",)).apply(network, few)
    assert removed(result) == ["blocks.1"]
    assert ("blocks.0.0 to body", "kept as asked") in [(n.layer, n.text) for n in result.notes]
    everything = PruneLayers(macs=0.01).apply(network, few)
    assert set(everything.module.state_dict()) == set(
        without(network, ["blocks.0.0 to body"]).module.state_dict()
    )


def test_a_block_stays_if_one_of_its_layers_is_to():
    _, network = captured("vit")
    keep = ("blocks.0.mlp.fc1",)
    result = PruneLayers(count=2, whole=True, keep=keep).apply(network, pictures())
    assert removed(result) == ["blocks.1"]
    assert ("blocks.0.mlp", "kept as asked") in [(n.layer, n.text) for n in result.notes]


def test_a_network_without_branches_is_refused():
    with pytest.raises(ModelError, match=r"no residual branch .* \(it has none\)"):
        PruneLayers().apply(perceptron(), samples_for(perceptron()))
    with pytest.raises(ModelError, match=r"\(branch: kept as asked\)"):
        PruneLayers(keep=("branch",)).apply(convolutional(), samples_for(convolutional()))


def test_bad_settings_and_missing_samples_are_refused():
    for bad in (
        {"count": -1},
        {"macs": 0.0},
        {"macs": 1.5},
        {"score": "size"},
        {"samples": 0},
    ):
        with pytest.raises(InputError) as caught:
            PruneLayers(**bad)
        assert caught.value.what == next(iter(bad))
    with pytest.raises(InputError, match="samples must be given"):
        PruneLayers().apply(convolutional())
    with pytest.raises(ModelError, match=r"elsewhere is in no branch .* It has branch\."):
        PruneLayers(keep=("elsewhere",)).apply(convolutional(), samples_for(convolutional()))


def test_samples_that_are_no_numbers_are_named():
    samples = Samples({"x": np.full((16, 3, 8, 8), np.nan, np.float32)})
    with pytest.raises(ModelError, match="scores is NaN or infinity"):
        PruneLayers().apply(convolutional(), samples)


@pytest.mark.parametrize("settings", [PruneLayers(count=0), PruneLayers(macs=1.0)])
def test_nothing_goes_where_nothing_is_asked_for(settings):
    network = convolutional()
    result = settings.apply(network, None)
    assert result.module is network.module
    assert [(n.done, n.text) for n in result.notes] == [(False, "no branch is to go")]


# Heads.


def cut_heads(result):
    """The heads that went, by attention."""
    found = {}
    for note in result.notes:
        if note.done:
            found[note.layer] = [int(n) for n in re.findall(r"\d+", note.text)[:-1]]
    return found


OUT = {  # by architecture: the layer that reads the heads of an attention
    "vit": "{}.proj",
    "swin": "{}.proj",
    "bert": "{}.dense",
    "llama": "{}.o_proj",
    "vit_modules": "{}.out_proj",
}


def without_columns(network, name, gone):
    """The network with 0 for what reads the heads that went."""
    result = network.copy()
    for group, numbers in gone.items():
        attention = group.split("/")[0].rpartition(".")[0]
        path = OUT[name].format(attention) + ".weight"
        size = SIZES[name][attention]
        value = network.tensor(path).detach().clone()
        parted = value.reshape(len(value), size, -1)
        parted[:, numbers] = 0
        result.set_tensor(path, value)
    result.module.recompile()
    return result


SIZES = {
    "vit": {f"blocks.{i}.attn": 4 for i in (0, 1)},
    "swin": {"stage1.0.attn": 3, "stage1.1.attn": 3, "stage2.attn": 6},
    "bert": {f"layers.{i}.attention": 3 for i in (0, 1)},
    "llama": {f"layers.{i}.attention": 2 for i in (0, 1)},
    "vit_modules": {f"encoder.layers.{i}.self_attn": 2 for i in (0, 1)},
}


def feeds(name):
    _, inputs = ARCHITECTURES[name]()
    ports = captured(name)[1].inputs
    return Samples({p.name: x.numpy() for p, x in zip(ports, inputs, strict=True)})


@pytest.mark.parametrize("score", ["norm", "output"])
@pytest.mark.parametrize("name", OUT)
def test_without_heads_their_readers_might_as_well_have_zeros(name, score):
    _, network = captured(name)
    samples = feeds(name)
    result = PruneHeads(fraction=0.4, score=score).apply(network, samples)
    gone = cut_heads(result)
    assert sum(map(len, gone.values())) == round(0.4 * sum(SIZES[name].values()))
    wanted = outputs(without_columns(network, name, gone), samples)
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(outputs(result, samples), wanted, rtol=0, atol=2e-5 * scale)
    assert np.abs(outputs(network, samples) - wanted).max() > 1e-3 * scale
    assert cost(result).parameters < cost(network).parameters


def test_export_without_heads_agrees_on_an_engine():
    _, network = captured("bert")
    result = PruneHeads(count=1, scope="layer", score="norm").apply(network)
    session = engine("onnxruntime").prepare(to_onnx(result), threads=1)
    samples = feeds("bert")
    found = session.run(dict(samples.inputs))["output"]
    np.testing.assert_allclose(found, outputs(result, samples), rtol=0, atol=1e-4)


def slopes(name, samples):
    """By definition: sum |dy/dxi|^2 over sum |y|^2 of each head, gates by differences."""
    _, network = captured(name)
    before = outputs(network, samples).astype(np.float64)
    found = {}
    for attention, size in SIZES[name].items():
        path = OUT[name].format(attention) + ".weight"
        value = network.tensor(path).detach()
        for head in range(size):
            ends = []
            for gate in (1.01, 0.99):
                changed = value.clone()
                changed.reshape(len(value), size, -1)[:, head] *= gate
                moved = network.copy()
                moved.set_tensor(path, changed)
                ends.append(outputs(moved, samples).astype(np.float64))
            slope = (ends[0] - ends[1]) / 0.02
            found[attention, head] = np.square(slope).sum() / np.square(before).sum()
    return found


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_the_head_goes_that_moves_the_outputs_least_to_first_order(name):
    samples = pictures(256)
    result = PruneHeads(count=1).apply(captured(name)[1], samples)
    ((group, (head,)),) = cut_heads(result).items()
    wanted = slopes(name, samples)
    own = wanted[group.split("/")[0].rpartition(".")[0], head]
    assert own <= 1.3 * min(wanted.values())
    assert max(wanted.values()) > 2 * min(wanted.values())


def test_scores_do_not_depend_on_how_samples_stand_in_the_batch():
    """Torch's own attention puts tokens before samples."""
    _, network = captured("vit_modules")
    samples = pictures(128)
    scores = _by_output(network, heads(network, channels(network)), samples)
    wanted = list(slopes("vit_modules", samples).values())
    np.testing.assert_allclose(np.concatenate(scores), wanted, rtol=0.4)


def test_scopes_and_counts():
    _, network = captured("vit")
    each = PruneHeads(count=2, scope="layer", score="norm").apply(network)
    assert [len(gone) for gone in cut_heads(each).values()] == [2, 2]
    half = PruneHeads(fraction=0.5, scope="layer", score="norm").apply(network)
    assert cut_heads(half) == cut_heads(each)
    most = PruneHeads(count=7, score="norm").apply(network)
    assert [len(gone) for gone in cut_heads(most).values()] == [3, 3]
    text = "7 heads were to go, 6 went: one of each attention stays"
    assert most.notes[-1].text == text
    one = PruneHeads(count=1, score="norm").apply(network)
    assert sorted(n.done for n in one.notes) == [False, True]


def test_the_heads_of_the_smallest_norms_go():
    module, network = captured("vit")
    module.requires_grad_(False)
    result = PruneHeads(count=1, scope="layer", score="norm").apply(network)
    for block, (gone,) in zip(module.blocks, cut_heads(result).values(), strict=True):
        v = block.attn.qkv.weight[48:].reshape(4, 6, -1)
        o = block.attn.proj.weight.reshape(-1, 4, 6)
        sizes = [float((o[:, h] @ v[h]).norm()) for h in range(4)]
        assert gone == int(np.argmin(sizes))


def test_kept_attentions_stay_whole_by_any_of_their_names():
    _, network = captured("bert")
    for name in ("layers.0.attention.dense", "layers.0.attention.query/0"):
        result = PruneHeads(count=2, score="norm", keep=(name,)).apply(network)
        assert list(cut_heads(result)) == ["layers.1.attention.query/0"]
        notes = [(n.layer, n.text) for n in result.notes]
        assert ("layers.0.attention.query/0", "kept as asked") in notes
    with pytest.raises(ModelError, match="nothing is in no attention"):
        PruneHeads(score="norm", keep=("nothing",)).apply(network)


def test_what_heads_cannot_do_is_said():
    with pytest.raises(ModelError, match="no attention whose heads can be cut"):
        PruneHeads().apply(convolutional(), samples_for(convolutional()))
    with pytest.raises(InputError, match="samples must be given"):
        PruneHeads().apply(encoder())
    for bad in (
        {"fraction": 1.0},
        {"count": -1},
        {"scope": "all"},
        {"score": "size"},
        {"samples": 0},
    ):
        with pytest.raises(InputError) as caught:
            PruneHeads(**bad)
        assert caught.value.what == next(iter(bad))
    result = PruneHeads(count=0).apply(encoder())
    assert [(n.done, n.text) for n in result.notes] == [(False, "no head is to go")]
