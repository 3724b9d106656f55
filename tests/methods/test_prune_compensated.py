"""`prune.compensated`: zeros that all other weights of the layer make up for."""

import numpy as np
import pytest
import torch
from torch import nn

import tersor
from tersor.arrays import surgeon
from tersor.data.samples import Samples
from tersor.errors import DataError, InputError, ModelError
from tersor.methods.prune.compensated import PruneCompensated
from tersor.methods.prune.magnitude import PruneMagnitude
from tersor.methods.prune.n_of_m import PruneNOfM
from tersor.testing.networks import convolutional, of_four, perceptron, samples_for

WEIGHTS = {"first.weight": 384, "second.weight": 512}  # the third has 48 elements


def zeros(network, name):
    return int((network.tensor(name) == 0).sum())


def told(network, done):
    return {note.layer: note.text for note in network.notes if note.done is done}


def error(network, result, seed=1):
    """Mean square of what changed in the outputs, on samples that were not looked at."""
    feeds = dict(samples_for(network, 200, seed).inputs)
    pairs = zip(network.run(feeds).values(), result.run(feeds).values(), strict=True)
    return sum(float(np.square(a - b).mean()) for a, b in pairs)


@pytest.mark.parametrize("form", ["exact", "swept"])
@pytest.mark.parametrize("sparsity", [0.3, 0.7, 0.999])
def test_each_layer_gets_its_zeros(monkeypatch, form, sparsity):
    monkeypatch.setattr(surgeon, "_EXACT", 1e11 if form == "exact" else 0)
    network = perceptron()
    result = PruneCompensated(sparsity=sparsity).apply(network, samples_for(network, 100))
    for name, size in WEIGHTS.items():
        assert zeros(result, name) == min(round(sparsity * size), size - 1)
    assert zeros(result, "third.weight") == 0
    assert torch.equal(result.tensor("third.bias"), network.tensor("third.bias"))


@pytest.mark.parametrize("make", [perceptron, convolutional])
@pytest.mark.parametrize("sparsity", [0.3, 0.6])
def test_outputs_change_less_than_without_the_smallest_weights(make, sparsity):
    network = make()
    result = PruneCompensated(sparsity=sparsity).apply(network, samples_for(network, 200))
    without = PruneMagnitude(sparsity=sparsity).apply(network)
    assert error(network, result) < 0.6 * error(network, without)


def test_outputs_change_less_than_without_the_smallest_of_every_four():
    network = convolutional()
    samples = samples_for(network, 200)
    keep = ("stem", "depthwise")
    result = PruneCompensated(n=2, m=4, keep=keep).apply(network, samples)
    assert error(network, result) < 0.5 * error(network, PruneNOfM().apply(network))


