"""Files that PyTorch writes, read back: the same numbers, names, any batch, and gradients."""

import io
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from tersor.network.from_onnx.reader import read


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        y = torch.relu(self.norm(self.stem(x)))
        y = nn.functional.max_pool2d(y + nn.functional.hardswish(self.deep(y)), 2)
        y = nn.functional.interpolate(y, scale_factor=2, mode="bilinear")
        return self.fc(nn.functional.adaptive_avg_pool2d(y, 1).flatten(1))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu")
        self.tokens = nn.Embedding(50, 16)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 3)

    def forward(self, ids):
        return self.head(self.encoder(self.tokens(ids)).mean(1))


def exported(module, example, names, **more):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters of torch are full of them
        torch.onnx.export(module, (example,), buffer, input_names=names, **more)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def cnn():
    torch.manual_seed(0)
    module = Cnn().eval()
    for tensor in (module.norm.weight, module.norm.bias, module.norm.running_mean):
        nn.init.normal_(tensor)  # the exporter would share those that are equal
    axes = {"image": {0: "batch"}}
    more = {"dynamo": False, "dynamic_axes": axes, "do_constant_folding": False}
    training = torch.onnx.TrainingMode.PRESERVE
    return module, exported(
        module, torch.randn(2, 3, 16, 16), ["image"], training=training, **more
    )


@pytest.fixture(scope="session")
def encoder():
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    module = Encoder().eval()
    free = torch.export.Dim.DYNAMIC
    more = {"dynamo": True, "dynamic_shapes": ({0: free, 1: free},), "verbose": False}
    return module, exported(module, torch.zeros(2, 12, dtype=torch.int64), ["ids"], **more)


def largest_difference(network, module, x):
    got = network.run({network.inputs[0].name: x.numpy()})[network.outputs[0].name]
    with torch.no_grad():
        return float(np.abs(got - module(x).numpy()).max())


def test_a_convolutional_network_comes_back(cnn):
    module, data = cnn
    network = read(data)
    assert network.inputs[0].shape == ("batch", 3, 16, 16)
    generator = torch.Generator().manual_seed(0)
    for batch in (1, 2, 5):
        x = torch.randn(batch, 3, 16, 16, generator=generator)
        assert largest_difference(network, module, x) < 256 * 1.2e-7
    own = dict(module.named_parameters())
    assert set(own) == {name for name, _ in network.module.named_parameters()}
    assert {"norm.running_mean", "norm.running_var"} == {
        n for n, _ in network.module.named_buffers()
    }


def test_gradients_are_those_of_the_original(cnn):
    module, data = cnn
    network = read(data)
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    network.module(x)[0].square().sum().backward()
    module.zero_grad()
    module(x).square().sum().backward()
    for name, parameter in module.named_parameters():
        found = network.module.get_parameter(name).grad
        largest = float(parameter.grad.abs().max())
        assert torch.allclose(found, parameter.grad, rtol=0, atol=1e-5 * largest), name


def test_a_transformer_encoder_comes_back_for_any_batch_and_length(encoder):
    module, data = encoder
    network = read(data)
    generator = torch.Generator().manual_seed(0)
    for batch, length in ((1, 3), (2, 12), (5, 40)):
        ids = torch.randint(0, 50, (batch, length), generator=generator)
        assert largest_difference(network, module, ids) < 1024 * 1.2e-7
    network.module(ids)[0].sum().backward()
    missing = [n for n, p in network.module.named_parameters() if p.grad is None]
    assert missing == []
