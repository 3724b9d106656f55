"""What a codec is: a lossless map between the bytes of a tensor and fewer bytes."""

from typing import ClassVar, Protocol


class Codec(Protocol):
    """Laws that every codec keeps, checked by `tersor.testing.codec_suite`.

    Law: `decode(encode(x), len(x))` equals `x`, for every `x`.
    Law: `decode` gives exactly `count` bytes or raises FormatError, for any payload, and
        never holds more than a small multiple of `count` bytes, whatever the payload says.
    Law: `decode_into` writes what `decode` gives, and refuses what `decode` refuses.
    Law: the same bytes give the same payload, on every machine and in every release.
    """

    name: ClassVar[str]  # written into files: never changed, never used again

    def encode(self, data: bytes) -> bytes:
        """Encode the bytes of one tensor."""
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
