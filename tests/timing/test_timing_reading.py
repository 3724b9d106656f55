"""The work of networks: counted against their cost, and against networks that are narrower."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from tersor.network.capture import capture
from tersor.network.cost import cost
from tersor.network.narrow import narrowed
from tersor.network.shapes import shapes
from tersor.timing.reading import Task, Tasks, works
from tersor.timing.work import Work


class Convolutions(nn.Module):
    """A residual block, a depthwise and a transposed convolution, and a linear layer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding="valid", bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding="same", dilation=2)
        self.depthwise = nn.Conv2d(8, 8, (3, 1), padding=(1, 0), groups=8)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2, groups=2)
        self.out = nn.Linear(4, 5)

    def forward(self, x):
        x = functional.relu(self.norm(self.first(x)))
        x = functional.relu6(self.second(x) + x)
        x = torch.sigmoid(self.depthwise(x))
        return self.out(self.up(x).mean((2, 3)))


class Sequences(nn.Module):
    """Attention, products of all kinds, and recurrent layers."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.query = nn.Linear(10, 12)
        self.table = nn.Parameter(torch.randn(12, 4))
        self.left = nn.Parameter(torch.randn(3, 7))

    def forward(self, x):
        x = self.query(self.lstm(x)[0])
        q = x.view(x.shape[0], 7, 3, 4).transpose(1, 2)
        x = functional.scaled_dot_product_attention(q, q, q).transpose(1, 2).flatten(2)
        y = torch.matmul(x, x.transpose(1, 2))
        return self.left @ (x @ self.table) + torch.einsum("bij,bjk->bik", y, x)[:, :3, :4]


def captured(module, *shape):
    return capture(module.eval(), (torch.randn(*shape),))


def only(module, *shape):
    """The tasks but for those that only move elements."""
    return [t.work for t in works(captured(module, *shape)) if t.work.op != "move"]


@pytest.mark.parametrize(
    "network",
    [captured(Convolutions(), 2, 3, 19, 19), captured(Sequences(), 2, 7, 6)],
    ids=["convolutions", "sequences"],
)
def test_multiplications_are_those_of_the_network(network):
    assert sum(task.work.macs for task in works(network)) == cost(network).macs


def test_convolutions_are_read_as_they_are():
    first, second, depthwise, up, linear = only(Convolutions(), 2, 3, 19, 19)
    ones, twos, none = (1, 1), (2, 2), (0, 0)
    assert first == Work(
        "conv", ((1, 3, 19, 19), (8, 3, 3, 3)), twos, none, ones, 1, "relu", is_fed=True
    )
    assert second == Work("conv", ((1, 8, 9, 9), (8, 8, 3, 3)), ones, twos, twos, 1, "clip")
    assert depthwise == Work("conv", ((1, 8, 9, 9), (8, 1, 3, 1)), ones, (1, 0), ones, 8)
    assert up == Work("conv_transpose", ((1, 8, 9, 9), (8, 2, 2, 2)), twos, none, ones, 2)
    assert linear == Work("matmul", ((1, 4), (4, 5)))


def test_recurrent_layers_are_one_work_each():
    lstms = [work for work in only(Sequences(), 2, 7, 6) if work.op == "lstm"]
    assert lstms == [
        Work("lstm", ((7, 1, 6), (2, 20, 6), (2, 20, 5)), is_fed=True),
        Work("lstm", ((7, 1, 10), (2, 20, 10), (2, 20, 5))),
    ]


def test_attention_and_products():
    found = only(Sequences(), 2, 7, 6)[3:]
    assert found == [
        Work("attention", ((1, 3, 7, 4),) * 3),
        Work("product", ((1, 7, 12), (1, 12, 7))),
        Work("matmul", ((7, 12), (12, 4))),
        Work("matmul", ((4, 7), (7, 3))),
        Work("product", ((1, 7, 7), (1, 7, 12))),
    ]


def test_batch_is_that_of_a_run():
    found = works(captured(Convolutions(), 2, 3, 19, 19), batch=5)
    assert {task.work.shapes[0][0] for task in found if task.work.op != "move"} == {5}


def test_moves_are_what_no_layer_takes_along():
    """Sigmoid reads and writes 64 channels of 30 x 30, the mean reads them."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64)

        def forward(self, x):
            x = functional.relu(self.norm(self.conv(x)))
            return torch.sigmoid(x).mean((2, 3)).view(-1, 8, 8)

    moves = [t.work for t in works(captured(Net(), 1, 3, 32, 32)) if t.work.op == "move"]
    size = 64 * 30 * 30
    assert moves == [Work("move", ((2 * size,),)), Work("move", ((size + 64,),))]


def test_a_result_that_others_read_too_is_not_folded():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 64, 3)

        def forward(self, x):
            x = self.conv(x)
            return functional.relu(x) * x

    first, relu, product = (t.work for t in works(captured(Net(), 1, 3, 32, 32)))
    size = 64 * 30 * 30
    assert first.activation == ""
    assert relu == Work("move", ((2 * size,),))
    assert product == Work("move", ((3 * size,),))


def test_padding_for_a_convolution_is_free_and_hides_no_input():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return self.conv(functional.pad(x, (0, 1, 0, 1)))

    (work,) = (t.work for t in works(captured(Net(), 1, 3, 8, 8)))
    assert work.shapes[0] == (1, 3, 9, 9)
    assert work.is_fed


def test_weights_of_large_networks_are_cold_where_they_are_used_seldom():
    deep = nn.Sequential(*[nn.Linear(1024, 1024) for _ in range(3)])
    assert [w.is_cold for w in only(deep, 1, 8, 1024)] == [True] * 3
    assert [w.is_cold for w in only(deep, 1, 300, 1024)] == [False] * 3
    assert [w.is_cold for w in only(deep[:2], 1, 8, 1024)] == [False] * 2


@pytest.mark.parametrize("factor", [0.75, 0.5])
def test_changed_sizes_give_the_tasks_of_the_narrower_network(factor):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
            self.c, self.d = nn.Conv2d(16, 16, 3, groups=16), nn.Linear(16, 10)

        def forward(self, x):
            x = functional.relu(self.a(x))
            x = torch.tanh(self.b(x) + x)
            return self.d(self.c(x).mean((2, 3)))

    network = captured(Net(), 2, 3, 32, 32)
    narrow = narrowed(network, factor)
    old, new = ({k: s for k, (s, _) in shapes(n).items()} for n in (network, narrow))
    changed = {
        name: {i: size for i, size in enumerate(new[name]) if size != old[name][i]}
        for name in old
    }
    read = Tasks(network, batch=4)
    assert read(changed) == works(narrow, batch=4)
    assert read() == works(network, batch=4)
    assert works(network, 4, changed) == read(changed)


def test_only_the_first_layer_is_fed():
    found = works(captured(nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 6)), 1, 4))
    assert found == [
        Task("linear", Work("matmul", ((1, 4), (4, 5)), is_fed=True)),
        Task("linear_1", Work("matmul", ((1, 5), (5, 6)))),
    ]
