"""What is chosen to go: against costs of networks that are really cut, and against search."""

import itertools
import math

import numpy as np
import pytest
import torch
from cutting import Made, captured, drawn, followed, outputs, random_part
from torch import nn

from architectures import ARCHITECTURES
from tersor.errors import InputError
from tersor.methods.prune.channels import PruneChannels
from tersor.network.channels import channels
from tersor.network.cost import cost
from tersor.network.network import Network
from tersor.network.slimming import Target, chosen, meter_of
from tersor.network.surgery import cut
from tersor.testing.networks import perceptron

SOME = ["mobilenet_v2", "densenet", "gru_classifier", "swin"]


def counts_of(known, keep):
    return {dim: int(mask.sum()) for dim, mask in known.keeping(keep).items()}


def scores_for(known, seed=0):
    rng = np.random.default_rng(seed)
    return {group.name: rng.random(group.size) for group in known.groups}


def work_of(network, known):
    """The meter of MACs, and what it tells of the network as it is."""
    meter = meter_of("macs", network, known)
    return meter, meter({})


def counts(known, found):
    """How many channels of each group stay."""
    return {
        g.name: int(found.keep[g.name].sum()) if g.name in found.keep else g.size
        for g in known.groups
    }


# Meters


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_meters_tell_what_the_cut_network_costs(name):
    """Counts are enough, whichever channels they are; MACs are relative."""
    network, _, known = captured(name)
    meters = {of: meter_of(of, network, known) for of in ("macs", "parameters", "bytes")}
    before = cost(network)
    rng = np.random.default_rng(0)
    uneven = {g.name: rng.permutation(g.size) <= rng.integers(g.size) for g in known.groups}
    for keep in ({}, random_part(known), uneven):
        after = cost(cut(network, keep, known)) if keep else before
        left = counts_of(known, keep)
        assert meters["parameters"](left) == after.parameters
        assert meters["bytes"](left) == after.weight_bytes
        assert meters["macs"](left) * before.macs == after.macs * meters["macs"]({})


# The choice


@pytest.mark.parametrize("multiple", [1, 4])
@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.parametrize("name", SOME)
def test_the_choice_keeps_its_word(name, scope, multiple):
    network, _, known = captured(name)
    scores = scores_for(known)
    meter, whole = work_of(network, known)
    steps = [whole - meter({g.dim.root: g.size - min(multiple, g.size)}) for g in known.groups]
    reached = 0
    for left in (0.9, 0.5, 0.2, 0.01):
        found = chosen(known, scores, meter, left, multiple=multiple, scope=scope)
        now = meter(counts_of(known, found.keep))
        assert found.left == now / whole
        assert found.reached == (now <= left * whole)
        reached += found.reached
        if found.reached and scope == "global":
            assert now > left * whole - max(steps)
        own = counts(known, found)
        for group in known.groups:
            assert own[group.name] >= group.size / 10
            mask = found.keep.get(group.name, np.ones(group.size, bool))
            least = scores[group.name][mask].min()
            assert (scores[group.name][~mask] <= least).all()
            is_whole = all(
                np.array_equal(m.channels, np.arange(group.size))
                for m in group.members
                if m.makes
            )
            if is_whole and group.size >= multiple:
                assert own[group.name] % multiple == 0 or own[group.name] == group.size
    assert 2 <= reached < 4


def branches(*sizes, inputs=3, results=2):
    """Layers side by side: what a channel saves does not depend on other groups."""

    def function(m, x):
        parts = zip(m.ins, m.outs, strict=True)
        return sum(out(torch.relu(own(x))) for own, out in parts)

    module = Made(
        function,
        ins=nn.ModuleList(nn.Linear(inputs, size) for size in sizes),
        outs=nn.ModuleList(nn.Linear(size, results) for size in sizes),
    )
    return followed(module, drawn(2, inputs))


