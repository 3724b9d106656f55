"""What is written by hand for Torch-Pruning names what is there, and changes no outputs."""

import ast
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from benchmarks.peers import by_torch_pruning, torch_pruning_presets
from benchmarks.peers.torch_pruning_presets import PRESETS
from torch import nn
from torch.utils._pytree import tree_leaves

import architectures
from architectures import ARCHITECTURES
from architectures.windows import PatchMerging

FORWARD = [name for name, preset in PRESETS.items() if preset.forward]
AFTER = [name for name, preset in PRESETS.items() if preset.after]


@pytest.fixture
def kept(monkeypatch):
    """Builds a network; forward functions of its classes are put back after the test."""

    def build(name):
        module, inputs = ARCHITECTURES[name]()
        for kind in {type(part) for part in module.modules()}:
            if kind.__module__.startswith("architectures"):
                monkeypatch.setattr(kind, "forward", kind.forward)
        return module, inputs

    return build


def results(module, inputs):
    with torch.no_grad():
        return tree_leaves(module(*inputs))


def test_presets_are_for_networks_of_the_list():
    assert FORWARD
    assert AFTER
    assert set(PRESETS) <= set(ARCHITECTURES)


@pytest.mark.parametrize("name", PRESETS)
def test_the_layers_that_are_named_are_there(name):
    module, _ = ARCHITECTURES[name]()
    preset = PRESETS[name]
    kinds = (nn.Linear, nn.modules.conv._ConvNd)
    for path in (*preset.ignored, *preset.halves):
        assert isinstance(module.get_submodule(path), kinds), path
    for part, parameter in preset.reads.items():
        module.get_submodule(part)
        assert parameter in dict(module.named_parameters())
    for path in preset.halves:
        assert module.get_submodule(path).weight.shape[0] % 2 == 0


@pytest.mark.parametrize("name", FORWARD)
def test_new_forward_functions_compute_the_same(name, kept):
    module, inputs = kept(name)
    wanted = results(module, inputs)
    old = {type(part): type(part).forward for part in module.modules()}
    PRESETS[name].forward()
    assert [kind for kind, forward in old.items() if kind.forward is not forward]
    for value, like in zip(results(module, inputs), wanted, strict=True):
        torch.testing.assert_close(value, like, rtol=0, atol=1e-5 * float(like.abs().max()))


@pytest.mark.parametrize("name", AFTER)
def test_attributes_stay_where_nothing_was_cut(name, kept):
    module, inputs = kept(name)
    wanted = results(module, inputs)
    PRESETS[name].after(module)
    for value, like in zip(results(module, inputs), wanted, strict=True):
        assert torch.equal(value, like)


def test_a_flattened_image_may_have_fewer_channels(kept):
    """LeNet without half of the 16 channels in front of its first linear layer."""
    module, inputs = kept("lenet5")
    PRESETS["lenet5"].forward()
    with torch.no_grad():
        module.conv2.weight[8:], module.conv2.bias[8:] = 0, 0
        wanted = module(*inputs)
        module.conv2.weight = nn.Parameter(module.conv2.weight[:8])
        module.conv2.bias = nn.Parameter(module.conv2.bias[:8])
        module.fc1.weight = nn.Parameter(module.fc1.weight[:, : 8 * 25])
        torch.testing.assert_close(module(*inputs), wanted)


def test_a_channel_of_four_merged_neighbours_stands_in_four_places(monkeypatch):
    seen = []

    def note(what):
        return lambda layer, idxs: seen.append((what, layer, sorted(idxs)))

    tool = SimpleNamespace(
        BasePruningFunc=object,
        prune_linear_out_channels=note("out"),
        prune_linear_in_channels=note("in"),
        prune_layernorm_out_channels=note("norm"),
    )
    monkeypatch.setitem(sys.modules, "torch_pruning", tool)
    settings = PRESETS["swin"].settings()
    pruner = settings["customized_pruners"][PatchMerging]
    assert PatchMerging in settings["root_module_types"]
    layer = PatchMerging(2, 3)
    assert (pruner.get_in_channels(layer), pruner.get_out_channels(layer)) == (3, 6)
    marked = torch.zeros(1, 4, 3)
    marked[..., 1] = 1
    layer.norm.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    layer(marked)
    places = seen.pop().flatten().nonzero().flatten().tolist()
    assert pruner.prune_in_channels(layer, [1]) is layer
    assert pruner.prune_out_channels(layer, [4]) is layer
    assert seen == [
        ("in", layer.reduction, places),
        ("norm", layer.norm, places),
        ("out", layer.reduction, [4]),
    ]


def imports(path, *, inside=True):
    """The packages that a file imports, within its functions or not."""
    tree = ast.parse(path.read_text())
    found = set()
    for node in ast.walk(tree) if inside else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize(
    "module", [by_torch_pruning, torch_pruning_presets], ids=lambda m: m.__name__
)
def test_what_runs_in_the_peers_environment_needs_nothing_that_is_not_there(module):
    path = Path(module.__file__)
    there = {"benchmarks", *sys.stdlib_module_names}
    assert imports(path, inside=False) <= there
    assert imports(path) <= there | {"torch", "torch_pruning", "architectures"}


def test_the_networks_need_torch_only():
    files = [
        path
        for path in Path(architectures.__file__).parent.glob("*.py")
        if not path.name.startswith("test_")
    ]
    assert len(files) > 5
    there = {"torch", "architectures", *sys.stdlib_module_names}
    assert set().union(*(imports(path) for path in files)) <= there
