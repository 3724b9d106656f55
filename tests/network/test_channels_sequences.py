"""Which channels of attention, recurrent layers and products of matrices go together."""

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

TOKENS = drawn(2, 5, 3)
IDS = torch.tensor([[3, 1, 4, 1, 5], [8, 2, 6, 5, 3]])


def linear(size, out, **more):
    return nn.Linear(size, out, **more)


def heads(x, count):
    """(batch, tokens, heads width) to (batch, heads, tokens, width)."""
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


def joined(x):
    return x.transpose(1, 2).flatten(2)


def attention(m, x):
    q, k, v = heads(m.q(x), 2), heads(m.k(x), 2), heads(m.v(x), 2)
    return m.out(joined((q @ k.transpose(-1, -2) / 2).softmax(-1) @ v))


def grouped(m, x):
    """Each head of keys and values serves two of queries."""
    q, k, v = heads(m.q(x), 4), heads(m.k(x), 2), heads(m.v(x), 2)
    k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
    return m.out(joined((q @ k.transpose(-1, -2) / 2).softmax(-1) @ v))


def fused(m, x):
    q, k, v = heads(m.q(x), 4), heads(m.k(x), 2), heads(m.v(x), 2)
    return m.out(joined(F.scaled_dot_product_attention(q, k, v, enable_gqa=True)))


def heads_in_the_batch(m, x):
    batch, length, _ = x.shape

    def parted(y):
        return y.transpose(0, 1).contiguous().view(length, batch * 2, 4).transpose(0, 1)

    q, k, v = parted(m.q(x)), parted(m.k(x)), parted(m.v(x))
    y = torch.bmm(torch.bmm(q, k.transpose(1, 2)).softmax(-1), v)
    return m.out(y.transpose(0, 1).contiguous().view(length, batch, 8))


def one_matrix(m, x):
    qkv = m.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.unbind(0)
    return m.out(joined(F.scaled_dot_product_attention(q, k, v)))


def turned_in_pairs(m, x):
    """Neighbouring places of queries and keys are turned against each other."""
    angle = torch.arange(x.shape[1])[:, None] * torch.tensor([1.0, 0.1]).repeat_interleave(2)

    def turned(y):
        other = torch.stack((-y[..., 1::2], y[..., ::2]), -1).flatten(-2)
        return y * angle.cos() + other * angle.sin()

    q, k, v = turned(heads(m.q(x), 2)), turned(heads(m.k(x), 2)), heads(m.v(x), 2)
    return m.out(joined((q @ k.transpose(-1, -2)).softmax(-1) @ v))


def with_weights(m, x):
    y = m.enter(x)
    mixed, weights = m.mix(y, y, y)
    return m.out(mixed), weights


def by_letters(m, x):
    y = torch.einsum("btc,chd->bhtd", m.enter(x), m.make)
    return torch.einsum("b h t d, h d o -> b t o", y.relu(), m.join)


def over_tokens(m, x):
    y = m.enter(x)
    return m.out(y + m.back(F.relu(m.tokens(y.transpose(1, 2)))).transpose(1, 2))


def weights_from_inputs(m, x):
    matrix = m.make(x[:, 0]).view(-1, 8, 6)
    return m.out(torch.bmm(matrix, m.enter(x[:, 1])[:, :, None])[:, :, 0].relu())


def states_to_start_with(m, x):
    states = [state.expand(-1, x.shape[0], -1).contiguous() for state in (m.h, m.c)]
    return m.out(m.part(m.enter(x), states)[0])


def units(first, *members):
    """The first line of a group, then members of a recurrent layer, and of the last one."""
    return " ".join([first, *(f"part.{name}" for name in members), "out.weight:1-"])


def projections(q, k, v, last):
    return {"q": linear(3, q), "k": linear(3, k), "v": linear(3, v), "out": linear(last, 4)}


