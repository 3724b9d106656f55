"""Directories of models in fewer bytes: zstd that knows what such directories look like.

The dictionary is 16 kB of content that other models have in common: the nodes, attributes and
names that a small convolutional network of int8 weights and the first layer of a transformer
have in ONNX. It is part of the format, and never changes.
"""

from functools import cache
from importlib import resources

import zstandard

from tersor.errors import FormatError

_LEVEL = 19


def encode(data: bytes) -> bytes:
    """One zstd frame, without magic number, of data that is not empty.

    >>> len(encode(b"quantizers_node_conv2d_1.quantizelinear")) < 20
    True
    """
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL,
        source_size=len(data),
        dict_size=len(_dictionary().as_bytes()),
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        write_content_size=1,
        write_checksum=0,
        write_dict_id=0,
    )
    coder = zstandard.ZstdCompressor(compression_params=parameters, dict_data=_dictionary())
    return coder.compress(data)


def decode(frame: bytes, count: int) -> bytes:
    """The `count` bytes of a frame that `encode` wrote.

    Raises:
        FormatError: It is damaged, or of another size.
    """
    layout = zstandard.FORMAT_ZSTD1_MAGICLESS
    try:
        promised = zstandard.get_frame_parameters(frame, format=layout).content_size
        if promised != count:
            raise FormatError(f"zstd frame of {promised} bytes for {count}", offset=0)
        decoder = zstandard.ZstdDecompressor(dict_data=_dictionary(), format=layout)
        return decoder.decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FormatError(f"zstd frame is damaged ({error})", offset=0) from None


@cache
def _dictionary() -> zstandard.ZstdCompressionDict:
    content = resources.files("tersor.store").joinpath("dictionary_1.bin").read_bytes()
    return zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
