"""Heads of attentions, however they are written, against the architectures' own words."""

import numpy as np
import pytest
import torch
from cutting import captured

from architectures import ARCHITECTURES
from tersor.network.heads import heads, norms

COUNTS = {
    "vit": [4, 4],
    "vit_modules": [2, 2],
    "einsum_attention": [3],
    "swin": [3, 3, 6],
    "bert": [3, 3],
    "gpt_tied": [4, 4],
    "llama": [2, 2],  # of keys and values, two queries each
    "llama_sdpa": [2, 2],
    "transformer": [2, 3, 3],
    "resnet_basic": [],
    "mlp_mixer": [],
}


def found(name):
    network, _, known = captured(name)
    return heads(network, known)


@pytest.mark.parametrize("name", COUNTS)
def test_every_attention_has_its_heads(name):
    assert [each.group.size for each in found(name)] == COUNTS[name]


@pytest.mark.parametrize("name", ["vit", "swin", "bert", "gpt_tied", "llama", "transformer"])
def test_readers_have_the_heads_side_by_side(name):
    for each in found(name):
        (reader,) = each.readers
        assert reader.layer.shape[1] == len(reader.heads)
        wide = len(reader.heads) // each.group.size
        np.testing.assert_array_equal(reader.heads, np.repeat(range(each.group.size), wide))


def test_readers_know_whether_samples_follow_each_other():
    for name, by_sample in (("vit", True), ("swin", True), ("vit_modules", False)):
        assert {r.by_sample for each in found(name) for r in each.readers} == {by_sample}


def vit(module):
    dim = module.head.in_features
    for block in module.blocks:
        own = block.attn
        yield own.qkv.weight[2 * dim :], own.proj.weight, own.heads


def gpt(module):
    for block in module.h:
        own = block.attn
        yield own.c_attn.weight[2 * own.width :], own.c_proj.weight, own.heads


def bert(module):
    for layer in module.layers:
        own = layer.attention
        yield own.value.weight, own.dense.weight, own.heads


def swin(module):
    for block in (*module.stage1, module.stage2):
        own = block.attn
        yield own.qkv.weight[len(own.qkv.weight) // 3 * 2 :], own.proj.weight, own.heads


def torch_own(module):
    for layer in module.encoder.layers:
        own = layer.self_attn
        yield own.in_proj_weight[2 * own.embed_dim :], own.out_proj.weight, own.num_heads


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vit", vit),
        ("gpt_tied", gpt),
        ("bert", bert),
        ("swin", swin),
        ("vit_modules", torch_own),
    ],
)
def test_norms_are_those_of_the_product_of_a_heads_matrices(name, words):
    network, _, known = captured(name)
    module = ARCHITECTURES[name]()[0].requires_grad_(False)
    for each, (v, o, count) in zip(found(name), words(module), strict=True):
        wide = len(v) // count
        wanted = [
            float(torch.linalg.norm(o[:, i : i + wide].double() @ v[i : i + wide].double()))
            for i in range(0, len(v), wide)
        ]
        np.testing.assert_allclose(norms(network, known, each), wanted, rtol=1e-9)


@pytest.mark.parametrize("name", ["llama", "llama_sdpa"])
def test_norms_of_grouped_queries_add_up_over_the_queries(name):
    network, _, known = captured(name)
    module, _ = ARCHITECTURES[name]()
    for each, layer in zip(found(name), module.layers, strict=True):
        v = layer.attention.v_proj.weight.double().reshape(2, 6, -1)
        o = layer.attention.o_proj.weight.double().reshape(-1, 2, 2, 6)
        products = torch.einsum("okqd,kdi->kqoi", o, v)
        wanted = products.square().sum((1, 2, 3)).sqrt().detach()
        np.testing.assert_allclose(norms(network, known, each), wanted, rtol=1e-9)


def test_there_is_no_norm_where_values_come_of_a_slice_of_a_weight():
    network, _, known = captured("transformer")
    *_, cross = found("transformer")
    assert norms(network, known, cross) is None
