"""Convolutional networks made for phones: depthwise convolutions, shuffles, excitations."""

import math

import torch
from torch import nn

from architectures.parts import ConvBN, PoolHead, SqueezeExcite, example, image


class MobileNetV1(nn.Sequential):
    """MobileNet: depthwise 3x3 and pointwise 1x1 convolutions (arXiv:1704.04861)."""

    def __init__(self, classes=10):
        plan = [(12, 1), (16, 2), (24, 1), (32, 2)]
        layers: list[nn.Module] = [ConvBN(3, 8, stride=2)]
        cin = 8
        for cout, stride in plan:
            layers += [ConvBN(cin, cin, stride=stride, groups=cin), ConvBN(cin, cout, 1)]
            cin = cout
        super().__init__(*layers, PoolHead(cin, classes))


class InvertedResidual(nn.Module):
    """Expand, depthwise (maybe excited), project without activation; add where shapes agree.

    Of MobileNet V2 and V3 and, as MBConv, of EfficientNet.
    """

    def __init__(self, plan, act, squeeze=None):
        super().__init__()
        cin, middle, cout, kernel, stride = plan
        layers: list[nn.Module] = [] if middle == cin else [ConvBN(cin, middle, 1, act=act)]
        layers.append(ConvBN(middle, middle, kernel, stride=stride, groups=middle, act=act))
        if squeeze:
            layers.append(squeeze(cin, middle))
        layers.append(ConvBN(middle, cout, 1, act=None))
        self.conv = nn.Sequential(*layers)
        self.adds = stride == 1 and cin == cout

    def forward(self, x):
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    """MobileNet V2: inverted residuals with ReLU6 (arXiv:1801.04381)."""

    def __init__(self, classes=10):
        super().__init__()
        plans = [(8, 8, 12, 3, 1), (12, 36, 16, 3, 2), (16, 48, 16, 3, 1), (16, 48, 20, 3, 2)]
        blocks = [InvertedResidual(p, nn.ReLU6) for p in plans]
        stem = ConvBN(3, 8, stride=2, act=nn.ReLU6)
        self.features = nn.Sequential(stem, *blocks, ConvBN(20, 40, 1, act=nn.ReLU6))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(40, classes))

    def forward(self, x):
        x = self.features(x)
        x = nn.functional.adaptive_avg_pool2d(x, (1, 1))
        return self.classifier(torch.flatten(x, 1))