@pytest.mark.parametrize("left", [0.9, 0.66, 0.5, 0.4])
def test_where_scores_add_up_no_other_choice_loses_less(left):
    """All ways to keep so many channels of each group, of largest scores."""
    network, known = branches(5, 6, 7)
    meter, whole = work_of(network, known)
    for seed in range(5):
        scores = scores_for(known, seed)
        found = chosen(known, scores, meter, left)
        gone = {g.name: np.cumsum([0, *np.sort(scores[g.name])]) for g in known.groups}
        losses = []
        for own in itertools.product(*(range(1, g.size + 1) for g in known.groups)):
            pairs = list(zip(known.groups, own, strict=True))
            if meter({g.dim.root: n for g, n in pairs}) <= left * whole:
                losses.append(sum(gone[g.name][g.size - n] for g, n in pairs))
        lost = sum(scores[name][~mask].sum() for name, mask in found.keep.items())
        assert lost == pytest.approx(min(losses))


def test_of_many_small_steps_none_goes_that_costs_more_for_what_it_saves():
    """One group's channels save more than the other's, and matter three times as much."""

    def function(m, x, y):
        return m.b(torch.relu(m.a(x))) + m.d(torch.relu(m.c(y)))

    parts = {"a": nn.Linear(3, 200), "b": nn.Linear(200, 2)}
    parts |= {"c": nn.Linear(8, 300), "d": nn.Linear(300, 2)}
    network, known = followed(Made(function, **parts), drawn(2, 3), drawn(2, 8))
    meter, _ = work_of(network, known)
    rng = np.random.default_rng(0)
    scores = {"a": rng.random(200), "c": 3 * rng.random(300)}
    for left in (0.9, 0.6, 0.4):
        found = chosen(known, scores, meter, left)
        rates = {"a": scores["a"] / (3 + 2), "c": scores["c"] / (8 + 2)}
        go, stay = (
            np.concatenate([rates[n][found.keep[n] == kept] for n in rates])
            for kept in (False, True)
        )
        assert go.max() <= stay.min()


def test_savings_are_measured_anew_as_neighbours_shrink():
    """Against one step at a time, each measured on the spot."""
    network = perceptron()
    known = channels(network)
    meter, whole = work_of(network, known)
    for seed in range(4):
        scores = scores_for(known, seed)
        order = {name: np.sort(each) for name, each in scores.items()}
        own = {g.name: g.size for g in known.groups}

        def work(own):
            return meter({g.dim.root: own[g.name] for g in known.groups})

        for left in (0.8, 0.5, 0.3):
            while work(own) > left * whole:
                prices = {
                    g.name: order[g.name][g.size - own[g.name]]
                    / (work(own) - work({**own, g.name: own[g.name] - 1}))
                    for g in known.groups
                    if own[g.name] - 1 >= g.size / 10
                }
                own[min(prices, key=prices.get)] -= 1
            assert counts(known, chosen(known, scores, meter, left)) == own


@pytest.mark.parametrize("multiple", [1, 3])
def test_local_is_the_largest_share_that_will_do(multiple):
    network, known = branches(9, 30, 41)
    meter, whole = work_of(network, known)

    def at(share):
        return {
            g.name: min(
                g.size,
                max(
                    math.ceil(g.size / 10 / multiple) * multiple,
                    round(share * g.size / multiple) * multiple,
                ),
            )
            for g in known.groups
        }

    for left in (0.9, 0.5, 0.25):
        fits = [
            own
            for own in map(at, np.linspace(0, 1, 2001))
            if meter({g.dim.root: own[g.name] for g in known.groups}) <= left * whole
        ]
        found = chosen(known, scores_for(known), meter, left, multiple=multiple, scope="local")
        assert counts(known, found) == fits[-1]
        assert found.reached


def test_what_cannot_be_reached_is_come_as_near_to_as_can_be():
    network, known = branches(9, 30, 41)
    meter, whole = work_of(network, known)
    for scope in ("global", "local"):
        found = chosen(known, scores_for(known), meter, 0.05, scope=scope)
        assert list(counts(known, found).values()) == [1, 3, 5]
        assert found.left == 9 * (3 + 2) / whole * 2 == pytest.approx(9 / 80)  # batch of 2
        assert not found.reached
    assert found.left > 0.05


