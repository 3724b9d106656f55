"""Convolutional networks whose blocks add to their input, or concatenate with it."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from architectures.parts import ConvBN, PoolHead, SqueezeExcite, example, image


def projection(cin, cout, stride):
    """A 1x1 convolution where the shape changes, else None."""
    if stride == 1 and cin == cout:
        return None
    return ConvBN(cin, cout, 1, stride=stride, act=None)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, cin, cout, stride=1, squeeze=0):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.excite = ExciteLinear(cout, squeeze) if squeeze else None
        self.downsample = projection(cin, cout, stride)

    def forward(self, x):
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.excite is not None:
            out = self.excite(out)
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ExciteLinear(nn.Module):
    """Squeeze and excitation by linear layers, the scale viewed as (batch, channels, 1, 1)."""

    def __init__(self, channels, squeezed):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(channels, squeezed, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(squeezed, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x):
        b, c, _, _ = x.size()
        y = self.avg_pool(x).view(b, c)
        y = self.fc(y).view(b, c, 1, 1)
        return x * y.expand_as(x)


class Bottleneck(nn.Module):
    """1x1, 3x3 (maybe grouped, maybe excited) and 1x1 convolutions and a shortcut."""

    def __init__(self, cin, width, cout, *, stride=1, groups=1, squeeze=0):
        super().__init__()
        self.conv1 = ConvBN(cin, width, 1)
        self.conv2 = ConvBN(width, width, stride=stride, groups=groups)
        self.excite = SqueezeExcite(width, squeeze) if squeeze else nn.Identity()
        self.conv3 = ConvBN(width, cout, 1, act=None)
        self.downsample = projection(cin, cout, stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.conv3(self.excite(self.conv2(self.conv1(x))))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNetBasic(nn.Module):
    """ResNet of basic blocks (arXiv:1512.03385); excited, SE-ResNet (arXiv:1709.01507)."""

    def __init__(self, squeeze=0, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(12)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = nn.Sequential(
            BasicBlock(12, 12, squeeze=squeeze), BasicBlock(12, 12, squeeze=squeeze)
        )
        self.layer2 = nn.Sequential(
            BasicBlock(12, 24, 2, squeeze=squeeze), BasicBlock(24, 24, squeeze=squeeze)
        )
        self.layer3 = nn.Sequential(BasicBlock(24, 32, 2, squeeze=squeeze))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(32, classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class BottleneckNet(nn.Sequential):
    """A stem, stages of bottlenecks and a head.

    Plain: ResNet-50 (arXiv:1512.03385). Grouped: ResNeXt (arXiv:1611.05431). Grouped and
    excited: RegNetY (arXiv:2003.13678), whose groups have one width and are more in wider
    stages.
    """

    def __init__(self, widths, couts, groups=(1, 1), squeeze=(0, 0)):
        stages: list[nn.Module] = []
        cin = 16
        for i, (width, cout) in enumerate(zip(widths, couts, strict=True)):
            more = {"groups": groups[i], "squeeze": squeeze[i]}
            stages.append(Bottleneck(cin, width, cout, stride=1 + i, **more))
            stages.append(Bottleneck(cout, width, cout, **more))
            cin = cout
        super().__init__(ConvBN(3, 16, stride=2), *stages, PoolHead(cin, 10))


class PreActivation(nn.Module):
    """Norm and activation before each convolution; the shortcut reads the first activation."""

    def __init__(self, cin, cout, stride=1):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(cin)
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        if stride != 1 or cin != cout:
            self.shortcut = nn.Conv2d(cin, cout, 1, stride, bias=False)

    def forward(self, x):
        out = F.relu(self.bn1(x))
        shortcut = self.shortcut(out) if hasattr(self, "shortcut") else x
        out = self.conv1(out)
        out = self.conv2(F.relu(self.bn2(out)))
        return out + shortcut


class PreActResNet(nn.Module):
    """ResNet with identity mappings (arXiv:1603.05027)."""

    def __init__(self, classes=10):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(
            PreActivation(12, 12),
            PreActivation(12, 24, 2),
            PreActivation(24, 24),
            PreActivation(24, 32, 2),
        )
        self.norm = nn.BatchNorm2d(32)
        self.fc = nn.Linear(32, classes)

    def forward(self, x):
        x = F.relu(self.norm(self.blocks(self.conv(x))))
        x = F.avg_pool2d(x, x.size(3))
        return self.fc(x.view(x.size(0), -1))


class PaddedBlock(nn.Module):
    """A basic block whose shortcut skips every second pixel and pads channels with zeros."""

    def __init__(self, cin, cout, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.padded = (cout - cin) // 2
        self.stride = stride

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.stride != 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padded, self.padded), "constant", 0)
        out += x
        return F.relu(out)


class CifarResNet(nn.Module):
    """ResNet for CIFAR with shortcuts of option A (arXiv:1512.03385, section 4.2)."""

    def __init__(self, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(PaddedBlock(8, 8), PaddedBlock(8, 8))
        self.layer2 = nn.Sequential(PaddedBlock(8, 16, 2), PaddedBlock(16, 16))
        self.layer3 = nn.Sequential(PaddedBlock(16, 32, 2), PaddedBlock(32, 32))
        self.linear = nn.Linear(32, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = F.avg_pool2d(x, x.size()[3])
        x = x.view(x.size(0), -1)
        return self.linear(x)


class DenseLayer(nn.Module):
    """Norm, activation, 1x1 to four growths; norm, activation, 3x3 to one."""

    def __init__(self, cin, growth):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(cin)
        self.conv1 = nn.Conv2d(cin, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, features):
        x = torch.cat(features, 1)
        x = self.conv1(F.relu(self.norm1(x)))
        return self.conv2(F.relu(self.norm2(x)))


class DenseBlock(nn.ModuleList):
    """Each layer reads the input and every earlier layer's result."""

    def __init__(self, cin, layers, growth):
        super().__init__(DenseLayer(cin + i * growth, growth) for i in range(layers))

    def forward(self, x):
        features = [x]
        for layer in self:
            features.append(layer(features))
        return torch.cat(features, 1)


