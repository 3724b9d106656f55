"""Residual branches: which there are, and that removing one is as if its last layer gave 0."""

from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

import tersor
from architectures import ARCHITECTURES
from tersor.engines import find as engine
from tersor.errors import ModelError
from tersor.export.onnx import to_onnx
from tersor.methods import find
from tersor.network.branches import blocks, branches, without
from tersor.network.cost import cost
from tersor.testing.networks import convolutional, encoder, samples_for


@cache
def captured(name):
    """An architecture and its inputs; shared by all tests, so do not write."""
    module, inputs = ARCHITECTURES[name]()
    return tersor.capture(module, inputs), inputs


def outputs(network, inputs):
    with torch.no_grad():
        return [each.numpy() for each in network.module(*inputs)]


# By architecture: the branches by construction, and the layer (or scale) that each ends with.
FOUND = {
    "resnet_basic": {name: f"{name}.bn2" for name in ("layer1.0", "layer1.1", "layer2.1")},
    "resnet_cifar_a": {
        name: f"{name}.bn2" for name in ("layer1.0", "layer1.1", "layer2.1", "layer3.1")
    },
    "resnet_preact": {name: f"{name}.conv2" for name in ("blocks.0", "blocks.2")},
    "convnext": {name: f"{name}.gamma" for name in ("stage1.0", "stage1.1", "stage2")},
    "edsr": {"blocks.0": "blocks.0.2", "blocks.1": "blocks.1.2", "blocks.0.0 to body": "body"},
    "vit": {
        f"blocks.{i}.{part}": f"blocks.{i}.{part}.{last}"
        for i in (0, 1)
        for part, last in (("attn", "proj"), ("mlp", "fc2"))
    },
    "bert": {
        f"layers.{i}.{first}": f"layers.{i}.{last}"
        for i in (0, 1)
        for first, last in (("attention", "attention.dense"), ("intermediate", "output"))
    },
    "llama": {
        f"layers.{i}.{part}": f"layers.{i}.{part}.{last}"
        for i in (0, 1)
        for part, last in (("attention", "o_proj"), ("mlp", "down_proj"))
    },
    "transformer": {
        "encoder.layers.0.self_attn": "encoder.layers.0.self_attn.out_proj",
        "encoder.layers.0.linear1": "encoder.layers.0.linear2",
        "decoder.layers.0.self_attn": "decoder.layers.0.self_attn.out_proj",
        "decoder.layers.0.multihead_attn.out_proj": (
            "decoder.layers.0.multihead_attn.out_proj"
        ),
        "decoder.layers.0.linear1": "decoder.layers.0.linear2",
    },
}
CASES = [(name, branch) for name, known in FOUND.items() for branch in known]


def zeroed(network, *layers):
    """The network in which the tensors of these layers are 0."""
    result = network.copy()
    for layer in layers:
        own = [
            n for n, _ in network.module.named_parameters() if f"{n}.".startswith(f"{layer}.")
        ]
        assert own
        for name in own:
            result.set_tensor(name, torch.zeros_like(network.tensor(name)))
    result.module.recompile()
    return result


@pytest.mark.parametrize("name", FOUND)
def test_branches_are_those_by_construction(name):
    found = branches(captured(name)[0])
    assert [branch.name for branch in found if not branch.reason] == list(FOUND[name])


@pytest.mark.parametrize(("name", "branch"), CASES)
def test_without_a_branch_its_last_layer_might_as_well_give_zeros(name, branch):
    network, inputs = captured(name)
    found = outputs(without(network, [branch]), inputs)
    wanted = outputs(zeroed(network, FOUND[name][branch]), inputs)
    for value, like in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(value, like)
    pairs = zip(found, outputs(network, inputs), strict=True)
    assert any(np.abs(value - before).max() > 1e-9 for value, before in pairs)


@pytest.mark.parametrize("name", ["resnet_basic", "vit", "bert", "llama", "transformer"])
def test_all_branches_go_at_once_in_any_order(name):
    network, inputs = captured(name)
    wanted = outputs(zeroed(network, *FOUND[name].values()), inputs)
    found = [b for b in branches(network) if not b.reason]
    for order in (found, found[::-1]):
        for value, like in zip(outputs(without(network, order), inputs), wanted, strict=True):
            np.testing.assert_array_equal(value, like)


@pytest.mark.parametrize(("name", "branch"), CASES)
def test_what_a_branch_costs_is_what_the_network_gets_cheaper(name, branch):
    network = captured(name)[0]
    (own,) = (b for b in branches(network) if b.name == branch)
    before, after = cost(network), cost(without(network, [own]))
    assert own.macs == before.macs - after.macs > 0
    assert own.parameters == before.parameters - after.parameters > 0
    names = {row.layer.name for row in before.layers} - set(own.layers)
    assert names == {row.layer.name for row in after.layers}