def test_the_mean_of_what_a_layer_gives_stays():
    """A bias of its own makes up for it: least squares leaves no mean."""
    network = perceptron()
    samples = samples_for(network, 100)
    result = PruneCompensated(sparsity=0.7).apply(network, samples)
    x = torch.from_numpy(samples.inputs["x"])
    old, new = (
        x @ each.tensor("first.weight").T + each.tensor("first.bias")
        for each in (network, result)
    )
    assert (new - old).square().mean() > 0.1
    assert (new - old).mean(0).abs().max() < 0.01


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (1, 2)])
def test_of_every_m_inputs_of_a_tap_n_stay(n, m):
    network = convolutional()
    result = PruneCompensated(n=n, m=m).apply(network, samples_for(network, 50))
    kept = (result.tensor("branch.weight") != 0).reshape(8, 8 // m, m, 3, 3).sum(2)
    assert (kept == n).all()
    kept = (result.tensor("head.weight") != 0).reshape(5, 16 // m, m).sum(2)
    assert (kept == n).all()
    skipped = told(result, done=False)
    assert skipped["stem"] == f"the number of its inputs, 3, is no multiple of {m}"
    assert skipped["depthwise"] == f"the number of its inputs, 1, is no multiple of {m}"


def as_matrix(network, prefix=""):
    """A weight with a row for each output, and its bias as the last column."""
    weight, bias = (network.tensor(prefix + name).detach() for name in ("weight", "bias"))
    return torch.cat([weight.flatten(1), bias[:, None]], 1).double().numpy()


def with_constant(rows):
    return np.concatenate([rows, np.ones((len(rows), 1))], 1).astype(float)


def damping(moments):
    return 0.003 * np.trace(moments) / len(moments) * np.eye(len(moments))


def test_what_stays_of_a_convolution_is_least_squares_over_all_its_patches():
    torch.manual_seed(0)
    network = tersor.capture(nn.Conv2d(4, 6, 3, padding=1), (torch.zeros(2, 4, 5, 5),))
    samples = samples_for(network, 30)
    images = torch.from_numpy(next(iter(samples.inputs.values())))
    patches = nn.functional.unfold(images, 3, padding=1).transpose(1, 2).reshape(-1, 36)
    patches = with_constant(patches)
    felt = patches.T @ patches / len(patches)
    felt += damping(felt)
    old = as_matrix(network)
    for method in (PruneCompensated(), PruneCompensated(n=2, m=4)):
        new = as_matrix(method.apply(network, samples))
        assert (new == 0).sum() == 108
        np.testing.assert_allclose(((old - new) @ felt)[new != 0], 0, atol=1e-5)


def test_later_layers_are_least_squares_for_what_they_now_get():
    """W' x' is to be W x: where W' stays W (E x x'^T + d) - W' (E x' x'^T + d) is 0."""
    network = perceptron()
    samples = samples_for(network, 256)
    result = PruneCompensated(sparsity=0.6).apply(network, samples)
    x = with_constant(samples.inputs["x"])
    exact, now = (
        with_constant(np.maximum(x @ as_matrix(each, "first.").T, 0))
        for each in (network, result)
    )
    own, cross = now.T @ now / 256, exact.T @ now / 256
    old, new = (as_matrix(each, "second.") for each in (network, result))
    left = old @ (cross + damping(own)) - new @ (own + damping(own))
    np.testing.assert_allclose(left[new != 0], 0, atol=1e-5)
    assert np.abs(left[new == 0]).max() > 0.01


def test_zeros_that_are_there_stay_and_are_made_up_for_by_others():
    network = perceptron()
    once = PruneMagnitude(sparsity=0.4).apply(network)
    twice = PruneCompensated(sparsity=0.6).apply(once, samples_for(network, 100))
    old, new = (each.tensor("first.weight") for each in (once, twice))
    assert (new[old == 0] == 0).all()
    assert zeros(twice, "first.weight") == round(0.6 * 384)
    assert zeros(once, "first.weight") == round(0.4 * 384)
    again = PruneCompensated(sparsity=0.2).apply(twice, samples_for(network, 100))
    assert torch.equal(again.code("first.weight").mask, twice.code("first.weight").mask)


def test_latent_weights_under_zeros_stay_what_they_were():
    network = perceptron()
    result = PruneCompensated().apply(network, samples_for(network, 100))
    code = result.code("first.weight")
    assert torch.equal(code.weight[~code.mask], network.tensor("first.weight")[~code.mask])
    assert not torch.equal(code.weight[code.mask], network.tensor("first.weight")[code.mask])


class Mixed(nn.Module):
    """Layers of which some cannot be made up for."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(16, 8)
        self.tied = nn.Linear(8, 16, bias=False)
        self.tied.weight = self.embedding.weight
        self.up = nn.ConvTranspose1d(16, 8, 3, padding=1)
        self.stack = nn.Parameter(torch.randn(2, 4, 16))
        self.right = nn.Parameter(torch.randn(16, 8))

    def forward(self, x):
        deep = self.up(self.tied(self.embedding(x)).transpose(1, 2)).transpose(1, 2)
        wide = deep.reshape(-1, 2, 6, 4) @ self.stack
        return wide @ self.right


def mixed():
    network = tersor.capture(Mixed(), (torch.zeros(2, 6, dtype=torch.long),))
    return network, Samples({network.inputs[0].name: np.arange(240).reshape(40, 6) % 16})


def test_what_is_left_alone_is_told():
    network, samples = mixed()
    result = PruneCompensated().apply(network, samples)
    assert told(result, done=True) == {"right": "50 % zeros"}
    shared = "several layers have its weight"
    untold = "what it gets is not told by one value and a window"
    skipped = told(result, done=False)
    assert skipped == {"tied": shared, "linear": shared, "up": untold, "stack": untold}
    assert torch.equal(result.tensor("tied.weight"), network.tensor("tied.weight"))


def test_weights_of_products_are_read_by_their_own_axes():
    network, samples = mixed()
    result = PruneCompensated(n=2, m=4).apply(network, samples)
    kept = (result.tensor("right") != 0).reshape(4, 4, 8).sum(1)
    assert (kept == 2).all()


def test_without_samples_only_nothing_is_pruned():
    with pytest.raises(InputError, match=r"samples must be given: prune\.compensated looks"):
        PruneCompensated().apply(perceptron())
    for nothing in (PruneCompensated(sparsity=0), PruneCompensated(n=4, m=4)):
        result = nothing.apply(perceptron())
        assert zeros(result, "first.weight") == 0
        assert told(result, done=True)["first"] == "0 % zeros"


def test_fewer_samples_than_a_batch_are_refused():
    network = of_four()
    network.set_tensor("only.weight", torch.ones(64, 6))
    network.set_tensor("only.bias", torch.ones(64))
    with pytest.raises(DataError, match="are 3, fewer than the 4 of a batch"):
        PruneCompensated().apply(network, samples_for(network, 3))
    result = PruneCompensated().apply(network, samples_for(network, 4))
    assert zeros(result, "only.weight") == 192


def test_inputs_that_are_no_numbers_are_refused():
    samples = samples_for(perceptron(), 20)
    samples.inputs["x"][3, 4] = np.inf
    with pytest.raises(ModelError, match="first gets values that are not finite"):
        PruneCompensated().apply(perceptron(), samples)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"sparsity": 1.0}, r"sparsity must be in \[0, 1\). Got 1\.0"),
        ({"sparsity": float("nan")}, "sparsity must be"),
        ({"m": -1}, "m must be 0 or more"),
        ({"n": 5, "m": 4}, "n must be 1 to m = 4. Got 5"),
        ({"m": 4}, "n must be 1 to m = 4. Got 0"),
        ({"n": 2}, "n must be 0 without m. Got 2"),
    ],
)
def test_settings_out_of_range_are_refused(settings, match):
    with pytest.raises(InputError, match=match):
        PruneCompensated(**settings)


def test_an_unknown_layer_is_refused():
    with pytest.raises(ModelError, match="frist is not a layer"):
        PruneCompensated(keep=("frist",)).apply(perceptron(), samples_for(perceptron()))
