"""What stands around the contents of a .tsr file: its first 6 and its last 12 bytes.

FORMAT.md tells the layout. Nothing heavy is imported here, so that what is cut, damaged or no
.tsr file at all is refused before anything else is loaded.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tersor.errors import FormatError
from tersor.store.source import Source

MAGIC = b"\x89TSR"
VERSION = 1
HEADER_BYTES = len(MAGIC) + 2
DIRECTORY_BYTES = 2**23  # most, decoded
FOOTER = struct.Struct("<III")

Read = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Frame:
    """The directory as it stands in a file.

    Attributes:
        begin: Where it begins.
        length: Its bytes, decoded.
        stored: It itself, still encoded if that is shorter than `length`.
    """

    begin: int
    length: int
    stored: bytes


def header_of(read: Read, size: int) -> bytes:
    """The first bytes of a file of `size` bytes; `read` gives bytes from a place on.

    Raises:
        FormatError: It is no .tsr file, cut, or of another version.
    """
    header = read(0, min(HEADER_BYTES, size))
    if header[: len(MAGIC)] != MAGIC:
        raise FormatError("this is not a .tsr file", offset=0)
    if len(header) < HEADER_BYTES:
        raise FormatError("the file is cut", offset=size)
    if header[4] != VERSION:
        problem = f"format version {header[4]}, this release reads {VERSION}"
        raise FormatError(problem, offset=4)
    return header


def framed(read: Read, size: int, header: bytes, most: int) -> Frame:
    """The directory of a file that starts with `header`, after its checksum was verified.

    Raises:
        FormatError: The file is cut or damaged, or its directory is longer than `most` bytes.
    """
    end = size - FOOTER.size
    if end < len(header):
        raise FormatError("the file is cut", offset=size)
    footer = read(end, FOOTER.size)
    length, stored, checksum = FOOTER.unpack(footer)
    begin = end - stored
    if begin < len(header) or stored > length:
        raise FormatError("the file is cut, or its end is damaged", offset=end)
    if length > most:
        raise FormatError(f"directory of {length} bytes, too long", offset=end)
    data = read(begin, stored)
    if zlib.crc32(header + data + footer[:8]) != checksum:
        raise FormatError("the directory is damaged", offset=begin)
    return Frame(begin, length, data)


def check_frame(path: str | Path) -> None:
    """Refuse what is no whole .tsr file, by its first and last bytes.

    Raises:
        FileError: It cannot be read.
        FormatError: See `header_of` and `framed`.
    """
    source = Source(path)
    try:
        framed(source.read, source.size, header_of(source.read, source.size), DIRECTORY_BYTES)
    finally:
        source.close()
