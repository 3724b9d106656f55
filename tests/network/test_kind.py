"""The kind of a network is what does most of its work."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from tersor.errors import UnsupportedError
from tersor.network import kind as kind_module
from tersor.network.capture import capture
from tersor.network.kind import kind_of
from tersor.testing import networks


class ByHand(nn.Module):
    """Attention written out, with a mask, between a convolution and a linear layer."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.entry = nn.Conv1d(4, channels, 3, padding=1)
        self.across = nn.Linear(channels, width)
        self.exit = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 4, 8) to (n, 8, width)."""
        x = self.across(self.entry(x).transpose(1, 2))
        scores = x @ x.transpose(1, 2) * 0.5
        seen = torch.ones(8, 8, dtype=torch.bool).tril()
        chances = functional.softmax(scores.masked_fill(~seen, -1e4), -1)
        y: torch.Tensor = self.exit(functional.dropout(chances, 0.1, self.training) @ x)
        return y


class Steps(nn.Module):
    """A recurrent network whose last state is mapped to many classes."""

    def __init__(self, cell: type[nn.Module]) -> None:
        super().__init__()
        self.cell = cell(6, 8, batch_first=True)
        self.head = nn.Linear(8, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 5, 6) to (n, 1000)."""
        y: torch.Tensor = self.head(self.cell(x)[0][:, -1])
        return y


def by_hand(channels: int, width: int) -> str:
    return kind_of(capture(ByHand(channels, width), torch.randn(2, 4, 8))).name


def test_an_encoder_is_a_transformer_and_the_reason_says_by_what():
    # for one token: linear layers 4 * 16 * 16 + 2 * 16 * 32, attention 2 * 16; no others
    assert kind_of(networks.encoder()) == kind_module.Kind(
        "transformer",
        "It has attention in one place; that and linear layers do 100% of the "
        "multiplications.",
    )


def test_an_encoder_with_its_attention_written_out_is_a_transformer():
    assert by_hand(channels=4, width=32) == "transformer"


def test_a_convolutional_network_with_some_attention_stays_one():
    # per sample: conv 8 * 512 * 12; linear 8 * (512 * 2 + 4), attention 2 * 8 * 8 * 2
    assert by_hand(channels=512, width=2) == "convolutional"


def test_convolutions_are_told_with_their_share():
    # 64 * 8 * 27 + 64 * 8 * 72 + 16 * 8 * 9 of these and 16 * 5 are 99.8 %
    found = kind_of(networks.convolutional())
    assert (found.name, found.why) == (
        "convolutional",
        "Convolutions do 100% of the multiplications.",
    )


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_count_however_large_the_head_is(cell):
    found = kind_of(capture(Steps(cell), torch.randn(2, 5, 6)))
    gates = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}[cell]
    own = 5 * gates * 8 * (6 + 8)
    share = own / (own + 8000)
    assert (found.name, found.why) == (
        "recurrent",
        f"LSTM, GRU or RNN layers do {share:.0%} of the multiplications.",
    )


def test_tables_of_embeddings_count_by_their_parameters():
    bag = nn.Sequential(nn.Embedding(100, 8), nn.Flatten(), nn.Linear(24, 4))
    found = kind_of(capture(bag, torch.zeros(2, 3, dtype=torch.long), dynamic={}))
    assert (found.name, found.why) == (
        "embedding",
        f"Tables of embeddings hold {800 / 900:.0%} of the parameters.",
    )


def test_anything_else_is_other():
    assert kind_of(networks.perceptron()).name == "other"


def test_a_network_without_a_layer_is_other():
    assert kind_of(capture(nn.ReLU(), torch.randn(2, 3))).name == "other"


def test_what_cannot_be_told_is_other_and_says_why(monkeypatch):
    def refuse(_: object) -> None:
        problem = "has a size that depends on values"
        raise UnsupportedError(node="found", op="nonzero", opset="aten", problem=problem)

    monkeypatch.setattr(kind_module, "cost", refuse)
    found = kind_of(networks.encoder())
    assert found.name == "other"
    assert found.why == (
        "Where its work is done cannot be told: Node 'found': nonzero (aten) has a size that "
        "depends on values."
    )


def test_a_softmax_that_is_not_multiplied_is_no_attention():
    module = nn.Sequential(nn.Linear(6, 6), nn.Softmax(-1))
    assert kind_of(capture(module, torch.randn(2, 6))).name == "other"
