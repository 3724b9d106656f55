"""What has been cut is a network like any other: it exports, trains, and is cut again."""

import copy
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from tests.network.cutting import (
    assert_cuts_like_zeros,
    captured,
    halved,
    outputs,
    random_part,
)

from architectures import ARCHITECTURES
from tersor.export.onnx import to_onnx
from tersor.network.channels import channels
from tersor.network.cost import cost
from tersor.network.layers import layers
from tersor.network.modes import set_training


def on_onnxruntime(network, inputs):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        to_onnx(network), options, providers=["CPUExecutionProvider"]
    )
    names = [port.name for port in network.inputs]
    return session.run(None, {n: x.numpy() for n, x in zip(names, inputs, strict=True)})


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_engine_gives_the_same_outputs(name):
    small, (_, inputs, _) = halved(name), captured(name)
    pairs = zip(on_onnxruntime(small, inputs), outputs(small, inputs), strict=True)
    for value, like in pairs:
        np.testing.assert_allclose(value, like, rtol=0, atol=2e-5 * np.abs(like).max())


def more(tensor):
    """Five samples made of two."""
    return torch.cat([tensor, tensor.flip(0), tensor[:1]])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_more_samples_are_computed_alike(name):
    small, (_, inputs, _) = halved(name), captured(name)
    some, many = outputs(small, inputs), outputs(small, [more(x) for x in inputs])
    for value, like in zip(many, some, strict=True):
        assert len(value) == 5
        wanted = np.concatenate([like, like[::-1], like[:1]])
        np.testing.assert_allclose(value, wanted, rtol=0, atol=2e-5 * np.abs(like).max())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_step_of_training_moves_every_layer_that_is_left(name):
    small, (_, inputs, _) = halved(name), captured(name)
    own = replace(small, module=copy.deepcopy(small.module))  # a step writes into tensors
    network = set_training(own, training=True)
    weights = {layer.weight for layer in layers(network) if layer.weight}
    trained = dict(network.module.named_parameters())
    before = {path: trained[path].detach().clone() for path in weights & trained.keys()}
    optimizer = torch.optim.SGD(trained.values(), lr=1e-3)
    torch.manual_seed(0)
    sum(each.square().sum() for each in network.module(*inputs)).backward()
    for path in before:
        assert trained[path].grad.isfinite().all(), path
        assert trained[path].grad.any(), path
    optimizer.step()
    assert not [path for path, value in before.items() if torch.equal(value, trained[path])]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_is_cut_again(name):
    small, (_, inputs, _) = halved(name), captured(name)
    found = channels(small)
    smaller = assert_cuts_like_zeros(small, inputs, found, random_part(found, 0.5, seed=1))
    assert cost(smaller).parameters < cost(small).parameters
