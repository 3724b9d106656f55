"""The figures of a report: what was found out, as the entries of `report.json`."""

import math
from collections.abc import Container, Mapping, Sequence

from tersor.arrays.noise import Noise, decibel
from tersor.choosing.contest import Outcome, Terms
from tersor.choosing.entry import Entry
from tersor.choosing.mixing import Search
from tersor.choosing.program import ORIGINAL, Array
from tersor.choosing.rating import Rating
from tersor.engines import available, find
from tersor.network.cost import cost
from tersor.network.fold import fold_batch_norm
from tersor.network.layers import Layer, layers
from tersor.network.network import WHOLE, Network, Note
from tersor.report import searched
from tersor.report.document import (
    Candidate,
    Drop,
    Latency,
    LayerResult,
    Metric,
    Remark,
    Resolution,
    Skipped,
    Worst,
)
from tersor.store.container import Info
from tersor.verify import Agreement, Score, Verdict

_LATE = "not tried: it compiles for long; name it with --engine"


def metric(verdict: Verdict, score: Score) -> Metric:
    """One model's metric."""
    return {
        "name": verdict.metric,
        "value": score.value,
        "low": score.low,
        "high": score.high,
        "samples": verdict.samples,
    }


def drop(score: Score | None) -> Drop | None:
    """A difference, in the unit of `score`."""
    if score is None:
        return None
    return {"value": score.value, "low": score.low, "high": score.high}


def latency(entry: Entry, batch: int) -> Latency:
    """The time of an entry that ran."""
    assert entry.timing is not None  # noqa: S101 - it took part in the last race
    return {
        "engine": entry.engine,
        "precision": entry.precision,
        "batch": batch,
        "threads": entry.threads,
        "median_ms": entry.timing.median_ms,
        "q1_ms": entry.timing.q1_ms,
        "q3_ms": entry.timing.q3_ms,
    }


def candidates(outcome: Outcome, terms: Terms, batch: int) -> list[Candidate]:
    """All entries of the contest, and the engines that were not tried."""
    rows = [_candidate(entry, outcome, terms.feeds, batch) for entry in outcome.entries]
    if terms.engines is not None:
        return rows
    late = [find(name) for name in available()]
    names = [engine.name for engine in late if engine.fast and not engine.eager]
    return rows + [_absent(ORIGINAL, name, batch, _LATE) for name in names]


def not_made(failed: Mapping[str, str], batch: int) -> list[Candidate]:
    """The candidates that could not be made, and why."""
    return [_absent(name, "none", batch, why) for name, why in failed.items()]


def search(found: Search) -> searched.Search:
    """A search for a mix: every mix that was judged, and what is in float in the end."""
    tries: list[searched.Try] = [
        {
            "float_layers": one.floats,
            "drop_pp": None if one.verdict.drop_pp is None else one.verdict.drop_pp.value,
            "objection": one.objection,
        }
        for one in found.tries
    ]
    return {
        "candidate": found.candidate.name,
        "layers": len(found.order),
        "tries": tries,
        "float_layers": None if found.found is None else list(found.floats),
    }


def resolution(outcome: Outcome, limit_pp: float) -> Resolution | None:
    """What the validation samples can tell, of the winner or else of the first judged."""
    judged = (entry.verdict for entry in (outcome.winner, *outcome.entries))
    found = next((verdict for verdict in judged if verdict is not None), None)
    if found is None or found.resolution is None:
        return None
    share = found.drop_pp is not None
    limit = limit_pp / 100 * (1.0 if share else abs(found.original.value))
    bounds = share or limit > 0  # else signal to noise decides
    enough = not bounds or found.resolution <= limit
    needed = None if enough or not limit else (found.resolution / limit) ** 2
    return {
        "samples": found.samples,
        "loss": found.resolution,
        "loss_pp": 100 * found.resolution if share else None,
        "limit": limit if bounds else None,
        "enough": enough,
        "samples_needed": None if needed is None else math.ceil(needed * found.samples),
    }


def _candidate(
    entry: Entry, outcome: Outcome, feeds: Mapping[str, Array], batch: int
) -> Candidate:
    verdict, timing = entry.verdict, entry.timing
    judged = verdict is not None and verdict.drop_pp is not None
    chosen = entry is outcome.winner
    kernels = {}
    if timing is not None and not entry.failed and entry.twin is None:
        kernels = entry.kernels(feeds)
    return {
        "name": entry.program.title,
        "engine": entry.engine,
        "precision": entry.precision,
        "batch": batch,
        "median_ms": None if timing is None else timing.median_ms,
        "q1_ms": None if timing is None else timing.q1_ms,
        "q3_ms": None if timing is None else timing.q3_ms,
        "ratio_to_original": entry.speed,
        "metric_value": None if verdict is None else verdict.compressed.value,
        "drop_pp": verdict.drop_pp.value if judged and verdict and verdict.drop_pp else None,
        "allowed": not (entry.failed and judged),
        "chosen": chosen,
        "why_not": None if chosen else entry.why_not,
        "kernels": kernels,
        "quiet": timing is None or timing.quiet,
        "same_work": entry.twin is not None,
    }


def _absent(name: str, engine: str, batch: int, why: str) -> Candidate:
    return {
        "name": name,
        "engine": engine,
        "precision": "f32",
        "batch": batch,
        "median_ms": None,
        "q1_ms": None,
        "q3_ms": None,
        "ratio_to_original": None,
        "metric_value": None,
        "drop_pp": None,
        "allowed": True,
        "chosen": False,
        "why_not": why,
        "kernels": {},
        "quiet": True,
    }


