"""Scores by name: against what each says of one small network, written out."""

import numpy as np
import pytest
import torch
from tests.network.cutting import Made, drawn, followed
from torch import nn
from torch.nn import functional

from tersor.arrays.channel_lasso import Contributions, lasso_scores
from tersor.data.samples import Samples
from tersor.errors import DataError, InputError
from tersor.network.channels import channels
from tersor.testing.networks import perceptron, samples_for
from tersor.train.channel_scores import WEIGHTS_ONLY, channel_scores
from tersor.train.gates import gate_scores

COUNT = 20


class Net(nn.Module):
    """Two convolutions make the channels of the first group; the second one is flattened."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.branch = nn.Conv2d(4, 4, 3, padding=1)
        self.last, self.head = nn.Conv2d(4, 5, 3), nn.Linear(5 * 16, 3)

    def values(self, x):
        """What is read of the groups, by the group's name."""
        stem = torch.relu(self.norm(self.stem(x)))
        both = torch.relu(stem + self.branch(stem))
        last = torch.relu(self.last(both))
        return {"stem": stem, "last": last, "both": both}

    def forward(self, x):
        return self.head(self.values(x)["last"].flatten(1))


@pytest.fixture(scope="module")
def case():
    module = Net()
    network, known = followed(module, drawn(2, 3, 6, 6))
    x = drawn(COUNT, 3, 6, 6)
    samples = Samples({network.inputs[0].name: x.numpy()}, np.arange(COUNT) % 3)
    assert {g.name: g.size for g in known.groups} == {"stem": 4, "last": 5}
    with torch.no_grad():
        values = {name: v.double().numpy() for name, v in module.values(x).items()}
    weights = {n: t.detach().double().numpy() for n, t in module.named_parameters()}
    return network, known, samples, weights, values


def assert_are(found, **wanted):
    """Relative to the mean of the group."""
    assert found.keys() == wanted.keys()
    for name, each in wanted.items():
        np.testing.assert_allclose(found[name], each / np.mean(each), rtol=1e-5)


def lengths(weight, order):
    return np.linalg.norm(weight.reshape(len(weight), -1), order, axis=1)


@pytest.mark.parametrize(("name", "order"), [("l1", 1), ("l2", 2)])
def test_norms_of_what_makes_a_channel_add_up_over_its_layers(case, name, order):
    network, known, _, weights, _ = case
    both = lengths(weights["stem.weight"], order) + lengths(weights["branch.weight"], order)
    assert_are(
        channel_scores(name, network, known, None),
        stem=both,
        last=lengths(weights["last.weight"], order),
    )


def test_geometric_median_is_the_distance_from_all_others(case):
    network, known, _, weights, _ = case

    def far(weight):
        rows = weight.reshape(len(weight), -1)
        return np.linalg.norm(rows[:, None] - rows, axis=2).sum(1)

    assert_are(
        channel_scores("geometric_median", network, known, None),
        stem=far(weights["stem.weight"]) + far(weights["branch.weight"]),
        last=far(weights["last.weight"]),
    )


def test_batch_norm_is_the_size_of_its_weights_or_else_that_of_the_makers(case):
    network, known, _, weights, _ = case
    assert_are(
        channel_scores("batch_norm", network, known, None),
        stem=np.abs(weights["norm.weight"]),
        last=lengths(weights["last.weight"], 1),
    )


def test_activation_is_the_mean_magnitude_of_what_is_read_first(case):
    network, known, samples, _, values = case
    assert_are(
        channel_scores("activation", network, known, samples),
        stem=np.abs(values["stem"]).mean((0, 2, 3)),
        last=np.abs(values["last"]).mean((0, 2, 3)),
    )


def test_apoz_is_the_share_that_is_not_0(case):
    network, known, samples, _, values = case
    assert_are(
        channel_scores("apoz", network, known, samples),
        stem=(values["stem"] > 0).mean((0, 2, 3)),
        last=(values["last"] > 0).mean((0, 2, 3)),
    )


def test_rank_is_that_of_maps_or_else_their_magnitude(case):
    """What the linear layer reads is flat. Ranks are of the first 16 samples."""
    network, known, samples, _, values = case
    ranks = np.linalg.matrix_rank(values["stem"][:16].astype(np.float32)).mean(0)
    assert len(set(ranks)) > 1
    assert_are(
        channel_scores("rank", network, known, samples),
        stem=ranks,
        last=np.abs(values["last"]).mean((0, 2, 3)),
    )


def shares(parts, whole):
    """A lasso's problem: what each channel gives to all that is wanted; (n, rows, outputs)."""
    gram = np.einsum("nro,mro->nm", parts, parts)
    power = gram.sum()
    return Contributions(gram / power, np.einsum("nro,ro->n", parts, whole) / power)


def test_reconstruction_is_the_lasso_over_all_that_read(case):
    network, known, samples, weights, values = case
    head = weights["head.weight"].reshape(3, 5, 16)
    flat = values["last"].reshape(COUNT, 5, 16)
    parts = np.einsum("okp,rkp->kro", head, flat)

    def convolved(weight, value, **how):
        channel = [
            functional.conv2d(
                torch.from_numpy(value[:, i : i + 1]),
                torch.from_numpy(weight[:, i : i + 1]),
                **how,
            )
            for i in range(value.shape[1])
        ]
        found = torch.stack(channel).permute(0, 1, 3, 4, 2)
        return found.reshape(len(channel), -1, found.shape[-1]).numpy()

    branch = convolved(weights["branch.weight"], values["stem"], padding=1)
    last = convolved(weights["last.weight"], values["both"])
    problems = [shares(each, each.sum(0)) for each in (branch, last)]
    joint = Contributions(*(sum(pair) for pair in zip(*problems, strict=True)))
    found = channel_scores("reconstruction", network, known, samples)
    for name, problem in (("stem", joint), ("last", shares(parts, parts.sum(0)))):
        wanted = lasso_scores(problem)
        np.testing.assert_allclose(found[name], wanted / wanted.mean(), rtol=2e-3)


