"""What goes into a .tsr file comes out again, one tensor at a time."""

import os
import threading

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tersor.codecs.raw import Raw
from tersor.errors import FileError, FormatError, InputError
from tersor.store import container
from tersor.store.container import Reader, encode, write


def same(found, wanted):
    wanted = np.asarray(wanted)
    return (found.dtype, found.shape, found.tobytes()) == (
        wanted.dtype,
        wanted.shape,
        wanted.tobytes(),
    )


def mixed():
    """Tensors of many types and sizes, small and large ones in turn."""
    rng = np.random.default_rng(0)
    return {
        "conv.weight": rng.normal(0, 20, (16, 3, 3, 3)).astype(np.int8),
        "conv.scale": rng.random(16, np.float32),
        "fc.weight": rng.normal(0, 20, (100, 100)).astype(np.int8),
        "fc.bias": rng.integers(-1000, 1000, 100).astype(np.int32),
        "mask": rng.random(1000) > 0.9,
        "table": rng.random((60, 60), np.float32),
        "half": rng.random(5).astype(ml_dtypes.bfloat16),
        "codes": np.arange(-8, 7).astype(ml_dtypes.int4),
        "scalar": np.float32(2.5),
        "empty": np.zeros((0, 3), np.float64),
    }


@pytest.mark.parametrize("codec", ["auto", "raw", "zstd"])
def test_everything_comes_back(codec):
    sections = {"note": b"hello", "empty": b"", "long": b"abc" * 30_000}
    reader = Reader(encode(mixed(), sections, codec=codec))
    assert reader.names == tuple(mixed())
    for name, array in mixed().items():
        assert same(reader.tensor(name), array), name
    assert set(reader.sections) == set(sections)
    for name, content in sections.items():
        assert reader.section(name) == content


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=9),
        hnp.arrays(
            st.sampled_from([np.int8, np.float32, np.uint16]),
            hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=40),
            elements=st.integers(0, 9),
        ),
        max_size=5,
    )
)
def test_any_arrays_come_back(tensors):
    reader = Reader(encode(tensors, {}))
    assert reader.names == tuple(tensors)
    assert all(same(reader.tensor(name), array) for name, array in tensors.items())


def test_an_empty_file_is_a_file():
    reader = Reader(encode({}, {}))
    assert (reader.names, reader.sections, reader.kind) == ((), (), "tensors")
    assert reader.size == 6 + 4 + 12  # no section, codec, block, entry


def test_same_contents_give_the_same_bytes():
    assert encode(mixed(), {"note": b"x"}) == encode(mixed(), {"note": b"x"})


def test_a_path_and_bytes_read_the_same(tmp_path):
    path = tmp_path / "file.tsr"
    size = write(path, mixed(), {"note": b"hello"}, kind="model")
    assert path.stat().st_size == size
    assert path.read_bytes() == encode(mixed(), {"note": b"hello"}, kind="model")
    with Reader(path) as reader:
        assert reader.kind == "model"
        assert reader.size == size
        assert same(reader.tensor("fc.weight"), mixed()["fc.weight"])


def test_one_tensor_is_read_without_the_others():
    """Only the block of the damaged tensor is refused."""
    data = bytearray(encode(mixed(), {}))
    reader = Reader(bytes(data))
    place = data.index(encode_of(reader, "fc.weight"))
    data[place + 100] ^= 1
    damaged = Reader(bytes(data))
    with pytest.raises(FormatError):
        damaged.tensor("fc.weight")
    for name in set(mixed()) - {"fc.weight"}:
        assert same(damaged.tensor(name), mixed()[name])


def encode_of(reader, name):
    """The payload of the block that starts with a tensor."""
    _, place = reader._find(name)
    index = reader._run._decoded.index(place)
    return reader._source.read(reader._run._payloads[index], reader._run.blocks[index].stored)


def test_large_tensors_are_cut_into_blocks(monkeypatch):
    monkeypatch.setattr("tersor.store.layout._LARGEST", 5000)
    monkeypatch.setattr("tersor.store.layout._JOINABLE", 0)
    tensors = {"big": np.arange(4000, dtype=np.int32), "next": np.arange(3000, dtype=np.int16)}
    reader = Reader(encode(tensors, {}, codec="raw"))
    assert len(reader._run.blocks) == 6
    assert all(same(reader.tensor(name), tensors[name]) for name in tensors)


def test_stored_bytes_add_up():
    reader = Reader(encode(mixed(), {}, codec="raw"))
    assert (
        sum(reader.info(name).stored for name in reader.names) + reader.overhead == reader.size
    )


def test_arrays_that_are_not_contiguous_or_swapped_come_back():
    tensors = {
        "t": np.arange(12, dtype=np.int16).reshape(3, 4).T,
        "s": np.arange(3, dtype=">f4"),
    }
    reader = Reader(encode(tensors, {}))
    assert np.array_equal(reader.tensor("t"), tensors["t"])
    assert np.array_equal(reader.tensor("s"), tensors["s"])


