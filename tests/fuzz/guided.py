"""Fuzz guided by coverage: `python -m tests.fuzz.guided codecs|tsr [libFuzzer's options]`.

Atheris (libFuzzer for Python) sees what branches of Tersor an input reaches, and changes those
further that reach new ones. What is no TersorError stops it, and the input stands in a file.

codecs   the first byte chooses a codec, the second the number of bytes, the rest is a payload
tsr      a file; every other change is one of `mutate`, which mends checksums
"""

import struct
import sys
import tempfile
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["tersor"]):
    from tersor import codecs
    from tersor.errors import FormatError, TersorError
    from tersor.store.container import Reader, encode
    from tersor.store.directory import Limits

from tests.fuzz.mutate import damaged

_MOST = Limits(tensor_bytes=2**24, total_bytes=2**26)


def codec_input(data: bytes) -> None:
    """Decode, in both ways."""
    if len(data) < 2:
        return
    names = codecs.names()
    codec = codecs.find(names[data[0] % len(names)]).CODEC()
    count, payload = data[1], data[2:]
    try:
        found = codec.decode(payload, count)
    except FormatError:
        found = None
    target = bytearray(count)
    try:
        codec.decode_into(payload, memoryview(target))
    except FormatError:
        assert found is None
    else:
        assert found == target


def codec_examples() -> list[bytes]:
    """Good payloads of all codecs."""
    rng = np.random.default_rng(0)
    bell = rng.normal(0, 3, 200).round().astype(np.int8).tobytes()
    datas = (b"", bytes(99), b"abracadabra" * 9, bell, rng.bytes(64))
    return [
        bytes([index, len(data)]) + codecs.find(name).CODEC().encode(data)
        for index, name in enumerate(codecs.names())
        for data in datas
    ]


def tsr_input(data: bytes) -> None:
    """Read everything."""
    try:
        with Reader(data, _MOST) as reader:
            reader.tensors()
            for name in reader.sections:
                reader.section(name)
    except TersorError:
        return


def tsr_examples() -> list[bytes]:
    """Files in all codecs."""
    rng = np.random.default_rng(0)
    tensors = {f"w{i}": rng.integers(-3, 3, (5, 7)).astype(np.int8) for i in range(4)}
    tensors |= {"mask": rng.random(70) > 0.5, "f": rng.standard_normal(30).astype(np.float32)}
    return [encode(tensors, {"note": b"hello"}, codec=name) for name in codecs.names()]


def changed(data: bytes, most: int, seed: int) -> bytes:
    """Of files: libFuzzer's change, or one of ours."""
    if seed % 2:
        try:
            return damaged(data, np.random.default_rng(seed))[:most]
        except (TersorError, struct.error):  # too damaged for mending checksums
            pass
    return bytes(atheris.Mutate(data, most))


def main() -> None:
    """Fuzz until the options say enough."""
    what, *options = sys.argv[1:]
    run, examples = {
        "codecs": (codec_input, codec_examples),
        "tsr": (tsr_input, tsr_examples),
    }[what]
    with tempfile.TemporaryDirectory(prefix="tersor-fuzz-") as folder:
        for index, example in enumerate(examples()):
            Path(folder, str(index)).write_bytes(example)
        own = {} if what == "codecs" else {"custom_mutator": changed}
        atheris.Setup([sys.argv[0], "-len_control=0", *options, folder], run, **own)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
