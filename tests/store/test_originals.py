"""Archives and models of several files come back; what they hold can be read by name."""

import io
import struct
import zipfile

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from tersor.errors import FileError, FormatError
from tersor.store import container
from tersor.store.container import Reader
from tersor.store.model import load_tensor
from tersor.store.pack import pack, unpack


def arrays():
    rng = np.random.default_rng(0)
    return {
        "conv.weight": rng.normal(0, 1, (8, 4, 3, 3)).astype(np.float32),
        "by_columns": np.asfortranarray(rng.normal(0, 1, (30, 40))),
        "codes": rng.integers(-7, 8, 5000).astype(np.int8),
        "scalar": np.array(3.5, np.float16),
        "none": np.zeros((0, 3), np.int64),
        "big_endian": np.arange(5, dtype=">i4"),
        "text": np.array(["a", "bc"]),
    }


def there_and_back(folder, name):
    """Pack a file and unpack it again elsewhere."""
    packed = pack(folder / name, folder / "p.tsr")
    (folder / "back").mkdir()
    unpacked = unpack(folder / "p.tsr", folder / "back" / name)
    assert packed.identical == unpacked.identical
    assert packed.tensors == unpacked.tensors
    assert packed.stored_bytes == unpacked.stored_bytes == (folder / "p.tsr").stat().st_size
    return packed, unpacked


def same(folder, name):
    return (folder / name).read_bytes() == (folder / "back" / name).read_bytes()


def test_an_npz_file_comes_back_byte_for_byte(tmp_path):
    np.savez(tmp_path / "a.npz", **arrays())
    packed, _ = there_and_back(tmp_path, "a.npz")
    assert packed.identical == "bytes"
    assert same(tmp_path, "a.npz")
    with Reader(tmp_path / "p.tsr") as reader:
        assert reader.kind == "packed npz"
        assert reader.names == ("conv.weight", "by_columns", "codes", "scalar")
        for name in ("conv.weight", "codes", "scalar"):
            given = arrays()[name]
            assert reader.tensor(name).dtype == given.dtype
            assert np.array_equal(reader.tensor(name), given), name
        by_columns = arrays()["by_columns"]
        assert np.array_equal(reader.tensor("by_columns"), by_columns.ravel(order="F"))


def test_of_a_compressed_npz_file_the_arrays_come_back(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", **arrays())
    packed, unpacked = there_and_back(tmp_path, "a.npz")
    assert packed.identical == "tensors"
    assert packed.original_bytes == (tmp_path / "a.npz").stat().st_size
    assert unpacked.original_bytes == (tmp_path / "back" / "a.npz").stat().st_size
    with np.load(tmp_path / "back" / "a.npz") as found:
        assert list(found) == list(arrays())
        for name, array in arrays().items():
            assert found[name].dtype == array.dtype
            assert found[name].tobytes("A") == array.tobytes("A"), name
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "back", "p.tsr"]


def test_long_members_that_are_no_arrays_stand_outside_the_skeleton(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("notes.txt", b"0123456789" * 20_000)
        archive.writestr("x.npy", npy(np.arange(9.0)))
    packed, _ = there_and_back(tmp_path, "a.npz")
    assert same(tmp_path, "a.npz")
    assert {n: i.dtype for n, i in packed.tensors.items()} == {
        "archive": "uint8",
        "x": "float64",
    }
    assert packed.tensors["archive"].size > 200_000


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def header(text, version=b"\x01\x00"):
    """An .npy file of 8 zero bytes under any header."""
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text.encode() + bytes(8)


@pytest.mark.parametrize(
    "content",
    [
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (2,)}"),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}"),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (2**63, 2)}"),
        header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({2**63}, 0)}}"),
        header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({'1, ' * 17})}}"),
        header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}", b"\x09\x00"),
        header("(" * 3000),
        b"\x93NUMPY",
        b"",
    ],
    ids=[
        "longer",
        "negative",
        "text",
        "2^63",
        "deep",
        "object",
        "version",
        "nested",
        "cut",
        "0",
    ],
)
def test_forged_arrays_come_back_as_bytes(tmp_path, content):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("w.npy", content)
        archive.writestr("good.npy", npy(np.arange(3.0)))
    packed, _ = there_and_back(tmp_path, "a.npz")
    assert list(packed.tensors) == ["good"]
    assert same(tmp_path, "a.npz")


