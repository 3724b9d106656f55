"""Convolutional networks with other norms, attentions, inputs and outputs."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from architectures.parts import ConvBN, PoolHead, example, image, values


class ChannelsFirstNorm(nn.Module):
    """Layer normalisation over the channels of (batch, channels, height, width)."""

    def __init__(self, channels, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x):
        u = x.mean(1, keepdim=True)
        s = (x - u).pow(2).mean(1, keepdim=True)
        x = (x - u) / torch.sqrt(s + self.eps)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7; norm and two linear layers with channels last; layer scale; add."""

    def __init__(self, channels, middle):
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, middle)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(middle, channels)
        self.gamma = nn.Parameter(1e-6 * torch.ones(channels))

    def forward(self, x):
        y = self.dwconv(x)
        y = y.permute(0, 2, 3, 1)
        y = self.pwconv2(self.act(self.pwconv1(self.norm(y))))
        y = self.gamma * y
        y = y.permute(0, 3, 1, 2)
        return x + y


class ConvNeXt(nn.Module):
    """ConvNeXt (arXiv:2201.03545)."""

    def __init__(self, classes=10):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 2, stride=2), ChannelsFirstNorm(12))
        self.stage1 = nn.Sequential(ConvNeXtBlock(12, 32), ConvNeXtBlock(12, 32))
        self.down = nn.Sequential(ChannelsFirstNorm(12), nn.Conv2d(12, 20, 2, stride=2))
        self.stage2 = ConvNeXtBlock(20, 48)
        self.norm = nn.LayerNorm(20, eps=1e-6)
        self.head = nn.Linear(20, classes)

    def forward(self, x):
        x = self.stage2(self.down(self.stage1(self.stem(x))))
        return self.head(self.norm(x.mean([-2, -1])))


class ChannelAttention(nn.Module):
    """One perceptron reads the mean and the maximum over pixels."""

    def __init__(self, channels, squeezed):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1, bias=False)
        self.fc2 = nn.Conv2d(squeezed, channels, 1, bias=False)

    def forward(self, x):
        mean = self.fc2(F.relu(self.fc1(F.adaptive_avg_pool2d(x, 1))))
        top = self.fc2(F.relu(self.fc1(F.adaptive_max_pool2d(x, 1))))
        return torch.sigmoid(mean + top)


class SpatialAttention(nn.Module):
    """A convolution reads the mean and the maximum over channels."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x):
        mean = torch.mean(x, dim=1, keepdim=True)
        top, _ = torch.max(x, dim=1, keepdim=True)
        return torch.sigmoid(self.conv(torch.cat([mean, top], dim=1)))


class CBAM(nn.Module):
    """Residual blocks with attention over channels, then over pixels (arXiv:1807.06521)."""

    def __init__(self, classes=10):
        super().__init__()
        self.stem = ConvBN(3, 16, stride=2)
        self.convs = nn.Sequential(ConvBN(16, 24), ConvBN(24, 16, act=None))
        self.channel = ChannelAttention(16, 6)
        self.spatial = SpatialAttention()
        self.last = ConvBN(16, 32, stride=2)
        self.head = PoolHead(32, classes)

    def forward(self, x):
        x = self.stem(x)
        y = self.convs(x)
        y = self.channel(y) * y
        y = self.spatial(y) * y
        return self.head(self.last(F.relu(x + y)))


class StyleNet(nn.Module):
    """Fast style transfer: instance norms (arXiv:1607.08022), reflected borders.

    With PReLU of a slope per channel (arXiv:1502.01852) and a group norm (arXiv:1803.08494).
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 3, padding=1, padding_mode="reflect")
        self.norm1 = nn.InstanceNorm2d(12, affine=True)
        self.act1 = nn.PReLU(12)
        self.conv2 = nn.Conv2d(12, 24, 3, stride=2, padding=1)
        self.norm2 = nn.GroupNorm(4, 24)
        self.act2 = nn.PReLU(24)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.conv3 = nn.Conv2d(24, 16, 3, padding=1)
        self.norm3 = nn.InstanceNorm2d(16, affine=True)
        self.act3 = nn.PReLU()
        self.out = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x):
        x = self.act1(self.norm1(self.conv1(x)))
        x = self.act2(self.norm2(self.conv2(x)))
        x = self.act3(self.norm3(self.conv3(self.up(x))))
        return torch.sigmoid(self.out(x))


