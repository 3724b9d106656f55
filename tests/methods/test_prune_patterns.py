"""`prune.n_of_m` and `prune.blocks`: zeros in patterns, by magnitude."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import tersor
from tersor.errors import InputError, ModelError
from tersor.methods.prune.blocks import PruneBlocks
from tersor.methods.prune.magnitude import PruneMagnitude
from tersor.methods.prune.n_of_m import PruneNOfM
from tersor.testing.networks import convolutional, perceptron


def before_and_after(method, network, name):
    result = method.apply(network)
    return (each.tensor(name).detach().numpy() for each in (network, result))


def told(network, done):
    return {note.layer: note.text for note in network.notes if note.done is done}


class Product(nn.Module):
    """x @ W, W of 8 inputs and 12 outputs."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 12, generator=torch.manual_seed(0)))

    def forward(self, x):
        return x @ self.weight


class Transposed(nn.Module):
    """A transposed convolution of 16 inputs in two groups."""

    def __init__(self, channels=16):
        super().__init__()
        torch.manual_seed(0)
        self.up = nn.ConvTranspose2d(channels, 8, 2, groups=2, bias=False)

    def forward(self, x):
        return self.up(x)


def product():
    return tersor.capture(Product(), (torch.zeros(2, 8),))


def transposed(channels=16):
    return tersor.capture(Transposed(channels), (torch.zeros(2, channels, 3, 3),))


def kept_of(values, n):
    """Places of the n largest; the later of equal ones."""
    return set(
        sorted(range(len(values)), key=lambda i: (abs(values[i]), i))[len(values) - n :]
    )


@pytest.mark.parametrize(
    ("make", "name", "axis"),
    [
        (perceptron, "first.weight", 1),
        (convolutional, "branch.weight", 1),
        (product, "weight", 0),
        (transposed, "up.weight", 0),
    ],
)
@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (1, 2), (3, 4)])
def test_of_every_m_inputs_the_n_largest_stay(make, name, axis, n, m):
    old, new = before_and_after(PruneNOfM(n=n, m=m), make(), name)
    old, new = (np.moveaxis(each, axis, -1).reshape(-1, m) for each in (old, new))
    for was, now in zip(old, new, strict=True):
        stays = kept_of(was, n)
        assert [i in stays for i in range(m)] == (now != 0).tolist()
        assert all(now[i] == was[i] for i in stays)


def test_of_equal_ones_the_later_stay():
    network = perceptron().copy()
    network.set_tensor("first.weight", torch.ones(32, 12))
    found = PruneNOfM().apply(network).tensor("first.weight")
    assert torch.equal(found, torch.tensor([0.0, 0, 1, 1]).repeat(32, 3))


def test_inputs_that_are_no_whole_groups_are_told():
    result = PruneNOfM().apply(convolutional())
    assert told(result, done=True) == {"branch": "50 % zeros", "head": "50 % zeros"}
    skipped = told(result, done=False)
    assert skipped["stem"] == "the number of its inputs, 3, is no multiple of 4"
    assert skipped["depthwise"] == "the number of its inputs, 1, is no multiple of 4"
    assert result.code("stem.weight") is None


def test_groups_of_a_convolution_are_not_mixed():
    """12 inputs in two groups: six each, no multiple of four, though twelve is one."""
    with pytest.raises(ModelError, match="has no weight to prune"):
        PruneNOfM().apply(transposed(12))
    assert told(PruneNOfM(n=1, m=3).apply(transposed(12)), done=True) == {"up": "66.7 % zeros"}


def test_zeros_that_are_there_stay_and_count_among_the_m():
    once = PruneMagnitude(sparsity=0.4).apply(perceptron())
    old, new = before_and_after(PruneNOfM(), once, "first.weight")
    assert (new[old == 0] == 0).all()
    old, new = old.reshape(-1, 4), new.reshape(-1, 4)
    enough = (old != 0).sum(1) >= 2
    assert ((new != 0).sum(1)[enough] == 2).all()
    assert np.array_equal(old[~enough], new[~enough])


def test_what_a_mask_hides_is_not_brought_back():
    once = PruneMagnitude(sparsity=0.4).apply(perceptron())
    with torch.no_grad():  # latent weights under zeros may be large
        code = once.code("first.weight")
        code.weight.masked_fill_(~code.mask, 9.0)
    old, new = before_and_after(PruneNOfM(), once, "first.weight")
    kept = (new != 0).reshape(-1, 4).sum(1)
    assert np.array_equal(kept, np.minimum(2, (old != 0).reshape(-1, 4).sum(1)))


