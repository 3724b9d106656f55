"""Blocks are decoded once, in place, by several threads, and every damage is found."""

import threading
import zlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.codecs.raw import Raw
from tersor.codecs.zstd import Zstd
from tersor.errors import FormatError
from tersor.store import run as run_module
from tersor.store.container import Reader, encode
from tersor.store.directory import Block
from tersor.store.run import Run, assembled
from tersor.store.source import Source

SIZES = (5, 1, 300_000, 7, 200_000)
WHOLE = np.random.default_rng(0).integers(0, 9, sum(SIZES), dtype=np.uint8).tobytes()


def make_run(codec):
    """All of WHOLE in blocks of SIZES."""
    payloads, blocks, at = [], [], 0
    for size in SIZES:
        data = WHOLE[at : at + size]
        payloads.append(codec.encode(data))
        blocks.append(Block(codec.name, size, len(payloads[-1]), zlib.crc32(data)))
        at += size
    return Run(Source(b"".join(payloads)), blocks, 0)


RUNS = [make_run(Raw()), make_run(Zstd())]


@given(st.data())
def test_any_part_is_that_of_the_whole(data):
    place = data.draw(st.integers(0, len(WHOLE)))
    size = data.draw(st.integers(0, len(WHOLE) - place))
    run = data.draw(st.sampled_from(RUNS))
    assert run.read(place, size) == WHOLE[place : place + size]


def filled(run, parts):
    """What `fill` writes for (place, size) pairs."""
    targets = [bytearray(size) for _, size in parts]
    run.fill((p, memoryview(t)) for (p, _), t in zip(parts, targets, strict=True))
    return [bytes(target) for target in targets]


@pytest.mark.parametrize("worth", [0, 2**40], ids=["threads", "one_thread"])
def test_each_target_is_filled_and_each_block_decoded_once(monkeypatch, worth):
    monkeypatch.setattr(run_module, "_WORTH_THREADS", worth)
    monkeypatch.setattr(run_module, "default_threads", lambda: 3)
    run = make_run(Raw())
    decoded = Counter()
    whole = Raw.decode

    def counted(self, payload, count):
        decoded[payload[:20]] += 1
        return whole(self, payload, count)

    monkeypatch.setattr(Raw, "decode", counted)
    parts = [(6, 150_000), (0, 6), (300_006, 10), (200_000, 0), (300_016, 199_997)]
    assert filled(run, parts) == [WHOLE[p : p + n] for p, n in parts]
    assert len(decoded) == len(SIZES)
    assert set(decoded.values()) == {1}


def test_large_parts_are_decoded_by_several_threads(monkeypatch):
    """Blocks that wait for each other: a single thread would never end."""
    monkeypatch.setattr(run_module, "_WORTH_THREADS", 0)
    monkeypatch.setattr(run_module, "default_threads", lambda: len(SIZES))
    run = make_run(Zstd())
    meeting = threading.Barrier(len(SIZES), timeout=20)
    into = Zstd.decode_into

    def meet(self, payload, target):
        meeting.wait()
        into(self, payload, target)

    monkeypatch.setattr(Zstd, "decode_into", meet)
    assert filled(run, [(0, len(WHOLE))]) == [WHOLE]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("size", [len(WHOLE), len(WHOLE) - 1])
def test_damage_in_any_block_is_found(monkeypatch, threads, size):
    monkeypatch.setattr(run_module, "_WORTH_THREADS", 0)
    monkeypatch.setattr(run_module, "default_threads", lambda: threads)
    blocks = make_run(Raw()).blocks
    for place in (0, 5, 6, 300_005, 300_006, 300_012, len(WHOLE) - 2):
        damaged = bytearray(WHOLE)
        damaged[place] ^= 1
        with pytest.raises(FormatError, match="tensor data is damaged"):
            Run(Source(bytes(damaged)), blocks, 0).read(0, size)


def test_all_tensors_come_as_one_by_one():
    rng = np.random.default_rng(0)
    tensors = {"w": rng.normal(0, 9, (300, 900)).astype(np.int8), "s": rng.random(3)}
    tensors |= {"mask": rng.random(9) > 0.5, "none": np.zeros((0, 2), np.float32)}
    found = Reader(encode(tensors, {})).tensors()
    assert list(found) == list(tensors)
    for name, array in found.items():
        assert array.dtype == tensors[name].dtype
        assert np.array_equal(array, tensors[name])
        assert not array.flags.writeable


def test_what_no_memory_is_left_for_is_refused_before_it_is_taken(monkeypatch):
    """128 MiB of zeros in a file of 12 kB, on a machine with 100 MB left."""
    data = encode({"bomb": np.zeros(2**27, np.int8)}, {})
    assert len(data) < 20_000
    monkeypatch.setattr(run_module, "free_memory_bytes", lambda: 100_000_000)
    words = "134217728 bytes would be decoded, this machine has 100000000 left"
    with pytest.raises(FormatError, match=words):
        Reader(data).tensors()
    with pytest.raises(FormatError, match=words):
        Reader(data).tensor("bomb")


def test_assembled_bytes_are_not_copied():
    places = []

    def fill(target):
        places.append(np.frombuffer(target, np.uint8).ctypes.data)
        target[:2] = b"ab"

    made = assembled(100_000, fill)
    places.append(np.frombuffer(made, np.uint8).ctypes.data)
    assert made == b"ab" + bytes(99_998)
    assert places[0] == places[1]
