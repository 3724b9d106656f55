"""How small, how fast and how accurate is int8 of ResNet-20, -32 and -44, against float?

`python -m benchmarks.spine` (or `make bench`) compresses each network with the recipe w8a8
from 512 training images, once as an `nn.Module` and once as an ONNX file that torch.onnx has
written, lets other tools quantize the same ONNX file with the same images, and then

* runs every file on all 10,000 test images (OpenVINO, or ONNX Runtime where that refuses
  the file) and pairs the answers with float's
* races every file against the float original on OpenVINO and ONNX Runtime, batch 1 and 16,
  all in the same interleaved rounds

The baseline of `speed` is the fastest float32 run of the original, over both engines, at that
batch. One line per file goes to results/spine.jsonl; what is there is not run again.
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import records
from benchmarks.models.cifar_resnet import DEPTHS
from benchmarks.records import Row
from benchmarks.subject import Subject
from benchmarks.subjects import find
from tersor import engines, machine
from tersor.data.samples import Samples
from tersor.data.split import split
from tersor.engines.engine import Session
from tersor.errors import EngineError
from tersor.export.onnx import to_onnx
from tersor.measure import Contestant, Timing, race, ratio
from tersor.network.capture import capture
from tersor.pipeline import compress
from tersor.reading import Loaded, read
from tersor.verify import Reference, Verdict, compare

NAME = "spine"
PEERS = ("onnxruntime", "nncf")
ENGINES = ("openvino", "onnxruntime")
BATCHES = (1, 16)
PEER_PYTHON = records.ROOT / ".venv-bench" / "bin" / "python"
PEER_SCRIPT = Path(__file__).parent / "peers" / "int8.py"


@dataclass(frozen=True)
class Data:
    """Images by purpose."""

    calibration: Samples
    validation: Samples
    test: Samples


@dataclass(frozen=True)
class Made:
    """A file that somebody made, as ONNX, and the bytes that it takes on the disk."""

    by: str
    onnx: bytes
    file_bytes: int
    seconds: float


def main() -> None:
    """Run what is not in the results yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depths", type=int, nargs="+", default=DEPTHS, choices=DEPTHS)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each race")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--images", type=int, default=10_000, help="test images to use")
    given = parser.parse_args()
    done = {(row["model"], row["source"]) for row in records.read(NAME)}
    for depth in given.depths:
        for source in ("module", "onnx"):
            if (f"resnet{depth}", source) in done:
                continue
            rows = measure(depth, source, given)
            records.append(NAME, rows)
            for row in rows:
                print(row["model"], row["source"], row["by"], row["smaller"], row["drop_pp"])


def measure(depth: int, source: str, given: argparse.Namespace) -> list[Row]:
    """All rows of one network from one source."""
    subject = find(f"resnet{depth}")
    with tempfile.TemporaryDirectory() as folder:
        loaded = _module(subject) if source == "module" else _onnx(subject, Path(folder))
        data = images(subject, given.images)
        original = loaded.onnx or to_onnx(loaded.network)
        files = [_tersor(loaded, data)]
        if source == "onnx":
            files += _peers(original, data, Path(folder))
    verdicts = _accuracy(original, files, data)
    speeds = _race(original, files, data, given)
    return [
        {
            "model": f"resnet{depth}",
            "source": source,
            "by": made.by,
            "file_bytes": made.file_bytes,
            "smaller": len(original) / made.file_bytes,
            "top1": verdict.compressed.value,
            "top1_float": verdict.original.value,
            "drop_pp": _interval(verdict),
            "agreement": verdict.agreement,
            "sqnr_db": next(iter(verdict.sqnr_db.values())),
            "images": verdict.samples,
            "seconds": round(made.seconds, 1),
            "speed": speed,
            "machine": machine.describe(),
            "command": f"python -m benchmarks.spine --depths {depth}",
        }
        for made, verdict, speed in zip(files, verdicts, speeds, strict=True)
    ]


def images(subject: Subject, count: int) -> Data:
    """Images of a subject to calibrate and to validate, and `count` to test."""
    return Data(
        subject.samples("calibration"),
        subject.samples("validation"),
        subject.samples("test", count),
    )


