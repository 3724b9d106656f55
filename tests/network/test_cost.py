import json

import pytest
import torch
from capture_models import Transformer
from torch import fx, nn

from tersor.codes.affine import Affine
from tersor.network.capture import capture
from tersor.network.cost import cost, describe
from tersor.network.network import Network, Port
from tersor.testing.networks import convolutional, perceptron

aten = torch.ops.aten
VIEW = aten.view.default


def macs(module, *example):
    return cost(capture(module, example)).macs


@pytest.mark.parametrize(
    ("module", "shape", "wanted"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), (2, 3, 5, 5), 8 * 25 * 3 * 9),
        (nn.Conv2d(4, 8, 3, stride=2, groups=2), (2, 4, 7, 7), 8 * 9 * 2 * 9),
        (nn.Conv1d(4, 4, 3, groups=4), (2, 4, 7), 4 * 5 * 3),
        (nn.Conv3d(1, 2, 2), (2, 1, 3, 3, 3), 2 * 8 * 8),
        (nn.ConvTranspose2d(4, 6, 3, groups=2), (2, 4, 5, 5), 4 * 25 * 3 * 9),
        (nn.Linear(6, 7), (2, 6), 42),
        (nn.Linear(6, 7), (2, 3, 6), 3 * 42),
        (nn.BatchNorm1d(6), (2, 6), 0),
        (nn.LSTM(3, 4, batch_first=True), (2, 5, 3), 5 * (16 * 3 + 16 * 4)),
    ],
)
def test_macs_worked_by_hand(module, shape, wanted):
    assert macs(module.eval(), torch.randn(shape)) == wanted


class Products(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward(self, a, b):
        if self.how == "einsum":
            return torch.einsum("bij,bkj->bik", a, b)
        if self.how == "dots":
            return torch.einsum("...ij,...kj->...ik", a, b)
        if self.how == "matmul":
            return a @ b.transpose(1, 2)
        return nn.functional.scaled_dot_product_attention(a, b, b)


@pytest.mark.parametrize(
    ("how", "wanted"),
    [("einsum", 24 * 5), ("dots", 24 * 5), ("matmul", 24 * 5), ("attention", 2 * 24 * 5)],
)
def test_products_of_activations_count(how, wanted):
    """(4, 5) times (6, 5) transposed: 24 sums of 5."""
    assert macs(Products(how), torch.randn(2, 4, 5), torch.randn(2, 6, 5)) == wanted


def test_a_perceptron_adds_up():
    found = cost(perceptron())
    assert found.parameters == (12 + 1) * 32 + (32 + 1) * 16 + (16 + 1) * 3
    assert found.macs == 12 * 32 + 32 * 16 + 16 * 3
    assert found.weight_bytes == 4 * found.parameters


def test_running_statistics_are_bytes_but_no_parameters():
    norm = cost(convolutional()).layers[1]
    assert (norm.layer.name, norm.parameters, norm.weight_bytes) == ("stem_bn", 16, 4 * 32)


def test_tied_weights_count_once():
    module = Transformer()
    found = cost(capture(module, torch.zeros(2, 4, dtype=torch.int64)))
    assert found.parameters == sum(p.numel() for p in module.parameters())
    assert found.layers[-1].parameters == 0


def test_a_tensor_of_no_layer_is_in_the_totals():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.ones(5))
            self.register_buffer("fixed", torch.ones(5))

        def forward(self, x):
            return x + self.shift * self.fixed

    found = cost(capture(Shifted(), torch.randn(2, 5)))
    assert (found.layers, found.parameters, found.weight_bytes) == ((), 5, 40)


def test_a_code_counts_what_the_file_stores():
    network = perceptron().copy()
    code = Affine.encode(network.tensor("first.weight"), axis=0)
    network.set_code("first.weight", code)
    first = cost(network).layers[0]
    stored = sum(array.nbytes for array in code.symbols().values())
    assert first.weight_bytes == stored + 4 * 32
    assert first.parameters == 13 * 32


def chain(*steps):
    """x (batch, 100) through operations, each on the one before."""
    graph = fx.Graph()
    nodes = [graph.placeholder("x")]
    for target, *args in steps:
        given = [nodes[a] if isinstance(a, int) else a for a in args]
        nodes.append(graph.call_function(target, tuple(given)))
    graph.output((nodes[-1],))
    port = Port("x", ("batch", 100), "float32")
    return Network(fx.GraphModule(nn.Module(), graph), (port,), (port,))


@pytest.mark.parametrize(
    ("steps", "tensors"),
    [
        ([(aten.relu.default, 0)], 2),
        ([(aten.relu.default, 0), (aten.relu.default, 1), (aten.relu.default, 2)], 2),
        ([(aten.relu.default, 0), (VIEW, 1, [-1]), (VIEW, 2, [-1, 4])], 2),
        ([(aten.relu.default, 0), (aten.relu.default, 1), (aten.add.Tensor, 0, 2)], 3),
        ([(aten.view.default, 0, [-1]), (aten.relu.default, 1), (aten.add.Tensor, 0, 2)], 3),
    ],
    ids=["one", "chain", "views are free", "shortcut stays", "view keeps its base"],
)  # fmt: skip
def test_peak_memory_worked_by_hand(steps, tensors):
    assert cost(chain(*steps)).peak_activation_bytes == 400 * tensors


def test_description_is_json_and_its_shares_add_up():
    found = json.loads(json.dumps(describe(convolutional()), allow_nan=False))
    assert found["inputs"] == [{"name": "x", "shape": ["batch", 3, 8, 8], "dtype": "float32"}]
    for share in ("share_parameters", "share_macs", "share_bytes"):
        assert sum(row[share] for row in found["layers"]) == pytest.approx(1)
    stem, norm = found["layers"][:2]
    assert (stem["compressible"], stem["reason"]) == (True, None)
    assert (norm["compressible"], norm["reason"]) == (False, "it has one number per channel")
    assert stem["output_shape"] == [1, 8, 8, 8]
    assert found["totals"]["macs"] == sum(row["macs"] for row in found["layers"])
    assert found["peak_activation_bytes"] >= 2 * 8 * 8 * 8 * 4


def test_a_network_without_products_has_no_shares():
    assert cost(chain((aten.relu.default, 0))).macs == 0
    assert (
        describe(capture(nn.BatchNorm1d(3), torch.randn(2, 3)))["layers"][0]["share_macs"]
        is None
    )
