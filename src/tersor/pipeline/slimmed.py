"""What became of a network's channels: how many are left, and what time they still take.

How many channels of a group are left follows from sizes alone, whatever cut them: the axes of
the original's values are made of dimensions (`network.dims`), and the result has the same
weights and nodes with other sizes. Each axis is an equation, and so is each size that a node
is given, and those with one unknown group tell that one. So neither several steps nor
trainings have to keep accounts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tersor.engines import find
from tersor.errors import EngineError, UnsupportedError
from tersor.network.arguments import arguments, is_aten
from tersor.network.channels import Channels, Group, channels
from tersor.network.cost import cost, is_stored
from tersor.network.dims import Dim, count
from tersor.network.layers import weighted_layers
from tersor.network.network import Network, Note
from tersor.network.quantizer import without_roundings
from tersor.network.shapes import values
from tersor.report.shown_channels import CutGroup, Pace, PacedLayer, Removed, Slimmed
from tersor.timing.lagging import Comparison, Pair, compared, laggards, reason
from tersor.timing.table import Table

_TAKE_WHOLE_PARTS = {"prune.heads", "prune.layers"}

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where times are told.

    Attributes:
        engine: Its name.
        precision: Of its float parts.
        threads: Of a run.
        batch: Samples in a run.
        seconds: For measuring layers that were not measured before.
    """

    engine: str
    precision: str
    threads: int
    batch: int
    seconds: float


def slimmed(original: Network, result: Network, place: Place) -> Slimmed | None:
    """What was cut; None where nothing was, or where channels cannot be told.

    Args:
        original: As it came.
        result: What was made of it.
        place: Where times are told.
    """
    shapes = {layer.name: layer.shape for layer in weighted_layers(result)}
    if all(shapes.get(layer.name) == layer.shape for layer in weighted_layers(original)):
        return None
    plain = without_roundings(result)
    try:
        known = channels(original)
        left = channels_left(original, known, plain)
        macs = cost(original).macs, cost(plain).macs
    except UnsupportedError:
        return None
    frozen = {each.layer: each.reason for each in known.frozen}
    return {
        "macs": macs[0],
        "macs_left": macs[1],
        "groups": [_group(group, left.get(group.name)) for group in known.groups],
        "frozen": [
            {"layer": each.layer, "channels": each.count, "reason": each.reason}
            for each in known.frozen
        ],
        "removed": _removed(result.notes),
        "pace": _pace(original, plain, place, frozen),
    }


def _group(group: Group, left: int | None) -> CutGroup:
    makers = [member.path for member in group.members if member.makes]
    readers = [member.path for member in group.members if member.reads]
    return {
        "name": group.name,
        "size": group.size,
        "makers": makers,
        "readers": readers,
        "others": len(group.members) - len(makers) - len(readers),
        "left": left,
    }


def _removed(notes: Iterable[Note]) -> list[Removed]:
    return [
        {"name": note.layer, "method": note.method, "text": note.text}
        for note in notes
        if note.done and note.method in _TAKE_WHOLE_PARTS
    ]


def channels_left(original: Network, known: Channels, result: Network) -> dict[str, int]:
    """How many channels of each group a result has, by its name; none where nothing tells it.

    Args:
        original: The network before.
        known: Its channels.
        result: The same after any cuts, its nodes and weights under their names.

    Raises:
        UnsupportedError: The result cannot run on empty tensors.
    """
    found = values(result, _size(original, known))
    stored = {str(n.target): _shape(found[n.name]) for n in result.graph.nodes if is_stored(n)}
    pairs = [(axes, stored.get(path, ())) for path, axes in known.trail.stored.items()]
    pairs += [
        (axes, _shape(found.get(node.name)))
        for node, axes in known.trail.axes.items()
        if isinstance(axes, tuple) and not is_stored(node)
    ]
    sizes = [each for axes, shape in pairs for each in _matched(list(axes), list(shape))]
    sizes += _told(known, result)
    counts = {
        group.dim.root: 0
        for group in known.groups
        if not any(member.path in stored for member in group.members)
    }
    names = {group.dim.root: group.name for group in known.groups}
    return {names[dim]: n for dim, n in _solved(sizes, counts, set(names)).items()}


def _told(known: Channels, result: Network) -> list[tuple[Dim, int]]:
    """Sizes among the arguments of nodes: of reshapes, paddings, slices."""
    nodes = {node.name: node for node in result.graph.nodes if is_aten(node)}
    found = []
    for node, rewrite in known.trail.rewrites.items():
        given = arguments(nodes[node.name]) if node.name in nodes else {}
        for name, wanted in rewrite.arguments.items():
            found += _matched(wanted, given.get(name))
    return found


