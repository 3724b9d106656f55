"""What a codec is: a lossless map between the bytes of a tensor and fewer bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a tensor, of whole rows: what a codec may want to know about some bytes.

    Attributes:
        size: Bytes.
        bits: Of an element.
        shape: Of the whole tensor.
    """

    size: int
    bits: int
    shape: tuple[int, ...]


class Codec(Protocol):
    """Laws that every codec keeps, checked by `tersor.testing.codec_suite`.

    Law: `decode(encode(x), len(x))` equals `x`, for every `x`.
    Law: `decode` gives exactly `count` bytes or raises FormatError, for any payload, and
        never holds more than a small multiple of `count` bytes, whatever the payload says.
    Law: `decode_into` writes what `decode` gives, and refuses what `decode` refuses.
    Law: the same bytes and parts give the same payload, on every machine and in every release.
    """

    name: ClassVar[str]  # written into files: never changed, never used again

    def encode(self, data: bytes | memoryview, parts: Sequence[Part] = ()) -> bytes:
        """Encode the bytes of one tensor, or of several.

        Args:
            data: The bytes.
            parts: The pieces of tensors that they are, if that is known. They may serve to
                code better; the payload says by itself how it is to be decoded.
        """
        ...

    def decode(self, payload: bytes, count: int) -> bytes:
        """Decode exactly `count` bytes from a whole payload.

        Raises:
            FormatError: `payload` is not what `encode` writes for `count` bytes.
        """
        ...

    def decode_into(self, payload: bytes, target: memoryview) -> None:
        """Decode a whole payload into `target`, which it fills, without copies.

        Raises:
            FormatError: See `decode`; what is in `target` then means nothing.
        """
        ...
