"""Damage: bytes flipped, cut, repeated and spliced, numbers made extreme, seals mended."""

import io
import struct
import zipfile
import zlib

import numpy as np

Rng = np.random.Generator
_EXTREME = (0, 1, 0x7F, 0x80, 0xFF, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
_WORDS = (
    "-1", "0", "1e999", "nan", "inf", "true", "[]", "{}", "null", '""', "99999999999999999999",
    "1.5", '"' + "x" * 3000 + '"', "[" * 900, "\u0000", "\ud7ff", "../../etc/passwd",
    "2020-01-01",
)  # fmt: skip


def damaged(data: bytes, rng: Rng, *, text: bool = False) -> bytes:
    """`data` with one to four damages; archives and .tsr files are often sealed again."""
    if data[:2] == b"PK" and rng.random() < 0.6:
        return _inside_a_zip(data, rng)
    if data[:4] == b"\x89TSR" and rng.random() < 0.5:
        return _sealed(data, rng)
    for _ in range(int(rng.integers(1, 5))):
        change = rng.choice([*_CHANGES, *([_word] * 6 if text else [])])
        data = bytes(change(data, rng))
    return data


def _place(data: bytes, rng: Rng) -> int:
    return int(rng.integers(0, max(len(data), 1)))


def _flip(data: bytes, rng: Rng) -> bytes:
    place = _place(data, rng)
    return (
        data[:place]
        + bytes(b ^ 1 << rng.integers(8) for b in data[place:][:1])
        + data[place + 1 :]
    )


def _set(data: bytes, rng: Rng) -> bytes:
    place = _place(data, rng)
    return data[:place] + rng.bytes(1) + data[place + 1 :]


def _number(data: bytes, rng: Rng) -> bytes:
    """A number of 4 or 8 bytes, or one of protobuf's, over what is there."""
    value, place = int(rng.choice(np.array(_EXTREME, object))), _place(data, rng)
    wide = value.to_bytes(8, "little")
    made = (wide, wide[:4], _varint(value))[int(rng.integers(3))]
    kept = place + (len(made) if rng.random() < 0.7 else 1)
    return data[:place] + made + data[kept:]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _cut(data: bytes, rng: Rng) -> bytes:
    return data[: _place(data, rng)]


def _remove(data: bytes, rng: Rng) -> bytes:
    place = _place(data, rng)
    return data[:place] + data[place + int(rng.integers(1, 40)) :]


def _splice(data: bytes, rng: Rng) -> bytes:
    """A piece from elsewhere, put in or over, once or often."""
    start, place = _place(data, rng), _place(data, rng)
    piece = data[start : start + int(rng.integers(1, 60))]
    piece *= int(rng.choice([1, 1, 1, 2, 50]))
    return data[:place] + piece + data[place + (len(piece) if rng.random() < 0.5 else 0) :]


def _word(data: bytes, rng: Rng) -> bytes:
    """An odd word in the place of a value, or a line twice."""
    lines = data.split(b"\n")
    at = int(rng.integers(len(lines)))
    if rng.random() < 0.2:
        return b"\n".join([*lines[:at], lines[at], *lines[at:]])
    key, sign, _ = lines[at].partition(b"=" if b"=" in lines[at] else b"\t")
    lines[at] = key + sign + str(rng.choice(_WORDS)).encode("utf-8", "surrogatepass")
    return b"\n".join(lines)


_CHANGES = [_flip, _set, _number, _cut, _remove, _splice, _splice, _flip, _number]


def _inside_a_zip(data: bytes, rng: Rng) -> bytes:
    """One member damaged, and the archive written again with the right checksums."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {i: archive.read(i) for i in archive.infolist()}
    victim = list(members)[int(rng.integers(len(members)))]
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for info, content in members.items():
            changed = content
            if info is victim:
                changed = _head(content, rng) if rng.random() < 0.5 else _any(content, rng)
            archive.writestr(info.filename, changed, info.compress_type)
    return made.getvalue()


def _any(data: bytes, rng: Rng) -> bytes:
    return bytes(rng.choice(np.array(_CHANGES, object))(data, rng))


def _head(data: bytes, rng: Rng) -> bytes:
    """Damage in the first bytes, where .npy files say what they are."""
    return _any(data[:100], rng) + data[100:]


def _sealed(data: bytes, rng: Rng) -> bytes:
    """A .tsr file whose directory is damaged, and whose checksum is right again."""
    from tersor.codecs.zstd import Zstd
    from tersor.store import primed
    from tersor.store.directory import PRIMED

    length, stored, _ = struct.unpack("<III", data[-12:])
    plain = data[-12 - stored : -12]
    if stored < length:
        decode = primed.decode if data[5] & PRIMED else Zstd().decode
        plain = decode(plain, length)
    plain = _any(plain, rng)
    lengths = struct.pack("<II", len(plain), len(plain))
    checksum = zlib.crc32(data[:6] + plain + lengths)
    return data[: -12 - stored] + plain + lengths + struct.pack("<I", checksum)
