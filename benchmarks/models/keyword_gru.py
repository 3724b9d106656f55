"""A keyword spotter of one GRU of 96 units for ten spoken digits: 38,410 weights.

Features are normalised by the mean and deviation of the training set, which the network holds;
the mean of the states over all frames goes through a linear layer. Trained by
`python -m benchmarks.train_keyword_gru`; the weights beside this file are those of seed 0.

Source: Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical
machine translation", arXiv:1406.1078.
"""

from pathlib import Path

import torch
from torch import nn

from benchmarks.features import MELS
from benchmarks.models.weights import fill

WEIGHTS = Path(__file__).with_suffix(".npz")
UNITS = 96


class KeywordGru(nn.Module):
    """Frames to scores of digits."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(MELS))
        self.register_buffer("deviation", torch.ones(MELS))
        self.gru = nn.GRU(MELS, UNITS, batch_first=True)
        self.classifier = nn.Linear(UNITS, 10)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(n, frames, mels) logarithms of energies to (n, 10) scores."""
        states, _ = self.gru((features - self.mean) / self.deviation)
        scores: torch.Tensor = self.classifier(states.mean(dim=1))
        return scores


def pretrained() -> KeywordGru:
    """The network with the weights of seed 0."""
    model = KeywordGru()
    fill(model, WEIGHTS)
    return model