def test_all_may_stay():
    network, known = branches(9, 30)
    meter, _ = work_of(network, known)
    for scope in ("global", "local"):
        found = chosen(known, scores_for(known), meter, 1.0, scope=scope)
        assert (found.keep, found.left, found.reached) == ({}, 1.0, True)


def test_of_equal_channels_the_first_stay():
    network, known = branches(8)
    meter, _ = work_of(network, known)
    (group,) = known.groups
    found = chosen(known, {group.name: np.ones(8)}, meter, 0.5)
    assert found.keep[group.name].tolist() == [True] * 4 + [False] * 4


def test_every_group_may_have_a_multiple_of_its_own():
    network, known = branches(24, 24, 5)
    meter, _ = work_of(network, known)
    one, other, small = (g.name for g in known.groups)
    multiples = {one: 8, small: 8}
    for left in (0.8, 0.6, 0.3):
        own = counts(known, chosen(known, scores_for(known), meter, left, multiple=multiples))
        assert own[one] % 8 == 0
        assert own[small] == 5  # it has fewer than 8
        assert own[other] < 24


def test_multiples_are_of_what_layers_make_whoever_reads_it():
    """Side by side with others, or flattened; but not of one width of many heads."""

    def function(m, x):
        y = torch.cat([torch.relu(m.a(x)), torch.relu(m.b(x))], 1)
        z = torch.relu(m.c(y))
        q = m.q(z.flatten(1)).reshape(-1, 3, 8)
        return m.last((q @ q.mT @ q).flatten(1))

    module = Made(
        function,
        a=nn.Conv2d(3, 16, 1),
        b=nn.Conv2d(3, 24, 1),
        c=nn.Conv2d(40, 16, 1),
        q=nn.Linear(16 * 4, 24),
        last=nn.Linear(24, 3),
    )
    network, known = followed(module, drawn(2, 3, 2, 2))
    meter, _ = work_of(network, known)
    seen = set()
    for left in np.linspace(0.3, 0.9, 13):
        own = counts(known, chosen(known, scores_for(known), meter, left, multiple=4))
        assert all(own[name] % 4 == 0 for name in "abc")
        seen |= {n % 4 for name, n in own.items() if name not in {*"abc"}}
    assert seen - {0}


# Targets


def test_a_target_is_one_fraction_of_one_thing():
    assert [(t.of, t.left) for t in (Target(bytes=0.25), Target(latency=1), Target())] == [
        ("bytes", 0.25),
        ("latency", 1.0),
        ("macs", 0.5),
    ]
    for name in Target.names():
        target = Target(**{name: 0.3})
        assert (target.of, target.left) == (name, 0.3)


@pytest.mark.parametrize("value", [0.0, -0.5, 1.5, 50, math.inf, math.nan])
@pytest.mark.parametrize("name", ["macs", "latency"])
def test_what_is_left_is_a_fraction(name, value):
    with pytest.raises(
        InputError, match=rf"{name} must be in \(0, 1\], as in 0.5 or 50%"
    ) as e:
        Target(**{name: value})
    assert e.value.what == name


def test_two_targets_are_refused():
    with pytest.raises(InputError, match=r"one of macs, .*latency\. Got \['bytes', 'macs'\]"):
        Target(macs=0.5, bytes=0.5)


# Every architecture


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_gets_as_small_as_asked_or_as_it_can(name):
    network, inputs, known = captured(name)
    target = Target(macs=0.6)
    small = PruneChannels(target=target, score="l2", repair=False).apply(network)
    assert isinstance(small, Network)
    share = cost(small).macs / cost(network).macs
    last = small.notes[-1]
    assert last.text.startswith(f"{100 * share:.1f} % of the macs are left")
    assert last.done == (share <= 0.6)
    if not last.done:
        sizes = {g.name: g.size for g in channels(small).groups}
        assert all(sizes[g.name] == math.ceil(g.size / 10) for g in known.groups)
    found, before = (outputs(n, inputs) for n in (small, network))
    assert [v.shape for v in found] == [v.shape for v in before]
    assert all(np.isfinite(v).all() for v in found)