def test_readers_can_be_shared_by_threads(tmp_path):
    path = tmp_path / "file.tsr"
    write(path, mixed(), {})
    wrong = []
    with Reader(path) as reader:

        def look(names):
            wrong.extend(n for n in names if not same(reader.tensor(n), mixed()[n]))

        threads = [threading.Thread(target=look, args=([*mixed()][i:],)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_reader_sees_the_old_file_after_it_was_replaced(tmp_path):
    path = tmp_path / "file.tsr"
    write(path, {"w": np.zeros(9, np.int8)}, {})
    with Reader(path) as reader:
        write(path, {"w": np.ones(9, np.int8)}, {})
        assert reader.tensor("w").sum() == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"codec": "zip"}, r"codec must be one of fast, auto, best, .*raw, .*zstd.*'zip'"),
        ({"kind": "music"}, r"kind must be one of tensors, model.*'music'"),
    ],
)
def test_unknown_settings_list_the_known(settings, message):
    with pytest.raises(InputError, match=message):
        encode({}, {}, **settings)


def test_what_no_reader_would_take_is_not_written():
    with pytest.raises(InputError, match=r"dimensions of w must be at most 16\. Got 17"):
        encode({"w": np.zeros((1,) * 17)}, {})
    with pytest.raises(InputError, match="entries must be at most 16384"):
        encode({}, {str(i): b"" for i in range(16385)})
    with pytest.raises(InputError, match=r"directory must be 8388608 bytes"):
        encode({"n" * 2**23: np.zeros(1)}, {})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileError, match=r"none\.tsr cannot be read \(No such file"):
        Reader(tmp_path / "none.tsr")
    with pytest.raises(FileError, match=r"cannot be read \(Is a directory"):
        Reader(tmp_path)


def test_a_closed_reader_says_so(tmp_path):
    write(tmp_path / "file.tsr", {"w": np.zeros(9, np.int8)}, {})
    reader = Reader(tmp_path / "file.tsr")
    reader.close()
    with pytest.raises(FileError, match="was closed"):
        reader.tensor("w")


def test_a_file_cut_while_open_is_refused(tmp_path):
    path = tmp_path / "file.tsr"
    write(path, {"w": np.arange(9000, dtype=np.int64)}, {}, codec="raw")
    with Reader(path) as reader:
        os.truncate(path, 1000)
        with pytest.raises(FormatError, match="cut while it was read, at byte 1000"):
            reader.tensor("w")


def test_unknown_tensors_and_sections_are_named():
    reader = Reader(encode(mixed(), {}))
    with pytest.raises(InputError, match=r"one of conv\.weight, .*, \.\.\.\. Got 'fc'"):
        reader.tensor("fc")
    with pytest.raises(FormatError, match="section 'meta' is missing"):
        reader.section("meta")


def test_the_wrong_kind_is_named():
    with pytest.raises(FileError, match=r"holds 'tensors', not 'model'\. Try unpack\."):
        Reader(encode({}, {})).require("model", "Try unpack.")


def test_a_codec_that_changes_the_data_is_found_out_before_the_file_appears(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(Raw, "encode", lambda _, data, __: bytes(len(data)))
    with pytest.raises(FormatError, match="damaged"):
        write(tmp_path / "file.tsr", {"w": np.arange(9)}, {}, codec="raw")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("tensors", "sections", "message"),
    [
        ({"v": np.zeros(2)}, {}, "names read back"),
        ({"w": np.ones(2)}, {}, "'w' reads back"),
        ({"w": np.zeros((2, 1))}, {}, "'w' reads back"),
        ({"w": np.zeros(2)}, {"note": b"b"}, "section 'note' reads back"),
    ],
    ids=["name", "values", "shape", "section"],
)
def test_every_difference_is_found_when_read_back(tensors, sections, message):
    reader = Reader(encode({"w": np.zeros(2)}, {"note": b"a"}))
    with pytest.raises(FormatError, match=message):
        reader.compare(container.items_of(tensors), sections)


# Golden bytes. Field by field: magic, version, kind; one raw block of w and scale; directory:
# sections, codecs, blocks, entries; length, stored, checksum.

GOLDEN_TENSORS = {
    "w": np.array([[1, -2, 3], [4, 5, -6]], np.int8),
    "scale": np.array(0.5, np.float32),
    "none": np.zeros((0, 2), np.float16),
}
GOLDEN = """
    89545352 01 00
    01fe030405fa 0000003f
    01 046e6f7465 05 68656c6c6f
    01 03726177
    01 00 0a 0a c2cc93cc
    03 0177 057363616c65 046e6f6e65 020b0a 020002 0203 0002
    31000000 31000000 4220e14b
"""  # written by 0.1.0, and checked by hand


def test_format_is_frozen():
    """A change here breaks files that exist: it needs a new version."""
    golden = bytes.fromhex(GOLDEN)
    assert encode(GOLDEN_TENSORS, {"note": b"hello"}) == golden
    reader = Reader(golden)
    assert reader.section("note") == b"hello"
    assert all(same(reader.tensor(n), array) for n, array in GOLDEN_TENSORS.items())


def test_files_of_0_1_0_are_read():
    """A directory and a block that zstd coded."""
    golden = bytes.fromhex(ZSTD_GOLDEN)
    reader = Reader(golden)
    assert reader.names == tuple(f"layer{i}.weight" for i in range(8))
    for index, name in enumerate(reader.names):
        assert same(reader.tensor(name), np.full((4, 100), index, np.int8))


ZSTD_GOLDEN = """
    89545352010060800bbd0000400001020304050607085401002c8c8c8c8c8c8c8c8c0120a10d0200
    a4020001047a737464010080191d9827caa4080d6c61796572302e77656967687431323334353637
    020464040a2080c938f118fb65cc21c71dec21c7e961c790f2a100000046000000994821ab
"""  # written by 0.1.0 with libzstd 1.5.7
