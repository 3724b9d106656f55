"""Who makes int8 of trained networks best: Tersor or the tools that people know?

`python -m benchmarks.ptq` (or `make bench`) gives every tool the same float network and the
same 300 samples, in an environment and a process of its own, with each of the settings that
its documentation recommends; `peers/by_*.py` list them. Then

* every output answers all test samples, paired with the float network's answers
* all outputs race on every engine that takes them, with the float network, in the same
  interleaved rounds, at batch 1 and 16; PyTorch programs run compiled in a process of their
  own, which takes its times itself. Outputs that differ in numbers only are timed once

Speeds are against the fastest float32 run on any engine, at that batch. A tool that fails is
a row with the reason. One line per network, tool and setting goes to results/ptq.jsonl. What
has been done is kept in build/ptq: run again, it goes on from there, and tries again what has
failed; `make clean` forgets it.
"""

import argparse
import json
import shlex
import shutil
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks import outputs, ptq_table, racing, records, running, scoring, subjects
from benchmarks.environments import PEERS
from benchmarks.peers.job import Job, tool
from benchmarks.remote import TorchServer
from benchmarks.running import Done
from benchmarks.subject import Subject
from tersor import machine
from tersor.errors import TersorError

NAME = "ptq"
TOOLS = ("tersor", *PEERS)
WORK = records.ROOT / "build" / "ptq"
_SAMPLES = 300
_AT_ONCE = 16  # the compiled programs are made for this


def main() -> int:
    """Run what has not been run yet; how many networks could not be measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", nargs="+", default=subjects.names(), metavar="N")
    parser.add_argument("--tool", nargs="+", default=TOOLS, choices=TOOLS)
    parser.add_argument("--timing-only", action="store_true", help="race again what is there")
    parser.add_argument("--units", type=int, help="test at most so many samples")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=60.0, help="longest, for each race")
    parser.add_argument("--patience", type=float, default=300.0, help="seconds for one tool")
    given = parser.parse_args()
    failed = 0
    for name in given.network:
        try:
            measure(subjects.find(name), given)
        except Exception:  # noqa: BLE001 - the other networks are still to be measured
            traceback.print_exc()
            failed += 1
    return failed


def measure(subject: Subject, given: argparse.Namespace) -> None:
    """Everything about one network; its rows replace those of before."""
    folder = WORK / subject.name
    done = [Done("float", "original", folder)]
    with TorchServer(machine.default_threads()) as server:
        if not given.timing_only:
            _prepare(subject)
        for job in _jobs(subject):  # who is not to run again races all the same
            if job.tool in given.tool and not given.timing_only:
                done.append(_run(job, subject, given))
            elif job.is_finished:
                done.append(job)
        _score(done, subject, given.units, server)
        racers = [d for d in done if d.why_not is None]
        feeds = subject.samples("test", max(racing.BATCHES)).inputs
        speeds = racing.race_all(racers, feeds, server, given)
    found = {(d.tool, d.setting): speed for d, speed in zip(racers, speeds, strict=True)}
    rows = [_row(d, subject, found.get((d.tool, d.setting), {})) for d in done]
    records.replace(NAME, rows, by=("network", "tool", "setting"))
    print(ptq_table.summary(rows), flush=True)


def _jobs(subject: Subject) -> Iterator[Done]:
    for name in TOOLS:
        for setting in tool(name).SETTINGS[subject.kind]:
            folder = WORK / subject.name / name / setting.replace(" ", "-")
            yield Done(name, setting, folder)


def _prepare(subject: Subject) -> None:
    """The network and its samples as files, for all tools."""
    folder = WORK / subject.name
    count = _SAMPLES // scoring.unit(subject.metric)
    subject.write(folder, calibration=count)
    if not (folder / "model.pt2").exists():
        running.export(subject, folder / "model.pt2")


def _run(job: Done, subject: Subject, given: argparse.Namespace) -> Done:
    """Have a tool do its work, unless it has done so already."""
    if not job.is_finished:
        print(subject.name, job.tool, job.setting, flush=True)
        shutil.rmtree(job.folder, ignore_errors=True)
        job.folder.mkdir(parents=True)
        source = str(WORK / subject.name)
        asked = Job(job.tool, job.setting, subject.kind, source, str(job.folder))
        running.run(asked, given.patience)
    return job


def _score(done: list[Done], subject: Subject, units: int | None, server: TorchServer) -> None:
    """What the outputs say to all test samples, beside what the float network says."""
    missing = [d for d in done if d.why_not is None and "drop" not in d.facts]
    if not missing:
        return
    samples = subject.samples("test", units)
    assert samples.labels is not None
    feeds = {name: np.asarray(a) for name, a in samples.inputs.items()}
    first = subject.outputs[0]
    original = {first: outputs.run_all(done[0].folder, feeds, _AT_ONCE, server)}
    for one in missing:
        try:
            found = {first: outputs.run_all(one.folder, feeds, _AT_ONCE, server)}
        except TersorError as error:
            one.fail(f"no engine runs it: {error}")
            continue
        if not np.isfinite(found[first]).all():
            one.fail("its outputs are not numbers")
            continue
        drop = subject.drop(original, found, samples.labels)
        one.note(
            score=subject.score(found, samples.labels),
            score_float=subject.score(original, samples.labels),
            drop={"value": drop.value, "low": drop.low, "high": drop.high},
            units=len(samples) // scoring.unit(subject.metric),
            file_bytes=outputs.size_bytes(one.folder),
            packed_bytes=outputs.packed_bytes(one.folder),
        )


def _row(one: Done, subject: Subject, speed: dict[str, Any]) -> records.Row:
    original_bytes = (WORK / subject.name / "model.onnx").stat().st_size
    facts = one.facts
    row: records.Row = {
        "network": subject.name,
        "tool": one.tool,
        "setting": one.setting,
        "why_not": one.why_not,
        "metric": subject.metric,
        **facts,
        "speed": speed,
        "machine": machine.describe(),
        "command": shlex.join(["python", "-m", "benchmarks.ptq", *sys.argv[1:]]),
    }
    if "file_bytes" in facts:
        row["smaller"] = original_bytes / facts["file_bytes"]
    return json.loads(json.dumps(row, allow_nan=False))  # type: ignore[no-any-return]


if __name__ == "__main__":
    sys.exit(main())
