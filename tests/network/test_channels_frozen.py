"""Channels that are not cut, and why; what users pin, and what they get wrong."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from tests.network.cutting import (
    Made,
    assert_cuts_like_zeros,
    described,
    drawn,
    followed,
    frozen,
    random_part,
)
from torch import nn

from tersor.codes.affine import Affine
from tersor.errors import InputError, ModelError
from tersor.network.channels import channels
from tersor.testing.networks import convolutional

IMAGE = drawn(2, 3, 6, 6)


def between(function, out=8):
    """Two convolutions before a function, one after it; the middle one is to be frozen."""
    return Made(
        lambda m, x: m.out(function(m.a(m.first(x).relu()))),
        first=nn.Conv2d(3, 6, 1),
        a=nn.Conv2d(6, 8, 1),
        out=nn.Conv2d(out, 4, 1),
    )


def sampled(x):
    turn = torch.eye(2, 3).expand(x.shape[0], -1, -1)
    grid = F.affine_grid(turn, (x.shape[0], 8, 6, 6), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


REASONS = {
    "softmax": (lambda x: x.softmax(1), "softmax (softmax) needs all of them"),
    "cumsum": (lambda x: x.cumsum(1), "cumsum (cumsum) needs all of them"),
    "flip": (lambda x: x.flip(1), "flip (flip) needs all of them"),
    "largest": (lambda x: x * x.amax(1, keepdim=True), "amax (amax) needs all of them"),
    "variance": (lambda x: x / x.var(1, keepdim=True), "var (var) needs all of them"),
    "the largest two": (
        lambda x: x + x.topk(2, 1).values.sum(1, keepdim=True),
        "topk (topk) needs all of them",
    ),
    "neighbours": (
        lambda x: F.local_response_norm(x, 3),
        "avg_pool3d (avg_pool3d) needs all of them",
    ),
    "one by one": (
        lambda x: torch.stack(x.unbind(1)[::-1], 1),
        "unbind (unbind) takes each of its positions",
    ),
    "by their numbers": (
        lambda x: x[:, [3, 1, 2, 0, 7, 6, 5, 4]],
        "index (index) takes positions by their numbers",
    ),
    "every second": (
        lambda x: torch.cat([x[:, ::2], x[:, 1::2]], 1),
        "slice_2 (slice) takes some of its positions",
    ),
    "reflected": (
        lambda x: F.pad(x.permute(0, 2, 3, 1), (1, 1, 0, 0), mode="reflect").amax(3)[:, None],
        "pad (pad) needs all of them",
    ),
    "distances": (
        lambda x: (
            x * torch.cdist(x.flatten(2), x.flatten(2)).mean((1, 2))[:, None, None, None]
        ),
        "cdist (cdist) is not followed",
    ),
    "frequencies": (
        lambda x: torch.fft.rfft2(x).abs(),
        "fft_rfft2 (fft_rfft2) is not followed",
    ),
    "sampled": (sampled, "grid_sampler (grid_sampler) is not followed"),
}


@pytest.mark.parametrize("name", REASONS)
def test_the_reason_names_the_node(name):
    function, reason = REASONS[name]
    network, found = followed(between(function, 1 if name == "reflected" else 8), IMAGE)
    assert frozen(found) == {"a": f"8: {reason}", "out": "4: it is an output of the network"}
    assert described(found) == ["first 6: first.weight:0+ first.bias:0 a.weight:1-"]
    assert_cuts_like_zeros(network, (IMAGE,), found, random_part(found))


def test_parts_may_be_frozen_for_several_reasons():
    def in_halves(x):
        return torch.cat([x[:, :3].softmax(1), x[:, 3:].cumsum(1)], 1)

    _, found = followed(between(in_halves), IMAGE)
    assert frozen(found)["a"] == (
        "3: softmax (softmax) needs all of them; 5: cumsum (cumsum) needs all of them"
    )


def test_of_a_layer_that_is_frozen_in_part_the_frozen_channels_are_told():
    def in_part(x):
        return torch.cat([x[:, :3].softmax(1), x[:, 3:]], 1)

    network, found = followed(between(in_part), IMAGE)
    assert frozen(found)["a"] == "3: softmax (softmax) needs all of them"
    assert described(found)[1] == "a[3:8] 5: a.weight:0+ a.bias:0 out.weight:1-"
    assert_cuts_like_zeros(network, (IMAGE,), found, random_part(found))


def test_channels_that_are_frozen_twice_over_are_counted_once():
    """As (group, one of the group), and both stay."""
    module = Made(
        lambda m, x: m.c(m.b(m.a(x))),
        a=nn.Conv2d(3, 12, 1),
        b=nn.Conv2d(12, 12, 1, groups=4),
        c=nn.Conv2d(12, 12, 1, groups=6),
    )
    _, found = followed(module, IMAGE)
    told = "12: it is an output of the network"
    assert frozen(found) == {"b": told, "c": told}


def test_channels_added_to_those_that_stand_elsewhere_are_frozen():
    """(3, 4) and (4, 3): no channel can go without others that must stay."""
    module = Made(
        lambda m, x: m.out(m.a(x).unflatten(1, (3, 4)).transpose(1, 2).flatten(1, 2) + m.a(x)),
        a=nn.Conv2d(3, 12, 1),
        out=nn.Conv2d(12, 4, 1),
    )
    _, found = followed(module, IMAGE)
    assert frozen(found)["a"] == "12: add (add) has pairs of them on one axis"
    assert not found.groups


def test_what_is_attended_to_stays():
    module = Made(
        lambda m, x: m.out(F.scaled_dot_product_attention(m.a(x), m.memory, m.memory)),
        a=nn.Linear(3, 8),
        memory=nn.Parameter(torch.empty(7, 8)),
        out=nn.Linear(8, 4),
    )
    tokens = drawn(2, 5, 3)
    network, found = followed(module, tokens)
    assert described(found) == ["a 8: a.weight:0+ a.bias:0 memory:1 out.weight:1-"]
    assert_cuts_like_zeros(network, (tokens,), found, random_part(found))


def test_a_norm_that_has_no_weight_to_tell_the_count_is_not_cut():
    module = Made(
        lambda m, x: m.out(F.layer_norm(m.a(x), (8,), None, m.shift)),
        a=nn.Linear(3, 8),
        shift=nn.Parameter(torch.empty(8)),
        out=nn.Linear(8, 4),
    )
    _, found = followed(module, drawn(2, 5, 3))
    assert frozen(found)["a"].startswith("8: layer_norm (layer_norm) has no weight")


def test_one_channel_stays():
    module = Made(lambda m, x: m.out(m.a(x)), a=nn.Conv2d(3, 1, 1), out=nn.Conv2d(1, 4, 1))
    _, found = followed(module, IMAGE)
    assert frozen(found)["a"] == "1: it has one channel"
    assert not found.groups


def test_inputs_of_the_network_stay():
    module = Made(lambda m, x: m.out(m.a(x) + x), a=nn.Linear(3, 3), out=nn.Linear(3, 4))
    _, found = followed(module, drawn(2, 3))
    assert frozen(found)["a"] == "3: it is an input of the network"


def test_weights_held_by_a_code_stay():
    network = convolutional().copy()
    weight = network.tensor("branch.weight").detach()
    network.set_code("branch.weight", Affine.encode(weight, bits=8, axis=0))
    found = channels(network)
    reasons = frozen(found)
    assert reasons["stem"] == reasons["branch"] == "8: it is held by a code"
    assert "depthwise" not in {group.name for group in found.groups}


@pytest.mark.parametrize("ignore", [["branch"], ["re:bran"], ["re:.*_bn", "branch"]])
def test_pinned_layers_stay(ignore):
    reasons = frozen(channels(convolutional(), ignore))
    assert reasons["branch"] == "8: pinned by `ignore`"


def test_a_norm_pins_the_channels_that_it_reads():
    assert "stem" not in frozen(channels(convolutional()))
    assert frozen(channels(convolutional(), ["stem_bn"]))["stem"] == "8: pinned by `ignore`"


def test_a_pattern_must_match_from_the_start_of_a_name():
    with pytest.raises(ModelError, match=r"re:ranch is not a layer. See `tersor inspect`"):
        channels(convolutional(), ["re:ranch"])


@pytest.mark.parametrize("name", ["absent", "branch.weight", "re:absent.*"])
def test_who_pins_a_layer_that_is_not_there_is_told(name):
    with pytest.raises(ModelError, match="is not a layer") as caught:
        channels(convolutional(), [name])
    assert caught.value.tensor == name


def test_an_expression_that_is_none_is_refused():
    with pytest.raises(InputError, match=r"ignore must be a regular expression after re:"):
        channels(convolutional(), ["re:("])


def test_a_group_that_is_not_there_is_refused_with_those_that_are():
    found = channels(convolutional())
    with pytest.raises(InputError, match=r"group must be one of stem.*Got 'absent'"):
        found.keeping({"absent": np.ones(8, bool)})


@pytest.mark.parametrize(
    "mask", [np.ones(7, bool), np.ones((8, 1), bool), np.zeros(8, bool), np.ones(0, bool)]
)
def test_a_mask_of_another_size_or_without_a_channel_is_refused(mask):
    found = channels(convolutional())
    with pytest.raises(
        InputError, match="8 truth values, at least one of them true"
    ) as caught:
        found.keeping({"stem": mask})
    assert caught.value.what == "kept of stem"