@pytest.mark.parametrize("name", ["vit", "resnet_cifar_a", "llama"])
def test_weights_of_a_branch_are_gone_and_the_network_stays(name):
    network = captured(name)[0]
    before, text = set(network.module.state_dict()), str(network.graph)
    branch = next(iter(FOUND[name]))
    after = set(without(network, [branch]).module.state_dict())
    prefix = branch.rpartition(".")[0] if name != "resnet_cifar_a" else branch
    assert after < before
    assert all(path.startswith(prefix) for path in before - after)
    assert set(network.module.state_dict()) == before
    assert str(network.graph) == text


@pytest.mark.parametrize("name", ["resnet_basic", "vit", "bert", "llama"])
def test_export_without_all_branches_agrees_on_an_engine(name):
    network, inputs = captured(name)
    small = without(network, [b for b in branches(network) if not b.reason])
    session = engine("onnxruntime").prepare(to_onnx(small), threads=1)
    feeds = {p.name: x.numpy() for p, x in zip(small.inputs, inputs, strict=True)}
    found = session.run(feeds)
    for port, like in zip(small.outputs, outputs(small, inputs), strict=True):
        np.testing.assert_allclose(found[port.name], like, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        (
            "resnet_basic",
            {
                "layer2.0": "its shortcut has a layer, layer2.0.downsample.0",
                "layer3.0": "its shortcut has a layer, layer3.0.downsample.0",
            },
        ),
        (
            "resnet_cifar_a",
            {
                "layer2.0": "its shortcut changes what it adds to (pad)",
                "layer3.0": "its shortcut changes what it adds to (pad)",
            },
        ),
        (
            "wavenet",
            {
                "layers.0": "conv1d_4 reads mul, which is inside, too",
                "layers.1": "conv1d_8 reads mul_1, which is inside, too",
            },
        ),
        ("vit", {}),
    ],
)
def test_reasons_against_removal(name, reasons):
    network = captured(name)[0]
    found = {branch.name: branch.reason for branch in branches(network) if branch.reason}
    assert found == reasons
    for branch, reason in reasons.items():
        with pytest.raises(ModelError) as caught:
            without(network, [branch])
        assert caught.value.problem == f"cannot be removed: {reason}"


def test_an_unknown_branch_is_refused_by_name():
    with pytest.raises(ModelError, match=r"nowhere is no branch .* There are: branch\."):
        without(convolutional(), ["nowhere"])
    (foreign, *_) = branches(encoder())
    with pytest.raises(ModelError, match="is no branch of the network"):
        without(convolutional(), [foreign])


class Block(nn.Module):
    """A residual form by a function of x and two layers."""

    def __init__(self, form):
        super().__init__()
        torch.manual_seed(0)
        self.form = form
        self.entry = nn.Linear(6, 6)
        self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 6)
        self.scale = nn.Parameter(torch.rand(6))
        self.drop = nn.Dropout(0.5)
        self.exit = nn.Linear(6, 3)

    def forward(self, x):
        return self.exit(self.form(self, self.entry(x)))


def both(block, x):
    return block.two(block.one(x).relu())


def cube(x):
    return x + 0.044715 * x**3


def nested(block, x):
    y = block.one(x)
    return x + (y + block.two(y).tanh())


