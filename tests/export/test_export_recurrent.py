"""Recurrent layers on ONNX Runtime give what PyTorch gives, with weights held by codes too."""

import onnx
import pytest
import torch
from torch import nn

from tersor.codes.affine import Affine
from tersor.codes.codebook import Codebook
from tersor.errors import ModelError
from tersor.export.onnx import to_onnx
from tersor.network.capture import capture
from tersor.network.from_onnx.reader import read

X = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))


def net(kind, **more):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return kind(4, 6, batch_first=True, **more)


class Flat(nn.Module):
    """All results of a layer as a flat tuple."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        y, state = self.layer(x)
        return (y, *state) if isinstance(state, tuple) else (y, state)


CASES = {
    "lstm": (nn.LSTM, {}),
    "lstm of two layers, both ways": (nn.LSTM, {"num_layers": 2, "bidirectional": True}),
    "lstm without bias": (nn.LSTM, {"bias": False}),
    "gru": (nn.GRU, {}),
    "gru of two layers": (nn.GRU, {"num_layers": 2}),
    "gru, both ways": (nn.GRU, {"bidirectional": True}),
    "rnn": (nn.RNN, {}),
    "rnn of relu": (nn.RNN, {"nonlinearity": "relu"}),
}


@pytest.mark.parametrize("case", CASES)
def test_layers_agree_with_onnx_runtime(case, run_onnx, assert_close):
    kind, more = CASES[case]
    network = capture(Flat(net(kind, **more)), X)
    data = to_onnx(network)
    proto = onnx.load_from_string(data)
    kinds = [n.op_type for n in proto.graph.node]
    assert kind.__name__ in kinds
    assert "Split" not in kinds  # weights are stored in ONNX's order
    for batch in (2, 4):
        feeds = {network.inputs[0].name: X[:1].repeat(batch, 1, 1).numpy()}
        assert_close(run_onnx(data, feeds), network.run(feeds), 64)


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_integers_of_gates_are_stored_in_the_order_of_onnx(axis, run_onnx, assert_close):
    network = capture(Flat(net(nn.LSTM)), X).copy()
    for name in ("layer.weight_ih_l0", "layer.weight_hh_l0"):
        network.set_code(name, Affine.encode(network.tensor(name), axis=axis))
    data = to_onnx(network)
    feeds = {network.inputs[0].name: X.numpy()}
    assert_close(run_onnx(data, feeds), network.run(feeds), 64)
    kinds = [n.op_type for n in onnx.load_from_string(data).graph.node]
    assert kinds.count("DequantizeLinear") == 2
    assert "Split" not in kinds
    assert_close(read(data).run(feeds), network.run(feeds), 64)


def test_shared_values_of_gates_are_stored_in_the_order_of_onnx(run_onnx, assert_close):
    network = capture(Flat(net(nn.LSTM)), X).copy()
    for name in ("layer.weight_ih_l0", "layer.weight_hh_l0"):
        code = Codebook.encode(network.tensor(name), torch.linspace(-1, 1, 9))
        network.set_code(name, code)
    data = to_onnx(network)
    feeds = {network.inputs[0].name: X.numpy()}
    assert_close(run_onnx(data, feeds), network.run(feeds), 64)
    kinds = [n.op_type for n in onnx.load_from_string(data).graph.node]
    assert kinds.count("Gather") == 2
    assert "Split" not in kinds
    assert_close(read(data).run(feeds), network.run(feeds), 64)


def test_a_weight_of_two_layers_is_stored_once(run_onnx, assert_close):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.GRU(4, 4)

        def forward(self, x):
            return self.layer(self.layer(x)[0])[0]

    network = capture(Twice(), X)
    data = to_onnx(network)
    names = [t.name for t in onnx.load_from_string(data).graph.initializer]
    assert names.count("layer.weight_ih_l0") == 1
    feeds = {network.inputs[0].name: X.numpy()}
    assert_close(run_onnx(data, feeds), network.run(feeds), 64)


def test_projections_are_refused_with_what_to_do():
    """ONNX Runtime refuses what torch.onnx writes of them."""
    with pytest.raises(ModelError, match=r"proj_size.*put an nn\.Linear behind the layer"):
        to_onnx(capture(Flat(nn.LSTM(4, 6, proj_size=2)), X))
