"""Dead channels: they can be cut without any change, and others are not called dead."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.network.cutting import captured, outputs
from torch import nn

import tersor
from tersor.network.channels import channels
from tersor.network.surgery import cut
from tersor.network.zeros import averaged, dead, statistics
from tersor.testing.networks import convolutional, half_dead, perceptron

KINDS = [  # what adds channels up, and what they go along in, in all its forms
    "se_resnet",
    "shufflenet_v2",
    "wavenet_fused",
    "lstm_tagger",
    "einsum_attention",
    "swin",
    "llama",
    "llama_sdpa",
]


def found_dead(module, *inputs):
    """Dead channels of a module, by name of the group."""
    network = tersor.capture(module.eval(), inputs)
    found = dead(network, channels(network))
    return {name: np.flatnonzero(gone).tolist() for name, gone in found.items() if gone.any()}


def some_zeros(base, seed):
    """A network with 0 where some channels stand, in some of their tensors only."""
    network = replace(base, module=copy.deepcopy(base.module))
    rng, known = np.random.default_rng(seed), channels(network)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in network.module.parameters():  # biases and tables hold no zeros then
            tensor.add_(0.05 * torch.randn(tensor.shape, generator=generator))
        for group in known.groups:
            gone, left_out = rng.random(group.size) < 0.4, rng.choice([0.0, 0.3])
            for member in group.members:
                at = np.flatnonzero(np.isin(member.channels, np.flatnonzero(gone)))
                if rng.random() >= left_out and not member.path.endswith("running_var"):
                    tensor = network.tensor(member.path)
                    tensor.index_fill_(member.axis, torch.from_numpy(at), 0)
    return network, known


@pytest.mark.parametrize("name", KINDS)
def test_dead_channels_are_cut_without_any_change(name):
    base, inputs, _ = captured(name)
    count = 0
    for seed in range(2):
        network, known = some_zeros(base, seed)
        keep = {}
        for group, gone in dead(network, known).items():
            gone[0] &= not gone.all()
            keep[group] = ~gone
            count += int(gone.sum())
        small = cut(network, keep, known)
        for _ in range(2):
            inputs = [3 * torch.randn_like(x) if x.is_floating_point() else x for x in inputs]
            pairs = zip(outputs(network, inputs), outputs(small, inputs), strict=True)
            for before, after in pairs:
                scale = np.abs(before).max()
                np.testing.assert_allclose(after, before, rtol=0, atol=2e-5 * scale)
    assert count > 5


def test_zeros_wherever_channels_stand_are_found_and_no_others():
    network = half_dead()
    assert dead(network, channels(network))["stem"].tolist() == [True] * 4 + [False] * 4
    network = convolutional()
    assert not dead(network, channels(network))


class Two(nn.Module):
    """A hidden layer whose channel 1 is made by zeros; what is between is given."""

    def __init__(self, between):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.between = nn.Linear(4, 6), nn.Linear(6, 3), between
        with torch.no_grad():
            self.one.weight[1], self.one.bias[1] = 0, 0

    def forward(self, x):
        return self.two(self.between(self.one(x)))


X = torch.randn(5, 4)


@pytest.mark.parametrize("between", [nn.ReLU(), nn.GELU(), nn.Tanh(), nn.Hardswish()])
def test_what_is_made_by_zeros_is_dead_if_zero_stays_zero(between):
    assert found_dead(Two(between), X) == {"one": [1]}


@pytest.mark.parametrize("between", [nn.Sigmoid(), nn.Softplus(), nn.Hardsigmoid()])
def test_what_becomes_another_number_is_dead_only_if_no_weight_reads_it(between):
    module = Two(between)
    assert found_dead(module, X) == {}
    with torch.no_grad():
        module.two.weight[:, 1] = 0
    assert found_dead(module, X) == {"one": [1]}


def test_what_a_relu_hides_on_likely_inputs_is_alive():
    module = Two(nn.ReLU())
    with torch.no_grad():
        module.one.weight[2], module.one.bias[2] = 0.001, -100
    assert found_dead(module, X) == {"one": [1]}


def test_a_channel_without_a_weight_but_with_a_bias_is_alive():
    module = Two(nn.ReLU())
    with torch.no_grad():
        module.one.bias[1] = 1
    assert found_dead(module, X) == {}


def test_what_gates_a_dead_channel_need_not_be_zero_itself():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.gate, self.two = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 3)
            with torch.no_grad():
                self.one.weight[2], self.one.bias[2] = 0, 0

        def forward(self, x):
            return self.two(self.one(x) * torch.sigmoid(self.gate(x)))

    assert found_dead(Gated(), X) == {"one": [2]}


def test_products_without_a_weight_need_values_that_are_zero():
    class Scores(nn.Module):
        """Products of queries and keys, whose channel 1 is 0 before `between`."""

        def __init__(self, between):
            super().__init__()
            torch.manual_seed(0)
            self.query, self.key, self.between = nn.Linear(4, 6), nn.Linear(4, 6), between
            with torch.no_grad():
                for layer in (self.query, self.key):
                    layer.weight[1], layer.bias[1] = 0, 0

        def forward(self, x):
            return self.between(self.query(x)) @ self.between(self.key(x)).transpose(1, 2)

    x = torch.randn(2, 5, 4)
    assert found_dead(Scores(nn.Tanh()), x) == {"query": [1]}
    assert found_dead(Scores(nn.Sigmoid()), x) == {}


def test_attention_adds_up_the_width_of_queries_and_keys_without_a_weight():
    class Attention(nn.Module):
        """Queries, keys and values are the same, and nothing reads channel 1 of them."""

        def __init__(self, between):
            super().__init__()
            torch.manual_seed(0)
            self.one, self.two, self.between = nn.Linear(4, 6), nn.Linear(6, 3), between
            with torch.no_grad():
                self.one.weight[1], self.one.bias[1], self.two.weight[:, 1] = 0, 0, 0

        def forward(self, x):
            hidden = self.between(self.one(x))
            return self.two(nn.functional.scaled_dot_product_attention(hidden, hidden, hidden))

    x = torch.randn(2, 5, 4)
    assert found_dead(Attention(nn.Tanh()), x) == {"one": [1]}
    assert found_dead(Attention(nn.Sigmoid()), x) == {}


@pytest.mark.parametrize(("equation", "gone"), [("bc,bc->bc", [1]), ("bc,bd->bc", None)])
def test_equations_tell_what_they_add_up_by_letters(equation, gone):
    """A channel is 1/2 and nothing reads it, unless a letter that is not in the result."""

    class Equation(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 3)
            with torch.no_grad():
                self.one.weight[1], self.one.bias[1], self.two.weight[:, 1] = 0, 0, 0

        def forward(self, x):
            hidden = torch.sigmoid(self.one(x))
            return self.two(torch.einsum(equation, hidden, hidden))

    assert found_dead(Equation(), X).get("one") == gone


def test_means_over_channels_are_told():
    class Normal(nn.Module):
        def __init__(self, between):
            super().__init__()
            self.one, self.two, self.between = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1), between

        def forward(self, x):
            return self.two(self.between(self.one(x)))

    class Mean(nn.Module):
        def forward(self, x):
            return x - x.mean(1, keepdim=True)

    class RootMeanSquare(nn.Module):
        def forward(self, x):
            return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-5)

    def told(between):
        network = tersor.capture(Normal(between).eval(), (torch.randn(2, 3, 4, 4),))
        return averaged(channels(network))

    assert told(nn.GroupNorm(1, 8)) == {
        "one": "group_norm (group_norm) takes a mean over them"
    }
    assert list(told(nn.GroupNorm(2, 8))) == ["one/1"]  # whole groups are none of its business
    assert told(nn.GroupNorm(8, 8)) == {}
    assert told(nn.BatchNorm2d(8)) == {}
    assert told(nn.LayerNorm((8, 4, 4))) != {}
    assert told(Mean()) == {"one": "mean (mean) takes a mean over them"}
    assert told(RootMeanSquare()) == {}


def test_under_a_mean_nothing_is_dead():
    module = Two(nn.LayerNorm(6))
    with torch.no_grad():
        module.between.weight[1], module.between.bias[1], module.two.weight[:, 1] = 0, 0, 0
    assert found_dead(module, X) == {}


def test_under_a_root_of_a_mean_of_squares_only_zeros_are_dead():
    norm = nn.RMSNorm(6, eps=1e-6)
    for between, gone in ((norm, {"one": [1]}), (nn.Sequential(nn.Sigmoid(), norm), {})):
        module = Two(between)
        with torch.no_grad():
            norm.weight[1], module.two.weight[:, 1] = 0, 0
        assert found_dead(module, X) == gone


def test_masks_and_rows_that_inputs_choose_are_unknown():
    class Chosen(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.table, self.two = nn.Embedding(7, 6, padding_idx=0), nn.Linear(6, 3)
            with torch.no_grad():
                self.table.weight[:, 1] = 0

        def forward(self, ids):
            return self.two(self.table(ids) * (ids != 0).float()[..., None])

    assert found_dead(Chosen(), torch.tensor([[1, 2, 0], [3, 4, 5]])) == {"table": [1]}


def test_statistics_are_found_by_what_they_are_not_by_their_names():
    network = convolutional()
    assert statistics(network, "running_mean") == {
        "stem_bn.running_mean",
        "deep_bn.running_mean",
    }
    assert statistics(network, "running_var") == {"stem_bn.running_var", "deep_bn.running_var"}
    assert statistics(perceptron(), "running_var") == set()