def worst(verdict: Verdict) -> Worst | None:
    """The sample that differs most."""
    found = verdict.worst
    if found is None:
        return None
    return {"index": found.index, "output": found.output, "sqnr_db": _known(found.sqnr_db)}


def agreement(found: Agreement | None, engine: str) -> dict[str, object] | None:
    """Workshop against engine."""
    if found is None:
        return None
    return {
        "engine": engine,
        "samples": found.samples,
        "rms": dict(found.rms),
        "allowed_rms": dict(found.allowed),
        "max_abs_error": found.max_abs_error,
    }


def layer_rows(
    original: Network, compressed: Network, stored: Mapping[str, Info]
) -> list[LayerResult]:
    """What became of each layer of the original.

    Args:
        original: The network as it came.
        compressed: What was made of it; perhaps the same.
        stored: The tensors of the file, by name.
    """
    total = cost(original)
    folded = fold_batch_norm(original)
    alive = {layer.name: layer for layer in layers(compressed)}
    foldable = {row.layer.name for row in total.layers} - {
        layer.name for layer in layers(folded)
    }
    done = {note.layer: note.text for note in compressed.notes if note.done}
    alone = {n.layer: n.noise for n in compressed.notes if n.noise is not None}
    rows: list[LayerResult] = []
    for row in total.layers:
        layer = row.layer
        what = done.get(layer.name) or _became(layer, alive.get(layer.name), foldable)
        rows.append(
            {
                "name": layer.name,
                "op": layer.op,
                "shape": list(layer.shape),
                "parameters": row.parameters,
                "macs": row.macs,
                "bytes_before": row.weight_bytes,
                "bytes_after": _stored_bytes(alive.get(layer.name), stored),
                "what": what,
                "sqnr_db": _sqnr_db(layer.weight, (original, folded), compressed),
                "share_parameters": row.parameters / max(1, total.parameters),
                "share_macs": row.macs / max(1, total.macs),
                "alone_sqnr_db": _ratio_db(alone.get(layer.name)),
            }
        )
    return rows


def _became(layer: Layer, now: Layer | None, foldable: Container[str]) -> str:
    """What became of a layer of which no method says that it did anything."""
    if now is None:
        return "folded away" if layer.name in foldable else "removed"
    return "float32" if now.shape == layer.shape else "float32, fewer channels"


def skipped(notes: Sequence[Note]) -> list[Skipped]:
    """Layers that no method changed, each with the last reason."""
    notes = [note for note in notes if note.layer != WHOLE]
    done = {note.layer for note in notes if note.done}
    last = {note.layer: note for note in notes if note.layer not in done}
    return [{"layer": n.layer, "method": n.method, "reason": n.text} for n in last.values()]


def remarks(made: Mapping[str, Network]) -> list[Remark]:
    """What was said of candidates as a whole, by their names; trainings are told elsewhere."""
    return [
        {"candidate": name, "method": note.method, "done": note.done, "text": note.text}
        for name, network in made.items()
        for note in network.notes
        if note.layer == WHOLE and not note.curve
    ]


def rating(found: Rating) -> searched.Rating:
    """What a search for a rate tried and found."""
    tries: list[searched.RateTry] = [
        {
            "rate": one.rate,
            "file_bytes": one.file_bytes,
            "drop_pp": None if one.verdict.drop_pp is None else one.verdict.drop_pp.value,
            "objection": one.objection,
        }
        for one in found.tries
    ]
    return {"candidate": found.candidate.name, "tries": tries, "rate": found.rate}


def trainings(notes: Sequence[Note]) -> list[searched.Training]:
    """What was trained, in order."""
    return [
        {
            "text": note.text,
            "losses": [loss for loss, _ in note.curve],
            "errors": [error for _, error in note.curve],
        }
        for note in notes
        if note.curve
    ]


def _stored_bytes(layer: Layer | None, stored: Mapping[str, Info]) -> int:
    """Bytes in the file of a layer's weight and bias; 0 if it is gone."""
    paths = [p for p in (layer.weight, layer.bias) if p] if layer is not None else []
    return sum(
        info.stored
        for name, info in stored.items()
        if any(name == path or name.startswith(f"{path}.") for path in paths)
    )


def _sqnr_db(path: str, before: Sequence[Network], after: Network) -> float | None:
    """Of a weight; the nearer of the weight as it was and as batch norm folded it counts."""
    if not path or not _has(after, path):
        return None
    found = []
    changed = {"weight": after.tensor(path).detach().cpu().numpy()}
    for network in before:
        if not _has(network, path):
            continue
        exact = {"weight": network.tensor(path).detach().cpu().numpy()}
        if exact["weight"].shape == changed["weight"].shape:
            noise = Noise()
            noise.add(0, exact, changed)
            found.append(noise.sqnr_db("weight"))
    return _known(max(found)) if found else None


def _ratio_db(noise: float | None) -> float | None:
    """Error power over signal power in dB of signal over noise."""
    return None if noise is None else _known(decibel(1.0, noise))


def _has(network: Network, path: str) -> bool:
    owner, _, leaf = path.rpartition(".")
    try:
        return hasattr(network.module.get_submodule(owner), leaf)
    except AttributeError:
        return False


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
