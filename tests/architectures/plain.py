"""Convolutional networks without shortcuts: chains, and branches that are concatenated."""

import torch
from torch import nn

from architectures.parts import ConvBN, PoolHead, example, image


class LeNet5(nn.Module):
    """LeNet-5 (LeCun et al., Gradient-based learning for document recognition, 1998)."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.pool = nn.AvgPool2d(2)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        x = self.pool(torch.tanh(self.conv1(x)))
        x = self.pool(torch.tanh(self.conv2(x)))
        x = x.view(-1, 16 * 5 * 5)
        x = torch.tanh(self.fc1(x))
        x = torch.tanh(self.fc2(x))
        return self.fc3(x)


class VGG(nn.Module):
    """VGG with batch normalisation (arXiv:1409.1556)."""

    def __init__(self, plan=(8, 12, "M", 16, 24, "M", 32, "M"), classes=10):
        super().__init__()
        layers: list[nn.Module] = []
        cin = 3
        for step in plan:
            if step == "M":
                layers.append(nn.MaxPool2d(2, 2))
            else:
                conv = nn.Conv2d(cin, step, 3, padding=1)
                layers += [conv, nn.BatchNorm2d(step), nn.ReLU(inplace=True)]
                cin = step
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(
            nn.Linear(cin * 4, 48),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(48, 40),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(40, classes),
        )

    def forward(self, x):
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


class InceptionA(nn.Module):
    """Figure 5 of Inception v3: 1x1, 5x5, two 3x3, pooled 1x1."""

    def __init__(self, cin, pooled):
        super().__init__()
        self.one = ConvBN(cin, 16, 1)
        self.five = nn.Sequential(ConvBN(cin, 12, 1), ConvBN(12, 16, 5))
        self.three = nn.Sequential(ConvBN(cin, 16, 1), ConvBN(16, 24), ConvBN(24, 24))
        self.pool = nn.AvgPool2d(3, stride=1, padding=1)
        self.pooled = ConvBN(cin, pooled, 1)

    def forward(self, x):
        branches = [self.one(x), self.five(x), self.three(x), self.pooled(self.pool(x))]
        return torch.cat(branches, 1)


class Reduction(nn.Module):
    """Figure 10 of Inception v3: halves the size in three branches."""

    def __init__(self, cin):
        super().__init__()
        self.three = ConvBN(cin, 20, stride=2)
        self.stacked = nn.Sequential(
            ConvBN(cin, 8, 1), ConvBN(8, 12), ConvBN(12, 12, stride=2)
        )
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.channels = cin + 32

    def forward(self, x):
        return torch.cat([self.three(x), self.stacked(x), self.pool(x)], dim=1)


class InceptionC(nn.Module):
    """Figure 6 of Inception v3: n x n as 1 x n and n x 1, here with n = 5."""

    def __init__(self, cin):
        super().__init__()
        self.one = ConvBN(cin, 24, 1)
        self.reduce = ConvBN(cin, 16, 1)
        self.row = nn.Conv2d(16, 20, (1, 5), padding=(0, 2), bias=False)
        self.row_norm = nn.BatchNorm2d(20, eps=0.001)
        self.column = nn.Conv2d(20, 24, (5, 1), padding=(2, 0), bias=False)
        self.column_norm = nn.BatchNorm2d(24, eps=0.001)

    def forward(self, x):
        y = torch.relu(self.row_norm(self.row(self.reduce(x))))
        y = torch.relu(self.column_norm(self.column(y)))
        return torch.cat((self.one(x), y), 1)


class InceptionV3(nn.Module):
    """Inception v3 (arXiv:1512.00567)."""

    def __init__(self, classes=10):
        super().__init__()
        self.stem = nn.Sequential(ConvBN(3, 8), ConvBN(8, 16))
        self.block1 = InceptionA(16, 8)
        self.block2 = InceptionA(64, 16)
        self.reduction = Reduction(72)
        self.block3 = InceptionC(self.reduction.channels)
        self.head = PoolHead(48, classes)

    def forward(self, x):
        x = self.block2(self.block1(self.stem(x)))
        return self.head(self.block3(self.reduction(x)))


class Inception(nn.Module):
    """The module of GoogLeNet: 1x1, 3x3 and 5x5 after reductions, pool projection."""

    def __init__(self, cin, one, three, five, projection):
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(cin, one, 1), nn.ReLU())
        self.three = self.reduced(cin, *three, 3)
        self.five = self.reduced(cin, *five, 5)
        self.pool = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True),
            nn.Conv2d(cin, projection, 1),
            nn.ReLU(),
        )
        self.channels = one + three[1] + five[1] + projection

    @staticmethod
    def reduced(cin, middle, cout, kernel):
        first = nn.Conv2d(cin, middle, 1)
        second = nn.Conv2d(middle, cout, kernel, padding=kernel // 2)
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())

    def forward(self, x):
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)


class GoogLeNet(nn.Module):
    """GoogLeNet without its auxiliary heads, which only train (arXiv:1409.4842)."""

    def __init__(self, classes=12):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, stride=2, padding=3)
        self.conv2 = nn.Conv2d(8, 12, 1)
        self.conv3 = nn.Conv2d(12, 24, 3, padding=1)
        self.maxpool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = Inception(24, 16, (12, 16), (8, 10), 8)
        self.inception3b = Inception(self.inception3a.channels, 16, (8, 24), (8, 12), 12)
        self.inception4a = Inception(self.inception3b.channels, 20, (16, 24), (8, 16), 12)
        self.dropout = nn.Dropout(0.4)
        self.fc = nn.Linear(self.inception4a.channels, classes)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv3(torch.relu(self.conv2(x))))
        x = self.inception3b(self.inception3a(self.maxpool(x)))
        x = self.inception4a(self.maxpool(x))
        x = x.mean([2, 3])
        return self.fc(self.dropout(x))


class Fire(nn.Module):
    """Squeeze by 1x1, expand by 1x1 and 3x3."""

    def __init__(self, cin, squeeze, expand1, expand3):
        super().__init__()
        self.squeeze = nn.Conv2d(cin, squeeze, 1)
        self.expand1 = nn.Conv2d(squeeze, expand1, 1)
        self.expand3 = nn.Conv2d(squeeze, expand3, 3, padding=1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.act(self.squeeze(x))
        return torch.cat([self.act(self.expand1(x)), self.act(self.expand3(x))], 1)


class SqueezeNet(nn.Module):
    """SqueezeNet: fire modules, classes by a 1x1 convolution (arXiv:1602.07360)."""

    def __init__(self, classes=10):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 12, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            Fire(12, 8, 12, 16),
            Fire(28, 8, 16, 16),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            Fire(32, 12, 24, 20),
        )
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Conv2d(44, classes, 1)
        self.pool = nn.AdaptiveAvgPool2d((1, 1))

    def forward(self, x):
        x = torch.relu(self.classifier(self.dropout(self.features(x))))
        return torch.flatten(self.pool(x), 1)


PLAIN = {
    "lenet5": example(LeNet5, image(32, channels=1)),
    "vgg": example(VGG, image(16)),
    "inception_v3": example(InceptionV3, image(16)),
    "googlenet": example(GoogLeNet, image(32)),
    "squeezenet": example(SqueezeNet, image(16)),
}
