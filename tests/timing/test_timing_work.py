"""Shapes, multiply-accumulates and widths of a work against what torch computes."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from tersor.timing.work import Work

CONV = Work("conv", ((2, 6, 9, 8), (4, 6, 3, 2)), (2, 1), (1, 0), (1, 2))
DEPTHWISE = Work("conv", ((1, 6, 5, 5), (6, 1, 3, 3)), (1, 1), (1, 1), (1, 1), 6)
GROUPED = Work("conv", ((1, 6, 5), (8, 3, 3)), (1,), (1,), (1,), 2)
TRANSPOSED = Work("conv_transpose", ((2, 6, 4, 5), (6, 2, 3, 2)), (2, 3), (1, 0), (1, 1), 2)
CUBE = Work("conv", ((1, 2, 4, 5, 6), (3, 2, 2, 3, 1)), (1, 2, 1), (0, 1, 0), (2, 1, 1))
CONVOLUTIONS = [CONV, DEPTHWISE, GROUPED, TRANSPOSED, CUBE]


def convolved(work):
    x, w = (torch.ones(shape, device="meta") for shape in work.shapes)
    spatial, settings = x.ndim - 2, (work.stride, work.padding)
    if work.op == "conv":
        conv = getattr(functional, f"conv{spatial}d")
        return conv(x, w, None, *settings, work.dilation, work.groups)
    conv = getattr(functional, f"conv_transpose{spatial}d")
    return conv(x, w, None, *settings, 0, work.groups, work.dilation)


@pytest.mark.parametrize("work", CONVOLUTIONS, ids=lambda w: f"{w.op}{len(w.stride)}")
def test_convolution_gives_the_shape_that_torch_gives(work):
    assert work.output == tuple(convolved(work).shape)


@pytest.mark.parametrize(
    ("work", "macs"),
    [
        (CONV, 2 * 4 * 5 * 6 * (6 * 3 * 2)),
        (DEPTHWISE, 6 * 5 * 5 * 9),
        (TRANSPOSED, 2 * 6 * 4 * 5 * (2 * 3 * 2)),
        (Work("matmul", ((7, 3), (3, 5))), 7 * 3 * 5),
        (Work("product", ((4, 7, 3), (4, 3, 5))), 4 * 7 * 3 * 5),
        (Work("attention", ((1, 2, 5, 4), (1, 2, 7, 4), (1, 2, 7, 3))), 2 * 5 * 7 * (4 + 3)),
        (Work("lstm", ((6, 2, 3), (1, 16, 3), (1, 16, 4))), 6 * 2 * 16 * (3 + 4)),
        (Work("move", ((100,),)), 0),
        (Work("call", ()), 0),
    ],
    ids=lambda value: value.op if isinstance(value, Work) else "",
)
def test_multiplications(work, macs):
    assert work.macs == macs


def test_bytes_of_a_layer():
    work = Work("matmul", ((7, 3), (3, 5)))
    assert work.weight_bytes == 4 * 15
    assert work.moved_bytes == 4 * (21 + 15 + 35)
    assert work.reuse == 7
    assert Work("product", ((1, 7, 3), (1, 3, 5))).reuse == math.inf


@pytest.mark.parametrize(
    ("work", "widths"),
    [
        (CONV, (4, 6)),
        (DEPTHWISE, (6,)),
        (GROUPED, ()),
        (Work("conv_transpose", ((1, 6, 4), (6, 2, 3)), (1,), (0,), (1,)), (6, 2)),
        (Work("matmul", ((7, 3), (3, 5))), (3, 5)),
        (Work("product", ((1, 7, 3), (1, 3, 5))), ()),
        (Work("move", ((100,),)), (100,)),
        (Work("call", ()), ()),
    ],
    ids=lambda value: value.op if isinstance(value, Work) else "",
)
def test_widths_can_be_changed_and_changed_back(work, widths):
    assert work.widths == widths
    other = work.at(tuple(w + 8 for w in widths))
    assert other.widths == tuple(w + 8 for w in widths)
    assert other.at(widths) == work


@pytest.mark.parametrize("work", [CONV, DEPTHWISE], ids=["dense", "depthwise"])
def test_other_widths_are_a_layer_that_torch_takes(work):
    other = work.at(tuple(w + 3 for w in work.widths))
    assert tuple(convolved(other).shape) == other.output
    assert other.output[1] == work.output[1] + 3


def test_keys_are_equal_for_equal_works_only():
    others = [
        replace(CONV, op="conv_transpose"),
        replace(CONV, shapes=((2, 6, 9, 9), CONV.shapes[1])),
        replace(CONV, stride=(1, 1)),
        replace(CONV, padding=(0, 0)),
        replace(CONV, dilation=(1, 1)),
        replace(CONV, groups=2),
        replace(CONV, activation="relu"),
        replace(CONV, is_fed=True),
        replace(CONV, is_cold=True),
    ]
    assert len({work.key for work in (CONV, *others)}) == 10
    assert CONV.key == replace(CONV).key
