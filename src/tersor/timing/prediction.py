"""How long a network would take: the sum of its layers and of what lies between.

    ms = scale * (call + sum of layers + sum of moves)

Layers are looked up in a `Table`, the call is a run in which nothing is computed, and moves
are elements that pass by operations without weights. The scale is 1 until the network that is
to be made faster was measured as a whole; then it makes that one exact, and what is left is
the error of ratios, which `error_percent` tells for every network that was measured later.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tersor.network.network import Network
from tersor.timing.reading import Task, works
from tersor.timing.table import Table
from tersor.timing.work import Work

_CALL = Work("call", ())


@dataclass(frozen=True, slots=True)
class Row:
    """A node's part of the time.

    Attributes:
        node: Name of the node.
        work: What it asks of the engine.
        ms: What that takes by itself.
    """

    node: str
    work: Work
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The time of a network, predicted and, perhaps, measured.

    Attributes:
        rows: In the order of the graph.
        call_ms: What a run costs though nothing is computed.
        scale: What a whole network takes beyond its parts.
        measured_ms: What a run of the network took; None if nobody measured it.
    """

    rows: tuple[Row, ...]
    call_ms: float
    scale: float = 1.0
    measured_ms: float | None = None

    @property
    def ms(self) -> float:
        """The predicted time of a run."""
        return self.scale * (self.call_ms + sum(row.ms for row in self.rows))

    @property
    def error_percent(self) -> float | None:
        """By how much the prediction is too high, or, if negative, too low."""
        return None if self.measured_ms is None else 100 * (self.ms / self.measured_ms - 1)

    def calibrated(self, measured_ms: float) -> "Prediction":
        """The same, scaled so that it is what was measured."""
        scale = self.scale * measured_ms / self.ms
        return replace(self, scale=scale, measured_ms=measured_ms)

    def measured(self, measured_ms: float) -> "Prediction":
        """The same with what a run really took, to tell the error."""
        return replace(self, measured_ms=measured_ms)


def predicted(network: Network, table: Table, *, batch: int = 1, times: int = 1) -> Prediction:
    """The time of `network`; shapes that are not in the table are measured.

    Args:
        network: Any network.
        table: Of the engine that is to run it.
        batch: Samples in a run.
        times: As for `of_tasks`.

    Raises:
        UnsupportedError: A value's size depends on other values.
        EngineError: The engine is absent or refuses a layer.
    """
    return of_tasks(works(network, batch), table, times=times)


def of_tasks(
    tasks: Iterable[Task], table: Table, *, between: bool = False, times: int = 1
) -> Prediction:
    """The time of a network with these tasks.

    Args:
        tasks: As `reading.Tasks` gives them, of the network or for sizes that it may get.
        table: Of the engine that is to run it.
        between: Interpolate between shapes of the grid, so that few have to be measured.
        times: How often each shape is measured, at least: all of them once, then all of them
            again. The shortest time counts, so where other programs disturb, more is better.

    Raises:
        EngineError: The engine is absent or refuses a layer.
    """
    rows: list[Row] = []
    call_ms, known = 0.0, list(tasks)
    for sitting in range(1, times + 1):
        call_ms = table.milliseconds(_CALL, times=sitting)
        rows = [_row(task, table, call_ms, between=between, times=sitting) for task in known]
    return Prediction(rows=tuple(rows), call_ms=call_ms)


def _row(task: Task, table: Table, call_ms: float, *, between: bool, times: int) -> Row:
    coarse = between or task.work.op == "move"
    ms = (table.between if coarse else table.milliseconds)(task.work, times=times)
    if task.work.is_fed:  # a whole run
        ms = max(0.0, ms - call_ms)
    return Row(task.node, task.work, ms)