FORMS = {
    "dropout and layer scale": (lambda b, x: x + b.drop(b.scale * both(b, x)), [both]),
    "whole sample scaled": (lambda b, x: x + both(b, x) * (x.mean() > 0), [both]),
    "branch first": (lambda b, x: both(b, x) + x, [both]),
    "branch subtracted": (lambda b, x: x - both(b, x), [both]),
    "branch scaled by the sum": (lambda b, x: torch.add(x, both(b, x), alpha=0.5), [both]),
    "copied skip": (lambda b, x: x.clone() + both(b, x), [both]),
    "copied for both": (lambda b, x: (y := x.clone()) + both(b, y), [both]),
    "two side by side": (lambda b, x: x + b.one(x) + b.two(x), ["one", "two"]),
    "two added first": (lambda b, x: x + (b.one(x) + b.two(x)), [both]),
    "one broadcast": (lambda b, x: x + both(b, x).mean(0, keepdim=True), [both]),
    "one in another": (nested, ["two", both]),
    "no layer inside": (lambda b, x: both(b, cube(x)), []),
    "plain sequence": (both, []),
    "projection": (lambda b, x: b.one(x) + b.two(x), []),
    "skip multiplied": (lambda b, x: 2 * x + both(b, x), []),
    "skip scaled by the sum": (lambda b, x: torch.add(both(b, x), x, alpha=2), []),
    "skip subtracted": (lambda b, x: both(b, x) - x, []),
    "skip broadcast": (lambda b, x: (y := x[:1]) + b.one(x) * y.sum() * b.two(y), []),
    "read elsewhere": (lambda b, x: (x + b.two(y := b.one(x))) * y, []),
    "twice itself": (lambda b, x: both(b, x + x), []),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms_of_residual_sums(name):
    form, wanted = FORMS[name]
    names = ["one to two" if each is both else each for each in wanted]
    block = Block(form).eval()
    x = torch.randn(4, 6)
    network = tersor.capture(block, x)
    found = [branch for branch in branches(network) if not branch.reason]
    assert [branch.name for branch in found] == names
    for branch, each in zip(found, wanted, strict=True):
        small = without(network, [branch])
        own = ["one", "two"] if each is both else [each]
        assert not {f"{layer}.weight" for layer in own} & set(small.module.state_dict())
        if each is not both or name in {"two added first", "one in another"}:
            continue
        with torch.no_grad():
            np.testing.assert_array_equal(small.module(x)[0], block.exit(block.entry(x)))


def test_removing_the_outer_branch_removes_the_inner():
    network = tersor.capture(Block(nested).eval(), torch.randn(4, 6))
    inner, outer = branches(network)
    assert set(inner.nodes) < set(outer.nodes)
    assert str(without(network, [inner, outer]).graph) == str(without(network, [outer]).graph)


@pytest.mark.parametrize("twice", [False, True])
def test_weights_that_something_else_reads_are_not_the_branchs(twice):
    x = torch.randn(4, 6)
    network = tersor.capture(Block(lambda b, x: b.two(x + b.two(x))).eval(), x)
    if twice:  # each layer with a node of its own for the weight
        graph = network.graph
        (weight,) = (n for n in graph.nodes if n.target == "two.weight")
        last = list(weight.users)[-1]
        with graph.inserting_before(last):
            last.replace_input_with(weight, graph.get_attr("two.weight"))
    (branch,) = branches(network)
    assert branch.parameters == 0
    assert branch.macs == 36
    assert "two.weight" in without(network, [branch]).module.state_dict()


def test_blocks_are_what_follows_each_other_under_one_name():
    found = branches(captured("conformer")[0])
    names = [[branch.name for branch in group] for group in blocks(found)]
    assert names == [[f"{i}.ff1", f"{i}.attn", f"{i}.pointwise1", f"{i}.ff2"] for i in (1, 2)]
    assert [group[0].block for group in blocks(found)] == ["1", "2"]
    resnet = blocks(branches(captured("resnet_basic")[0]))
    assert [[branch.block for branch in group] for group in resnet] == [
        ["layer1.0"],
        ["layer1.1"],
        ["layer2.1"],
    ]


class Renamed(nn.Module):
    """Residual products whose weights have lost their names, as in files of ONNX."""

    def __init__(self):
        super().__init__()
        self.renamed_7, self.renamed_8 = (nn.Parameter(torch.randn(6, 6)) for _ in range(2))
        self.layers = nn.ModuleList(nn.ModuleDict({"fc": nn.Linear(6, 6)}) for _ in range(2))

    def forward(self, x):
        x = x + (x.relu() @ self.renamed_7 + self.layers[0]["fc"].bias)
        return (x + (x.relu() @ self.renamed_8 + self.layers[1]["fc"].bias)).tanh()


def test_biases_tell_the_names_that_weights_have_lost():
    found = branches(tersor.capture(Renamed(), torch.randn(4, 6)))
    assert [branch.name for branch in found] == ["layers.0.fc", "layers.1.fc"]
    assert [branch.block for branch in found] == ["layers.0", "layers.1"]
    assert [branch.layers for branch in found] == [("renamed_7",), ("renamed_8",)]


def test_a_rounded_network_has_its_branches_still():
    network = convolutional()
    rounded = find("quantize.static").EXAMPLE.apply(network, samples_for(network))
    (branch,) = branches(rounded)
    assert (branch.name, branch.reason) == ("branch", "")
    assert branch.parameters == 8 * 8 * 9 + 8
    small = without(rounded, [branch])
    assert not any(path.startswith("branch.") for path in small.module.state_dict())
    assert np.isfinite(small.run(dict(samples_for(network).inputs))["scores"]).all()