class DenseNet(nn.Module):
    """DenseNet-BC (arXiv:1608.06993)."""

    def __init__(self, growth=8, classes=10):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.block1 = DenseBlock(16, 3, growth)
        self.transition = nn.Sequential(
            nn.BatchNorm2d(40),
            nn.ReLU(inplace=True),
            nn.Conv2d(40, 20, 1, bias=False),
            nn.AvgPool2d(2, stride=2),
        )
        self.block2 = DenseBlock(20, 3, growth)
        self.norm = nn.BatchNorm2d(44)
        self.classifier = nn.Linear(44, classes)

    def forward(self, x):
        x = self.block2(self.transition(self.block1(self.conv(x))))
        x = F.relu(self.norm(x), inplace=True)
        x = F.adaptive_avg_pool2d(x, (1, 1))
        return self.classifier(torch.flatten(x, 1))


RESIDUAL = {
    "resnet_basic": example(ResNetBasic, image(32)),
    "resnet_bottleneck": example(lambda: BottleneckNet((8, 12), (24, 32)), image(16)),
    "resnet_preact": example(PreActResNet, image(16)),
    "resnet_cifar_a": example(CifarResNet, image(16)),
    "resnext": example(lambda: BottleneckNet((16, 32), (24, 40), (4, 4)), image(16)),
    "se_resnet": example(lambda: ResNetBasic(squeeze=6), image(32)),
    "densenet": example(DenseNet, image(16)),
    "regnet_y": example(
        lambda: BottleneckNet((16, 24), (16, 24), (2, 3), squeeze=(4, 6)), image(16)
    ),
}
