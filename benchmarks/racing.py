"""The race of everything that the tools have made of one network."""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import outputs
from benchmarks.outputs import Feeds
from benchmarks.remote import TorchServer
from benchmarks.running import Done
from tersor.errors import TersorError
from tersor.measure import Contestant, Ratio, Timing, race, ratio

BATCHES = (1, 16)
Speeds = dict[str, Any]  # "ENGINE BATCH" -> times and ratios
Place = tuple[str, str]  # form of the network, engine


def race_all(
    racers: Sequence[Done], feeds: Feeds, server: TorchServer, given: argparse.Namespace
) -> list[Speeds]:
    """The speed of each on all engines that take it, at both batch sizes.

    Args:
        racers: The float network first.
        feeds: At least as many samples as the largest batch.
        server: Where PyTorch programs run.
        given: `rounds` and `seconds` of each race.
    """
    forms = [outputs.form(one.folder) for one in racers]
    found: list[Speeds] = [{} for _ in racers]
    for batch in BATCHES:
        few = {name: np.ascontiguousarray(a[:batch]) for name, a in feeds.items()}
        contestants = _contestants(racers, forms, few, server, found)
        times = race(list(contestants.values()), rounds=given.rounds, seconds=given.seconds)
        timings = dict(zip(contestants, times, strict=True))
        for speeds, one, form in zip(found, racers, forms, strict=True):
            for engine in outputs.able(one.folder):
                place = (_key(form, one, engine), engine)
                if place in timings:
                    rivals = _rivals(timings, racers, forms)
                    speeds[f"{engine} {batch}"] = _speed(timings[place], *rivals)
    return found


def _key(form: str, one: Done, engine: str) -> str:
    """A `.tsr` says itself how it is to be run: it is timed by itself."""
    return str(one.folder) if engine == "tersor.open" else form


def _contestants(
    racers: Sequence[Done],
    forms: Sequence[str],
    feeds: Feeds,
    server: TorchServer,
    found: list[Speeds],
) -> dict[Place, Contestant]:
    """Every form on every engine that takes it; who refuses is noted."""
    ready: dict[Place, Contestant] = {}
    refused: dict[Place, str] = {}
    for speeds, one, form in zip(found, racers, forms, strict=True):
        for engine in outputs.able(one.folder):
            place = (_key(form, one, engine), engine)
            if place not in ready and place not in refused:
                try:
                    ready[place] = outputs.contestant(one.folder, engine, feeds, server)
                except TersorError as error:
                    refused[place] = str(error)
            if place in refused:
                speeds.setdefault("refused", {})[engine] = refused[place]
    return ready


def _rivals(
    timings: dict[Place, Timing], racers: Sequence[Done], forms: Sequence[str]
) -> tuple[Timing, Timing | None]:
    """The fastest run of the float network, and that of any peer's output."""

    def fastest(chosen: set[str]) -> Timing | None:
        times = [t for (form, _), t in timings.items() if form in chosen]
        return min(times, key=lambda t: t.median_ms, default=None)

    original = fastest({forms[0]})
    assert original is not None, "no engine runs the float network"
    own = {"float", "tersor"}
    theirs = {form for form, d in zip(forms, racers, strict=True) if d.tool not in own}
    return original, fastest(theirs)


def _speed(own: Timing, original: Timing, peer: Timing | None) -> dict[str, Any]:
    return {
        "median_ms": own.median_ms,
        "q1_ms": own.q1_ms,
        "q3_ms": own.q3_ms,
        "float_ms": original.median_ms,
        "over_float": _spread(ratio(original, own)),
        "over_peers": None if peer is None else _spread(ratio(peer, own)),
        "rounds": len(own.rounds_ms),
        "quiet": own.quiet,
    }


def _spread(found: Ratio) -> dict[str, float]:
    return {"median": found.median, "q1": found.q1, "q3": found.q3}