def _matched(wanted: Any, given: Any) -> list[tuple[Dim, int]]:
    """Dimensions and their sizes, wherever both stand at the same place."""
    if isinstance(wanted, Dim):
        is_size = isinstance(given, int) and given >= 0
        return [(wanted, given)] if is_size else []
    both = isinstance(wanted, list) and isinstance(given, list | tuple)
    if not both or len(wanted) != len(given):
        return []
    return [pair for each in zip(wanted, given, strict=True) for pair in _matched(*each)]


def _size(original: Network, known: Channels) -> int:
    """What dimensions that vary were set to when the channels were followed."""
    nodes = (node for node in original.graph.nodes if node.op == "placeholder")
    for node, port in zip(nodes, original.inputs, strict=True):
        for size, name in zip(_shape(known.trail.values[node.name]), port.shape, strict=True):
            if isinstance(name, str) and name not in original.sizes:
                return size
    return 1


def _shape(value: Any) -> Shape:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()


def _solved(
    sizes: Sequence[tuple[Dim, int]], counts: Mapping[Dim, int], free: set[Dim]
) -> dict[Dim, int]:
    """Counts of leaves: an axis tells its last unknown one, or that none of them was cut."""
    found, waiting = dict(counts), list(dict.fromkeys((dim.root, size) for dim, size in sizes))
    before = 0
    while len(waiting) != before:
        before, later = len(waiting), []
        for dim, size in waiting:
            unknown = {leaf for leaf in dim.leaves() if leaf in free and leaf not in found}
            if count(dim, found) == size:
                found |= {leaf: leaf.size for leaf in unknown}
            elif len(unknown) == 1:
                (leaf,) = unknown
                number = _number(dim, leaf, size, found)
                found |= {} if number is None else {leaf: number}
            elif unknown:
                later.append((dim, size))
        waiting = later
    return found


def _number(dim: Dim, leaf: Dim, size: int, counts: Mapping[Dim, int]) -> int | None:
    """How many channels of a leaf give an axis that size, by bisection; None if no number."""
    low, high = 0, leaf.size
    while low < high:
        middle = (low + high) // 2
        if count(dim, {**counts, leaf: middle}) < size:
            low = middle + 1
        else:
            high = middle
    return low if count(dim, {**counts, leaf: low}) == size else None


def _pace(
    original: Network, result: Network, place: Place, frozen: Mapping[str, str]
) -> Pace | None:
    """Work and time layer by layer; None if the work cannot be told."""
    table = Table(find(place.engine), threads=place.threads, precision=place.precision)
    why_not = None
    try:
        found = compared(original, result, table, batch=place.batch, seconds=place.seconds)
        if found.ms is None:
            why_not = f"measuring layers was to take no longer than {place.seconds:g} s"
        late = laggards(found)
        why = _why(found, late, table, frozen)
    except UnsupportedError:
        return None
    except EngineError as error:
        late, why_not = [], f"{place.engine} {error.problem}"
        found = compared(original, result, batch=place.batch)
        why = _why(found, late, None, frozen)
    between, between_left = _between(found)
    return {
        "engine": place.engine,
        "precision": place.precision,
        "threads": place.threads,
        "batch": place.batch,
        "ms": found.ms,
        "ms_left": found.ms_left,
        "between_ms": between,
        "between_ms_left": between_left,
        "layers": [_paced(pair, why.get(pair)) for pair in found.pairs if pair.macs],
        "lagging": [pair.name for pair in late],
        "why_not": why_not,
    }


def _why(
    found: Comparison, late: Sequence[Pair], table: Table | None, frozen: Mapping[str, str]
) -> dict[Pair, str]:
    """Reasons of those that lag, and of those that nobody cut."""
    whole = [pair for pair in found.pairs if pair.macs and pair.is_whole]
    told = {pair: reason(pair, table, frozen) for pair in (*late, *whole)}
    return {pair: text for pair, text in told.items() if text}


def _between(found: Comparison) -> tuple[float | None, float | None]:
    """What is no layer, before and after: calls, and moves between layers."""
    if found.ms is None or found.ms_left is None:
        return None, None
    layers = [pair for pair in found.pairs if pair.macs]
    before = found.ms - sum(pair.ms or 0.0 for pair in layers)
    return before, found.ms_left - sum(pair.ms_left or 0.0 for pair in layers)


def _paced(pair: Pair, why: str | None) -> PacedLayer:
    return {
        "name": pair.name,
        "macs": pair.macs,
        "macs_left": pair.macs_left,
        "bytes": pair.moved_bytes,
        "bytes_left": pair.moved_bytes_left,
        "ms": pair.ms,
        "ms_left": pair.ms_left,
        "lag_ms": None if pair.ms is None else pair.lag_ms,
        "why": why,
    }
