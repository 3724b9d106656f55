"""Files of shared weights: what they hold, and forged ones."""

import numpy as np
import pytest
import torch

from tersor.codes.codebook import Codebook
from tersor.codes.hashed import Hashed
from tersor.codes.masked import Masked
from tersor.errors import FormatError
from tersor.export.onnx import to_onnx
from tersor.runtime import open as open_model
from tersor.store.container import write
from tersor.store.model import list_tensors, save_model
from tersor.testing.networks import perceptron, samples_for

SIZE = 32 * 12  # of first.weight


def weight():
    return perceptron().tensor("first.weight").detach()


CODES = {
    "shared": lambda: Codebook.encode(weight(), torch.linspace(-0.5, 0.5, 8)),
    "hashed": lambda: Hashed.encode(weight(), 24, seed=1),
    "masked": lambda: Masked.encode(weight(), weight().abs() > weight().abs().quantile(0.9)),
}


def network(code):
    made = perceptron().copy()
    made.set_code("first.weight", code)
    return made


def stored(tmp_path, code, change=lambda model: model, **run):
    path = tmp_path / "model.tsr"
    save_model(path, change(to_onnx(network(code))), {"run": run} if run else {})
    return path


@pytest.mark.parametrize("run", [{}, {"expand": "weights"}], ids=["stored", "expanded"])
@pytest.mark.parametrize("name", CODES)
def test_files_run_as_the_network_does(name, run, tmp_path):
    code = CODES[name]()
    path = stored(tmp_path, code, **run)
    feeds = dict(samples_for(perceptron()).inputs)
    want = network(code).run(feeds)["y"]
    for engine in ("onnxruntime", "openvino"):
        found = open_model(path, engine=engine).run(feeds)["y"]
        # sums of at most 32 products
        assert np.abs(found - want).max() <= 32 * 2**-22 * np.abs(want).max()


def test_a_file_holds_indices_and_centroids_and_no_dense_weight(tmp_path):
    found = list_tensors(stored(tmp_path, CODES["shared"]()))
    first = {k: (i.dtype, i.shape) for k, i in found.items() if k.startswith("first.weight")}
    assert first == {
        "first.weight.codes": ("int8", (32, 12)),
        "first.weight.centroids": ("float32", (8,)),
    }


def test_a_file_holds_hashed_numbers_and_no_dense_weight(tmp_path):
    found = list_tensors(stored(tmp_path, CODES["hashed"]()))
    first = {k: i for k, i in found.items() if k.startswith("first.weight")}
    assert first["first.weight.buckets"].shape == (24,)
    assert sum(info.size for info in first.values()) == 4 * 24 + 8 * 6 + 8 * 2


def test_a_masked_weight_takes_places_and_values(tmp_path):
    torch.manual_seed(0)
    dense = torch.randn(64, 128)
    mask = dense.abs() > dense.abs().quantile(0.9)
    code = Masked.encode(dense, mask)
    (array,) = code.to_onnx("w").initializers.values()
    stored_bytes = write(tmp_path / "w.tsr", {"w": array}, {}, codec="sparse")
    places = 0.469 / 8 * mask.numel()  # bytes: the entropy of one in ten
    assert stored_bytes < 4 * int(mask.sum()) + places + 150


def swap(model, old, new):
    assert model.count(old) == 1
    return model.replace(old, new)


@pytest.mark.parametrize("index", [8, 127, -9])
@pytest.mark.parametrize("run", [{}, {"expand": "weights"}], ids=["stored", "expanded"])
def test_an_index_beyond_the_centroids_is_refused(index, run, tmp_path):
    codes = CODES["shared"]().symbols()["codes"].tobytes()
    forged = np.int8(index).tobytes() + codes[1:]
    path = stored(tmp_path, CODES["shared"](), lambda model: swap(model, codes, forged), **run)
    with pytest.raises(FormatError, match=r"first\.weight has indices from .* into 8 numbers"):
        open_model(path)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (48, 50, "has indices from .* into 48 numbers"),  # the size of the table
        (SIZE, SIZE + 1, "cannot be computed"),  # the end of the range, or the shape
    ],
)
def test_numbers_of_a_hash_that_lie_are_refused(old, new, problem, tmp_path):
    code = CODES["hashed"]()
    first = code.to_onnx("w").initializers["w.first"]

    def forge(model):
        start = int(first) if old == SIZE else 0
        return swap(model, np.int64(start + old).tobytes(), np.int64(start + new).tobytes())

    with pytest.raises(FormatError, match=problem):
        open_model(stored(tmp_path, code, forge))
