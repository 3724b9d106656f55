"""Networks that answer for every pixel: segmentation, detection, restoration."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from architectures.parts import ConvBN, example, image


def double(cin, cout):
    """Two convolutions, as each level of a U-Net has them."""
    return nn.Sequential(ConvBN(cin, cout), ConvBN(cout, cout))


class UNet(nn.Module):
    """U-Net: skips that are concatenated, transposed convolutions (arXiv:1505.04597)."""

    def __init__(self, classes=4):
        super().__init__()
        self.down1 = double(3, 8)
        self.down2 = double(8, 16)
        self.bottom = double(16, 24)
        self.pool = nn.MaxPool2d(2)
        self.up2 = nn.ConvTranspose2d(24, 12, 2, stride=2)
        self.conv2 = double(28, 20)
        self.up1 = nn.ConvTranspose2d(20, 10, 2, stride=2)
        self.conv1 = double(18, 12)
        self.out = nn.Conv2d(12, classes, 1)

    def forward(self, x):
        x1 = self.down1(x)
        x2 = self.down2(self.pool(x1))
        x3 = self.bottom(self.pool(x2))
        y2 = self.conv2(torch.cat([x2, self.up2(x3)], dim=1))
        y1 = self.conv1(torch.cat([x1, self.up1(y2)], dim=1))
        return self.out(y1)


class Head(nn.Module):
    """A detection head that all levels share: class maps and box maps."""

    def __init__(self, channels, classes, anchors):
        super().__init__()
        self.cls = self.tower(channels, anchors * classes)
        self.box = self.tower(channels, anchors * 4)

    @staticmethod
    def tower(channels, cout):
        return nn.Sequential(
            nn.Conv2d(channels, 20, 3, padding=1, bias=False),
            nn.GroupNorm(4, 20),
            nn.ReLU(),
            nn.Conv2d(20, cout, 3, padding=1),
        )

    def forward(self, features):
        return [self.cls(f) for f in features], [self.box(f) for f in features]


class FPN(nn.Module):
    """Feature pyramid (arXiv:1612.03144) with a head of RetinaNet (arXiv:1708.02002)."""

    def __init__(self, classes=5, anchors=3):
        super().__init__()
        self.stem = ConvBN(3, 8)
        self.c3 = ConvBN(8, 12, stride=2)
        self.c4 = ConvBN(12, 24, stride=2)
        self.c5 = ConvBN(24, 32, stride=2)
        self.lateral = nn.ModuleList(nn.Conv2d(c, 16, 1) for c in (12, 24, 32))
        self.smooth = nn.ModuleList(nn.Conv2d(16, 16, 3, padding=1) for _ in range(3))
        self.head = Head(16, classes, anchors)

    def forward(self, x):
        c3 = self.c3(self.stem(x))
        c4 = self.c4(c3)
        c5 = self.c5(c4)
        p5 = self.lateral[2](c5)
        p4 = self.lateral[1](c4) + F.interpolate(p5, scale_factor=2.0, mode="nearest")
        p3 = self.lateral[0](c3) + F.interpolate(p4, size=c3.shape[-2:], mode="nearest")
        maps = [conv(p) for conv, p in zip(self.smooth, (p3, p4, p5), strict=True)]
        return self.head(maps)


class Autoencoder(nn.Module):
    """Convolutions down, transposed ones up with batch normalisation (as arXiv:1511.06434)."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 12, 4, 2, 1, bias=False),
            nn.BatchNorm2d(12),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(12, 20, 4, 2, 1, bias=False),
            nn.BatchNorm2d(20),
            nn.LeakyReLU(0.2, inplace=True),
        )
        self.to_code = nn.Linear(20 * 4 * 4, 24)
        self.from_code = nn.Linear(24, 20 * 4 * 4)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(20, 16, 4, 2, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 3, 3, padding=1),
        )

    def forward(self, x):
        code = self.to_code(self.encoder(x).flatten(1))
        x = F.relu(self.from_code(code)).view(-1, 20, 4, 4)
        return torch.tanh(self.decoder(x))


class EDSR(nn.Module):
    """EDSR: scaled residuals without norms, pixel shuffle (arXiv:1707.02921).

    A bilinear enlargement of the input is added, as in VDSR (arXiv:1511.04587).
    """

    def __init__(self, scale=2):
        super().__init__()
        self.head = nn.Conv2d(3, 12, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 12, 3, padding=1)
            )
            for _ in range(2)
        )
        self.body = nn.Conv2d(12, 12, 3, padding=1)
        self.grow = nn.Conv2d(12, 8 * scale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)
        self.tail = nn.Conv2d(8, 3, 3, padding=1)
        self.scale = scale

    def forward(self, x):
        first = self.head(x)
        y = first
        for block in self.blocks:
            y = y + block(y) * 0.1
        y = self.body(y) + first
        y = self.tail(self.shuffle(self.grow(y)))
        base = F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)
        return y + base


