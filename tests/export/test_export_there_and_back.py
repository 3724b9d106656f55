"""What is exported can be read back: same names, same results."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tersor.export.onnx import to_onnx
from tersor.methods.quantize.static import EXAMPLE
from tersor.network.capture import capture
from tersor.network.from_onnx.reader import read
from tersor.testing.networks import convolutional, perceptron, samples_for


def transformer():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
        return capture(layer, torch.randn(2, 5, 8))


def quantized():
    return EXAMPLE.apply(convolutional(), samples_for(convolutional()))


NETWORKS = {f.__name__: f for f in (convolutional, perceptron, transformer, quantized)}


@pytest.mark.parametrize("name", NETWORKS)
def test_reading_gives_back_names_and_results(name, assert_close):
    network = NETWORKS[name]()
    back = read(to_onnx(network))
    assert back.inputs == network.inputs
    assert back.outputs == network.outputs
    rng = np.random.default_rng(0)
    for size in (1, 3):
        shapes = {p.name: p.concrete(size) for p in network.inputs}
        feeds = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
        assert_close(back.run(feeds), network.run(feeds), 200)


@pytest.mark.parametrize("name", ["convolutional", "perceptron", "transformer"])
def test_what_was_read_is_exported_to_the_same_results(name, run_onnx, assert_close):
    back = read(to_onnx(NETWORKS[name]()))
    rng = np.random.default_rng(1)
    shapes = {p.name: p.concrete(3) for p in back.inputs}
    feeds = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    assert_close(run_onnx(to_onnx(back), feeds), back.run(feeds), 200)


def integers(data):
    """The stored integers of weights and biases, by name."""
    stored = onnx.load_from_string(data).graph.initializer
    kinds = {onnx.TensorProto.INT8, onnx.TensorProto.INT32}
    return {t.name: t.raw_data for t in stored if t.data_type in kinds and t.dims}


def test_integers_survive_the_way_there_and_back():
    data = to_onnx(quantized())
    again = to_onnx(read(data))
    assert sorted(integers(again).values()) == sorted(integers(data).values())
    assert len(integers(data)) >= 4


def test_weights_keep_their_names():
    network = convolutional()
    kept = set(read(to_onnx(network)).module.state_dict())
    assert kept >= {n for n, t in network.module.state_dict().items() if t.ndim > 1}