Q, K, V = (f"{name}.weight:0+ {name}.bias:0" for name in "qkv")
MIX = "mix.in_proj_weight:0+ mix.in_proj_bias:0 mix.out_proj.weight:1-"
CASES = {
    "attention": (
        Made(attention, **projections(8, 8, 12, 12)),
        [f"q/0 2: {Q} {K} {V} out.weight:1-", f"q/1 4: {Q} {K}", f"v/1 6: {V} out.weight:1-"],
    ),
    "grouped queries": (
        Made(grouped, **projections(16, 8, 12, 24)),
        [f"q/0 2: {Q} {K} {V} out.weight:1-", f"q/2 4: {Q} {K}", f"v/1 6: {V} out.weight:1-"],
    ),
    "grouped queries in one function": (
        Made(fused, **projections(16, 8, 12, 24)),
        [
            f"q/0 2: {Q} {K} {V} out.weight:1-",
            f"q/1 2: {Q} out.weight:1-",
            f"q/2 4: {Q} {K}",
            f"v/1 6: {V} out.weight:1-",
        ],
    ),
    "heads in the batch": (
        Made(heads_in_the_batch, **projections(8, 8, 8, 8)),
        [f"q/0 2: {Q} {K} {V} out.weight:1-", f"q/1 4: {Q} {K}", f"v/1 4: {V} out.weight:1-"],
    ),
    "turned in pairs": (
        Made(turned_in_pairs, **projections(8, 8, 12, 12)),
        [f"q/0 2: {Q} {K} {V} out.weight:1-", f"v/1 6: {V} out.weight:1-"],
    ),
    "one matrix": (
        Made(one_matrix, qkv=linear(3, 24), out=linear(8, 4)),
        [
            "qkv/1 2: qkv.weight:0+ qkv.bias:0 out.weight:1-",
            "qkv/2 4: qkv.weight:0+ qkv.bias:0 out.weight:1-",
        ],
    ),
    "torch's attention and its weights": (
        Made(
            with_weights,
            enter=linear(3, 8),
            mix=nn.MultiheadAttention(8, 2, batch_first=True),
            out=linear(8, 4),
        ),
        [
            "enter 8: enter.weight:0+ enter.bias:0 mix.in_proj_weight:1-",
            f"mix.in_proj_weight/1 2: {MIX}",
            f"mix.in_proj_weight/2 4: {MIX}",
            "mix.out_proj 8: mix.out_proj.weight:0+ mix.out_proj.bias:0 out.weight:1-",
        ],
    ),
    "letters": (
        Made(
            by_letters,
            enter=linear(3, 8),
            make=nn.Parameter(torch.empty(8, 2, 6)),
            join=nn.Parameter(torch.empty(2, 6, 4)),
        ),
        [
            "enter 8: enter.weight:0+ enter.bias:0 make:0-",
            "make/0 2: make:1+ join:0-",
            "make/1 6: make:2+ join:1-",
        ],
    ),
    "keys and values that are stored": (
        Made(
            lambda m, x: m.out(torch.relu(m.enter(x) @ m.key.t()) @ m.value),
            enter=linear(3, 8),
            key=nn.Parameter(torch.empty(10, 8)),
            value=nn.Parameter(torch.empty(10, 6)),
            out=linear(6, 4),
        ),
        [
            "enter 8: enter.weight:0+ enter.bias:0 key:1-",
            "key 10: key:0+ value:0-",
            "value 6: value:1+ out.weight:1-",
        ],
    ),
    "over tokens": (
        Made(
            over_tokens,
            enter=linear(3, 8),
            tokens=linear(5, 10),
            back=linear(10, 5),
            out=linear(8, 4),
        ),
        [
            "enter 8: enter.weight:0+ enter.bias:0 out.weight:1-",
            "tokens 10: tokens.weight:0+ tokens.bias:0 back.weight:1-",
        ],
    ),
    "weights made from inputs": (
        Made(weights_from_inputs, make=linear(3, 48), enter=linear(3, 6), out=linear(8, 4)),
        [
            "make/0 8: make.weight:0+ make.bias:0 out.weight:1-",
            "make/1 6: make.weight:0+ make.bias:0 enter.weight:0+ enter.bias:0",
        ],
    ),
    "weight and product of two": (
        Made(
            lambda m, x: m.out(F.linear(x, m.a.weight + m.left @ m.right)),
            a=linear(3, 8, bias=False),
            left=nn.Parameter(torch.empty(8, 2)),
            right=nn.Parameter(torch.empty(2, 3)),
            out=linear(8, 4),
        ),
        ["left 8: left:0 a.weight:0 out.weight:1-", "left (2) 2: left:1 right:0-"],
    ),
    "layer norm": (
        Made(
            lambda m, x: m.out(m.norm(m.norm(m.enter(x)).relu())),
            enter=linear(3, 8),
            norm=nn.LayerNorm(8),
            out=linear(8, 4),
        ),
        [
            "enter 8: enter.weight:0+ enter.bias:0 norm.weight:0 norm.bias:0 out.weight:1-",
        ],
    ),
    "embedding": (
        Made(lambda m, x: m.out(m.rows(x)), rows=nn.Embedding(9, 8), out=linear(8, 4)),
        ["rows 8: rows.weight:1+ out.weight:1-"],
    ),
    "embedding that is the head too": (
        Made(
            lambda m, x: F.linear(m.middle(m.rows(x)).relu(), m.rows.weight),
            rows=nn.Embedding(9, 8),
            middle=linear(8, 8),
        ),
        ["rows 8: rows.weight:1+ middle.weight:0+ middle.weight:1- middle.bias:0"],
    ),
    "weight and its transpose": (
        Made(lambda m, x: F.linear(m.a(x).relu(), m.a.weight.t()), a=linear(3, 8, bias=False)),
        ["a 8: a.weight:0+"],
    ),
    "units": (
        Made(
            lambda m, x: m.out(m.part(m.enter(x))[0]),
            enter=linear(3, 6),
            part=nn.LSTM(6, 8, batch_first=True),
            out=linear(8, 4),
        ),
        [
            "enter 6: enter.weight:0+ enter.bias:0 part.weight_ih_l0:1-",
            units(
                "part.weight_ih_l0/1 8:",
                *("weight_ih_l0:0+", "weight_hh_l0:0+", "weight_hh_l0:1-"),
                *("bias_ih_l0:0", "bias_hh_l0:0"),
            ),
        ],
    ),
    "units with states to start with": (
        Made(
            states_to_start_with,
            enter=linear(3, 6),
            part=nn.LSTM(6, 8, bias=False, batch_first=True),
            h=nn.Parameter(torch.empty(1, 1, 8)),
            c=nn.Parameter(torch.empty(1, 1, 8)),
            out=linear(8, 4),
        ),
        [
            units(
                "part.weight_ih_l0/1 8: h:2 c:2",
                *("weight_ih_l0:0+", "weight_hh_l0:0+", "weight_hh_l0:1-"),
            ),
            "enter 6: enter.weight:0+ enter.bias:0 part.weight_ih_l0:1-",
        ],
    ),
    "units whose results are projected": (
        Made(
            lambda m, x: m.out(m.part(x)[0]),
            part=nn.LSTM(3, 8, proj_size=5, bias=False, bidirectional=True),
            out=linear(10, 4),
        ),
        [
            units(
                "part.weight_hr_l0 5:",
                *("weight_hh_l0:1-", "weight_hr_l0:0+"),
                *("weight_hh_l0_reverse:1-", "weight_hr_l0_reverse:0+"),
            ),
        ],
    ),
    "two layers of gated units": (
        Made(
            lambda m, x: m.out(m.part(m.enter(x))[1][-1]),
            enter=linear(3, 6),
            part=nn.GRU(6, 8, 2, bias=False),
            out=linear(8, 4),
        ),
        [
            "enter 6: enter.weight:0+ enter.bias:0 part.weight_ih_l0:1-",
            units(
                "part.weight_ih_l0/1 8:",
                *("weight_ih_l0:0+", "weight_hh_l0:0+", "weight_hh_l0:1-"),
                *("weight_ih_l1:0+", "weight_ih_l1:1-", "weight_hh_l1:0+", "weight_hh_l1:1-"),
            ),
        ],
    ),
    "plain units": (
        Made(lambda m, x: m.out(m.part(x)[0]), part=nn.RNN(3, 8), out=linear(8, 4)),
        [
            units(
                "part.weight_ih_l0 8:",
                *("weight_ih_l0:0+", "weight_hh_l0:0+", "weight_hh_l0:1-"),
                *("bias_ih_l0:0", "bias_hh_l0:0"),
            ),
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_channels_that_go_together(name):
    module, lines = CASES[name]
    inputs = (IDS if name.startswith("embedding") else TOKENS,)
    network, found = followed(module, *inputs)
    assert described(found) == lines
    for seed in range(2):
        assert_cuts_like_zeros(network, inputs, found, random_part(found, 0.5, seed))


def test_several_inputs_and_outputs_share_a_group():
    module = Made(
        lambda m, x, y: (m.one(m.a(x) + m.b(y)), m.other((m.a(x) + m.b(y)).relu())),
        a=linear(3, 8),
        b=linear(5, 8),
        one=linear(8, 4),
        other=linear(8, 2),
    )
    inputs = TOKENS, drawn(2, 5, 5)
    network, found = followed(module, *inputs)
    assert described(found) == [
        "a 8: a.weight:0+ a.bias:0 b.weight:0+ b.bias:0 one.weight:1- other.weight:1-"
    ]
    small = assert_cuts_like_zeros(network, inputs, found, random_part(found))
    assert [tuple(each.shape) for each in small.module(*inputs)] == [(2, 5, 4), (2, 5, 2)]
