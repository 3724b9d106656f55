import numpy as np
import torch
from torch import nn

from tersor.network.capture import capture

IMAGES = np.random.default_rng(0).standard_normal((4, 8, 6, 6)).astype(np.float32)


class Convolution(nn.Module):
    """One convolution, then what `after` makes of its result."""

    def __init__(self, after):
        super().__init__()
        self.conv, self.after = nn.Conv2d(8, 8, 3, padding=1), after

    def forward(self, image):
        return self.after(self.conv(image))


def captured(after):
    return capture(Convolution(after).eval(), (torch.from_numpy(IMAGES),))


def is_channels_last(network):
    (tensor,) = network.tensors({"image": IMAGES})
    return tensor.is_contiguous(memory_format=torch.channels_last)


def test_images_lie_channels_last_before_convolutions():
    network = captured(torch.relu)
    assert is_channels_last(network)
    (tensor,) = network.tensors({"image": IMAGES})
    np.testing.assert_array_equal(tensor.numpy(), IMAGES)


def test_images_lie_in_order_where_a_view_wants_them_so():
    network = captured(lambda x: x.view(x.shape[0], 2, -1))
    assert not is_channels_last(network)
    assert network.run({"image": IMAGES})[network.outputs[0].name].shape == (4, 2, 144)
