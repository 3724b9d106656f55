"""What the architectures share: an example's builder, and blocks that many papers use."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Build = Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]
BATCH = 2


def example(make: Callable[[], nn.Module], *inputs: Callable[[], Tensor]) -> Build:
    """A builder of a seeded module in evaluation mode and its inputs."""

    def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = make().eval()
            vary(module)
            return module, tuple(one() for one in inputs)

    return build


@torch.no_grad()
def vary(module: nn.Module) -> None:
    """Draw what starts equal in every channel, and let no layer quiet the signal."""
    for parameter in module.parameters():
        if parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all()):
            parameter += torch.empty_like(parameter).uniform_(-0.4, 0.4)
    for part in module.modules():
        if isinstance(part, nn.modules.conv._ConvNd):
            part.weight *= 6**0.5  # the variance 1 / (3 fan in) becomes 2 / fan in
        if isinstance(part, nn.Linear):
            part.weight *= 3**0.5  # and here 1 / fan in
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.5, 2)


def image(size: int = 16, channels: int = 3) -> Callable[[], Tensor]:
    """Images of `size` by `size` pixels."""
    return lambda: torch.randn(BATCH, channels, size, size)


def values(*shape: int) -> Callable[[], Tensor]:
    """Floats of any shape after the batch."""
    return lambda: torch.randn(BATCH, *shape)


def tokens(vocabulary: int, length: int = 10) -> Callable[[], Tensor]:
    """Token ids."""
    return lambda: torch.randint(0, vocabulary, (BATCH, length))


def padding_mask(length: int = 10, padded: int = 3) -> Callable[[], Tensor]:
    """1 at tokens and 0 at padding; the last sequence ends in padding."""

    def mask() -> Tensor:
        ones = torch.ones(BATCH, length, dtype=torch.int64)
        ones[-1, length - padded :] = 0
        return ones

    return mask


class ConvBN(nn.Sequential):
    """A convolution that keeps the size, batch normalisation and an activation or none."""

    def __init__(self, cin, cout, kernel=3, *, stride=1, groups=1, act: type | None = nn.ReLU):
        pad = (kernel - 1) // 2
        layers = [
            nn.Conv2d(cin, cout, kernel, stride, pad, groups=groups, bias=False),
            nn.BatchNorm2d(cout),
        ]
        super().__init__(*layers, *([act()] if act else []))


class SqueezeExcite(nn.Module):
    """Squeeze and excitation with 1x1 convolutions (arXiv:1709.01507)."""

    def __init__(self, channels, squeezed, act=nn.ReLU, gate=nn.Sigmoid):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.act = act()
        self.gate = gate()

    def forward(self, x):
        return x * self.gate(self.fc2(self.act(self.fc1(self.pool(x)))))


class PoolHead(nn.Module):
    """Global average pooling and a classifier."""

    def __init__(self, channels, classes):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        return self.fc(torch.flatten(self.pool(x), 1))
