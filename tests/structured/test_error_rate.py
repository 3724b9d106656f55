"""How errors are counted."""

import numpy as np
import pytest
import torch
from benchmarks import error_rate
from torch import nn

import tersor
from tersor.data.samples import Samples


@pytest.mark.parametrize("batch", [3, 8, 200])
def test_the_error_is_the_share_of_those_whose_largest_score_is_another_class(
    batch, monkeypatch
):
    """Scores are the inputs: of eight samples three are wrong."""
    monkeypatch.setattr(error_rate, "_BATCH", batch)
    layer = nn.Linear(3, 3, bias=False)
    layer.weight = nn.Parameter(torch.eye(3))
    network = tersor.capture(layer, (torch.zeros(2, 3),))
    scores = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2, 0, 1]]
    samples = Samples({"input": scores}, np.array([0, 1, 2, 1, 1, 2, 2, 0]))
    assert error_rate.error(network, samples) == 100 * 3 / 8
