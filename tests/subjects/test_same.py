"""TensorFlow's padding, against its definition."""

import numpy as np
import pytest
import torch
from benchmarks.models.same import same
from torch import nn


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "before", "after"),
    [
        (8, 3, 1, 1, 1),
        (8, 3, 2, 0, 1),  # even size: nothing before
        (7, 3, 2, 1, 1),
        (8, 1, 2, 0, 0),
        (9, 5, 3, 1, 1),
        (8, 2, 1, 0, 1),
    ],
)
def test_zeros_before_and_after(size, kernel, stride, before, after):
    conv = nn.Conv2d(1, 1, kernel, stride)
    x = torch.arange(size * size, dtype=torch.float32).reshape(1, 1, size, size)
    padded = np.pad(x.numpy(), [(0, 0), (0, 0), (before, after), (before, after)])
    with torch.inference_mode():
        wanted, found = conv(torch.from_numpy(padded)), same(conv, x)
    assert found.shape[-1] == -(-size // stride)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)
