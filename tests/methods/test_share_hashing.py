import pytest
import torch

from tersor.codes.hashed import Hashed
from tersor.errors import InputError
from tersor.export.onnx import to_onnx
from tersor.methods.prune.magnitude import PruneMagnitude
from tersor.methods.share import hashing
from tersor.methods.share.hashing import ShareHashing
from tersor.runtime import open as open_model
from tersor.store.expand import expand_weights
from tersor.testing.networks import convolutional, perceptron, samples_for


def test_each_weight_has_its_share_of_numbers_and_a_hash_of_its_own():
    result = ShareHashing(factor=5, minimum=0).apply(perceptron())
    codes = [result.code(f"{name}.weight") for name in ("first", "second", "third")]
    assert [code.buckets.numel() for code in codes] == [77, 103, 10]  # of 384, 512, 48
    assert all(isinstance(code, Hashed) for code in codes)
    assert len({code.seed for code in codes}) == 3
    assert [n.text for n in result.notes] == [f"{n} hashed values" for n in (77, 103, 10)]


def test_the_seed_changes_who_shares():
    one, other = (ShareHashing(seed=s, minimum=0).apply(perceptron()) for s in (0, 1))
    assert not torch.equal(one.tensor("first.weight"), other.tensor("first.weight"))


def test_what_is_not_hashed_is_told(monkeypatch):
    monkeypatch.setattr(hashing, "MOST_ELEMENTS", 500)
    pruned = PruneMagnitude(keep=("second", "third")).apply(perceptron())
    notes = ShareHashing(minimum=50).apply(pruned).notes
    texts = {note.layer: note.text for note in notes if note.method == "share.hashing"}
    assert texts == {
        "first": "it is pruned, and hashing would lose its zeros",
        "second": "more than 500 weights",
        "third": "fewer than 50 weights",
    }


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_engines_compute_the_hash_and_so_does_expanding(engine, tmp_path):
    network = ShareHashing(factor=3, seed=4, minimum=0).apply(convolutional())
    feeds = dict(samples_for(network).inputs)
    want = network.run(feeds)["scores"]
    stored = to_onnx(network)
    for name, model in {"stored": stored, "expanded": expand_weights(stored)}.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(model)
        found = open_model(path, engine=engine).run(feeds)["scores"]
        # sums of at most 72 products
        assert abs(found - want).max() <= 72 * 2**-22 * abs(want).max()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factor": 1.0}, "factor must be above 1. Got 1.0"),
        ({"factor": float("inf")}, "factor must be above 1"),
        ({"seed": -1}, r"seed must be in \[0, 2\^32\)"),
        ({"seed": 2**32}, r"seed must be in \[0, 2\^32\)"),
        ({"minimum": -1}, "minimum must be 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        ShareHashing(**settings)
