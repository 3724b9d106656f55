"""The networks are what the other tests take them for."""

import copy

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from architectures import ARCHITECTURES
from tersor.network.capture import capture

LEAST = 35
MOST_PARAMETERS = 300_000


def test_there_are_many():
    assert len(ARCHITECTURES) >= LEAST


@pytest.fixture(params=ARCHITECTURES)
def built(request):
    return ARCHITECTURES[request.param]()


def test_the_network_computes_what_the_module_does(built):
    module, inputs = built
    network = capture(module, inputs)
    with torch.no_grad():
        wanted = tree_leaves(module(*inputs))
    found = network.module(*inputs)
    torch.testing.assert_close(tuple(found), tuple(wanted), rtol=1e-5, atol=1e-5)


def test_it_is_small_still_and_evaluates(built):
    module, _ = built
    assert sum(p.numel() for p in module.parameters()) < MOST_PARAMETERS
    assert not any(part.training for part in module.modules())


def test_every_output_varies_with_the_inputs_and_between_samples(built):
    """A network whose answer is almost constant would hide a wrong cut."""
    module, inputs = built
    with torch.no_grad():
        for output in tree_leaves(module(*inputs)):
            assert output.isfinite().all()
            assert (output[0] - output[1]).abs().max() > 0.01


def test_no_channel_is_like_another_at_the_start(built):
    """Norms with equal scales, or statistics at 0 and 1, would hide a cut of the wrong one."""
    module, _ = built
    for part in module.modules():
        for name, tensor in [*part.named_parameters(recurse=False)]:
            if tensor.dim() == 1 and tensor.numel() > 1:
                assert tensor.unique().numel() > tensor.numel() // 2, name
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            assert part.running_mean.unique().numel() == part.num_features
            assert part.running_var.min() > 0
            assert part.running_var.unique().numel() == part.num_features


def test_two_builds_are_equal_and_leave_the_generator():
    state = torch.get_rng_state()
    build = ARCHITECTURES["resnet_basic"]
    first, second = build(), build()
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first[1][0], second[1][0])
    for a, b in zip(
        first[0].state_dict().values(), second[0].state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)
    assert first[0] is not second[0]
    assert copy.deepcopy(first[0]) is not None
