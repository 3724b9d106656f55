"""NNCodec's entropy coder (DeepCABAC), in a process and an environment of its own.

For every line of standard input, the path of an .npz file of integer tensors, one line comes
back: the bytes that they take, and the seconds to encode and to decode them. Each tensor is a
layer of its own, in rows of its first axis, with ten magnitude flags; rows of zeros are
skipped, and there is no dependent quantization, as the integers are given. (NNCodec by itself
does it the other way round.) Nothing but the calls of the coder is timed.

Source: Becking et al., "NNCodec: an open source software implementation of the neural network
coding ISO/IEC standard", ICML Neural Compression Workshop 2023.
"""

import json
import sys
import time
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FLAGS = 10
_QUANT_PARAMETER, _DEPENDENT, _SKIP_ROWS = 0, 0, 1


def coded(coder: Any, options: Any, values: NDArray[np.int32]) -> tuple[int, float, float]:
    """Bytes, and seconds to encode and to decode a tensor of shape (rows, columns)."""
    rows = np.array([0 if row.any() else 1 for row in values], np.int32)
    start = time.perf_counter()
    encoder = coder.Encoder()
    encoder.initCtxModels(_FLAGS, 1)
    encoder.encodeLayer(
        values, _DEPENDENT, _QUANT_PARAMETER, _SKIP_ROWS, 0, 1, rows, *options, 0, 0
    )
    payload = encoder.finish()
    middle = time.perf_counter()
    found = np.zeros_like(values)
    decoder = coder.Decoder()
    decoder.setStream(payload)
    decoder.initCtxModels(_FLAGS)
    decoder.decodeLayer(found, _DEPENDENT, _QUANT_PARAMETER, _SKIP_ROWS, 0, *options, 0, 0)
    end = time.perf_counter()
    assert np.array_equal(found, values)
    return len(payload), middle - start, end - middle


def main() -> None:
    """Answer every line."""
    coder = import_module("nncodec.extensions").deepCABAC
    options = import_module("nncodec.nnc_core.hdsp.hdsp_tool").HDSP_OPTS_OFF()
    for line in sys.stdin:
        with np.load(line.strip(), allow_pickle=False) as arrays:
            tensors = [arrays[name] for name in arrays.files]
        each = [coded(coder, options, a.reshape(len(a), -1).astype(np.int32)) for a in tensors]
        size, encode, decode = (sum(column) for column in zip(*each, strict=True))
        print(json.dumps({"bytes": size, "encode_s": encode, "decode_s": decode}), flush=True)


if __name__ == "__main__":
    main()
