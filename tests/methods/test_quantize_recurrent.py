"""Recurrent layers whose weights are held by integers, on engines."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tersor.engines import find
from tersor.export.onnx import to_onnx
from tersor.methods.quantize.static import QuantizeStatic
from tersor.methods.quantize.weights import QuantizeWeights
from tersor.network.capture import capture
from tersor.network.cost import cost
from tersor.network.network import Network
from tersor.testing.networks import samples_for

KINDS = {
    "lstm": (nn.LSTM, {}),
    "gru_two_layers": (nn.GRU, {"num_layers": 2}),
    "lstm_both_ways": (nn.LSTM, {"bidirectional": True}),
    "gru_without_bias": (nn.GRU, {"bias": False}),
}


class Tagger(nn.Module):
    def __init__(self, kind, settings):
        super().__init__()
        torch.manual_seed(0)
        self.cell = kind(6, 8, batch_first=True, **settings)
        self.head = nn.Linear(16 if settings.get("bidirectional") else 8, 3)

    def forward(self, x):
        return self.head(self.cell(x)[0])


def tagger(name) -> Network:
    return capture(Tagger(*KINDS[name]), torch.randn(3, 5, 6), output_names=["y"])


def feeds(batch, steps):
    x = np.random.default_rng(1).standard_normal((batch, steps, 6))
    return {"x": x.astype(np.float32)}


@pytest.mark.parametrize("name", KINDS)
def test_every_matrix_moves_by_half_a_step_of_its_row_at_most(name):
    network = tagger(name)
    result = QuantizeWeights(minimum=0).apply(network)
    matrices = [n for n, t in network.module.state_dict().items() if t.ndim == 2]
    assert len(matrices) >= 3
    for path in matrices:
        assert result.is_coded(path)
        was, now = (n.tensor(path).detach().numpy() for n in (network, result))
        half = np.abs(was).max(1, keepdims=True) / 127 / 2
        assert (np.abs(now - was) <= half * (1 + 1e-5)).all()


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("name", KINDS)
def test_engines_compute_what_the_workshop_does_for_any_batch(name, engine):
    result = QuantizeWeights(minimum=0).apply(tagger(name))
    session = find(engine).prepare(to_onnx(result), threads=1)
    for given in (feeds(1, 5), feeds(4, 5)):
        wanted, found = result.run(given)["y"], session.run(given)["y"]
        # 5 steps of gates that are sums of 14 products, each an input of the next
        np.testing.assert_allclose(found, wanted, rtol=0, atol=5 * 14 * 4 * 2**-24)


def test_the_file_holds_all_matrices_as_integers():
    graph = onnx.load_from_string(
        to_onnx(QuantizeWeights(minimum=0).apply(tagger("lstm")))
    ).graph
    floats = [t for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    assert all(np.prod(t.dims) <= 64 for t in floats)  # scales and biases
    assert (
        sum(
            t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1 for t in graph.initializer
        )
        == 3
    )


def test_static_rounding_leaves_them_float_and_says_so():
    network = tagger("lstm")
    samples = samples_for(network)
    notes = {n.layer: n for n in QuantizeStatic().apply(network, samples).notes}
    assert notes["head"].done
    assert notes["cell.weight_ih_l0"].text == "lstm has no integer kernel"


def test_each_matrix_counts_its_own_cost():
    rows = {row.layer.name: row for row in cost(tagger("lstm")).layers}
    assert rows["cell.weight_ih_l0"].macs == 5 * 32 * 6  # steps of one sample
    assert rows["cell.weight_hh_l0"].macs == 5 * 32 * 8
    assert rows["cell.weight_ih_l0"].parameters == 32 * 6 + 32
    assert cost(tagger("lstm")).parameters == sum(
        p.numel() for p in Tagger(*KINDS["lstm"]).parameters()
    )
