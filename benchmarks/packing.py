"""How small, and how fast, are files of float weights packed?

`python -m benchmarks.packing` writes the weights of published networks as `.safetensors`, in
float32 and in bfloat16, and packs them: with `tersor pack` at levels fast and default, which
unpacks and compares before the file appears, and with zstd at level 3, which does the same
here. They take turns, and so does `tersor unpack` of what level fast gave. zstd at its level
19 packs once, for its size.

One line per network and type goes to results/packing.jsonl: bytes, megabytes of the file a
second of processor time (so: per core) and of the clock, and quartiles, round by round, of the
speed over zstd -3. What is there is not run again; `--networks` names what is to be.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zstandard

from benchmarks import records, subjects
from benchmarks.records import Row
from tersor import machine
from tersor.store.pack import pack, unpack

NAME = "packing"
COMMAND = "python -m benchmarks.packing"
NETWORKS = ("lenet5", "squeezenet", "mobilenet_v1", "mobilenet_v2", "minilm")
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_RIVAL = "zstd -3"
_SMALL = 2**23  # files below are packed several times in a round: clocks are coarse

Ways = dict[str, Callable[[], object]]
Times = dict[str, list[tuple[float, float]]]


def main() -> None:
    """Run what is asked for, or what is not in the results yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS)
    given = parser.parse_args()
    done = {(row["network"], row["type"]) for row in records.read(NAME)}
    for network in NETWORKS:
        for kind in TYPES:
            is_due = (network, kind) not in done
            if network in (given.networks or ()) or (not given.networks and is_due):
                row = measure(network, kind, given.rounds)
                records.replace(NAME, [row], by=("network", "type"))
                print(network, kind, row["bytes"], row["speed"], flush=True)


def measure(network: str, kind: str, rounds: int) -> Row:
    """The row of one file."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "model.safetensors"
        write(network, kind, source)
        ways = contestants(source)
        for way in ways.values():  # what is made once
            way()
        others = machine.Others()
        times = race(ways, rounds, times=max(1, _SMALL // source.stat().st_size))
        share = others.share()
        size = source.stat().st_size
        stored = {name: (Path(folder) / name).stat().st_size for name in ("fast", "default")}
        stored["zstd -19"] = len(zstandard.ZstdCompressor(level=19).compress(_read(source)))
    return {
        "network": network,
        "type": kind,
        "file_bytes": size,
        "bytes": stored,
        "speed": {name: _speed(size, found, times[_RIVAL]) for name, found in times.items()},
        "rounds": rounds,
        "others_share": share,
        "machine": machine.describe(),
        "command": COMMAND,
    }


def write(network: str, kind: str, path: Path) -> None:
    """The weights of a network, floats in that type, as a .safetensors file."""
    from safetensors.torch import save_file

    state = subjects.find(network).module().state_dict()
    tensors = {
        name: (value.to(TYPES[kind]) if value.is_floating_point() else value).contiguous()
        for name, value in state.items()
    }
    save_file(tensors, path)


def contestants(source: Path) -> Ways:
    """What takes turns; files are written beside the source, under the names of the ways."""
    folder = source.parent
    return {
        "fast": lambda: pack(source, folder / "fast", codec="fast"),
        "default": lambda: pack(source, folder / "default", codec="auto"),
        "unpack": lambda: unpack(folder / "fast", folder / "back.safetensors"),
        _RIVAL: lambda: _zstd(source, folder / _RIVAL),
    }


def _zstd(source: Path, target: Path) -> None:
    """What `pack` does, with zstd: a file that was read back and compared."""
    data = _read(source)
    target.write_bytes(zstandard.ZstdCompressor(level=3).compress(data))
    if zstandard.ZstdDecompressor().decompress(_read(target)) != data:
        raise AssertionError("zstd gave other bytes back")


def _read(path: Path) -> bytes:
    return path.read_bytes()


def race(ways: Ways, rounds: int, times: int) -> Times:
    """Processor and wall seconds of each, taken in turn, every other round backwards."""
    found: Times = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            start, spent = time.perf_counter(), time.process_time()
            for _ in range(times):
                ways[name]()
            lasted, used = time.perf_counter() - start, time.process_time() - spent
            found[name].append((used / times, lasted / times))
    return found


def _speed(size: int, own: list[tuple[float, float]], rival: list[tuple[float, float]]) -> Row:
    used, lasted = (np.array(column) for column in zip(*own, strict=True))
    over: Any = np.array([each[0] for each in rival]) / used
    q1, median, q3 = np.quantile(over, [0.25, 0.5, 0.75]).tolist()
    return {
        "mb_per_core_s": float(size / np.median(used) / 1e6),
        "mb_s": float(size / np.median(lasted) / 1e6),
        "over_zstd": {"median": median, "q1": q1, "q3": q3},
    }


if __name__ == "__main__":
    main()