class ESPCN(nn.Sequential):
    """ESPCN: the last convolution makes the pixels of the large image (arXiv:1609.05158)."""

    def __init__(self, scale=3):
        super().__init__(
            nn.Conv2d(1, 16, 5, padding=2),
            nn.Tanh(),
            nn.Conv2d(16, 12, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(12, scale**2, 3, padding=1),
            nn.PixelShuffle(scale),
        )


class Fuse(nn.Module):
    """Exchange of two resolutions: up by 1x1 and enlargement, down by a strided 3x3."""

    def __init__(self, high, low):
        super().__init__()
        self.up = ConvBN(low, high, 1, act=None)
        self.down = ConvBN(high, low, stride=2, act=None)

    def forward(self, high, low):
        up = F.interpolate(self.up(low), scale_factor=2, mode="nearest")
        return torch.relu(high + up), torch.relu(low + self.down(high))


class HRNet(nn.Module):
    """HRNet: resolutions in parallel that exchange again and again (arXiv:1908.07919)."""

    def __init__(self, classes=6):
        super().__init__()
        self.stem = ConvBN(3, 8)
        self.to_high = ConvBN(8, 12)
        self.to_low = ConvBN(8, 20, stride=2)
        self.high = nn.ModuleList(double(12, 12) for _ in range(2))
        self.low = nn.ModuleList(double(20, 20) for _ in range(2))
        self.fuse = nn.ModuleList(Fuse(12, 20) for _ in range(2))
        self.head = nn.Sequential(ConvBN(32, 24, 1), nn.Conv2d(24, classes, 1))

    def forward(self, x):
        x = self.stem(x)
        high, low = self.to_high(x), self.to_low(x)
        for branch_high, branch_low, fuse in zip(self.high, self.low, self.fuse, strict=True):
            high, low = fuse(high + branch_high(high), low + branch_low(low))
        size = high.shape[2:]
        low = F.interpolate(low, size=size, mode="bilinear", align_corners=False)
        return self.head(torch.cat([high, low], 1))


class ASPP(nn.Module):
    """Dilated branches and a pooled one, concatenated and projected."""

    def __init__(self, cin, cout, rates):
        super().__init__()
        self.one = ConvBN(cin, 12, 1)
        self.dilated = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(cin, 16, 3, padding=r, dilation=r, bias=False),
                nn.BatchNorm2d(16),
                nn.ReLU(),
            )
            for r in rates
        )
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvBN(cin, 8, 1))
        self.project = ConvBN(20 + 16 * len(rates), cout, 1)

    def forward(self, x):
        size = x.shape[-2:]
        pooled = F.interpolate(self.pooled(x), size=size, mode="bilinear", align_corners=False)
        branches = [self.one(x)] + [branch(x) for branch in self.dilated] + [pooled]
        return self.project(torch.cat(branches, dim=1))


class DeepLab(nn.Module):
    """DeepLab V3+: pyramid of dilations and a decoder (arXiv:1802.02611)."""

    def __init__(self, classes=5):
        super().__init__()
        self.low = ConvBN(3, 12, stride=2)
        self.high = nn.Sequential(ConvBN(12, 20, stride=2), ConvBN(20, 24))
        self.aspp = ASPP(24, 16, (1, 2))
        self.reduce = ConvBN(12, 8, 1)
        self.decoder = nn.Sequential(ConvBN(24, 20), nn.Conv2d(20, classes, 1))

    def forward(self, x):
        low = self.low(x)
        y = self.aspp(self.high(low))
        y = F.interpolate(y, size=low.shape[-2:], mode="bilinear", align_corners=False)
        y = self.decoder(torch.cat([self.reduce(low), y], dim=1))
        return F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)


PIXELS = {
    "unet": example(UNet, image(16)),
    "fpn_detector": example(FPN, image(32)),
    "autoencoder": example(Autoencoder, image(16)),
    "edsr": example(EDSR, image(16)),
    "espcn": example(ESPCN, image(16, channels=1)),
    "hrnet": example(HRNet, image(16)),
    "deeplab": example(DeepLab, image(16)),
}
