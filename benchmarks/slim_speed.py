"""How fast networks with fewer channels are: `python -m benchmarks.slim_speed [--case NAME]`.

Every network in build/structured (see `benchmarks.structured`) races with the original on the
engines that are fast here, in float32 and in int8 (`quantize.static`, 512 samples), at batches
of 1 and of 16, all in the same interleaved rounds. Beside them runs NNCF's int8 of the
original, where `python -m benchmarks.ptq` has left it in build/ptq. One line per case, seed
and batch goes to results/slim_speed.jsonl, with what each layer takes by the table of layers:
it tells what keeps the time from falling as the multiply-accumulates do.
"""

import argparse
from pathlib import Path
from typing import cast

import numpy as np

from benchmarks import outputs, records
from benchmarks.error_rate import error, error_of
from benchmarks.remote import TorchServer
from benchmarks.structured import CASES, WORK, original
from tersor import machine
from tersor.data.samples import Samples
from tersor.engines import find
from tersor.errors import EngineError
from tersor.export.onnx import to_onnx
from tersor.machine import default_threads
from tersor.measure import race, ratio
from tersor.methods.quantize.static import QuantizeStatic
from tersor.network.cost import cost
from tersor.network.network import Network
from tersor.reading import read
from tersor.timing.lagging import compared, laggards, reason
from tersor.timing.table import Table

NAME = "slim_speed"
BATCHES = (1, 16)
PEER = "NNCF int8"
_PTQ = records.ROOT / "build" / "ptq"
_WORDS = 5  # layers that are told of


def main() -> None:
    """Race what is there, and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    for name in given.case or CASES:
        for seed in range(given.seeds):
            folder = WORK / f"{name}-{seed}"
            if (folder / "model.onnx").exists():
                measure(name, seed, folder, given.seconds)


def measure(name: str, seed: int, folder: Path, seconds: float) -> None:
    """Race one network, and write its lines."""
    case = CASES[name]
    whole, parts = original(case.network)
    assert parts.test is not None
    small = read(str(folder / "model.onnx")).network
    integers = QuantizeStatic(ranges="mse", samples=512).apply(small, parts.calibration)
    racers = {
        "original": written(whole, folder / "original"),
        "slim": written(small, folder / "slim"),
        "slim int8": written(integers, folder / "int8"),
    }
    errors = {"error": error(small, parts.test), "error_int8": error(integers, parts.test)}
    peer = _PTQ / case.network / "nncf" / "openvino"
    if (peer / "model.xml").exists():
        racers[PEER] = peer
        errors["error_peer"] = error_of(outputs.Ir(peer / "model.xml"), parts.test)
    for batch in BATCHES:
        times = raced(racers, parts.test, batch, seconds)
        engine = str(times["original"]["engine"])
        by_layer, words = layers(whole, small, engine, batch)
        row = {
            "case": name,
            "seed": seed,
            "batch": batch,
            "times": times,
            **errors,
            "layers": by_layer,
            "lagging": words,
            "macs": cost(small).macs / cost(whole).macs,
            "machine": machine.describe(),
            "command": f"python -m benchmarks.slim_speed --case {name}",
        }
        records.replace(NAME, [row], by=("case", "seed", "batch"))
        told = ", ".join(f"{k} {v['ms']:.3g} ms ({v['engine']})" for k, v in times.items())
        print(f"{name} {seed}, batch {batch}: {told}", flush=True)


def written(network: Network, folder: Path) -> Path:
    """A folder with the network in it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(to_onnx(network))
    return folder


def raced(
    racers: dict[str, Path], samples: Samples, batch: int, seconds: float
) -> dict[str, records.Row]:
    """The fastest run of each on any engine, a whole batch; how often it beats the original's.

    Of all places the medians choose; ratios are taken round by round.
    """
    few = next(iter(samples.batches(batch)))
    feeds = {name: np.ascontiguousarray(array) for name, array in few.inputs.items()}
    places, contestants = [], []
    for name, folder in racers.items():
        for engine in outputs.able(folder):
            try:
                one = outputs.contestant(folder, engine, feeds, cast(TorchServer, None))
            except EngineError:
                continue
            places.append((name, engine))
            contestants.append(one)
    timings = dict(zip(places, race(contestants, seconds=seconds), strict=True))
    best = {
        name: min((p for p in places if p[0] == name), key=lambda p: timings[p].median_ms)
        for name in racers
    }
    first = timings[best["original"]]
    found: dict[str, records.Row] = {}
    for name, place in best.items():
        timing, over = timings[place], ratio(first, timings[place])
        found[name] = {
            "engine": place[1],
            "ms": timing.median_ms,
            "speedup": {"median": over.median, "q1": over.q1, "q3": over.q3},
            "quiet": timing.quiet,
        }
    return found


def layers(
    original: Network, small: Network, engine: str, batch: int
) -> tuple[list[records.Row], list[str]]:
    """Each node's MACs and milliseconds before and after, by the table of layers.

    And what keeps the layers back whose times fell the least for their MACs, in words.
    """
    table = Table(find(engine), threads=default_threads())
    found = compared(original, small, table, batch=batch)
    rows = [
        {
            "node": pair.node,
            "macs": pair.macs,
            "ms": pair.ms,
            "macs_left": pair.macs_left,
            "ms_left": pair.ms_left,
        }
        for pair in found.pairs
    ]
    words = [
        f"{pair.name} takes {pair.lag_ms:.3f} ms longer than its MACs tell: "
        + (reason(pair, table, {}) or "nothing that was measured explains it")
        for pair in laggards(found, most=_WORDS)
    ]
    return rows, words


if __name__ == "__main__":
    main()
