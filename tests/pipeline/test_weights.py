"""What became of the weights: real bytes after each step, real values of each layer."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from tests.train.trainings import task

from tersor.choosing.making import Maker
from tersor.export.onnx import to_onnx
from tersor.network.fold import fold_batch_norm
from tersor.pipeline.weights import stages, views
from tersor.plan.recipe import Step
from tersor.store.model import packed, packed_bytes
from tersor.testing import networks

NET = networks.perceptron()
FILE = to_onnx(NET)
PRUNE = Step("prune.magnitude", {"sparsity": 0.75})
SHARE = Step("share.kmeans", {"bits": 3})
TRAIN = Step("train.fine_tune", {"epochs": 1, "during": [{"method": "train.ema"}]})


def made(*steps):
    maker = Maker(NET, task())
    network = maker.after(steps)
    return network, maker, packed(to_onnx(network), {"a": "note"})


def test_stages_are_the_files_after_each_step():
    _, maker, tsr = made(PRUNE, SHARE)
    found = stages(FILE, (PRUNE, SHARE), maker, tsr, "auto")
    names = ["original", "coded as it is", "prune.magnitude", "share.kmeans"]
    assert [one["name"] for one in found] == names
    pruned = packed_bytes(to_onnx(maker.after((PRUNE,))))
    sizes = [len(FILE), packed_bytes(FILE), pruned, len(tsr)]
    assert [one["file_bytes"] for one in found] == sizes
    assert found[0]["weights_bytes"] is None
    assert all(0 < one["weights_bytes"] < one["file_bytes"] for one in found[1:])
    assert found[1]["bound_bytes"] == pytest.approx(found[1]["weights_bytes"], rel=0.2)


def test_another_coder_is_a_stage_of_its_own():
    network, maker, _ = made(PRUNE, SHARE)
    tsr = packed(to_onnx(network), codec="raw")
    *_, last, file = stages(FILE, (PRUNE, SHARE), maker, tsr, "raw")
    assert (file["name"], file["file_bytes"]) == ("coder raw", len(tsr))
    assert last["file_bytes"] == packed_bytes(to_onnx(network))


def test_steps_that_change_no_byte_are_no_stage_and_trainings_name_their_parts():
    same = Step("prune.magnitude", {"sparsity": 0.0})
    _, maker, tsr = made(PRUNE, same, TRAIN)
    names = [x["name"] for x in stages(FILE, (PRUNE, same, TRAIN), maker, tsr, "auto")]
    assert names[2:] == ["prune.magnitude", "train.fine_tune with train.ema"]


def test_before_and_after_alone_are_no_stages_nor_is_what_takes_long_to_code():
    _, maker, tsr = made(PRUNE)
    assert stages(FILE, (PRUNE,), maker, tsr, "auto") == []
    assert stages(FILE, (), maker, tsr, "auto") == []
    assert stages(bytes(5 << 20), (PRUNE, SHARE), maker, tsr, "auto") == []


def test_values_are_counted_before_and_after():
    network, *_ = made(PRUNE)
    first, second = views(NET, network)
    assert (first["layer"], first["shape"]) == ("first", [32, 12])
    before, after = (n.tensor("first.weight").detach().numpy() for n in (NET, network))
    assert sum(first["before"]) == np.count_nonzero(before)
    assert sum(first["after"]) == np.count_nonzero(after)
    assert first["zeros_after"] == pytest.approx(0.75)
    assert first["values"] == len(np.unique(after))
    everything = np.abs(np.concatenate([before.ravel(), after[after != 0]]))
    assert first["most"] == pytest.approx(np.quantile(everything, 0.999))
    width = 2 * first["most"] / 41
    inside = (after > -first["most"] + 3 * width) & (after < -first["most"] + 4 * width)
    assert first["after"][3] == np.count_nonzero(inside & (after != 0))
    with Image.open(io.BytesIO(base64.b64decode(first["pattern"]))) as picture:
        assert np.array_equal(np.asarray(picture) == 0, after != 0)
    assert second["layer"] == "second"


def test_a_weight_without_zeros_has_no_pattern_and_unchanged_ones_are_not_shown():
    rounded = Maker(NET, task()).after((Step("quantize.weights", {"keep": ["first"]}),))
    (second,) = views(NET, rounded)
    assert (second["layer"], second["pattern"]) == ("second", None)
    values = np.unique(rounded.tensor("second.weight").numpy())
    assert second["values"] == len(values) <= 512
    assert views(NET, NET) == []


def test_folded_batch_normalization_is_no_change():
    network = networks.convolutional()
    assert views(network, fold_batch_norm(network)) == []


def test_only_the_largest_are_shown_in_the_order_of_the_network(monkeypatch):
    monkeypatch.setattr("tersor.pipeline.weights._MOST_LAYERS", 1)
    (found,) = views(NET, made(PRUNE)[0])
    assert found["layer"] == "second"
