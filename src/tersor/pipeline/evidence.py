"""What the report shows beside the figures: what runs how, where the error grows, on whom.

All of it comes from the winner and the validation samples.
"""

import base64
import math
from collections.abc import Mapping

import numpy as np

from tersor.arrays.cases import Answer, Case
from tersor.arrays.noise import decibel
from tersor.choosing.contest import Outcome
from tersor.choosing.entry import Entry
from tersor.choosing.program import Array
from tersor.data.samples import Samples
from tersor.network.network import Network
from tersor.network.quantizer import without_roundings
from tersor.network.trace import trace, traced
from tersor.report import observed
from tersor.report.picture import thumbnail


def operations(outcome: Outcome, feeds: Mapping[str, Array]) -> observed.Operations:
    """What the winner's engine runs of the original and of the winner."""
    winner = outcome.winner
    own = [e for e in outcome.entries if e.is_original and e.place == winner.place]
    return {
        "engine": winner.engine,
        "precision": winner.precision,
        "original": _counts(own[0], feeds),
        "compressed": _counts(winner, feeds),
    }


def _counts(entry: Entry, feeds: Mapping[str, Array]) -> dict[str, dict[str, int]] | None:
    return None if entry.failed else entry.operations(feeds) or None


def path(
    original: Network, compressed: Network, winner: Entry, samples: Samples
) -> observed.Path:
    """The error's path through the network as the winner runs it."""
    if winner.is_original:
        return {"samples": 0, "points": []}
    if winner.program.expand == "all":
        compressed = without_roundings(compressed)
    points: list[observed.PathPoint] = [
        {
            "name": point.name,
            "kind": point.kind,
            "op": point.op,
            "sqnr_db": point.sqnr_db if math.isfinite(point.sqnr_db) else None,
            "added": point.added,
            "sources": list(point.sources),
        }
        for point in trace(original, compressed, samples)
    ]
    return {"samples": traced(original, samples), "points": points}


def worst_samples(winner: Entry, samples: Samples) -> list[observed.WorstSample]:
    """The validation samples on which the winner differs most from the original."""
    cases = () if winner.verdict is None else winner.verdict.cases
    return [_worst_sample(case, samples) for case in cases]


def _worst_sample(case: Case, samples: Samples) -> observed.WorstSample:
    sqnr_db = decibel(1.0, case.ratio)
    return {
        "index": case.index,
        "output": case.output,
        "sqnr_db": sqnr_db if math.isfinite(sqnr_db) else None,
        "changed": case.changed,
        "label": case.label,
        "original": _answer(case.before),
        "compressed": _answer(case.after),
        "picture": _picture(samples, case.index),
    }


def _answer(given: Answer | None) -> observed.Answer | None:
    return None if given is None else {"label": given.label, "margin": given.margin}


def _picture(samples: Samples, index: int) -> str | None:
    """The first input that looks like a picture, as a PNG file in base64."""
    for array in samples.inputs.values():
        found = thumbnail(np.asarray(array[index : index + 1])[0])
        if found is not None:
            return base64.b64encode(found).decode("ascii")
    return None
