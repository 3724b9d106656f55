import ml_dtypes
import numpy as np
import pytest

from tersor.errors import FormatError, InputError
from tersor.store.elements import CODES, ELEMENTS, byte_count, code_of, from_bytes, to_bytes

PACKED = {"int4", "uint4", "float4_e2m1fn"}


def dtype(name):
    return np.dtype(getattr(ml_dtypes, name, name))


@pytest.mark.parametrize("name", CODES)
def test_every_pattern_of_bits_comes_back(name):
    patterns = np.arange(16 if name in PACKED else 240, dtype=np.uint8)
    patterns = patterns % 2 if name == "bool" else patterns
    array = patterns.view(dtype(name))
    code = code_of("w", array)
    data = bytes(to_bytes(array, code))
    assert len(data) == byte_count(code, array.shape)
    back = from_bytes(data, code, array.shape)
    assert back.dtype == array.dtype
    assert back.tobytes() == array.tobytes()
    assert not back.flags.writeable


@pytest.mark.parametrize(
    "shape", [(), (0,), (1,), (7,), (3, 5), (2, 0, 4), (2, 3, 4)], ids=str
)
@pytest.mark.parametrize("name", ["float32", "int4"])
def test_every_shape_comes_back(name, shape):
    array = (np.arange(np.prod(shape, dtype=int)) % 7).reshape(shape).astype(dtype(name))
    code = CODES[name]
    back = from_bytes(bytes(to_bytes(array, code)), code, shape)
    assert back.shape == shape
    assert back.tobytes() == array.tobytes()


def test_four_bits_are_packed_low_half_first():
    array = np.array([1, 2, -1], ml_dtypes.int4)
    assert bytes(to_bytes(array, CODES["int4"])).hex() == "210f"


def test_bytes_are_little_endian_and_in_c_order():
    swapped = np.array([[1, 2], [3, 4]], ">u2").T
    assert bytes(to_bytes(swapped, CODES["uint16"])).hex() == "0100030002000400"


def test_codes_are_frozen():
    """A change here breaks files that exist."""
    assert list(ELEMENTS) == list(range(1, 23))
    assert [CODES[n] for n in ("bool", "int8", "float32", "bfloat16", "int4")] == [
        1,
        2,
        11,
        13,
        18,
    ]


def test_unknown_element_type_names_the_tensor():
    with pytest.raises(InputError, match=r"dtype of labels must be one of bool.*'str32'"):
        code_of("labels", np.array(["a"]))


def test_a_truth_value_of_two_is_refused():
    with pytest.raises(FormatError, match="neither 0 nor 1"):
        from_bytes(b"\x02", CODES["bool"], (1,))


def test_a_shape_that_numpy_cannot_hold_is_refused():
    with pytest.raises(FormatError, match="cannot be"):
        from_bytes(b"", CODES["float32"], (0, 2**62, 2**62))