class MobileNetV3(nn.Module):
    """MobileNet V3: hard swish, excitation gated by a hard sigmoid (arXiv:1905.02244)."""

    def __init__(self, classes=10):
        super().__init__()

        def squeeze(_, middle):
            return SqueezeExcite(middle, middle // 4, gate=nn.Hardsigmoid)

        self.features = nn.Sequential(
            ConvBN(3, 12, stride=2, act=nn.Hardswish),
            InvertedResidual((12, 16, 12, 3, 1), nn.ReLU, squeeze),
            InvertedResidual((12, 32, 20, 3, 2), nn.ReLU),
            InvertedResidual((20, 40, 20, 5, 1), nn.Hardswish, squeeze),
            ConvBN(20, 48, 1, act=nn.Hardswish),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(48, 56),
            nn.Hardswish(inplace=True),
            nn.Dropout(0.2),
            nn.Linear(56, classes),
        )

    def forward(self, x):
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


class EfficientNet(nn.Module):
    """EfficientNet: MBConv with SiLU and excitation (arXiv:1905.11946)."""

    def __init__(self, classes=10):
        super().__init__()

        def squeeze(cin, middle):
            return SqueezeExcite(middle, max(4, cin // 4), nn.SiLU)

        plans = [(12, 12, 8, 3, 1), (8, 32, 16, 3, 2), (16, 64, 16, 5, 1), (16, 64, 24, 5, 2)]
        self.stem = ConvBN(3, 12, stride=2, act=nn.SiLU)
        self.blocks = nn.Sequential(*(InvertedResidual(p, nn.SiLU, squeeze) for p in plans))
        self.top = ConvBN(24, 48, 1, act=nn.SiLU)
        self.head = PoolHead(48, classes)

    def forward(self, x):
        return self.head(self.top(self.blocks(self.stem(x))))


def channel_shuffle(x, groups):
    """Channels (group, within) become (within, group)."""
    batch, channels, height, width = x.size()
    x = x.view(batch, groups, channels // groups, height, width)
    x = torch.transpose(x, 1, 2).contiguous()
    return x.view(batch, -1, height, width)


class ShuffleUnitV1(nn.Module):
    """Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1; add, or join the pooled input."""

    def __init__(self, cin, cout, groups, stride):
        super().__init__()
        self.groups, self.stride = groups, stride
        middle = cout // 4 // groups * groups * 2
        rest = cout - cin if stride == 2 else cout
        self.reduce = ConvBN(cin, middle, 1, groups=groups)
        self.depthwise = ConvBN(middle, middle, stride=stride, groups=middle, act=None)
        self.expand = ConvBN(middle, rest, 1, groups=groups, act=None)
        self.pool = nn.AvgPool2d(3, stride=2, padding=1)

    def forward(self, x):
        out = channel_shuffle(self.reduce(x), self.groups)
        out = self.expand(self.depthwise(out))
        if self.stride == 2:
            return torch.relu(torch.cat([self.pool(x), out], 1))
        return torch.relu(x + out)


class ShuffleNetV1(nn.Sequential):
    """ShuffleNet with three groups (arXiv:1707.01083)."""

    def __init__(self, classes=10):
        super().__init__(
            ConvBN(3, 12, stride=2),
            ShuffleUnitV1(12, 36, 3, 2),
            ShuffleUnitV1(36, 36, 3, 1),
            ShuffleUnitV1(36, 60, 3, 2),
            ShuffleUnitV1(60, 60, 3, 1),
            PoolHead(60, classes),
        )


class ShuffleUnitV2(nn.Module):
    """Half of the channels passes, half goes through convolutions; then a shuffle of two."""

    def __init__(self, cin, cout, stride):
        super().__init__()
        self.stride = stride
        half = cout // 2
        entering = cin if stride == 2 else half
        self.branch1 = nn.Sequential()
        if stride == 2:
            self.branch1 = nn.Sequential(
                ConvBN(cin, cin, stride=2, groups=cin, act=None), ConvBN(cin, half, 1)
            )
        self.branch2 = nn.Sequential(
            ConvBN(entering, half, 1),
            ConvBN(half, half, stride=stride, groups=half, act=None),
            ConvBN(half, half, 1),
        )

    def forward(self, x):
        if self.stride == 1:
            x1, x2 = x.chunk(2, dim=1)
            out = torch.cat((x1, self.branch2(x2)), dim=1)
        else:
            out = torch.cat((self.branch1(x), self.branch2(x)), dim=1)
        return channel_shuffle(out, 2)


class ShuffleNetV2(nn.Module):
    """ShuffleNet V2: channel split and shuffle (arXiv:1807.11164)."""

    def __init__(self, classes=10):
        super().__init__()
        self.conv1 = ConvBN(3, 12, stride=2)
        self.stage2 = nn.Sequential(*(ShuffleUnitV2(c, 24, s) for c, s in ((12, 2), (24, 1))))
        self.stage3 = nn.Sequential(
            ShuffleUnitV2(24, 32, 2), ShuffleUnitV2(32, 32, 1), ShuffleUnitV2(32, 32, 1)
        )
        self.conv5 = ConvBN(32, 40, 1)
        self.fc = nn.Linear(40, classes)

    def forward(self, x):
        x = self.conv5(self.stage3(self.stage2(self.conv1(x))))
        x = x.mean([2, 3])
        return self.fc(x)


class GhostModule(nn.Module):
    """Some channels by a convolution, the others from these by a cheap depthwise one."""

    def __init__(self, cin, cout, act: type | None = nn.ReLU):
        super().__init__()
        self.cout = cout
        primary = math.ceil(cout / 2)
        self.primary = ConvBN(cin, primary, 1, act=act)
        self.cheap = ConvBN(primary, primary, groups=primary, act=act)

    def forward(self, x):
        x1 = self.primary(x)
        x2 = self.cheap(x1)
        out = torch.cat([x1, x2], dim=1)
        return out[:, : self.cout, :, :]


class GhostBottleneck(nn.Module):
    """Ghost modules that expand and project, with a strided depthwise convolution between."""

    def __init__(self, cin, middle, cout, stride):
        super().__init__()
        self.ghost1 = GhostModule(cin, middle)
        self.stride = nn.Sequential()
        self.shortcut = nn.Sequential()
        if stride == 2:
            self.stride = ConvBN(middle, middle, stride=2, groups=middle, act=None)
        self.excite = SqueezeExcite(middle, middle // 4, gate=nn.Hardsigmoid)
        self.ghost2 = GhostModule(middle, cout, act=None)
        if stride == 2 or cin != cout:
            self.shortcut = nn.Sequential(
                ConvBN(cin, cin, stride=stride, groups=cin, act=None),
                ConvBN(cin, cout, 1, act=None),
            )

    def forward(self, x):
        out = self.ghost2(self.excite(self.stride(self.ghost1(x))))
        return out + self.shortcut(x)


class GhostNet(nn.Sequential):
    """GhostNet (arXiv:1911.11907)."""

    def __init__(self, classes=10):
        super().__init__(
            ConvBN(3, 12, stride=2),
            GhostBottleneck(12, 24, 12, 1),
            GhostBottleneck(12, 32, 20, 2),
            GhostBottleneck(20, 40, 20, 1),
            ConvBN(20, 48, 1),
            PoolHead(48, classes),
        )


MOBILE = {
    "mobilenet_v1": example(MobileNetV1, image(16)),
    "mobilenet_v2": example(MobileNetV2, image(16)),
    "mobilenet_v3": example(MobileNetV3, image(16)),
    "efficientnet": example(EfficientNet, image(16)),
    "shufflenet_v1": example(ShuffleNetV1, image(16)),
    "shufflenet_v2": example(ShuffleNetV2, image(16)),
    "ghostnet": example(GhostNet, image(16)),
}