@pytest.mark.parametrize(("n", "m"), [(0, 4), (5, 4), (1, 0), (-1, -1)])
def test_patterns_that_are_none_are_refused(n, m):
    with pytest.raises(InputError, match=r"^[nm] must be 1 "):
        PruneNOfM(n=n, m=m)


def blocks_of(shape, rows, columns):
    """Slices of all blocks of a matrix, by loops."""
    tops, lefts = range(0, shape[0], rows), range(0, shape[1], columns)
    return [
        (slice(top, min(top + rows, shape[0])), slice(left, min(left + columns, shape[1])))
        for top, left in itertools.product(tops, lefts)
    ]


@pytest.mark.parametrize(
    ("make", "name", "axis"),
    [
        (perceptron, "first.weight", 0),
        (convolutional, "branch.weight", 0),
        (product, "weight", 1),
        (transposed, "up.weight", 1),
    ],
)
@pytest.mark.parametrize(("rows", "columns"), [(1, 4), (4, 1), (16, 1), (3, 5), (1, 1)])
@pytest.mark.parametrize("sparsity", [0.3, 0.75])
def test_blocks_of_the_smallest_mean_square_go_whole(
    make, name, axis, rows, columns, sparsity
):
    method = PruneBlocks(sparsity=sparsity, rows=rows, columns=columns)
    old, new = before_and_after(method, make(), name)
    old, new = (np.moveaxis(each, axis, 0) for each in (old, new))
    old, new = (each.reshape(len(each), -1) for each in (old, new))
    places = blocks_of(old.shape, rows, columns)
    gone = [place for place in places if (new[place] == 0).all()]
    stays = [place for place in places if place not in gone]
    assert all(np.array_equal(old[place], new[place]) for place in stays)
    assert len(gone) == round(sparsity * len(places))
    least = min(np.square(old[place].astype(float)).mean() for place in stays)
    assert max(np.square(old[place].astype(float)).mean() for place in gone) <= least


def test_over_all_layers_those_with_large_weights_keep_more_blocks():
    network = perceptron().copy()
    network.set_tensor("second.weight", 10 * network.tensor("second.weight").detach())
    result = PruneBlocks(sparsity=0.25, scope="global").apply(network)
    assert int((result.tensor("second.weight") == 0).sum()) == 0
    assert int((result.tensor("first.weight") == 0).sum()) == 4 * 56  # of 96 + 128 blocks


def test_one_block_stays():
    result = PruneBlocks(sparsity=0.999, rows=4, columns=4).apply(perceptron())
    assert int((result.tensor("first.weight") != 0).sum()) == 16


def test_a_block_may_be_larger_than_the_weight():
    result = PruneBlocks(sparsity=0.5, rows=64, columns=1).apply(perceptron())
    columns = (result.tensor("first.weight") != 0).sum(0)
    assert sorted(columns.tolist()) == [0] * 6 + [32] * 6


def test_zeros_stay_and_blocks_of_zeros_go_before_all_others():
    once = PruneBlocks(sparsity=0.25).apply(perceptron())
    code = once.code("first.weight")
    with torch.no_grad():  # what lies under zeros does not count
        code.weight.masked_fill_(~code.mask, 9.0)
    again = PruneBlocks(sparsity=0.25).apply(once)
    assert torch.equal(again.code("first.weight").mask, code.mask)


def test_single_zeros_stay_in_blocks_that_stay():
    once = PruneMagnitude(sparsity=0.4).apply(perceptron())
    old, new = before_and_after(PruneBlocks(), once, "first.weight")
    assert (new[old == 0] == 0).all()
    assert ((new.reshape(-1, 4) == 0).all(1)).sum() == 48


@pytest.mark.parametrize("method", [PruneNOfM, PruneBlocks])
def test_what_is_left_alone_is_told_and_the_network_before_stays(method):
    once = PruneMagnitude(sparsity=0.2).apply(perceptron())
    old = once.code("first.weight").mask.clone()
    result = method(keep=("second",)).apply(once)
    assert told(result, done=False)["second"] == "kept as asked"
    assert torch.equal(once.code("first.weight").mask, old)
    with pytest.raises(ModelError, match="frist is not a layer"):
        method(keep=("frist",)).apply(perceptron())


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"sparsity": 1.0}, r"sparsity must be in \[0, 1\)"),
        ({"rows": 0}, "rows must be 1 or more"),
        ({"columns": -1}, "columns must be 1 or more"),
    ],
)
def test_blocks_out_of_range_are_refused(settings, match):
    with pytest.raises(InputError, match=match):
        PruneBlocks(**settings)
