"""Samples from arrays, batches, datasets and loaders, in every form that people have."""

import numpy as np
import pytest
import torch
from torch.utils import data as torch_data

from tersor.data import objects
from tersor.data.check import fit
from tersor.data.lazy import Lazy
from tersor.data.objects import samples_of
from tersor.data.read import as_samples
from tersor.data.samples import Samples
from tersor.errors import DataError, InputError

X = np.arange(12, dtype=np.float32).reshape(6, 2)
Z = np.arange(6, dtype=np.int64)[:, None]
Y = np.arange(6)
TX, TZ, TY = torch.from_numpy(X), torch.from_numpy(Z), torch.from_numpy(Y)
XZ = ["x", "z"]

WHOLE = {
    "array": (["x"], X, None),
    "tensor": (["x"], TX, None),
    "dict": (None, {"x": X, "z": Z, "labels": Y}, Y),
    "dict with label": (XZ, {"x": X, "z": Z, "label": Y}, Y),
    "dict and labels": (None, ({"x": X, "z": Z}, Y), Y),
    "inputs in order": (XZ, (X, Z), None),
    "inputs and labels": (XZ, (X, Z, Y), Y),
    "tuple of inputs and labels": (XZ, ((TX, TZ), TY), Y),
    "list of batches": (["x"], [(X[:4], Y[:4]), (X[4:], Y[4:])], Y),
    "tuple of batches": (None, ({"x": X[:4]}, {"x": X[4:]}), None),
    "list of arrays": (["x"], [X[:1], X[1:]], None),
    "generator": (["x"], ({"x": X[i : i + 3], "labels": Y[i : i + 3]} for i in (0, 3)), Y),
    "loader": (XZ, torch_data.DataLoader(torch_data.TensorDataset(TX, TZ, TY), 4), Y),
    "dataset": (XZ, torch_data.TensorDataset(TX, TZ, TY), Y),
    "dataset of dicts": (
        None,
        torch_data.StackDataset(x=TX, z=TZ, labels=TY),
        Y,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", WHOLE)
def test_all_forms_give_the_same_samples(kind):
    names, made, labels = WHOLE[kind]
    samples = samples_of(made, "mine", names)
    assert np.array_equal(np.asarray(samples.inputs["x"]), X)
    if "z" in samples.inputs:
        assert np.array_equal(np.asarray(samples.inputs["z"]), Z)
    if labels is None:
        assert samples.labels is None
    else:
        assert np.array_equal(np.asarray(samples.labels), labels)
    assert samples.note == ""


def test_samples_stay_and_paths_are_read(tmp_path):
    samples = Samples({"x": X})
    assert as_samples(samples) is samples
    np.savez(tmp_path / "d.npz", x=X)
    assert as_samples(tmp_path / "d.npz").inputs["x"].tolist() == X.tolist()


def dataset():
    return torch_data.TensorDataset(TX, TY)


def test_a_loader_that_shuffles_gives_the_order_of_its_dataset_and_says_so():
    samples = samples_of(torch_data.DataLoader(dataset(), 4, shuffle=True), "mine", ["x"])
    for _ in range(2):
        assert np.asarray(samples.labels).tolist() == Y.tolist()
    assert "the loader shuffles" in samples.note


def test_reading_a_loader_leaves_the_random_numbers_alone():
    before = torch.random.get_rng_state()
    samples_of(torch_data.DataLoader(dataset(), 4, shuffle=True), "mine", ["x"])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("settings", "chosen", "said"),
    [
        ({"sampler": torch_data.SubsetRandomSampler([5, 1, 3])}, [1, 3, 5], "3 of the 6"),
        ({"batch_sampler": [[4, 2], [0]]}, [0, 2, 4], "3 of the 6"),
        ({"batch_size": 4, "drop_last": True}, [0, 1, 2, 3, 4, 5], ""),
        ({"batch_size": None}, [0, 1, 2, 3, 4, 5], ""),
    ],
    ids=["subset", "own batches", "last batch dropped", "no batches"],
)
def test_a_sampler_selects(settings, chosen, said):
    samples = samples_of(torch_data.DataLoader(dataset(), **settings), "mine", ["x"])
    assert np.asarray(samples.labels).tolist() == chosen
    assert said in samples.note


def test_a_sampler_of_nothing_is_told():
    loader = torch_data.DataLoader(dataset(), sampler=[])
    with pytest.raises(DataError, match="selects no samples"):
        samples_of(loader, "mine", ["x"])


def test_items_are_read_when_a_batch_asks():
    read = []

    class Recorded(torch_data.Dataset):
        def __len__(self):
            return 100

        def __getitem__(self, i):
            read.append(i)
            return np.full(3, i, np.float32)

    samples = samples_of(Recorded(), "mine", ["x"])
    assert isinstance(samples.inputs["x"], Lazy)
    read.clear()
    assert next(samples.take(60, 70).batches(4)).inputs["x"][:, 0].tolist() == [60, 61, 62, 63]
    assert read == [60, 61, 62, 63]


class Noisy(torch_data.Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, i):
        return torch.rand(3)


def test_data_that_change_when_they_are_read_again_are_refused():
    with pytest.raises(DataError, match="gives another sample 0 every time it is read"):
        samples_of(Noisy(), "mine", ["x"])


class Endless(torch_data.IterableDataset):
    def __iter__(self):
        while True:
            yield torch.zeros(8)


def test_a_stream_is_taken_once_up_to_the_limit_and_says_so(monkeypatch):
    monkeypatch.setattr(objects, "PASS_BYTES", 1000)
    samples = samples_of(torch_data.DataLoader(Endless(), 4), "mine", ["x"])
    assert len(samples) == 1000 // (4 * 32) * 4
    assert samples.note == "only the first 28 samples were taken, up to 1000 bytes"


@pytest.mark.parametrize(
    ("made", "names", "error", "said"),
    [
        (7, None, InputError, "Got 'int'"),
        ("text", None, InputError, "Got 'str'"),
        (X, None, InputError, r"a dict by the names .* Got 'a tuple of 1'"),
        ((X, Y, X), ["x"], InputError, "the inputs x in this order, then labels"),
        ([], ["x"], DataError, "gives no batch"),
        (torch_data.TensorDataset(TX[:0]), ["x"], DataError, "is empty"),
        ([{"x": X}, {"x": X[:, :1]}], None, DataError, r"x of batch 1 has shape \(6, 1\)"),
        ([{"x": X}, {"x": X, "y": X}], None, DataError, "batch 1 holds x, y, and batch 0 x"),
        ([{"x": np.float32(1)}], None, DataError, r"x of batch 0 has shape \(\)"),
        ({"x": [[1], [1, 2]]}, None, DataError, "x is no array"),
        ({"x": ["a"]}, None, DataError, "holds <U1, not numbers"),
    ],
)  # fmt: skip
def test_what_are_no_samples_is_refused(made, names, error, said):
    with pytest.raises(error, match=said):
        samples_of(made, "mine", names)


def test_numbers_of_python_fit_the_types_of_the_model():
    samples = samples_of([{"x": [[0.5, 1.5]], "labels": [3]}], "mine")
    fitting = fit(samples, [("x", ("batch", 2), "float32")])
    assert fitting.inputs["x"].tolist() == [[0.5, 1.5]]