@pytest.mark.parametrize("name", ["taylor", "taylor_second"])
def test_slopes_are_those_of_gates_in_one_unit_for_all_groups(case, name):
    network, known, samples, _, _ = case
    found = channel_scores(name, network, known, samples, seed=3)
    wanted = gate_scores(network, known, samples, labelled=name == "taylor", seed=3)
    assert all(np.array_equal(found[group], wanted[group]) for group in wanted)
    assert not np.isclose(found["stem"].mean(), 1)


def test_random_is_another_for_each_group_and_seed(case):
    network, known, _, _, _ = case
    one, again, other = (
        channel_scores("random", network, known, None, seed=seed) for seed in (0, 0, 7)
    )
    for name in one:
        assert np.array_equal(one[name], again[name])
        assert not np.array_equal(one[name], other[name])
        assert one[name].mean() == pytest.approx(1)
    stem, last = (one[name][1:4] / one[name][0] for name in ("stem", "last"))
    assert not np.allclose(stem, last)


@pytest.mark.parametrize("name", ["activation", "apoz", "reconstruction"])
def test_layers_that_multiply_in_other_words_read_too(name):
    """x @ w and b + x @ w as x w^T + b."""

    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.c = nn.Linear(4, 6), nn.Linear(7, 2)
            self.w, self.b = nn.Parameter(torch.zeros(6, 7)), nn.Parameter(torch.zeros(7))

        def forward(self, x):
            return self.c(torch.relu(self.product(torch.relu(self.a(x)))))

        def product(self, x):
            return functional.linear(x, self.w.T, self.b)

    class Matmul(Words):
        def product(self, x):
            return x @ self.w + self.b

    class Addmm(Words):
        def product(self, x):
            return torch.addmm(self.b, x, self.w)

    x = drawn(COUNT, 4)
    found = []
    for kind in (Words, Matmul, Addmm):
        network, known = followed(kind(), x[:2])
        samples = Samples({network.inputs[0].name: x.numpy()})
        found.append(channel_scores(name, network, known, samples)["a"])
    assert len(set(found[0].tolist())) > 3
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-4)


def test_channels_on_two_axes_of_a_value_are_looked_at_where_a_layer_adds_them_up():
    """An outer product of two layers' results; one is read there, the other when flat."""

    def function(m, x):
        return m.last(torch.relu(m.c(outer(m, x))).flatten(1))

    def outer(m, x):
        return torch.relu(m.a(x)[:, :, None] * m.b(x)[:, None])

    parts = {"a": nn.Linear(4, 3), "b": nn.Linear(4, 5), "c": nn.Linear(5, 6)}
    module = Made(function, **parts, last=nn.Linear(18, 2))
    x = drawn(COUNT, 4)
    network, known = followed(module, x[:2])
    samples = Samples({network.inputs[0].name: x.numpy()})
    with torch.no_grad():
        y = outer(module, x)
        z = torch.relu(module.c(y)).double().numpy()
    assert_are(
        channel_scores("activation", network, known, samples),
        a=z.mean((0, 2)),
        b=y.double().numpy().mean((0, 1)),
        c=z.mean((0, 1)),
    )


def test_channels_that_nothing_weighs_are_all_alike():
    """Widths of queries and keys meet in a product only."""

    def function(m, x):
        q, k = (part(x).reshape(-1, 5, 2, 3).transpose(1, 2) for part in (m.q, m.k))
        return (q @ k.mT).flatten(1)

    x = drawn(COUNT, 5, 4)
    network, known = followed(Made(function, q=nn.Linear(4, 6), k=nn.Linear(4, 6)), x[:2])
    samples = Samples({network.inputs[0].name: x.numpy()})
    (group,) = known.groups
    for name in ("activation", "reconstruction"):
        assert channel_scores(name, network, known, samples)[group.name].tolist() == [1.0] * 3
    assert len(set(channel_scores("l2", network, known, None)[group.name])) == 3


def test_groups_of_zeros_stay_zeros():
    network = perceptron()
    with torch.no_grad():
        network.tensor("first.weight").zero_()
    found = channel_scores("l2", network, channels(network), None)
    assert found["first"].tolist() == [0.0] * 32
    assert found["second"].mean() == pytest.approx(1)


def test_of_many_samples_evenly_spaced_ones_are_looked_at(monkeypatch):
    monkeypatch.setattr("tersor.train.channel_scores._MOST_SAMPLES", 5)
    network = perceptron()
    known, x = channels(network), samples_for(network, 41).inputs["x"]
    found, wanted = (
        channel_scores("activation", network, known, Samples({"x": each}))
        for each in (x, x[::10])
    )
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("name", ["activation", "apoz", "rank", "reconstruction", "taylor"])
def test_samples_are_asked_for_where_they_are_needed(name):
    network = perceptron()
    with pytest.raises(InputError, match=f"given for the score {name}; without: l1, l2") as e:
        channel_scores(name, network, channels(network), None)
    assert e.value.what == "samples"
    assert name not in WEIGHTS_ONLY


def test_labels_are_asked_for_where_they_are_needed():
    network = perceptron()
    known, samples = channels(network), samples_for(network)
    with pytest.raises(DataError, match="needs labels"):
        channel_scores("taylor", network, known, samples)
    assert channel_scores("taylor_second", network, known, samples).keys() == {
        "first",
        "second",
    }
