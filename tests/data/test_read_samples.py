"""Samples from .npz files and callables, hostile ones included."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tersor.data.callables import CallableError
from tersor.data.lazy import Lazy
from tersor.data.read import read_samples
from tersor.data.samples import Samples
from tersor.errors import DataError, FileError, InputError, TersorError

X = np.arange(24, dtype=np.float32).reshape(4, 6)
Y = np.arange(4)


@pytest.fixture
def npz(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=X, labels=Y)
    return path


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A function that writes a module of the user's and gives the name of its callable."""

    def write(body):
        (tmp_path / "mine.py").write_text(f"import numpy as np\ndef data():\n    {body}\n")
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(__import__("sys").modules, "mine", raising=False)
        return "mine:data"

    return write


def test_arrays_and_labels_come_back(npz):
    samples = read_samples(npz)
    assert list(samples.inputs) == ["x"]
    assert samples.inputs["x"].tolist() == X.tolist()
    assert samples.labels.tolist() == Y.tolist()


def test_compressed_files_and_files_without_labels_are_read(tmp_path):
    np.savez_compressed(tmp_path / "d.npz", x=X)
    assert read_samples(tmp_path / "d.npz").labels is None


@pytest.mark.parametrize(
    "made",
    [
        "return {'x': np.ones((3, 2)), 'labels': [0, 1, 2]}",
        "return {'x': np.ones((3, 2))}, np.arange(3)",
        "import tersor; return tersor.Samples({'x': np.ones((3, 2))}, np.arange(3))",
        "import torch; return {'x': torch.ones(3, 2), 'labels': torch.arange(3)}",
    ],
)  # fmt: skip
def test_callables_may_return_any_of_these(module, made):
    samples = read_samples(module(made))
    assert samples.inputs["x"].tolist() == [[1, 1]] * 3
    assert samples.labels.tolist() == [0, 1, 2]


def test_a_callable_that_returns_something_else_is_told(module):
    with pytest.raises(InputError, match="Got 'int'"):
        read_samples(module("return 7"))


def test_a_callable_that_raises_is_told_with_its_line(module):
    with pytest.raises(CallableError, match=r"KeyError: 'no' \(.*mine.py, line 3"):
        read_samples(module("return {}['no']"))


def test_text_is_no_sample(module):
    with pytest.raises(DataError, match="not numbers"):
        read_samples(module("return {'x': ['a', 'b']}"))


@pytest.mark.parametrize("source", ["data.xlsx", "nothing/here", ""])
def test_other_kinds_are_refused(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if source:
        with pytest.raises(InputError, match=r"an \.npz, \.jsonl, \.tsv, \.csv or \.txt file"):
            read_samples(source)
    else:
        with pytest.raises(
            FileError, match=r"has none of preprocess\.toml, audio\.toml, text"
        ):
            read_samples(tmp_path)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(FileError, match="No such file"):
        read_samples(tmp_path / "none.npz")


def test_python_objects_are_never_loaded(tmp_path):
    np.savez(tmp_path / "o.npz", x=np.array([{}, []], dtype=object))
    with pytest.raises(FileError, match="Python objects in array 'x'"):
        read_samples(tmp_path / "o.npz")


def write_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def npy_of(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def header(text, version=(1, 0)):
    padded = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + bytes(version) + len(padded).to_bytes(2, "little") + padded


HUGE = header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }")
NEGATIVE = header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }")
NESTED = header("{'descr': " + "(" * 40 + ", 'shape': (1,), }")


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([("x.npy", HUGE)], "declares 4000000000000 bytes for array 'x'"),
        ([("x.npy", NEGATIVE)], "negative size"),
        ([("x.npy", NESTED)], "is damaged"),
        ([("x.npy", header("{}", (3, 0)))], "in format (3, 0)"),
        ([("x.txt", b"hello")], "holds 'x.txt', which is no array"),
        ([("x.npy", npy_of(X) + b"more")], "holds more than array"),
        ([("x.npy", b"no array at all")], "is damaged"),
        ([], "holds no array"),
    ],
)
def test_forged_files_are_refused(tmp_path, members, said):
    with pytest.raises(FileError) as caught:
        read_samples(write_zip(tmp_path / "f.npz", members))
    assert said in str(caught.value)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name_are_refused(tmp_path):
    members = [("x.npy", npy_of(X)), ("x.npy", npy_of(X))]
    with pytest.raises(FileError, match="two arrays named 'x'"):
        read_samples(write_zip(tmp_path / "f.npz", members))


def test_what_takes_too_much_memory_is_refused(npz):
    assert len(read_samples(npz, limit_bytes=X.nbytes + Y.nbytes)) == 4
    with pytest.raises(FileError, match="more than the limit of 100"):
        read_samples(npz, limit_bytes=100)


def test_too_many_arrays_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tersor.data.read._ITEMS", 1)
    np.savez(tmp_path / "d.npz", a=X, b=X)
    with pytest.raises(FileError, match="holds 2 arrays"):
        read_samples(tmp_path / "d.npz")


