"""Which channels of convolutional networks go together, and that these can be cut."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from tests.network.cutting import (
    Made,
    assert_cuts_like_zeros,
    described,
    drawn,
    followed,
    random_part,
)
from torch import nn

IMAGE = drawn(2, 3, 6, 6)


def conv(cin, cout, kernel=1, **more):
    return nn.Conv2d(cin, cout, kernel, **more)


def by(function, width=8, out=None):
    """A function between two convolutions."""
    last = conv(out or width, 4)
    return Made(lambda m, x: m.out(function(m.a(x))), a=conv(3, width), out=last)


def through(part, width=8, out=None):
    """A part between two convolutions."""
    last = conv(out or width, 4)
    return Made(lambda m, x: m.out(m.part(m.a(x))), a=conv(3, width), part=part, out=last)


def of_two(function, a, b, out):
    """A function of two convolutions, and one after it."""
    parts = {"a": conv(3, a), "b": conv(3, b), "out": conv(out, 4)}
    return Made(lambda m, x: m.out(function(m.a(x), m.b(x))), **parts)


def shuffled(x, groups):
    batch, channels, height, width = x.shape
    x = x.view(batch, groups, channels // groups, height, width)
    return x.transpose(1, 2).reshape(batch, -1, height, width)


def excited(m, x):
    y = m.a(x)
    return m.out(y * torch.sigmoid(m.up(F.relu(m.down(y.mean((2, 3), keepdim=True))))))


def split_in_two(m, x):
    left, right = m.a(x).split([4, 8], 1)
    return m.one(left) + m.other(right)


def gated_by_a_half(x):
    left, right = x.chunk(2, 1)
    return left * right.sigmoid()


def with_coordinates(x):
    rows = torch.linspace(-1, 1, 6).view(1, 1, 6, 1).expand(x.shape[0], -1, -1, 6)
    return torch.cat([x, rows, rows.transpose(2, 3)], 1)


def groups_in_the_batch(m, x):
    y = m.a(x)
    batch, channels, height, width = y.shape
    y = m.each(y.reshape(batch * 2, channels // 2, height, width))
    return m.out(y.reshape(batch, -1, height, width))


def scaled_with_a_mean(m, x):
    return m.out(m.a(x) * m.scale + m.b(x).mean((2, 3))[:, :, None, None])


def joined(*parts):
    return torch.cat(parts, 1)


WHOLE = "a 8: a.weight:0+ a.bias:0 out.weight:1-"
TWO = "a 8: a.weight:0+ a.bias:0 b.weight:0+ b.bias:0 out.weight:1-"
NORM = "a 8: a.weight:0+ a.bias:0 part.weight:0 part.bias:0 out.weight:1-"
CASES = {
    "sum": (of_two(torch.add, 8, 8, 8), [TWO]),
    "concat": (
        of_two(joined, 8, 6, 14),
        [WHOLE, "b 6: b.weight:0+ b.bias:0 out.weight:1-"],
    ),
    "concat with itself": (by(lambda x: joined(x, x.relu()), out=16), [WHOLE]),
    "concat of rows": (of_two(lambda x, y: torch.cat([x, y], 2), 8, 8, 8), [TWO]),
    "concat with coordinates": (by(with_coordinates, out=10), [WHOLE]),
    "zeros before and after": (
        of_two(lambda x, y: F.pad(x, (0, 0, 0, 0, 2, 3)) + y, 8, 13, 13),
        [
            TWO,
            "b[0:2] 2: b.weight:0+ b.bias:0 out.weight:1-",
            "b[10:13] 3: b.weight:0+ b.bias:0 out.weight:1-",
        ],
    ),
    "split": (
        Made(split_in_two, a=conv(3, 12), one=conv(4, 4), other=conv(8, 4)),
        [
            "a[0:4] 4: a.weight:0+ a.bias:0 one.weight:1-",
            "a[4:12] 8: a.weight:0+ a.bias:0 other.weight:1-",
        ],
    ),
    "chunk": (
        by(gated_by_a_half, 12, 6),
        ["a/0 6: a.weight:0+ a.bias:0 out.weight:1-"],
    ),
    "glu": (
        by(lambda x: F.glu(x, 1), 12, 6),
        ["a/0 6: a.weight:0+ a.bias:0 out.weight:1-"],
    ),
    "slice": (
        by(lambda x: x[:, 4:9], 12, 5),
        [
            "a[0:4] 4: a.weight:0+ a.bias:0",
            "a[4:9] 5: a.weight:0+ a.bias:0 out.weight:1-",
            "a[9:12] 3: a.weight:0+ a.bias:0",
        ],
    ),
    "slice from the end": (
        by(lambda x: x[:, -4:], 12, 4),
        ["a[0:8] 8: a.weight:0+ a.bias:0", "a[8:12] 4: a.weight:0+ a.bias:0 out.weight:1-"],
    ),
    "narrow to all": (by(lambda x: x.narrow(1, 0, 8)), [WHOLE]),
    "flatten": (
        Made(lambda m, x: m.out(m.a(x).flatten(1)), a=conv(3, 8), out=nn.Linear(288, 4)),
        [WHOLE],
    ),
    "view": (
        Made(lambda m, x: m.out(m.a(x).view(-1, 288)), a=conv(3, 8), out=nn.Linear(288, 4)),
        [WHOLE],
    ),
    "unflatten": (
        by(lambda x: x.unflatten(1, (2, 4)).amax(1), out=4),
        ["a/1 4: a.weight:0+ a.bias:0 out.weight:1-"],
    ),
    "groups in the batch": (
        Made(groups_in_the_batch, a=conv(3, 8), each=conv(4, 6), out=conv(12, 4)),
        [
            "a/0 2: a.weight:0+ a.bias:0 out.weight:1-",
            "a/1 4: a.weight:0+ a.bias:0 each.weight:1-",
            "each 6: each.weight:0+ each.bias:0 out.weight:1-",
        ],
    ),
    "permute": (
        Made(
            lambda m, x: m.out(m.a(x).permute(0, 2, 3, 1)), a=conv(3, 8), out=nn.Linear(8, 4)
        ),
        [WHOLE],
    ),
    "broadcast": (
        Made(
            scaled_with_a_mean,
            scale=nn.Parameter(torch.empty(8, 1, 1)),
            a=conv(3, 8),
            b=conv(3, 8),
            out=conv(8, 4),
        ),
        ["a 8: a.weight:0+ a.bias:0 scale:0 b.weight:0+ b.bias:0 out.weight:1-"],
    ),
    "depthwise": (
        through(conv(8, 8, 3, groups=8)),
        ["a 8: a.weight:0+ a.bias:0 part.weight:0+ part.bias:0 out.weight:1-"],
    ),
    "depthwise with two results each": (
        through(conv(8, 16, 3, groups=8), out=16),
        [
            "a 8: a.weight:0+ a.bias:0 part.weight:0+ part.bias:0 out.weight:1-",
            "part/1 2: part.weight:0+ part.bias:0 out.weight:1-",
        ],
    ),
    "groups": (
        through(conv(8, 12, 3, groups=4), out=12),
        [
            "a/0 4: a.weight:0+ a.bias:0 part.weight:0+ part.bias:0 out.weight:1-",
            "a/1 2: a.weight:0+ a.bias:0 part.weight:1-",
            "part/1 3: part.weight:0+ part.bias:0 out.weight:1-",
        ],
    ),
    "groups of what is concatenated": (
        Made(
            lambda m, x: m.out(m.part(joined(m.a(x), m.b(x)))),
            a=conv(3, 8),
            b=conv(3, 4),
            part=conv(12, 6, groups=3),
            out=conv(6, 4),
        ),
        [
            "a/0 2: a.weight:0+ a.bias:0 part.weight:0+ part.bias:0 out.weight:1-",
            "a/1 4: a.weight:0+ a.bias:0 b.weight:0+ b.bias:0 part.weight:1-",
            "part/2 2: part.weight:0+ part.bias:0 out.weight:1-",
        ],
    ),
    "transposed": (
        through(nn.ConvTranspose2d(8, 12, 2, 2), out=12),
        [
            "a 8: a.weight:0+ a.bias:0 part.weight:0-",
            "part 12: part.weight:1+ part.bias:0 out.weight:1-",
        ],
    ),
    "transposed in groups": (
        through(nn.ConvTranspose2d(8, 12, 2, 2, groups=4), out=12),
        [
            "a/0 4: a.weight:0+ a.bias:0 part.weight:0- part.bias:0 out.weight:1-",
            "a/1 2: a.weight:0+ a.bias:0 part.weight:0-",
            "part/1 3: part.weight:1+ part.bias:0 out.weight:1-",
        ],
    ),
    "batch norm": (
        through(nn.BatchNorm2d(8)),
        [NORM.replace("out", "part.running_mean:0 part.running_var:0 out")],
    ),
    "instance norm": (through(nn.InstanceNorm2d(8, affine=True)), [NORM]),
    "group norm": (
        through(nn.GroupNorm(2, 8)),
        [NORM.replace("a 8", "a/0 2"), NORM.replace("a 8", "a/1 4")],
    ),
    "group norm without weights": (
        through(nn.GroupNorm(2, 8, affine=False)),
        [WHOLE.replace("a 8", "a/0 2"), WHOLE.replace("a 8", "a/1 4")],
    ),
    "layer norm over images": (through(nn.LayerNorm((8, 6, 6))), [NORM]),
    "slopes": (through(nn.PReLU(8)), [NORM.replace("part.bias:0 ", "")]),
    "one slope": (through(nn.PReLU(1)), [WHOLE]),
    "pixel shuffle": (
        by(lambda x: F.pixel_shuffle(x, 2), 12, 3),
        ["a/0 3: a.weight:0+ a.bias:0 out.weight:1-"],
    ),
    "pixel unshuffle": (by(lambda x: F.pixel_unshuffle(x, 2), out=32), [WHOLE]),
    "channel shuffle": (
        by(lambda x: F.channel_shuffle(x, 3), 12),
        ["a/1 4: a.weight:0+ a.bias:0 out.weight:1-"],
    ),
    "channel shuffle by hand": (
        by(lambda x: shuffled(x, 3), 12),
        [
            "a/0 3: a.weight:0+ a.bias:0 out.weight:1-",
            "a/1 4: a.weight:0+ a.bias:0 out.weight:1-",
        ],
    ),
    "squeeze and excitation": (
        Made(excited, a=conv(3, 8), down=conv(8, 2), up=conv(2, 8), out=conv(8, 4)),
        [
            "a 8: a.weight:0+ a.bias:0 down.weight:1- up.weight:0+ up.bias:0 out.weight:1-",
            "down 2: down.weight:0+ down.bias:0 up.weight:1-",
        ],
    ),
    "interpolation": (
        by(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")),
        [WHOLE],
    ),
    "patches": (
        Made(
            lambda m, x: m.out(F.unfold(m.a(x), 3).transpose(1, 2)),
            a=conv(3, 8),
            out=nn.Linear(72, 4),
        ),
        [WHOLE],
    ),
    "one layer twice": (
        Made(
            lambda m, x: m.out(m.twice(m.twice(m.a(x)).relu())),
            a=conv(3, 8),
            twice=conv(8, 8),
            out=conv(8, 4),
        ),
        [WHOLE.replace("out", "twice.weight:0+ twice.weight:1- twice.bias:0 out")],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_channels_that_go_together(name):
    module, lines = CASES[name]
    network, found = followed(module, IMAGE)
    assert described(found) == lines
    assert {each.layer for each in found.frozen} == {"one", "other", "out"} & set(dir(module))
    for seed in range(2):
        assert_cuts_like_zeros(network, (IMAGE,), found, random_part(found, 0.5, seed))
