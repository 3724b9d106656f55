"""`tersor inspect` and `tersor bench` on the terminal."""

import io

import pytest
from rich.console import Console

from tersor.errors import InputError
from tersor.report.bench import render_bench
from tersor.report.inspection import render_inspect


def shown(renderable, width):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    Console(file=stream, width=width, color_system=None).print(renderable)
    stream.flush()
    return stream.buffer.getvalue().decode()


def layer(name, **changes):
    plain = {
        "name": name,
        "op": "conv2d",
        "weight_shape": [16, 3, 3, 3],
        "parameters": 448,
        "macs": 442_368,
        "weight_bytes": 1792,
        "output_shape": ["batch", 16, 32, 32],
        "share_parameters": 0.25,
        "share_macs": 1.0,
        "compressible": True,
        "reason": None,
    }
    return {**plain, **changes}


def inspection():
    no = {"compressible": False, "reason": "its weight is computed at run time"}
    return {
        "model": "net.onnx",
        "layers": [layer("conv1"), layer("mix", **no, macs=None, share_macs=None)],
        "totals": {"parameters": 1792, "macs": 442_368, "weight_bytes": 7168},
        "inputs": [{"name": "image", "shape": ["batch", 3, 32, 32], "dtype": "float32"}],
        "outputs": [{"name": "logits", "shape": ["batch", 10], "dtype": "float32"}],
        "peak_activation_bytes": 131_072,
    }


def row(**changes):
    plain = {
        "model": "net.onnx",
        "engine": "openvino",
        "precision": "f32",
        "batch": 1,
        "threads": 2,
        "median_ms": 1.0,
        "q1_ms": 0.9,
        "q3_ms": 1.1,
        "ratio": 1.0,
        "quiet": True,
    }
    return {**plain, **changes}


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize(
    "figure",
    [
        "net.onnx", "image batch x 3 x 32 x 32 float32", "logits batch x 10 float32",
        "1792 parameters", "442.4 k MACs", "7.2 kB of weights", "131.1 kB activations",
        "conv1", "conv2d", "16x3x3x3", "1.8 kB", "25.0 %", "100 %",
        "its weight is computed at run time", "1 of 2 layers (1.8 kB) can be compressed.",
    ],
)  # fmt: skip
def test_inspect_has_the_figures(figure, width):
    text = shown(render_inspect(inspection()), width)
    assert figure in text
    assert max(len(line) for line in text.splitlines()) <= width


@pytest.mark.parametrize("width", [80, 160])
def test_inspect_shows_a_warning(width):
    text = shown(render_inspect({**inspection(), "warning": "It may saturate."}), width)
    assert "Note: It may saturate." in text
    assert "Note" not in shown(render_inspect({**inspection(), "warning": None}), width)


def test_inspect_refuses_what_it_cannot_show():
    broken = inspection()
    del broken["layers"][1]["macs"]
    with pytest.raises(InputError, match=r"^layers\[1\]\.macs"):
        render_inspect(broken)


def test_bench_marks_the_fastest_of_each_batch_size():
    rows = [
        row(),
        row(model="small.onnx", median_ms=0.4, ratio=2.5),
        row(batch=16, median_ms=9.0, ratio=1.0),
        row(batch=16, median_ms=None, q1_ms=None, q3_ms=None, ratio=None, problem="absent"),
    ]
    lines = shown(render_bench(rows), 120).splitlines()
    marked = [line.split() for line in lines if line.startswith("▶")]
    assert [line[1] for line in marked] == ["small.onnx", "net.onnx"]
    assert [line[4:6] for line in marked] == [["1", "0.400"], ["16", "9.00"]]
    assert any("absent" in line for line in lines)


@pytest.mark.parametrize("width", [80, 160])
def test_bench_shows_spread_noise_and_kernels(width):
    rows = [row(quiet=False, kernels={"int8": 20, "f32": 1}), row(median_ms=2.0, ratio=0.5)]
    text = shown(render_bench(rows), width)
    assert "1.00*" in text
    assert "* timed while other processes ran" in text
    assert "0.900-1.10" in text
    assert "0.50x" in text
    assert "Latency, batch 1, threads 2" in text
    assert ("20 of 21" in text) == (width == 160)


def test_bench_refuses_what_it_cannot_show():
    with pytest.raises(InputError, match=r"^\[0\]\.ratio"):
        render_bench([row(ratio="fast")])
