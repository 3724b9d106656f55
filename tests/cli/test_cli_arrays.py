"""Named arrays in .npz files."""

import io
import zipfile

import numpy as np
import pytest

from tersor.cli.arrays import read_arrays, write_arrays
from tersor.errors import FileError

ARRAYS = {
    "file": np.arange(6, dtype=np.int64).reshape(2, 3),
    "a/b": np.array(1.5, np.float32),
    "empty": np.zeros((0, 4), bool),
}


def test_what_is_written_is_read_back_by_us_and_by_numpy(tmp_path):
    path = tmp_path / "a.npz"
    assert write_arrays(path, ARRAYS) == path.stat().st_size
    with np.load(path) as by_numpy:
        for found in (read_arrays(path), dict(by_numpy)):
            assert list(found) == list(ARRAYS)
            for name, array in ARRAYS.items():
                assert found[name].dtype == array.dtype
                assert found[name].shape == array.shape
                assert found[name].tobytes() == array.tobytes()


def test_the_same_arrays_give_the_same_bytes(tmp_path):
    write_arrays(tmp_path / "a.npz", ARRAYS)
    write_arrays(tmp_path / "b.npz", ARRAYS)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_every_cut_is_refused(tmp_path):
    whole, cut = tmp_path / "whole.npz", tmp_path / "cut.npz"
    np.savez_compressed(whole, x=np.arange(30))
    data = whole.read_bytes()
    for kept in range(0, len(data), 7):
        cut.write_bytes(data[:kept])
        with pytest.raises(FileError, match=r"cut\.npz is no \.npz file of arrays"):
            read_arrays(cut)


def _npz(**members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return stream.getvalue()


def _npy(array):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_npz(x=_npy(np.array([{}], object))), "is no .npz file of arrays"),
        (_npz(x=_npy(np.arange(9))[:-8]), "is no .npz file of arrays"),
        (_npz(x=b"\x93NUMPY\x01\x00\xff\xff{"), "is no .npz file of arrays"),
        (_npy(np.arange(9)), "is no .npz file of arrays"),
        (_npz(), "holds no array"),
    ],
    ids=["objects", "short", "header", "npy", "empty"],
)
def test_forged_files_are_refused(tmp_path, data, message):
    path = tmp_path / "a.npz"
    path.write_bytes(data)
    with pytest.raises(FileError, match=message):
        read_arrays(path)


def test_more_than_memory_holds_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.zeros(1000, np.uint8))
    monkeypatch.setattr(
        "psutil.virtual_memory", lambda: type("Memory", (), {"available": 999})
    )
    with pytest.raises(
        FileError, match="bytes of arrays, and only 999 bytes of memory are free"
    ):
        read_arrays(path)


def test_a_missing_file_or_folder_is_told(tmp_path):
    with pytest.raises(FileError, match="No such file"):
        read_arrays(tmp_path / "a.npz")
    with pytest.raises(FileError, match="cannot be written"):
        write_arrays(tmp_path / "no" / "a.npz", ARRAYS)
