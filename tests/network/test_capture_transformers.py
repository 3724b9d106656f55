"""Encoders of Hugging Face transformers, made from a configuration, small and random."""

from functools import cache

import numpy as np
import pytest

import tersor
from tersor.engines import find
from tersor.export.onnx import to_onnx

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: pip install transformers"
)
import torch  # noqa: E402

pytestmark = pytest.mark.usefixtures("made_up_memory")
SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
MODELS = {
    "bert": lambda: transformers.BertModel(transformers.BertConfig(**SMALL)),
    "distilbert": lambda: transformers.DistilBertModel(
        transformers.DistilBertConfig(
            vocab_size=50, dim=16, n_layers=1, n_heads=2, hidden_dim=32
        )
    ),
}
OUTPUTS = {"bert": ["last_hidden_state", "pooler_output"], "distilbert": ["last_hidden_state"]}


def tokens(batch, length, padded):
    """Token ids and a mask; the last sample has `padded` tokens of padding at its end."""
    rng = np.random.default_rng(0)
    ids = rng.integers(3, 50, (batch, length))
    mask = np.ones((batch, length), np.int64)
    if padded:
        ids[-1, -padded:], mask[-1, -padded:] = 1, 0
    return {"input_ids": ids, "attention_mask": mask}


def exact(module, feeds):
    with torch.no_grad():
        found = module(**{name: torch.from_numpy(a) for name, a in feeds.items()})
    return [tensor.numpy() for tensor in found.to_tuple()]


@cache
def made(name):
    """A module, its network and its ONNX file."""
    torch.manual_seed(0)
    module = MODELS[name]().eval()
    example = {n: torch.from_numpy(a) for n, a in tokens(2, 7, 0).items()}
    network = tersor.capture(module, example)
    return module, network, to_onnx(network)


@pytest.fixture(params=MODELS)
def captured(request):
    """A module, its network and its ONNX file."""
    return request.param, *made(request.param)


def test_names_are_those_of_the_library(captured):
    name, _, network, _ = captured
    wanted = ("batch", "tokens")
    assert {p.name: p.shape for p in network.inputs} == {
        "input_ids": wanted,
        "attention_mask": wanted,
    }
    assert [p.name for p in network.outputs] == OUTPUTS[name]
    assert network.notes == ()


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(("batch", "length", "padded"), [(1, 5, 0), (4, 11, 3)])
def test_engines_compute_the_same_for_other_sizes_and_padding(
    captured, engine, batch, length, padded
):
    _, module, network, onnx = captured
    feeds = tokens(batch, length, padded)
    wanted = exact(module, feeds)
    found = find(engine).prepare(onnx, threads=1).run(feeds)
    for port, exactly in zip(network.outputs, wanted, strict=True):
        # sums of at most 32 products, in about 20 layers in a row
        allowed = 20 * 32 * 2**-24 * np.abs(exactly).max()
        assert np.abs(found[port.name] - exactly).max() <= allowed
        assert np.array_equal(network.run(feeds)[port.name], exactly)


def test_padding_changes_nothing_for_the_tokens_before_it(captured):
    name, _, network, _ = captured
    longer = tokens(2, 9, 4)
    shorter = {n: a[1:, :5] for n, a in longer.items()}
    output = OUTPUTS[name][0]
    whole, cut = network.run(longer)[output][1:, :5], network.run(shorter)[output]
    assert np.abs(whole - cut).max() <= 20 * 32 * 2**-24 * np.abs(cut).max()


def test_compressing_and_opening_the_file_keeps_both_sizes_free(tmp_path):
    module, network, _ = made("bert")
    samples = tersor.Samples(tokens(64, 12, 5))
    quick = tersor.Options(seconds=0.3, threads=1, engines=("onnxruntime",))
    result = tersor.compress(network, samples, recipe="w8", options=quick)
    result.save(tmp_path)
    session = tersor.open(tmp_path / "model.tsr", threads=1)
    feeds = tokens(3, 9, 2)
    found = session.run(feeds)["last_hidden_state"]
    wanted = exact(module, feeds)[0]
    assert found.shape == (3, 9, 16)
    # half a step of int8, 1/254 of the largest weight, in the 6 layers on the way
    assert np.abs(found - wanted).max() <= 6 * np.abs(wanted).max() / 254