@pytest.mark.parametrize("mapped_bytes", [1, 1 << 26], ids=["in the file", "in memory"])
def test_every_cut_and_every_flipped_bit_is_refused_or_harmless(
    npz, tmp_path, monkeypatch, mapped_bytes
):
    monkeypatch.setattr("tersor.data.read.MAPPED_BYTES", mapped_bytes)
    whole = npz.read_bytes()
    rng = np.random.default_rng(0)
    bad = tmp_path / "bad.npz"
    forged = [whole[:n] for n in range(0, len(whole), 13)]
    for at in rng.integers(0, len(whole), 150):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << int(rng.integers(8))
        forged.append(bytes(flipped))
    refused = 0
    for data in forged:
        bad.write_bytes(data)
        try:
            samples = read_samples(bad)
        except TersorError as error:
            refused += len(str(error)) < 600
        else:
            assert isinstance(samples, Samples)
    assert refused > len(forged) / 2


@pytest.mark.parametrize(
    ("inputs", "labels", "said"),
    [
        ({}, None, "hold no input array"),
        ({"x": np.ones(0)}, None, "are empty"),
        ({"x": np.ones(3), "y": np.ones(4)}, None, "disagree in number"),
        ({"x": np.ones(3)}, np.ones(2), "disagree in number"),
        ({"x": np.float32(1)}, None, "disagree in number"),
    ],
)
def test_what_are_no_samples_is_refused(inputs, labels, said):
    with pytest.raises(DataError, match=said):
        Samples(inputs, labels)


def test_batches_cover_all_samples_in_order():
    found = list(Samples({"x": X}, Y).batches(3))
    assert [(b.start, b.size) for b in found] == [(0, 3), (3, 1)]
    assert np.concatenate([b.labels for b in found]).tolist() == Y.tolist()
    with pytest.raises(InputError, match="batch size"):
        next(Samples({"x": X}).batches(0))


@pytest.mark.parametrize("order", ["C", "F"])
def test_large_arrays_stay_in_the_file(tmp_path, monkeypatch, order):
    monkeypatch.setattr("tersor.data.read.MAPPED_BYTES", 200)
    np.savez(tmp_path / "d.npz", x=np.asarray(X, order=order), labels=Y)
    samples = read_samples(tmp_path / "d.npz")
    assert isinstance(samples.inputs["x"], Lazy)
    assert not isinstance(samples.labels, Lazy)
    assert np.asarray(samples.inputs["x"]).tolist() == X.tolist()
    assert np.asarray(samples.inputs["x"][1:3]).tolist() == X[1:3].tolist()
    np.savez_compressed(tmp_path / "c.npz", x=np.tile(X, (9, 1)))
    assert not isinstance(read_samples(tmp_path / "c.npz").inputs["x"], Lazy)


def test_what_was_read_of_an_array_in_the_file_does_not_stay_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("tersor.data.read.MAPPED_BYTES", 1)
    path = tmp_path / "d.npz"
    np.savez(path, x=np.ones((96, 1 << 12), np.uint8))
    samples = read_samples(path)
    assert all(batch.inputs["x"].all() for batch in samples.batches(8))
    assert str(path) not in Path("/proc/self/maps").read_text()


def test_a_file_that_is_cut_after_it_was_opened_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tersor.data.read.MAPPED_BYTES", 1)
    np.savez(tmp_path / "d.npz", x=X)
    samples = read_samples(tmp_path / "d.npz")
    (tmp_path / "d.npz").write_bytes(b"PK")
    with pytest.raises(FileError, match="has changed since it was opened"):
        next(samples.batches(2))


def test_one_number_is_no_array_of_samples(tmp_path, monkeypatch):
    monkeypatch.setattr("tersor.data.read.MAPPED_BYTES", 1)
    np.savez(tmp_path / "d.npz", x=np.float32(1))
    with pytest.raises(FileError, match="holds one number"):
        read_samples(tmp_path / "d.npz")


def test_more_than_an_array_is_found_where_it_stays_in_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tersor.data.read.MAPPED_BYTES", 1)
    more = write_zip(tmp_path / "more.zip", [])
    with zipfile.ZipFile(more, "w") as archive:
        archive.writestr("x.npy", npy_of(X) + b"more")
    with pytest.raises(FileError, match="holds more than array"):
        read_samples(more.rename(tmp_path / "more.npz"))


def test_a_member_that_lies_elsewhere_is_refused(npz, monkeypatch):
    monkeypatch.setattr("tersor.data.read.MAPPED_BYTES", 1)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: io.BytesIO(npy_of(X)))
    whole = bytearray(npz.read_bytes())
    whole[0] ^= 1
    npz.write_bytes(whole)
    with pytest.raises(FileError, match="is damaged in array"):
        read_samples(npz)


def test_two_tables_in_one_folder_are_refused(tmp_path):
    for name in ("audio.toml", "text.toml"):
        (tmp_path / name).touch()
    with pytest.raises(FileError, match=r"has audio\.toml and text\.toml"):
        read_samples(tmp_path)