def forged_zip(**changes):
    """An archive of one array, of which the directory says something else."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("w.npy", npy(np.arange(30.0)))
    data = bytearray(file.getvalue())
    places = {"stored": ("<I", 20), "size": ("<I", 24), "at": ("<I", 42), "method": ("<H", 10)}
    directory = data.rindex(b"PK\x01\x02")
    for name, value in changes.items():
        kind, place = places[name]
        struct.pack_into(kind, data, directory + place, value)
    return bytes(data)


@pytest.mark.parametrize(
    "changes",
    [{"at": 40}, {"at": 2**31}, {"size": 2**31, "stored": 2**31}, {"size": 1, "stored": 1}],
    ids=["another_place", "beyond", "too_long", "too_short"],
)
def test_an_archive_that_lies_about_places_comes_back(tmp_path, changes):
    (tmp_path / "a.npz").write_bytes(forged_zip(**changes))
    packed, _ = there_and_back(tmp_path, "a.npz")
    assert same(tmp_path, "a.npz")
    assert not packed.tensors


def test_an_archive_that_lost_its_beginning_comes_back(tmp_path):
    (tmp_path / "a.npz").write_bytes(forged_zip()[10:])
    packed, _ = there_and_back(tmp_path, "a.npz")
    assert same(tmp_path, "a.npz")
    assert not packed.tensors


def test_one_of_several_disks_is_refused(tmp_path):
    locator = b"PK\x06\x07" + struct.pack("<IQI", 1, 0, 2)
    data = forged_zip()
    end = data.rindex(b"PK\x05\x06")
    (tmp_path / "a.npz").write_bytes(data[:end] + locator + data[end:])
    with pytest.raises(FileError, match="no zip archive"):
        pack(tmp_path / "a.npz", tmp_path / "p.tsr")


def test_members_in_one_place_are_packed_once(tmp_path):
    data = forged_zip()
    at, end = data.rindex(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    footer = bytearray(data[end:])
    struct.pack_into("<HHI", footer, 8, 2, 2, 2 * (end - at))
    (tmp_path / "a.npz").write_bytes(data[:end] + data[at:end] + footer)
    packed, _ = there_and_back(tmp_path, "a.npz")
    assert same(tmp_path, "a.npz")
    assert list(packed.tensors) == ["w"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"method": 14}, r"member 'w\.npy' in method 14"),
        ({"method": 8, "size": 2**31}, r"368 bytes for 2147483648 of member 'w\.npy'"),
        ({"method": 8}, "is damaged"),
    ],
    ids=["method", "bomb", "no_deflate"],
)
def test_forged_compressed_members_are_refused(tmp_path, changes, problem):
    (tmp_path / "a.npz").write_bytes(forged_zip(**changes))
    with pytest.raises(FileError, match=problem):
        pack(tmp_path / "a.npz", tmp_path / "p.tsr")
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_compressed_members_of_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", npy(np.arange(30.0)))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("w.npy", npy(np.arange(30.0)))
    with pytest.raises(FileError, match="two members of one name"):
        pack(tmp_path / "a.npz", tmp_path / "p.tsr")


def test_archives_beyond_the_limits_are_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(1000), b=np.zeros(1000))
    monkeypatch.setattr("tersor.store.zip_members.LIMIT_BYTES", 16_000)
    with pytest.raises(FileError, match="holds more than 16000 bytes"):
        pack(tmp_path / "a.npz", tmp_path / "p.tsr")
    monkeypatch.setattr("tersor.store.zip_members._MOST_MEMBERS", 1)
    with pytest.raises(FileError, match="holds 2 members, at most 1"):
        pack(tmp_path / "a.npz", tmp_path / "p.tsr")


@pytest.mark.parametrize("name", ["a.npz", "a.pt", "a.pth", "a.th", "a.pt2"])
@pytest.mark.parametrize("data", [b"no zip at all", b"PK\x05\x06" + bytes(10)])
def test_no_archive_is_refused(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(
        FileError, match=r"no zip archive|no whole zip archive|as tensors and plain"
    ):
        pack(tmp_path / name, tmp_path / "p.tsr")


def state():
    rng = np.random.default_rng(0)
    weight = torch.from_numpy(rng.normal(0, 1, (20, 30)).astype(np.float32))
    return {
        "state_dict": {
            "half": weight.bfloat16(),
            "weight": weight,
            "tied": weight,
            "turned": weight.t(),
        },
        "row_only": torch.arange(100)[10:20],
        "several": [torch.ones(3), {"flag": torch.tensor([True, False])}],
        "epoch": 3,
    }


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "A.PT"])
def test_a_file_of_torch_save_comes_back_byte_for_byte(tmp_path, name):
    torch.save(state(), tmp_path / name)
    packed, _ = there_and_back(tmp_path, name)
    assert packed.identical == "bytes"
    assert same(tmp_path, name)
    assert {n: (i.dtype, i.shape) for n, i in packed.tensors.items()} == {
        "state_dict.half": ("bfloat16", (20, 30)),
        "state_dict.weight": ("float32", (20, 30)),
        "row_only": ("int64", (100,)),
        "several.0": ("float32", (3,)),
        "several.1.flag": ("bool", (2,)),
    }
    weight = state()["state_dict"]["weight"]
    assert np.array_equal(load_tensor(tmp_path / "p.tsr", "state_dict.weight"), weight)
    half = load_tensor(tmp_path / "p.tsr", "state_dict.half")
    assert half.dtype == ml_dtypes.bfloat16
    assert np.array_equal(half.view(np.int16), weight.bfloat16().view(torch.int16))


def test_a_file_of_torch_before_1_6_comes_back_byte_for_byte(tmp_path):
    twice = {"one": torch.ones(40), "two": torch.ones(40), "none": torch.zeros(0, 3)}
    content = {**state(), **twice}
    torch.save(content, tmp_path / "a.th", _use_new_zipfile_serialization=False)
    packed, _ = there_and_back(tmp_path, "a.th")
    assert packed.identical == "bytes"
    assert same(tmp_path, "a.th")
    assert {n: (i.dtype, i.shape) for n, i in packed.tensors.items()} == {
        "state_dict.half": ("bfloat16", (20, 30)),
        "state_dict.weight": ("float32", (20, 30)),
        "row_only": ("int64", (100,)),
        "several.0": ("float32", (3,)),
        "several.1.flag": ("bool", (2,)),
        "one": ("float32", (40,)),
        "two": ("float32", (40,)),
    }
    weight = state()["state_dict"]["weight"]
    assert np.array_equal(load_tensor(tmp_path / "p.tsr", "state_dict.weight"), weight)


def test_a_file_of_torch_before_1_6_with_more_at_its_end_comes_back(tmp_path):
    torch.save(state(), tmp_path / "a.th", _use_new_zipfile_serialization=False)
    with (tmp_path / "a.th").open("ab") as file:
        file.write(b"more")
    packed, _ = there_and_back(tmp_path, "a.th")
    assert same(tmp_path, "a.th")
    assert not packed.tensors


@pytest.mark.data
def test_a_published_state_dict_is_packed_by_its_tensors(tmp_path, shared_data):
    (given,) = (shared_data / "cifar10_models").glob("resnet20*.th")
    (tmp_path / "a.th").write_bytes(given.read_bytes())
    packed, _ = there_and_back(tmp_path, "a.th")
    assert same(tmp_path, "a.th")
    assert packed.tensors["state_dict.module.conv1.weight"].shape == (16, 3, 3, 3)
    assert packed.stored_bytes < 0.85 * packed.original_bytes


def test_a_shape_is_taken_from_the_view_that_fills_its_storage(tmp_path):
    weight = torch.arange(12.0).reshape(3, 4)
    torch.save({"turned": weight.t(), "row": weight[0], "whole": weight}, tmp_path / "a.pt")
    packed, _ = there_and_back(tmp_path, "a.pt")
    assert [(n, i.shape) for n, i in packed.tensors.items()] == [("whole", (3, 4))]


def test_code_in_a_file_of_torch_save_is_never_run(tmp_path):
    torch.save({"w": torch.nn.Linear(2, 2)}, tmp_path / "a.pt")
    with pytest.raises(FileError, match=r"values \(asks for torch.nn.modules.linear.Linear\)"):
        pack(tmp_path / "a.pt", tmp_path / "p.tsr")
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


def test_a_torn_file_of_torch_save_is_told_without_its_readers_advice(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"\x80\x02}q\x00nonsense")
    with pytest.raises(FileError, match=r"\(damaged, or no file of torch.save\)") as caught:
        pack(tmp_path / "a.pt", tmp_path / "p.tsr")
    assert "weights_only" not in str(caught.value)


def exported(path):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(30, 40)

        def forward(self, x):
            return self.fc(x)

    net = Net()
    torch.export.save(torch.export.export(net, (torch.zeros(2, 30),)), path)
    return net


def test_an_exported_program_comes_back_byte_for_byte(tmp_path):
    net = exported(tmp_path / "a.pt2")
    packed, _ = there_and_back(tmp_path, "a.pt2")
    assert same(tmp_path, "a.pt2")
    assert packed.tensors["fc.weight"].shape == (40, 30)
    found = load_tensor(tmp_path / "p.tsr", "fc.weight")
    assert np.array_equal(found, net.fc.weight.detach().numpy())
    with Reader(tmp_path / "p.tsr") as reader:
        assert reader.kind == "packed torch"


TABLE = "m/data/weights/model_weights_config.json"
ROW = '{"path_name": "weight_0", "tensor_meta": {"dtype": %s, "sizes": %s}}'


@pytest.mark.parametrize(
    ("table", "tensors"),
    [
        ('{"config": {"w": %s}}' % (ROW % ("7", '[{"as_int": 100}]')), ["w"]),
        ('{"config": {"w": %s}}' % (ROW % ("7", '[{"as_int": 99}]')), []),
        ('{"config": {"w": %s}}' % (ROW % ("99", '[{"as_int": 100}]')), []),
        ('{"config": {"w": %s}}' % (ROW % ("[]", '[{"as_int": 100}]')), []),
        ('{"config": {"w": %s}}' % (ROW % ("7", '[{"as_int": -100}]')), []),
        ('{"config": {"w": %s}}' % (ROW % ("7", f'[{{"as_int": {2**63}}}]')), []),
        ('{"config": {"w": %s}}' % (ROW % ("7", '[{"as_int": "many"}]')), []),
        ('{"config": {"w": 3}}', []),
        ('{"config": 3}', []),
        ("[" * 100_000, []),
        ("{", []),
    ],
)
def test_a_table_of_weights_that_lies_describes_nothing(tmp_path, table, tensors):
    with zipfile.ZipFile(tmp_path / "a.pt2", "w") as archive:
        archive.writestr("m/data/weights/weight_0", bytes(400))
        archive.writestr(TABLE, table)
    packed, _ = there_and_back(tmp_path, "a.pt2")
    assert same(tmp_path, "a.pt2")
    assert [name for name in packed.tensors if name != "archive"] == tensors


def external_model(folder, locations=("w.bin", "sub/v.bin")):
    """A model whose weights are in other files, some beside each other."""
    rng = np.random.default_rng(0)
    weights = []
    for number, location in enumerate(locations):
        path = folder / location
        path.parent.mkdir(exist_ok=True)
        content = rng.normal(0, 1, 700).astype(np.float32).tobytes()
        path.write_bytes(bytes(64) + content + b"tail")
        for half, start in enumerate((64, 64 + 1400)):
            tensor = onnx.TensorProto(
                name=f"w{number}.{half}", data_type=1, dims=[350], data_location=1
            )
            place = {"location": location, "offset": str(start), "length": "1400"}
            if half:
                del place["length"]
            for key, value in place.items():
                tensor.external_data.add(key=key, value=value)
            weights.append(tensor)
    inside = numpy_helper.from_array(rng.normal(0, 1, 500).astype(np.float32), "inside")
    graph = helper.make_graph([], "g", [], [], [*weights, inside])
    (folder / "m.onnx").write_bytes(helper.make_model(graph).SerializeToString())


def test_a_model_with_external_data_comes_back_with_all_its_files(tmp_path):
    external_model(tmp_path)
    packed, unpacked = there_and_back(tmp_path, "m.onnx")
    for name in ("m.onnx", "w.bin", "sub/v.bin"):
        assert same(tmp_path, name)
    assert packed.files == ("w.bin", "sub/v.bin", "m.onnx")
    assert unpacked.files == ("w.bin", "v.bin", "m.onnx")
    sizes = [(tmp_path / name).stat().st_size for name in packed.files]
    assert packed.original_bytes == unpacked.original_bytes == sum(sizes)
    assert list(packed.tensors) == ["w0.0", "w0.1", "w1.0", "w1.1", "inside"]
    expected = np.frombuffer((tmp_path / "sub/v.bin").read_bytes()[64 + 1400 : -4], np.float32)
    assert np.array_equal(load_tensor(tmp_path / "p.tsr", "w1.1"), expected)


def one_external(folder, **place):
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[2], data_location=1)
    for key, value in place.items():
        tensor.external_data.add(key=key, value=value)
    graph = helper.make_graph([], "g", [], [], [tensor])
    (folder / "m.onnx").write_bytes(helper.make_model(graph).SerializeToString())


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ({"location": "../w.bin"}, r"'\.\./w\.bin' is no path within"),
        ({"location": "/etc/hostname"}, "no path within"),
        ({"location": "a/../w.bin"}, "no path within"),
        ({"location": "./w.bin"}, "no path within"),
        ({"location": "a\\w.bin"}, "no path within"),
        ({"location": "C:w.bin"}, "no path within"),
        ({"location": "w\n.bin"}, "no path within"),
        ({"location": "w" * 1000}, "no path within"),
        ({"location": ""}, "no path within"),
        ({}, "no path within"),
        ({"location": "link/hostname"}, "leads out of"),
        ({"location": "none.bin"}, "cannot be read beside it"),
        ({"location": "m.onnx"}, "cannot be read beside it"),
        ({"location": "link"}, "leads out of"),
        ({"location": "folder"}, "cannot be read beside it"),
        ({"location": "w.bin", "offset": "x"}, "'w' has no place in 'w.bin'"),
        ({"location": "w.bin", "offset": "-4"}, "'w' has no place in 'w.bin'"),
        ({"location": "w.bin", "offset": "9" * 20}, "'w' has no place in 'w.bin'"),
        ({"location": "w.bin", "offset": "4"}, "'w' ends at 12, 'w.bin' at 8"),
        ({"location": "w.bin", "length": "9"}, "'w' ends at 9, 'w.bin' at 8"),
    ],
)
def test_external_data_that_cannot_be_is_refused(tmp_path, place, problem):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "w.bin").write_bytes(bytes(8))
    (folder / "folder").mkdir()
    (folder / "link").symlink_to(tmp_path)
    (tmp_path / "hostname").write_bytes(b"secret")
    one_external(folder, **place)
    before = sorted(p.name for p in folder.iterdir())
    with pytest.raises(FileError, match=problem):
        pack(folder / "m.onnx", folder / "p.tsr")
    assert sorted(p.name for p in folder.iterdir()) == before


def packed_files(path, files, content=b"abc"):
    """A packed file whose section `files` says whatever is wanted."""
    skeleton = b"\x00" + content
    container.write(
        path, {}, {"skeleton": skeleton, "files": files}, kind="packed onnx", codec="raw"
    )


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (b"\x01\x04../w\x01", "no path within"),
        (b"\x01\x02/w\x01", "no path within"),
        (b"\x01\x06link/w\x01", "leads out of"),
        (b"\x01\x04here\x01", "here is there already"),
        (b"\x02\x01w\x01w\x01\x01", "w is there already"),
        (b"\x01\x06m.onnx\x01", r"m\.onnx is there already"),
        (b"\x01\x06here/w\x01", "cannot be written"),
    ],
    ids=["up", "root", "link", "there", "twice", "itself", "no_folder"],
)
def test_forged_names_of_files_are_refused(tmp_path, files, problem):
    folder = tmp_path / "to"
    folder.mkdir()
    (folder / "here").write_bytes(b"mine")
    (folder / "link").symlink_to(tmp_path)
    packed_files(tmp_path / "p.tsr", files)
    with pytest.raises(FileError, match=problem):
        unpack(tmp_path / "p.tsr", folder / "m.onnx")
    assert (folder / "here").read_bytes() == b"mine"
    assert sorted(p.name for p in folder.iterdir()) == ["here", "link"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.tsr", "to"]


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (b"\x01\x01w\x04", "1 bytes of a file are missing"),
        (b"\x01\x01w\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "bytes of a file are missing"),
        (b"\x01\x01w\x01\x00", "1 bytes left over"),
        (b"\x02\x01w\x01", "left|wanted"),
        (b"\xff\x7f", "files, at most"),
        (b"\x01\x01\xff\x01", "not UTF-8"),
    ],
    ids=["longer", "endless", "more", "cut", "many", "name"],
)
def test_forged_sections_of_files_are_refused(tmp_path, files, problem):
    packed_files(tmp_path / "p.tsr", files)
    with pytest.raises(FormatError, match=problem):
        unpack(tmp_path / "p.tsr", tmp_path / "m.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["p.tsr"]


def test_files_before_a_damaged_one_do_not_stay(tmp_path):
    external_model(tmp_path)
    pack(tmp_path / "m.onnx", tmp_path / "p.tsr", codec="raw")
    data = bytearray((tmp_path / "p.tsr").read_bytes())
    with Reader(bytes(data)) as reader:
        place = data.index(reader.raw("inside"))
    data[place] ^= 1
    (tmp_path / "p.tsr").write_bytes(data)
    (tmp_path / "back").mkdir()
    with pytest.raises(FormatError, match="damaged"):
        unpack(tmp_path / "p.tsr", tmp_path / "back" / "m.onnx")
    assert [p for p in (tmp_path / "back").rglob("*") if p.is_file()] == []


def test_what_is_done_is_told(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", **arrays())
    heard = []
    pack(tmp_path / "a.npz", tmp_path / "p.tsr", advance=lambda *each: heard.append(each))
    unpack(tmp_path / "p.tsr", tmp_path / "b.npz", advance=lambda *each: heard.append(each))
    assert list(dict.fromkeys(phase for phase, _ in heard)) == [
        *("unzip", "pack", "check", "unpack")
    ]
    for phase in ("unzip", "pack", "check"):
        done = [fraction for name, fraction in heard if name == phase]
        assert done == sorted(done)
        assert done[-1] == 1.0
