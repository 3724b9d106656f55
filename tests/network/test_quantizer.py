import pytest
import torch

from tersor.network.quantizer import ActivationQuantizer, round_in_place


def test_rounding_without_gradients_gives_the_same_bits():
    x = torch.linspace(-9, 9, 10_001)
    for scale, zero_point, signed in [(0.037, 7, False), (0.25, 0, True), (1e-3, 128, False)]:
        quantizer = ActivationQuantizer(scale, zero_point, signed=signed)
        tracked = quantizer(x.clone().requires_grad_())
        assert torch.equal(quantizer(x), tracked.detach())


def test_rounding_leaves_its_input_alone():
    x = torch.linspace(-1, 1, 11)
    before = x.clone()
    ActivationQuantizer(0.1, 5)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("count", [1, 1 << 17, (1 << 17) + 1])
def test_rounding_in_place_gives_the_same_bits(count):
    x = torch.linspace(-9, 9, count)
    quantizer = ActivationQuantizer(0.037, 7)
    wanted = quantizer(x)
    found = round_in_place(x, *quantizer.constants())
    assert found is x
    assert torch.equal(found, wanted)


def test_rounding_in_place_reaches_every_number_in_any_order_of_memory():
    quantizer = ActivationQuantizer(0.037, 7)
    images = torch.randn(2, 3, 5, 7)
    last = images.clone(memory_format=torch.channels_last)
    for x in (images.clone(), last, images.clone().transpose(1, 3), images.clone()[:, :, ::2]):
        wanted = quantizer(x)
        assert torch.equal(round_in_place(x, *quantizer.constants()), wanted)


def test_gradients_pass_inside_the_range_only():
    x = torch.tensor([-5.0, 0.5, 5.0], requires_grad=True)
    ActivationQuantizer(0.01, 128)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 0.0]
