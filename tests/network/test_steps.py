"""Recurrent layers may be captured for any number of steps."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from tersor.errors import ModelError
from tersor.export.onnx import to_onnx
from tersor.network.capture import capture
from tersor.network.check import check
from tersor.network.steps import any_steps

aten = torch.ops.aten
CELLS = {
    "lstm": lambda **given: nn.LSTM(6, 8, **given),
    "lstm projected": lambda **given: nn.LSTM(6, 8, proj_size=3, **given),
    "gru": lambda **given: nn.GRU(6, 8, **given),
    "rnn": lambda **given: nn.RNN(6, 8, **given),
}


class First(nn.Module):
    """The states after every step."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, x):
        return self.cell(x)[0]


@pytest.mark.parametrize("steps_first", [False, True])
@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_the_number_of_steps_may_vary(cell, both_ways, steps_first):
    made = CELLS[cell](
        num_layers=2, bidirectional=both_ways, batch_first=not steps_first
    ).eval()
    axis = 0 if steps_first else 1
    network = capture(
        First(made),
        torch.randn(3, 5, 6),
        dynamic_batch=not steps_first,
        dynamic={"x": {axis: "steps"}},
    )
    (port,) = network.inputs
    assert port.shape[axis] == "steps"
    check(network)
    x = torch.randn(3, 9, 6) if not steps_first else torch.randn(9, 5, 6)
    wanted = made(x)[0].detach().numpy()
    (found,) = network.run({"x": x.numpy()}).values()
    # sums of 8 + 6 products in float32, 2 layers of 9 steps; tanh and sigmoid do not amplify
    assert np.abs(found - wanted).max() <= 2 * 9 * 14 * 2.0**-24
    if cell != "lstm projected":  # ONNX's LSTM has no projection
        session = onnxruntime.InferenceSession(to_onnx(network))
        (found,) = session.run(None, {"x": x.numpy()})
        assert np.abs(found - wanted).max() <= 2 * 9 * 14 * 2.0**-22


def test_torch_is_left_as_it_was():
    before = dict(aten.lstm.input.py_kernels)
    with any_steps():
        assert aten.lstm.input.py_kernels != before
    assert aten.lstm.input.py_kernels == before


def test_a_number_of_steps_that_the_model_fixes_is_still_told():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.GRU(6, 8, batch_first=True)

        def forward(self, x):
            return self.cell(x)[0].reshape(-1, 40)

    with pytest.raises(ModelError, match="the model fixes it at 5"):
        capture(Fixed(), torch.randn(3, 5, 6), dynamic={"x": {1: "steps"}})
