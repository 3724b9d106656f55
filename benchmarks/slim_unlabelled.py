"""Networks cut without labels and without training: `python -m benchmarks.slim_unlabelled`.

For each case some cuts are tried, from the mildest to the hardest. They see the subject's
calibration samples only, and no label. The hardest whose loss on validation data is at most
the limit of the case is the one to take; test data reports on all. A loss is a drop of the
score in points, or 100 minus the agreement of the first class with the original's, where the
case says so.

All engines that are fast here then race original and result, at batches of 1 and 16, in the
same interleaved rounds. One line per case goes to results/slim_unlabelled.jsonl.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks import records, subjects
from benchmarks.slim_speed import BATCHES, raced, written
from benchmarks.subject import Subject
from tersor import machine
from tersor.data.samples import Samples
from tersor.engines import find
from tersor.export.onnx import to_onnx
from tersor.machine import default_threads
from tersor.methods.method import Method
from tersor.methods.prune.channels import PruneChannels
from tersor.methods.prune.layers import PruneLayers
from tersor.network.capture import capture
from tersor.network.cost import cost
from tersor.network.network import Network
from tersor.network.slimming import Target

NAME = "slim_unlabelled"
WORK = records.ROOT / "build" / NAME
_BATCH = 50

Outputs = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Case:
    """A network, and the cuts to try.

    Attributes:
        subject: Its name.
        cuts: From the mildest to the hardest, by what the tables call them: steps of each.
        most: The loss that validation data may show.
        by_agreement: What the loss is.
    """

    subject: str
    cuts: dict[str, tuple[Method, ...]]
    most: float
    by_agreement: bool = False


def _in_rounds(macs: float, rounds: int) -> tuple[Method, ...]:
    """Channels go part by part, each time by what matters then, and are made up for.

    >>> [step.target.macs for step in _in_rounds(0.25, 2)]
    [0.5, 0.5]
    """
    return (PruneChannels(target=Target(macs=macs ** (1 / rounds))),) * rounds


CASES = {
    "mobilenet_v2": Case(
        "mobilenet_v2",
        {
            "95 % of the MACs": _in_rounds(0.95, 1),
            "90 % of the MACs in two rounds": _in_rounds(0.9, 2),
            "80 % of the MACs in four rounds": _in_rounds(0.8, 4),
        },
        most=10.0,
        by_agreement=True,
    ),
    "minilm": Case(
        "minilm",
        {
            "67 % of the MACs": (PruneLayers(macs=0.67),),
            "two layers less": (PruneLayers(count=2, whole=True),),
            "three layers less": (PruneLayers(count=3, whole=True),),
        },
        most=1.0,
    ),
}


def main() -> None:
    """Measure all cases, or those that are asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each race")
    given = parser.parse_args()
    for name in given.case or CASES:
        measure(name, given.seconds)


def measure(name: str, seconds: float) -> None:
    """Cut one network in all ways of its case, race them, and write their lines."""
    case = CASES[name]
    subject = subjects.find(case.subject)
    module, example = subject.build()
    network = capture(module, tuple(example.values()))
    places = {"original": written(network, WORK / name / "original")}
    rows = []
    for i, (label, steps) in enumerate(case.cuts.items()):
        row, small = _tried(case, subject, network, steps)
        places[label] = written(small, WORK / name / f"cut-{i}")
        rows.append({"case": name, "cut": label, **row})
        print(f"{name}, {label}: {row['test']}", flush=True)
    label = chosen(rows, case.most)
    about = {
        "machine": machine.describe(),
        "command": f"python -m benchmarks.slim_unlabelled --case {name}",
    }
    for batch in BATCHES:
        times = raced(places, subject.samples("test"), batch, seconds)
        found = [
            {
                **row,
                "is_chosen": row["cut"] == label,
                "batch": batch,
                "times": times[row["cut"]],
                "original": times["original"],
                **about,
            }
            for row in rows
        ]
        records.replace(NAME, found, by=("case", "cut", "batch"))
        told = ", ".join(f"{k} {v['speedup']['median']:.2f}x" for k, v in times.items())
        print(f"{name}, batch {batch}: {told}", flush=True)


def _tried(
    case: Case, subject: Subject, network: Network, steps: Sequence[Method]
) -> tuple[records.Row, Network]:
    """A cut: what it costs, and what validation and test data say of it."""
    calibration = Samples(subject.samples("calibration").inputs)
    start = time.monotonic()
    small = network
    for step in steps:
        small = step.apply(small, calibration)
    seconds = time.monotonic() - start
    found = {}
    for split in ("validation", "test"):
        samples = subject.samples(split)
        pair = (outputs(network, samples), outputs(small, samples))
        found[split] = judge(subject, pair, samples)
    told = found["validation"]
    row = {
        **found,
        "loss": 100 - told["agreement"] if case.by_agreement else told["drop"],
        "macs": cost(small).macs / cost(network).macs,
        "parameters": cost(small).parameters / cost(network).parameters,
        "seconds": round(seconds, 1),
    }
    return row, small


def chosen(rows: Sequence[records.Row], most: float) -> str:
    """The last cut that loses no more than it may; the first if none does.

    >>> rows = [{"cut": "a", "loss": 0.2}, {"cut": "b", "loss": 0.9}, {"cut": "c", "loss": 2}]
    >>> chosen(rows, 1.0), chosen(rows, 0.1)
    ('b', 'a')
    """
    fitting = [row["cut"] for row in rows if row["loss"] <= most]
    return str(fitting[-1] if fitting else rows[0]["cut"])


def outputs(network: Network, samples: Samples) -> Outputs:
    """What ONNX Runtime gives for all samples, by name of the output."""
    session = find("onnxruntime").prepare(to_onnx(network), threads=default_threads())
    parts = [
        session.run({name: np.asarray(array) for name, array in part.inputs.items()})
        for part in samples.batches(_BATCH)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def judge(subject: Subject, pair: tuple[Outputs, Outputs], samples: Samples) -> records.Row:
    """Scores of original and other, the drop with its 95 % interval, and their agreement.

    The agreement is the per cent of samples whose first class is the same; None where outputs
    are no classes.
    """
    assert samples.labels is not None
    named = [dict(zip(subject.outputs, each.values(), strict=False)) for each in pair]
    before, after = named
    drop = subject.drop(before, after, samples.labels)
    first = subject.outputs[0]
    same = before[first].argmax(1) == after[first].argmax(1)
    return {
        "before": subject.score(before, samples.labels),
        "score": subject.score(after, samples.labels),
        "drop": drop.value,
        "low": drop.low,
        "high": drop.high,
        "agreement": 100 * float(same.mean()) if subject.metric == "top1" else None,
    }


if __name__ == "__main__":
    main()
