import torch

from tersor.network.quantizer import ActivationQuantizer


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


def test_gradients_pass_inside_the_range_only():
    x = torch.tensor([-5.0, 0.5, 5.0], requires_grad=True)
    ActivationQuantizer(0.01, 128)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 0.0]
