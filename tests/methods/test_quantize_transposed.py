"""Transposed convolutions in integers, with and without groups, as engines run them."""

import numpy as np
import pytest
import torch
from torch import nn

from tersor.data.samples import Samples
from tersor.engines import find
from tersor.export.onnx import to_onnx
from tersor.methods.quantize.static import QuantizeStatic
from tersor.network.capture import capture

ALL = QuantizeStatic(min_sqnr_db=-1000.0)


def upsampling(groups, *, bias=True):
    """Convolution, transposed convolution, convolution; its channels differ 30-fold."""
    torch.manual_seed(0)
    up = nn.ConvTranspose2d(
        8, 8, 3, stride=2, padding=1, output_padding=1, groups=groups, bias=bias
    )
    with torch.no_grad():
        channels = up.weight.shape[1]
        up.weight *= torch.logspace(0, -1.5, channels).reshape(1, -1, 1, 1)
    first, last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)
    module = nn.Sequential(first, nn.ReLU(), up, nn.ReLU(), last).eval()
    return capture(module, (torch.zeros(1, 3, 8, 8),))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 4, 8])
def test_engines_compute_what_the_network_does(engine, groups, bias):
    """Off by less than a tenth of what rounding costs: the kernels' own roundings."""
    network = upsampling(groups, bias=bias)
    name = network.inputs[0].name
    inputs = np.random.default_rng(0).standard_normal((16, 3, 8, 8)).astype(np.float32)
    made = ALL.apply(network, Samples({name: inputs}))
    done = {note.layer: note.done for note in made.notes}
    assert done["2"]
    feeds = {name: inputs[:1]}
    session = find(engine).prepare(to_onnx(made), threads=1, precision="f32")
    ((found,), (wanted,), (exact,)) = (
        run(feeds).values() for run in (session.run, made.run, network.run)
    )
    cost = np.abs(wanted - exact).max()
    assert 0 < cost < 0.1 * np.abs(exact).max()
    assert np.abs(found - wanted).max() < 0.1 * cost


@pytest.mark.parametrize("groups", [1, 2, 4, 8])
def test_biases_have_the_scale_of_their_own_channel(groups):
    """Channel o has the scale of column o mod (channels / groups) of the weight."""
    network = upsampling(groups)
    name = network.inputs[0].name
    inputs = np.random.default_rng(0).standard_normal((8, 3, 8, 8)).astype(np.float32)
    made = ALL.apply(network, Samples({name: inputs}))
    weight, bias = made.code("2.weight"), made.code("2.bias")
    ratio = bias.scale / weight.scale.repeat(8 // len(weight.scale))
    assert bias.scale.shape == (8,)
    assert np.allclose(ratio.numpy(), ratio[0].item(), rtol=1e-6)