def _module(subject: Subject) -> Loaded:
    return Loaded(capture(*subject.build()), None, "module")


def _onnx(subject: Subject, folder: Path) -> Loaded:
    """The network as torch.onnx writes it, and as our importer reads that."""
    return read(subject.onnx(folder / "model.onnx"))


def _tersor(loaded: Loaded, data: Data) -> Made:
    parts = split(data.calibration, validation=data.validation)
    start = time.monotonic()
    result = compress(loaded, parts, recipe="w8a8")
    return Made("Tersor", result.onnx, len(result.tsr), time.monotonic() - start)


def _peers(original: bytes, data: Data, folder: Path) -> Iterator[Made]:
    """The same ONNX file in int8 by other tools, from the same images."""
    (name,) = data.calibration.inputs
    (folder / "in.onnx").write_bytes(original)
    np.savez(folder / "images.npz", **{name: np.asarray(data.calibration.inputs[name])})
    for peer in PEERS:
        target = folder / f"{peer}.onnx"
        start = time.monotonic()
        subprocess.run(  # noqa: S603 - our own script
            [
                PEER_PYTHON,
                PEER_SCRIPT,
                peer,
                folder / "in.onnx",
                folder / "images.npz",
                target,
            ],
            check=True,
            capture_output=True,
        )
        model = target.read_bytes()
        yield Made(peer, model, len(model), time.monotonic() - start)


def _accuracy(original: bytes, files: list[Made], data: Data) -> list[Verdict]:
    session = _session(original, "onnxruntime", data, 100)
    assert session is not None
    reference = Reference(session.run, data.test, batch_size=100)
    found = []
    for made in files:
        able = (_session(made.onnx, name, data, 100) for name in ENGINES)
        session = next(filter(None, able))
        found.append(compare(reference, session.run, data.test))
    return found


def _session(model: bytes, engine: str, data: Data, batch: int) -> Session | None:
    """A model on an engine; None if the engine refuses it."""
    (name,) = data.test.inputs
    try:
        session = engines.find(engine).prepare(model, threads=machine.default_threads())
        session.run({name: np.ascontiguousarray(data.test.inputs[name][:batch])})
    except EngineError as error:
        print(f"{engine}: {error}")
        return None
    return session


def _interval(verdict: Verdict) -> Row:
    drop = verdict.drop_pp
    assert drop is not None
    return {"value": drop.value, "low": drop.low, "high": drop.high}


def _race(
    original: bytes, files: list[Made], data: Data, given: argparse.Namespace
) -> list[Row]:
    """For each file its speed by engine and batch, against the fastest float run."""
    found: list[Row] = [{} for _ in files]
    for batch in BATCHES:
        timings = _timings([original, *(made.onnx for made in files)], batch, data, given)
        baseline = min((timings[0, name] for name in ENGINES), key=lambda t: t.median_ms)
        for i, row in enumerate(found, start=1):
            for name in ENGINES:
                if (i, name) not in timings:
                    continue
                times = timings[i, name]
                speed = ratio(baseline, times)
                row[f"{name} {batch}"] = {
                    "median": speed.median,
                    "q1": speed.q1,
                    "q3": speed.q3,
                    "median_ms": times.median_ms,
                    "float_ms": baseline.median_ms,
                    "quiet": times.quiet,
                }
    return found


def _timings(
    models: list[bytes], batch: int, data: Data, given: argparse.Namespace
) -> dict[tuple[int, str], Timing]:
    (name,) = data.test.inputs
    feeds = {name: np.ascontiguousarray(data.test.inputs[name][:batch])}
    sessions = {
        (i, engine): session
        for i, model in enumerate(models)
        for engine in ENGINES
        if (session := _session(model, engine, data, batch)) is not None
    }
    contestants = [
        Contestant(f"{i} {engine}", session, feeds)
        for (i, engine), session in sessions.items()
    ]
    timings = race(contestants, rounds=given.rounds, seconds=given.seconds)
    return dict(zip(sessions, timings, strict=True))


if __name__ == "__main__":
    main()
