"""Is opening a .tsr of 100 MB as fast as reading and inflating the same bytes with zstd?

`python -m benchmarks.opening` makes two models like stacks of transformer layers, from
normally distributed weights: `int8` (codes and a scale per channel) and `float`. Each is
stored as a .tsr, and as zstd frames of 8 MiB of the very same ONNX bytes (level 12, as in the
.tsr). Then four ways to get at the contents race in interleaved rounds:

    model     `load_model`: the ONNX bytes, checksums verified
    inflate   read the frames, decompress them in as many threads, join: the same bytes
    tensors   `Reader.tensors`: all initializers as arrays, checksums verified
    multi     read the frames, zstandard's own `multi_decompress_to_buffer`: in pieces

The figures are time ratios, inflate / model and multi / tensors: above 1, Tersor is faster.
`peak_bytes` is what a process holds at most beyond what it held before opening;
`others_share` is how much of the processors other programs took meanwhile. One line per
model goes to results/opening.jsonl; what is there is not run again.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import zstandard
from onnx import TensorProto, helper, numpy_helper

from benchmarks import records
from benchmarks.records import Row
from tersor import machine
from tersor.store.container import Reader
from tersor.store.model import load_model, save_model

NAME = "opening"
KINDS = {"int8": 15, "float": 4}  # layers: 107 and 113 MB
WIDTH = 768
FRAME = 2**23
LEVEL = 12
PAIRS = {"bytes": ("inflate", "model"), "arrays": ("multi", "tensors")}


def main() -> None:
    """Run what is not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--peak", metavar="FILE", help="only open FILE, and print the peak")
    given = parser.parse_args()
    if given.peak:
        print(peak_of(Path(given.peak)))
        return
    done = {row["model"] for row in records.read(NAME)}
    for kind in KINDS.keys() - done:
        row = measure(kind, given.rounds)
        records.replace(NAME, [row], by=("model",))
        print(row["model"], row["ratios"], row["peak_bytes"])


def measure(kind: str, rounds: int) -> Row:
    """The row of one model."""
    data = make(kind)
    with tempfile.TemporaryDirectory() as folder:
        tsr, frames = Path(folder) / "model.tsr", Path(folder) / "model.frames"
        save_model(tsr, data, {})
        sizes = write_frames(data, frames)
        ways = contestants(tsr, frames, sizes)
        assert ways["model"]() == ways["inflate"]() == data
        others = machine.Others()
        wall, cpu = race(ways, rounds)
        share = others.share()
        peak = int(peak_of_child(tsr))
        stored = {"tsr": tsr.stat().st_size, "frames": frames.stat().st_size}
    return {
        "model": kind,
        "onnx_bytes": len(data),
        "stored_bytes": stored,
        "peak_bytes": peak,
        "median_ms": {name: float(np.median(times)) * 1e3 for name, times in wall.items()},
        "cpu_ms": {name: float(np.median(times)) * 1e3 for name, times in cpu.items()},
        "ratios": {name: _ratio(wall[a], wall[b]) for name, (a, b) in PAIRS.items()},
        "cpu_ratios": {name: _ratio(cpu[a], cpu[b]) for name, (a, b) in PAIRS.items()},
        "rounds": rounds,
        "others_share": share,
        "threads": machine.default_threads(),
        "machine": machine.describe(),
        "command": "python -m benchmarks.opening",
    }


def make(kind: str) -> bytes:
    """An ONNX file with the weights of a stack of transformer layers."""
    rng = np.random.default_rng(0)
    shapes = {"qkv": (1, 3), "out": (1, 1), "up": (1, 4), "down": (4, 1)}
    tensors = []
    for layer in range(KINDS[kind]):
        for name, (rows, columns) in shapes.items():
            shape = (rows * WIDTH, columns * WIDTH)
            weight = rng.standard_normal(shape).astype(np.float32) * np.float32(0.02)
            label = f"layers.{layer}.{name}.weight"
            if kind == "int8":
                scale = np.abs(weight).max(axis=0) / 127
                tensors.append(numpy_helper.from_array(scale, label + "_scale"))
                weight = np.round(weight / scale).astype(np.int8)
            tensors.append(numpy_helper.from_array(weight, label))
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy")
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], kind, [x], [y], tensors
    )
    return bytes(helper.make_model(graph).SerializeToString())


def write_frames(data: bytes, path: Path) -> list[int]:
    """`data` as zstd frames, one after the other; returns their sizes."""
    encode = zstandard.ZstdCompressor(level=LEVEL).compress
    frames = [encode(data[at : at + FRAME]) for at in range(0, len(data), FRAME)]
    path.write_bytes(b"".join(frames))
    return [len(frame) for frame in frames]


def contestants(tsr: Path, frames: Path, sizes: list[int]) -> dict[str, Callable[[], object]]:
    """The four ways; see the module."""
    threads = machine.default_threads()
    ends = np.cumsum([0, *sizes]).tolist()

    def parts() -> list[bytes | bytearray | memoryview]:
        whole = memoryview(frames.read_bytes())
        return [whole[a:b] for a, b in pairwise(ends)]

    def inflate() -> bytes:
        with ThreadPoolExecutor(threads) as pool:
            return b"".join(pool.map(_inflated, parts()))

    def multi() -> object:
        decoder = zstandard.ZstdDecompressor()
        return decoder.multi_decompress_to_buffer(parts(), threads=threads)

    def tensors() -> object:
        with Reader(tsr) as reader:
            return reader.tensors()

    return {
        "model": lambda: load_model(tsr)[0],
        "inflate": inflate,
        "tensors": tensors,
        "multi": multi,
    }


def _inflated(frame: memoryview) -> bytes:
    return zstandard.ZstdDecompressor().decompress(frame)


def race(
    ways: dict[str, Callable[[], object]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Wall and processor seconds of each, taken in turn; every other round backwards."""
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            start, spent = time.perf_counter(), time.process_time()
            kept = ways[name]()
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - spent)
            del kept
    return wall, cpu


def _ratio(slow: list[float], fast: list[float]) -> Row:
    """Quartiles of the ratio of two contestants, round by round."""
    ratios = np.array(slow) / np.array(fast)
    q1, median, q3 = np.quantile(ratios, [0.25, 0.5, 0.75]).tolist()
    return {"median": median, "q1": q1, "q3": q3}


def peak_of_child(tsr: Path) -> str:
    """`peak_of` in a process of its own, with as many threads as here."""
    command = [sys.executable, "-m", "benchmarks.opening", "--peak", str(tsr)]
    done = subprocess.run(  # noqa: S603 - our own module
        command, check=True, capture_output=True, text=True, env=os.environ
    )
    return done.stdout


def peak_of(tsr: Path) -> int:
    """Bytes that this process holds at most while it opens a file, beyond what it held."""
    before = machine.peak_memory_bytes()
    model, _ = load_model(tsr)
    assert model
    return machine.peak_memory_bytes() - before


if __name__ == "__main__":
    main()
