"""Milliseconds that would be left after a cut, and what they turn out to be.

Choosing channels by time needs the time of thousands of networks that nobody has built. The
meter tells it from the table of layers; in the end original and result run on the engine,
turn by turn, and how far off the prediction of their ratio was is told.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tersor.engines import available, find
from tersor.engines.engine import Engine, Session
from tersor.errors import EngineError, UnsupportedError
from tersor.export.onnx import to_onnx
from tersor.machine import default_threads
from tersor.network.channels import Channels
from tersor.network.dims import Dim, count
from tersor.network.layers import layers
from tersor.network.network import Network, Port
from tersor.timing.prediction import of_tasks
from tersor.timing.reading import Task, Tasks
from tersor.timing.table import Table, liked_multiple
from tersor.timing.work import Work

Array = NDArray[np.generic]

_ROUNDS = 15
_ROUND_S = 0.02  # about, of each network in a round


class Milliseconds:
    """A meter of predicted time on one engine; see `network.slimming.Meter`."""

    def __init__(
        self, network: Network, known: Channels, table: Table, batch: int = 1
    ) -> None:
        """Read the network; layers are measured when they are asked for.

        Args:
            network: What is to be cut.
            known: Its channels.
            table: Of the engine.
            batch: Samples in a run.
        """
        self._tasks, self._known, self._table = Tasks(network, batch), known, table
        self._axes = {
            node.name: dict(enumerate(axes))
            for node, axes in known.trail.axes.items()
            if isinstance(axes, tuple)
        }
        self._times: dict[Work, float] = {}
        self._nodes = {layer.weight: layer.node for layer in layers(network)}
        self._call_ms = of_tasks((), table).call_ms

    def __call__(self, counts: Mapping[Dim, int]) -> float:
        """See `network.slimming.Meter`."""
        new = [task for task in self._at(counts) if task.work not in self._times]
        for row in of_tasks(new, self._table, between=True).rows:
            self._times[row.work] = row.ms
        return self._call_ms + sum(self._times[task.work] for task in self._at(counts))

    def _at(self, counts: Mapping[Dim, int]) -> list[Task]:
        changed = {}
        for name, axes in self._axes.items():
            sizes = {i: size for i, d in axes.items() if (size := count(d, counts)) != d.size}
            if sizes:
                changed[name] = sizes
        return self._tasks(changed)

    def liked(self) -> dict[str, int]:
        """The multiple of channels that the engine likes, by name of the group.

        That of the largest of the layers that make them; 1 where none does.
        """
        works = {task.node: task.work for task in self._tasks() if task.work.widths}
        known: dict[Work, int] = {}
        found = {}
        for group in self._known.groups:
            makers = [self._nodes.get(m.path, "") for m in group.members if m.makes]
            own = [works[node] for node in makers if node in works]
            largest = max(own, key=lambda work: work.macs, default=None)
            if largest is not None and largest not in known:
                known[largest] = liked_multiple(self._table, largest)
            found[group.name] = 1 if largest is None else known[largest]
        return found


@dataclass(frozen=True, slots=True)
class Fastest:
    """The engine on which a network is the fastest, in float32.

    Attributes:
        engine: Which.
        threads: Of a run.
    """

    engine: Engine
    threads: int

    def table(self) -> Table:
        """Its table of layers."""
        return Table(self.engine, threads=self.threads)


def fastest(network: Network) -> Fastest:
    """Look for the engine that runs a network the fastest, one sample at a time.

    Raises:
        EngineError: No engine runs it.
    """
    threads, times = default_threads(), {}
    for name in available():
        engine = find(name)
        if engine.fast and engine.eager:
            try:
                times[name] = _raced(engine, threads, [network])[0]
            except (EngineError, UnsupportedError):
                continue
    if not times:
        raise EngineError("any", "runs this network", "See `tersor info` for what is missing.")
    return Fastest(find(min(times, key=lambda name: times[name])), threads)


def measured(on: Fastest, networks: list[Network]) -> list[float]:
    """Milliseconds of one sample in each of several networks, which run turn by turn.

    Raises:
        EngineError: The engine refuses one.
    """
    return _raced(on.engine, on.threads, networks)


def _raced(engine: Engine, threads: int, networks: list[Network]) -> list[float]:
    sessions = [(engine.prepare(to_onnx(n), threads=threads), _feeds(n)) for n in networks]
    best = [float("inf")] * len(networks)
    for _ in range(_ROUNDS):
        for i, (session, feeds) in enumerate(sessions):
            best[i] = min(best[i], _shortest(session, feeds))
    return best


def _shortest(session: Session, feeds: dict[str, Array]) -> float:
    """The shortest of some runs, in milliseconds."""
    end, best = time.perf_counter() + _ROUND_S, float("inf")
    while True:
        start = time.perf_counter()
        session.run(feeds)
        now = time.perf_counter()
        best = min(best, 1e3 * (now - start))
        if now >= end:
            return best


def _feeds(network: Network) -> dict[str, Array]:
    """One sample: noise where inputs are floats, ones else."""
    rng = np.random.default_rng(0)
    return {port.name: _drawn(port, network, rng) for port in network.inputs}


def _drawn(port: Port, network: Network, rng: np.random.Generator) -> Array:
    shape = [d if isinstance(d, int) else network.sizes.get(d, 1) for d in port.shape]
    if np.dtype(port.dtype).kind == "f":
        return rng.standard_normal(shape).astype(port.dtype)
    return np.ones(shape, port.dtype)
