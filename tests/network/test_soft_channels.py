"""Channels that are 0 in a network of full size: norms, zeros, slopes, what is left."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.network.cutting import captured
from torch import nn

import tersor
from tersor.codes.masked import Masked
from tersor.errors import ModelError
from tersor.network.channels import channels
from tersor.network.cost import cost
from tersor.network.network import WHOLE
from tersor.network.slimming import Chosen, Target
from tersor.network.soft_channels import SoftChannels
from tersor.network.surgery import cut
from tersor.testing.networks import convolutional, encoder, perceptron, samples_for

HALF = Target(macs=0.5)
GONE = [1, 4]  # of the stem's channels


def soft_of(network, target=HALF, **settings):
    return SoftChannels(network, target, **settings)


def keeping(size, gone, name="stem"):
    mask = np.ones(size, bool)
    mask[gone] = False
    return Chosen({name: mask}, left=0.7, reached=False)


def tensors(network):
    return {name: t.numpy().copy() for name, t in network.module.state_dict().items()}


def test_the_norm_of_a_channel_is_that_of_all_weights_that_make_it():
    network = convolutional()
    found = soft_of(network).norms()["stem"]
    for c in range(8):
        total = 0.0
        for name in ("stem", "branch", "depthwise"):
            squares = np.square(tensors(network)[f"{name}.weight"], dtype=np.float64)
            total += squares[c].sum() / (squares.sum() / 8)
        assert found[c] == pytest.approx(np.sqrt(total / 3), rel=1e-6)


def test_norms_of_groups_compare():
    for norms in soft_of(perceptron()).norms().values():
        assert np.mean(np.square(norms)) == pytest.approx(1)


def test_channels_of_several_positions_are_summed_up():
    """Heads: four rows of each of three weights, and as many elements of their biases."""
    network = encoder()
    soft = soft_of(network)
    heads = next(group for group in soft.groups if group.name == "query/0")
    values = tensors(network)
    for c in range(4):
        own = slice(4 * c, 4 * c + 4)
        parts = [values[f"{name}.weight"][own] for name in ("query", "key", "value")]
        parts += [values[f"{name}.bias"][own] for name in ("query", "key", "value")]
        parts += [values["dense.weight"][:, own]]
        wanted = sum(np.square(part, dtype=np.float64).sum() for part in parts)
        assert soft.squares(heads)[c].item() == pytest.approx(wanted, rel=1e-5)
        assert soft.counts(heads)[c].item() == sum(part.size for part in parts)


def test_what_has_gone_is_zero_wherever_it_stands_and_nothing_else_is():
    network = convolutional()
    before = tensors(network)
    soft_of(network).put(keeping(8, GONE))
    after = tensors(network)
    for name, value in after.items():
        wanted = before[name].copy()
        if name == "head.weight":
            wanted[:, [1, 4, 9, 12]] = 0
        elif name == "branch.weight":
            wanted[GONE], wanted[:, GONE] = 0, 0
        elif not name.startswith("head.") and not name.endswith("running_var"):
            wanted[GONE] = 0
        assert np.array_equal(value, wanted), name


def test_a_step_that_moves_what_has_gone_is_undone():
    network = convolutional()
    soft = soft_of(network)
    soft.put(keeping(8, GONE))
    before = tensors(network)
    for parameter in network.module.parameters():
        parameter.grad = torch.ones_like(parameter)
    soft.still()
    assert (
        network.tensor("stem.weight").grad.sum((1, 2, 3)).tolist()
        == [27, 0, 27, 27, 0] + [27] * 3
    )
    assert network.tensor("head.weight").grad.sum() == 5 * 12
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter += 1
    soft.hold()
    after = tensors(network)
    assert np.array_equal(after["stem.weight"][GONE], before["stem.weight"][GONE])
    assert np.array_equal(after["stem.weight"][0], before["stem.weight"][0] + 1)


def test_blank_filters_keep_their_readers_and_normalizations():
    network = convolutional()
    before = tensors(network)
    soft = soft_of(network)
    soft.blank(keeping(8, GONE))
    after = tensors(network)
    for name in ("stem", "branch", "depthwise"):
        wanted = before[f"{name}.weight"].copy()
        wanted[GONE] = 0
        assert np.array_equal(after[f"{name}.weight"], wanted)
    for name in ("head.weight", "stem_bn.weight", "branch.bias", "deep_bn.running_mean"):
        assert np.array_equal(after[name], before[name])
    assert all(keep.all() for keep in soft.keep.values())


def test_slopes_are_those_of_a_factor_where_channels_are_read():
    network = convolutional()
    soft = soft_of(network)
    (group,) = soft.groups
    inputs = network.tensors(dict(samples_for(network).inputs))

    def loss(run):
        return run.module(*inputs)[0].double().square().mean()

    loss(network).backward()
    found = soft.slopes(group)
    step = 1e-3
    for c in range(8):
        moved = []
        for factor in (1 + step, 1 - step):
            own = replace(network, module=copy.deepcopy(network.module))
            with torch.no_grad():
                own.tensor("branch.weight")[:, c] *= factor
                own.tensor("head.weight")[:, [c, c + 8]] *= factor
                moved.append(loss(own).item())
        assert found[c].item() == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=1e-2)


def test_where_no_weight_reads_channels_a_factor_stands_where_they_are_made():
    soft = soft_of(encoder())
    by_name = {group.name: group for group in soft.groups}
    widths = {place.member.path for place in soft.factors(by_name["query/1"])}
    assert widths == {"query.weight", "query.bias", "key.weight", "key.bias"}
    assert {place.member.path for place in soft.factors(by_name["up"])} == {"down.weight"}


@pytest.mark.parametrize("target", [HALF, Target(parameters=0.5), Target(bytes=0.5)])
def test_what_is_left_is_what_the_cut_network_costs(target):
    network = perceptron()
    soft = soft_of(network, target)
    found = soft.choose(soft.norms(), 0.5, "global")
    small = cut(network, found.keep)
    before, after = cost(network), cost(small)
    wanted = {
        "macs": after.macs / before.macs,
        "parameters": after.parameters / before.parameters,
        "bytes": after.weight_bytes / before.weight_bytes,
    }[target.of]
    assert found.left == pytest.approx(wanted)
    assert 0.4 < found.left <= 0.5


def test_savings_are_what_one_channel_less_saves():
    network = perceptron()
    left, (first, second) = soft_of(network).savings([20.3, 10.0])
    # 12 to 32, 32 to 16, 16 to 3: work with 20 and 10 channels, and with one less of each
    whole = 12 * 32 + 32 * 16 + 16 * 3
    assert left == pytest.approx((12 * 20 + 20 * 10 + 10 * 3) / whole)
    assert first == pytest.approx((12 + 10) / whole)
    assert second == pytest.approx((20 + 3) / whole)


def test_what_has_gone_never_comes_back():
    network = perceptron()
    soft = soft_of(network)
    rng = np.random.default_rng(0)
    before = {name: np.ones_like(keep) for name, keep in soft.keep.items()}
    for left in (0.9, 0.7, 0.5, 0.3):
        scores = {group.name: rng.random(group.size) for group in soft.groups}
        found = soft.choose(scores, left, "global")
        soft.put(found)
        share = cost(cut(network, soft.keep)).macs / cost(network).macs
        assert share == pytest.approx(found.left)
        assert share <= left
        assert all((before[name] | ~keep).all() for name, keep in soft.keep.items())
        before = dict(soft.keep)


def test_it_goes_on_from_its_state():
    network, other = convolutional(), convolutional()
    soft, again = soft_of(network), soft_of(other)
    soft.put(keeping(8, GONE))
    again.load({name: tensor.clone() for name, tensor in soft.state().items()})
    assert again.notes("x") == soft.notes("x")
    assert all(np.array_equal(again.keep[name], keep) for name, keep in soft.keep.items())
    for name, value in tensors(network).items():
        assert np.array_equal(value, tensors(other)[name])


def test_notes_tell_what_is_zero_what_is_left_and_what_stays():
    network = convolutional()
    soft = soft_of(network)
    soft.put(keeping(8, GONE))
    told = {note.layer: (note.done, note.text) for note in soft.notes("prune.some")}
    assert told["stem"] == (True, "2 of 8 are 0")
    assert told[WHOLE] == (
        False,
        "70.0 % of the macs are left once zeros are cut, not 50 %",
    )
    assert told["head"] == (False, "5 channels stay: it is an output of the network")


def test_groups_under_a_mean_are_left_alone():
    network, _, known = captured("convnext")
    network = replace(network, module=copy.deepcopy(network.module))
    soft = soft_of(network)
    assert 0 < len(soft.groups) < len(known.groups)
    told = [note.text for note in soft.notes("x") if "takes a mean over them" in note.text]
    assert len(told) == len(known.groups) - len(soft.groups)


def test_where_nothing_can_go_the_reason_is_told():
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.only = nn.Linear(4, 3)

        def forward(self, x):
            return self.only(x)

    network = tersor.capture(Flat(), (torch.randn(2, 4),))
    with pytest.raises(
        ModelError, match=r"has no channels that can go\. only: 3 channels stay"
    ):
        soft_of(network)
    with pytest.raises(ModelError, match="is not a layer"):
        soft_of(convolutional(), ignore=("nowhere",))


def test_layers_that_are_ignored_stay_whole():
    assert [group.name for group in soft_of(perceptron(), ignore=("first",)).groups] == [
        "second"
    ]


def test_a_code_that_comes_later_is_named():
    network = convolutional()
    soft = soft_of(network)
    weight = network.tensor("branch.weight")
    network.set_code("branch.weight", Masked.encode(weight, weight != 0))
    with pytest.raises(ModelError, match=r"branch\.weight is held by a code") as caught:
        soft.put(keeping(8, GONE))
    assert caught.value.tensor == "branch.weight"
    assert {group.name for group in channels(network).groups} == set()
