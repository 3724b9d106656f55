"""A tensor is read from anywhere without the others, and whatever goes wrong is said."""

import io
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import numpy as np
import pytest

from tersor.errors import FileError, FormatError
from tersor.store.container import Reader, encode
from tersor.store.model import load_tensor
from tersor.store.sizes import sizes
from tersor.store.source import Source, mapped


def tensors():
    rng = np.random.default_rng(0)
    return {
        "a": rng.normal(0, 1, (500, 600)).astype(np.float32),
        "b": rng.integers(-128, 128, 70_000).astype(np.int8),
        "c": rng.normal(0, 1, (500, 600)).astype(np.float32),
        "small": np.arange(5),
    }


FILE = encode(tensors(), {"note": b"hello"})


class Counted(io.BytesIO):
    """A file that gives at most 1000 bytes at once, and counts them."""

    given = 0

    def read(self, count=-1):
        data = super().read(min(count, 1000))
        self.given += len(data)
        return data


def test_one_tensor_is_read_from_a_file_object_without_the_others():
    file = Counted(FILE)
    with Reader(file) as reader:
        stored = reader.info("b").stored
        found = reader.tensor("b")
    assert np.array_equal(found, tensors()["b"])
    assert stored <= file.given < stored + 1000
    assert not file.closed


def test_several_readers_can_share_a_file_object_in_turn():
    file = io.BytesIO(FILE)
    for name, array in tensors().items():
        assert np.array_equal(load_tensor(file, name), array)


@pytest.mark.parametrize("kind", ["bytes", "memoryview", "mapped", "path", "file"])
def test_every_origin_gives_the_same(tmp_path, kind):
    (tmp_path / "m.tsr").write_bytes(FILE)
    with (tmp_path / "m.tsr").open("rb") as file:
        origin = {
            "bytes": FILE,
            "memoryview": memoryview(FILE),
            "mapped": mapped(tmp_path / "m.tsr"),
            "path": tmp_path / "m.tsr",
            "file": file,
        }[kind]
        with Reader(origin) as reader:
            assert reader.section("note") == b"hello"
            for name, array in reader.tensors().items():
                assert np.array_equal(array, tensors()[name])
                assert np.array_equal(reader.tensor(name), array)
                assert reader.raw(name) == array.tobytes()


def test_a_mapped_tensor_that_is_stored_as_it_is_is_not_copied(tmp_path):
    large = np.random.default_rng(0).integers(0, 256, (3, 2**22), dtype=np.uint8)
    (tmp_path / "m.tsr").write_bytes(
        encode({"large": large, "b": tensors()["b"]}, {}, codec="raw")
    )
    data = mapped(tmp_path / "m.tsr")
    with Reader(data) as reader:
        assert len(reader._run.blocks) > 2
        for name, array in (("large", large), ("b", tensors()["b"])):
            found = reader.tensor(name)
            assert np.shares_memory(found, np.frombuffer(data, np.uint8))
            assert np.array_equal(found, array)
            assert not found.flags.writeable


def test_wide_elements_at_an_odd_place_are_copied():
    data = memoryview(encode({"w": tensors()["a"]}, {}, codec="raw"))
    found = Reader(data).tensor("w")
    assert found.flags.aligned
    assert np.array_equal(found, tensors()["a"])


def test_damage_in_a_mapped_tensor_is_found():
    data = bytearray(encode({"w": tensors()["b"]}, {}, codec="raw"))
    data[5000] ^= 1
    with pytest.raises(FormatError, match="damaged"):
        Reader(bytes(data)).tensor("w")


def test_a_raw_block_of_another_size_is_refused(monkeypatch):
    data = encode({"w": tensors()["b"], "v": tensors()["b"]}, {}, codec="raw")
    reader = Reader(data)
    first, second = reader._run.blocks
    changed = type(first)("raw", first.size, first.stored - 1, first.checksum)
    monkeypatch.setattr(reader._run, "blocks", (changed, second))
    with pytest.raises(FormatError, match="69999 raw bytes for 70000"):
        reader.tensor("w")


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda folder: folder / "none.tsr", r"none\.tsr cannot be read \(No such file"),
        (lambda folder: folder, "cannot be read"),
        (lambda folder: (folder / "a").open("rb"), None),
        (lambda _: object(), r"<file> cannot be read \(AttributeError\)"),
    ],
    ids=["missing", "folder", "closed", "no_file"],
)
def test_what_cannot_be_read_is_refused(tmp_path, make, problem):
    (tmp_path / "a").write_bytes(FILE)
    origin = make(tmp_path)
    if problem is None:
        origin.close()
        problem = r"a cannot be read \(ValueError\)"
    with pytest.raises(FileError, match=problem):
        Source(origin)