class ImageAndVector(nn.Module):
    """An image modulated by a vector (FiLM, arXiv:1709.07871), joined with it; two heads."""

    def __init__(self, classes=7):
        super().__init__()
        self.convs = nn.Sequential(ConvBN(3, 12, stride=2), ConvBN(12, 20, stride=2))
        self.vector = nn.Sequential(nn.Linear(9, 16), nn.BatchNorm1d(16), nn.ReLU())
        self.film = nn.Linear(16, 40)
        self.trunk = nn.Sequential(nn.Linear(36, 32), nn.ReLU())
        self.kind = nn.Linear(32, classes)
        self.value = nn.Sequential(nn.Linear(32, 12), nn.Tanh(), nn.Linear(12, 1))

    def forward(self, picture, vector):
        v = self.vector(vector)
        scale, shift = self.film(v).chunk(2, dim=1)
        x = self.convs(picture) * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
        x = self.trunk(torch.cat([F.relu(x).mean((2, 3)), v], dim=1))
        return {"kind": self.kind(x), "value": self.value(x).squeeze(-1)}


class CrossStage(nn.Module):
    """Half of the channels goes through bottlenecks; all results are concatenated."""

    def __init__(self, cin, cout, count):
        super().__init__()
        self.hidden = cout // 2
        self.enter = ConvBN(cin, 2 * self.hidden, 1, act=nn.SiLU)
        self.leave = ConvBN((2 + count) * self.hidden, cout, 1, act=nn.SiLU)
        self.blocks = nn.ModuleList(
            ConvBN(self.hidden, self.hidden, act=nn.SiLU) for _ in range(count)
        )

    def forward(self, x):
        y = list(self.enter(x).split((self.hidden, self.hidden), 1))
        for block in self.blocks:
            y.append(y[-1] + block(y[-1]))
        return self.leave(torch.cat(y, 1))


class Yolo(nn.Module):
    """A one-level detector of cross-stage blocks (arXiv:1911.11929) and pools in a row.

    The answers of the grid become a list of boxes, each with its own classes
    (arXiv:1804.02767).
    """

    def __init__(self, classes=5, anchors=2):
        super().__init__()
        self.outputs = 5 + classes
        self.stem = ConvBN(3, 12, stride=2, act=nn.SiLU)
        self.stage1 = CrossStage(12, 24, 2)
        self.down = ConvBN(24, 32, stride=2, act=nn.SiLU)
        self.squeeze = ConvBN(32, 16, 1, act=nn.SiLU)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)
        self.join = ConvBN(64, 28, 1, act=nn.SiLU)
        self.head = nn.Conv2d(28, anchors * self.outputs, 1)

    def forward(self, x):
        x = self.squeeze(self.down(self.stage1(self.stem(x))))
        y1 = self.pool(x)
        y2 = self.pool(y1)
        x = self.head(self.join(torch.cat([x, y1, y2, self.pool(y2)], 1)))
        b, _, h, w = x.shape
        x = x.view(b, -1, self.outputs, h, w).permute(0, 1, 3, 4, 2).contiguous()
        return x.view(b, -1, self.outputs).sigmoid()


MIXED = {
    "convnext": example(ConvNeXt, image(16)),
    "cbam": example(CBAM, image(16)),
    "style_norms_prelu": example(StyleNet, image(16)),
    "image_and_vector": example(ImageAndVector, image(16), values(9)),
    "yolo": example(Yolo, image(16)),
}
