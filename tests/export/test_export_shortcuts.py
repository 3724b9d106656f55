"""Strided slices and paddings of channels between codes are written as convolutions."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from tersor.data.samples import Samples
from tersor.export import onnx as export
from tersor.export.onnx import to_onnx
from tersor.export.shortcuts import convolve_shortcuts
from tersor.export.writer import Writer
from tersor.methods.quantize.static import QuantizeStatic
from tersor.network.capture import capture

CHANNELS = (0, 0, 0, 0, 2, 3)  # last dimension first


class Residual(nn.Module):
    """A block that halves 9x8 pixels and widens 4 channels to 9."""

    def __init__(self, shortcut, stride):
        super().__init__()
        torch.manual_seed(0)
        self.shortcut = shortcut
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.main = nn.Conv2d(4, 9, 3, stride=stride, padding=1)
        self.last = nn.Conv2d(9, 2, 1)

    def forward(self, x):
        y = torch.relu(self.first(x))
        return self.last(torch.relu(self.main(y) + self.shortcut(y)))


def quantized(shortcut, stride=2):
    block = Residual(shortcut, stride)
    network = capture(block, torch.randn(2, 2, 9, 8), input_names=["x"])
    return QuantizeStatic(min_sqnr_db=0).apply(network, Samples(images()))


def option_a(x):
    return functional.pad(x[:, :, ::2, ::2], CHANNELS)


def images(count=20):
    x = np.random.default_rng(0).standard_normal((count, 2, 9, 8))
    return {"x": x.astype(np.float32)}


def operators(model):
    return [node.op_type for node in onnx.load_from_string(model).graph.node]


def test_the_shortcut_is_a_convolution_and_the_codes_stay_the_same(run_onnx, monkeypatch):
    network = quantized(option_a)
    model = to_onnx(network)
    monkeypatch.setattr(export, "convolve_shortcuts", lambda *_: None)
    copied = to_onnx(network)
    assert operators(copied).count("Conv") == 3
    assert {"Slice", "Pad"} < set(operators(copied))
    assert operators(model).count("Conv") == 4
    assert not {"Slice", "Pad"} & set(operators(model))
    found, wanted = run_onnx(model, images()), run_onnx(copied, images())
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name])


def test_its_weight_puts_the_channels_between_zeros():
    graph = onnx.load_from_string(to_onnx(quantized(option_a))).graph
    (weight,) = [
        onnx.numpy_helper.to_array(t) for t in graph.initializer if t.dims == [9, 4, 1, 1]
    ]
    assert weight.dtype == np.int8
    np.testing.assert_array_equal(weight[:, :, 0, 0], np.eye(9, 4, k=-2))


@pytest.mark.parametrize(
    ("taken", "around"),
    [
        pytest.param(np.s_[:, :, ::2, 1::2], CHANNELS, id="later columns"),
        pytest.param(np.s_[:, :, ::2, :7:2], CHANNELS, id="not up to the end"),
        pytest.param(np.s_[:, ::2, ::2, ::2], (0, 0, 0, 0, 4, 3), id="channels too"),
        pytest.param(np.s_[:, :, ::2, ::3], (0, 1, 0, 0, 2, 3), id="pixels padded"),
        pytest.param(np.s_[:, :, ::2, ::2], (0, 0, 0, 0, -1, 6), id="channels cropped"),
    ],
)
def test_anything_else_is_copied(taken, around):
    found = operators(to_onnx(quantized(lambda x: functional.pad(x[taken], around))))
    assert found.count("Conv") == 3
    assert "Pad" in found


@pytest.mark.parametrize(("scale", "convolutions"), [(0.5, 1), (0.25, 0)])
def test_codes_that_are_read_on_two_grids_are_copied(scale, convolutions):
    w = Writer([])
    own, other = (w.constant(s, torch.float32) for s in (0.5, scale))
    zero = w.constant(0, torch.uint8)
    codes = w.node("QuantizeLinear", "x", own, zero)
    ends = [w.ints([v]) for v in (0, 2**31 - 1, 2, 2)]
    taken = w.node("Slice", codes, *ends)
    around = w.node("Pad", taken, w.ints([0, 2, 0, 0, 0, 3, 0, 0]), zero, mode="constant")
    floats = w.node("DequantizeLinear", codes, own, zero)
    w.node("DequantizeLinear", around, other, zero)
    convolve_shortcuts(w, {floats: (None, 4, 9, 8)})
    assert sum(node.op == "Conv" for node in w.nodes) == convolutions


def test_a_padding_of_all_pixels_is_copied():
    found = operators(to_onnx(quantized(lambda x: functional.pad(x, CHANNELS), stride=1)))
    assert found.count("Conv") == 3
    assert "Pad" in found
