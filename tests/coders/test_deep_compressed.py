"""Han's file of a compressed network: what is read from it, and how it is coded anew."""

import numpy as np
import pytest
from benchmarks import deep_compressed


def written(weights, codebook, path):
    """A file of that form; the weights are codes."""
    heads, bodies = [], []
    for codes in weights:
        flat = codes.reshape(-1)
        places, last = [], -1
        for place in range(flat.size):
            if flat[place] or place - last == 16:  # a gap has four bits
                places.append(place)
                last = place
        gaps = np.diff(places, prepend=-1) - 1
        padded = np.append(gaps, [0] * (len(gaps) % 2)).astype(np.uint8)
        packed = padded[::2] | padded[1::2] << 4
        bias = np.arange(len(codes), dtype="<f4")
        heads.append(len(places))
        bodies += [
            codebook.tobytes(),
            bias.tobytes(),
            flat[places].tobytes(),
            packed.tobytes(),
        ]
    path.write_bytes(np.array(heads, "<u4").tobytes() + b"".join(bodies))


@pytest.fixture
def given(tmp_path, monkeypatch):
    """Twenty-six small weights, their codebook and their file."""
    monkeypatch.setattr(deep_compressed, "layers", lambda: [(3, 50, 1, 1)] * 26)
    rng = np.random.default_rng(0)
    weights = [
        (rng.integers(0, 256, (3, 50, 1, 1)) * (rng.random((3, 50, 1, 1)) < 0.1)).astype("u1")
        for _ in range(26)
    ]
    codebook = np.append(0, rng.normal(size=255)).astype("<f4")
    written(weights, codebook, tmp_path / "net.bin")
    return weights, codebook, tmp_path / "net.bin"


def test_all_layers_are_read(given):
    weights, codebook, path = given
    for codes, (found, book, bias) in zip(weights, deep_compressed.read(path), strict=True):
        np.testing.assert_array_equal(found, codes)
        np.testing.assert_array_equal(book, codebook)
        np.testing.assert_array_equal(bias, [0, 1, 2])


def test_values_in_order_give_the_weights_back(given):
    weights, codebook, path = given
    found = deep_compressed.tensors(path)
    for number, codes in enumerate(weights):
        values = found[f"{number}.v"]
        assert (np.diff(values) > 0).all()
        np.testing.assert_array_equal(values[found[f"{number}.w"]], codebook[codes])


def test_there_are_26_layers_of_1_2_million_weights():
    shapes = deep_compressed.layers()
    assert len(shapes) == 26
    assert sum(int(np.prod(shape)) for shape in shapes) == 1_244_448
