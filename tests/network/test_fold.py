import copy
import warnings

import pytest
import torch
from capture_models import Residual
from torch import nn

from tersor.codes.affine import Affine
from tersor.codes.masked import Masked
from tersor.network.capture import capture
from tersor.network.check import check
from tersor.network.exported import network_of
from tersor.network.fold import fold_batch_norm
from tersor.network.modes import set_training
from tersor.testing.networks import convolutional

EPS = 2.0**-24


def randomized(module):
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            if part.affine:
                nn.init.normal_(part.weight)
                nn.init.normal_(part.bias)
    return module.eval()


def count(network, name):
    return sum(f"aten.{name}." in str(n.target) for n in network.graph.nodes)


def error(network, folded, x):
    """Largest difference from the network in float64, and the largest result."""
    with torch.no_grad():
        (found,) = folded.module(x)
        (wanted,) = copy.deepcopy(network).module.double()(x.double())
    return float((found - wanted).abs().max()), float(wanted.abs().max())


CASES = {
    "conv1d": (nn.Conv1d(4, 6, 3, bias=False), nn.BatchNorm1d(6), (2, 4, 9)),
    "conv2d with bias": (nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), (2, 4, 9, 9)),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6), (2, 4, 9, 9)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4), nn.BatchNorm2d(8), (2, 4, 9, 9)),
    "conv3d": (nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3), (2, 2, 4, 4, 4)),
    "without affine": (nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6, affine=False), (2, 4, 9, 9)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3), nn.BatchNorm2d(6), (2, 4, 5, 5)),
    "transposed in groups": (
        nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False),
        nn.BatchNorm2d(6),
        (2, 4, 5, 5),
    ),
    "linear": (nn.Linear(4, 6), nn.BatchNorm1d(6), (5, 4)),
    "linear without bias": (nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), (5, 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_folding_keeps_what_is_computed(name):
    layer, norm, shape = copy.deepcopy(CASES[name])
    network = capture(randomized(nn.Sequential(layer, norm)), torch.randn(shape))
    folded = fold_batch_norm(network)
    check(folded)
    assert count(folded, "batch_norm") == 0
    assert set(folded.module.state_dict()) == {"0.weight", "0.bias"}
    x = torch.randn(3, *shape[1:])
    # sums of |w| |x| of at most 40 terms stay below 40 times the largest result here
    difference, largest = error(network, folded, x)
    assert difference <= 40 * 40 * EPS * largest


class Product(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(4, 6))
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x):
        return self.norm(x @ self.w)


def test_a_product_gets_a_bias():
    network = capture(randomized(Product()), torch.randn(3, 4))
    folded = fold_batch_norm(network)
    check(folded)
    assert set(folded.module.state_dict()) == {"w", "w_bias"}
    assert count(folded, "addmm") == 1
    difference, largest = error(network, folded, torch.randn(5, 4))
    assert difference <= 40 * 40 * EPS * largest


def test_decomposed_normalization_folds_too():
    module = randomized(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    with warnings.catch_warnings(action="ignore"):  # torch warns itself of its own classes
        program = torch.export.export(module, (torch.randn(2, 3, 5, 5),))
        program = program.run_decompositions({})
    folded = fold_batch_norm(network_of(program, ["x"], ["y"]))
    assert set(folded.module.state_dict()) == {"0.weight", "0.bias"}


def test_a_residual_block_folds_both():
    network = capture(randomized(Residual()), torch.randn(2, 4, 8, 8))
    folded = fold_batch_norm(network)
    assert count(folded, "batch_norm") == 0
    difference, largest = error(network, folded, torch.randn(3, 4, 8, 8))
    assert difference <= 2 * 40 * 40 * EPS * largest


def test_the_network_itself_stays():
    network = convolutional()
    before = {n: t.clone() for n, t in network.module.state_dict().items()}
    code = network.module.code
    fold_batch_norm(network)
    assert network.module.code == code
    after = network.module.state_dict()
    assert all(torch.equal(after[n], t) for n, t in before.items())


class Twice(nn.Module):
    """What must not be folded."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        if self.how == "result read twice":
            return self.norm(y) + y
        if self.how == "weight read twice":
            return self.norm(y) + self.conv(x + 1)
        return self.norm(y.relu())


@pytest.mark.parametrize(
    "how", ["result read twice", "weight read twice", "something between"]
)
def test_what_others_need_stays(how):
    network = capture(randomized(Twice(how)), torch.randn(2, 3, 4, 4))
    assert fold_batch_norm(network).module.code == network.module.code


def test_normalization_of_another_axis_stays():
    """After a linear layer on (n, 6, 4) it is axis 1 that is normalized, not the last."""
    module = randomized(nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6)))
    network = capture(module, torch.randn(2, 6, 5))
    assert count(fold_batch_norm(network), "batch_norm") == 1


def test_training_mode_stays():
    network = set_training(convolutional(), training=True)
    assert count(fold_batch_norm(network), "batch_norm") == 2


@pytest.mark.parametrize("name", ["conv2d with bias", "depthwise", "transposed", "linear"])
def test_zeros_that_stay_are_folded_and_stay(name):
    layer, norm, shape = copy.deepcopy(CASES[name])
    network = capture(randomized(nn.Sequential(layer, norm)), torch.randn(shape))
    weight = network.tensor("0.weight").detach()
    mask = torch.rand(weight.shape) < 0.5
    network.set_code("0.weight", Masked.encode(weight, mask))
    folded = fold_batch_norm(network)
    check(folded)
    assert count(folded, "batch_norm") == 0
    code = folded.code("0.weight")
    assert isinstance(code, Masked)
    assert torch.equal(code.mask, mask)
    assert torch.equal(network.code("0.weight").weight, weight)
    difference, largest = error(network, folded, torch.randn(3, *shape[1:]))
    assert difference <= 40 * 40 * EPS * largest


def test_a_code_stays():
    network = convolutional().copy()
    network.set_code("stem.weight", Affine.encode(network.tensor("stem.weight"), axis=0))
    assert count(fold_batch_norm(network), "batch_norm") == 1


class Padded(nn.Module):
    def __init__(self, pads, value=0.0, mode="constant"):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, padding=(1, 0))
        self.pads, self.value, self.mode = pads, value, mode

    def forward(self, x):
        return self.conv(nn.functional.pad(x, self.pads, self.mode, self.value))


def test_a_padding_of_zeros_becomes_the_convolutions():
    module = Padded((2, 2, 1, 1)).eval()
    network = capture(module, torch.randn(2, 3, 6, 6))
    folded = fold_batch_norm(network)
    assert count(folded, "pad") == 0
    x = torch.randn(2, 3, 6, 6)
    assert error(network, folded, x)[0] <= 27 * EPS * 27


@pytest.mark.parametrize(
    "pads",
    [
        Padded((1, 2, 0, 0)),
        Padded((1, 1, 1, 1), 0.5),
        Padded((1, 1, 1, 1), None, "reflect"),
        Padded((-1, -1, 0, 0)),
    ],
    ids=["one side", "not zero", "reflected", "cut"],
)
def test_other_paddings_stay(pads):
    network = capture(pads.eval(), torch.randn(2, 3, 6, 6))
    assert count(fold_batch_norm(network), "pad") == 1