def test_what_cannot_be_mapped_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(FileError, match="is empty"):
        mapped(tmp_path / "a")
    with pytest.raises(FileError, match=r"cannot be read \(No such file"):
        mapped(tmp_path / "b")


def test_a_file_that_shrinks_or_fails_is_refused():
    file = io.BytesIO(FILE)
    source = Source(file)
    file.truncate(100)
    with pytest.raises(FormatError, match="cut while it was read, at byte 100"):
        source.read(0, 200)
    file.close()
    with pytest.raises(FileError, match="cannot be read"):
        source.read(0, 200)
    for start, count in ((-1, 2), (0, -1), (len(FILE), 1)):
        with pytest.raises(FormatError, match=f"{count} bytes wanted at {start}"):
            source.read(start, count)
    source.close()
    with pytest.raises(FileError, match="was closed"):
        source.read(0, 1)


@pytest.fixture
def in_memory():
    """The file in the memory of fsspec, and what is read of it."""
    system = fsspec.filesystem("memory")
    system.pipe("/tersor/m.tsr", FILE)
    yield "memory://tersor/m.tsr"
    if system.exists("/tersor"):
        system.rm("/tersor", recursive=True)


def test_a_file_behind_an_address_is_read_through_fsspec(in_memory):
    for name, array in tensors().items():
        assert np.array_equal(load_tensor(in_memory, name), array)
    assert sizes(in_memory) == sizes(FILE)


@pytest.mark.parametrize("url", ["memory://tersor/none.tsr", "nosuch://host/m.tsr"])
def test_an_address_of_nothing_is_refused(url):
    with pytest.raises(FileError, match=r"cannot be fetched .*Check the address"):
        Source(url)


def test_a_remote_file_that_vanishes_is_refused(in_memory):
    source = Source(in_memory)
    fsspec.filesystem("memory").pipe("/tersor/m.tsr", b"other")
    with pytest.raises(FormatError, match="cut while it was read"):
        source.read(6, 100)
    fsspec.filesystem("memory").rm("/tersor/m.tsr")
    with pytest.raises(FileError, match="cannot be fetched"):
        source.read(6, 100)


def test_without_fsspec_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(FileError, match=r"needs fsspec.*pip install 'tersor\[remote\]'"):
        Source("https://localhost/m.tsr")


class Ranges(BaseHTTPRequestHandler):
    """Serves FILE, by ranges where the path does not say "whole"."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self._answer(FILE, 200)

    def do_GET(self):
        wanted = self.headers.get("Range")
        if wanted and "whole" not in self.path:
            start, end = map(int, wanted.removeprefix("bytes=").split("-"))
            part = FILE[start : end + 1]
            self.server.given.append(len(part))
            self._answer(part, 206, f"bytes {start}-{end}/{len(FILE)}")
        else:
            self._answer(FILE, 200)

    def _answer(self, content, status, content_range=None):
        self.send_response(404 if "none" in self.path else status)
        self.send_header("Content-Length", str(len(content)))
        if "whole" not in self.path:
            self.send_header("Accept-Ranges", "bytes")
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_):
        """Says nothing."""


class Server(ThreadingHTTPServer):
    """Notes how many bytes it gave."""

    def handle_error(self, *_):
        """Says nothing: clients may leave when they have seen enough."""


@pytest.fixture
def server():
    with Server(("127.0.0.1", 0), Ranges) as server:
        server.given = []
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_one_tensor_is_fetched_by_ranges_of_http(server):
    url = f"http://127.0.0.1:{server.server_port}/m.tsr"
    with Reader(url) as reader:
        opening = sum(server.given)
        assert opening <= 2**16 + 6
        assert np.array_equal(reader.tensor("b"), tensors()["b"])
        assert sum(server.given) - opening <= reader.info("b").stored


@pytest.mark.parametrize(
    ("path", "problem"),
    [("whole.tsr", "is served only as a whole"), ("none.tsr", "cannot be fetched")],
)
def test_a_server_without_ranges_or_file_is_refused(server, path, problem):
    with pytest.raises(FileError, match=problem):
        Source(f"http://127.0.0.1:{server.server_port}/{path}")
