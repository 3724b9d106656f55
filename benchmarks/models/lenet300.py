"""LeNet-300-100 for MNIST: 784 pixels, 300 and 100 hidden units with ReLU, 10 scores.

Source: LeCun et al., "Gradient-based learning applied to document recognition", Proceedings of
the IEEE 86 (1998), section III.C.4.
"""

import torch
from torch import nn


class LeNet300(nn.Module):
    """Three linear layers, 266,610 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(784, 300)
        self.fc2 = nn.Linear(300, 100)
        self.fc3 = nn.Linear(100, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(n, 1, 28, 28) in [0, 1] to (n, 10) scores."""
        hidden = torch.relu(self.fc1(image.flatten(1)))
        scores: torch.Tensor = self.fc3(torch.relu(self.fc2(hidden)))
        return scores
