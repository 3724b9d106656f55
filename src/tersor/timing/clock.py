"""How long a layer takes on an engine, with the cost of a call taken away.

See `timing.miniature`: a model of one layer and a model of 1 + k are timed in turns, each in
short bursts. Of a burst the median counts, of all bursts of a model the fastest: whatever
else runs on the machine makes bursts slower, never faster. Rounds go on until the two fastest
bursts of both models agree within 2 %, or patience is over.
"""

import time
from collections.abc import Sequence

import numpy as np

from tersor.engines.engine import Engine
from tersor.machine import let_pools_rest
from tersor.timing.miniature import model
from tersor.timing.work import Work

_WARM_MS = 2.0  # of runs before a burst, which are not counted
_BURST_MS = 2.0  # of a burst
_AGREE = 0.02
_LEAST_ROUNDS = 2
_PATIENCE = 3  # times the budget, of runs that count
_LONGEST = 10  # times the budget, with all waiting
_LEAST_MS = 1e-5  # that a layer takes
_VISIBLE_MS = 0.2  # that all added layers together should take, by a guess
_MACS_PER_MS, _BYTES_PER_MS = 2e7, 1e7  # for that guess
_COPIES = (2, 16)
_COLD_BYTES, _MOST_COLD = 1 << 24, 64  # weights of cold layers, and how many layers
_WEIGHT_BYTES = 1 << 26  # of all layers of a model together
_IS_FINE = time.get_clock_info("process_time").resolution <= 1e-6


def milliseconds(
    engine: Engine, work: Work, *, threads: int, precision: str, budget_ms: float
) -> float:
    """The time that one layer adds to a run.

    Args:
        engine: What runs it.
        work: The layer; if it is fed, and of "call", the whole run counts.
        threads: Of a run.
        precision: Of the engine's float parts.
        budget_ms: Time for runs that count, if the machine is quiet; else up to thrice as
            much. With warming up and waiting for threads to rest up to ten times as much.
            Each model runs a few times, however long that takes.

    Raises:
        EngineError: The engine is absent or refuses the layer.
    """
    added = 0 if work.is_fed or work.op == "call" else copies(work)
    counts = (1, 1 + added) if added else (1,)
    models = [_Model(engine, work, n, threads, precision) for n in counts]
    spent_ms, start = 0.0, time.perf_counter()
    while True:
        for each in models:
            if threads > 1:
                let_pools_rest()
            spent_ms += each.burst()
        passed_ms = 1e3 * (time.perf_counter() - start)
        if _is_enough(models, spent_ms / budget_ms, passed_ms / budget_ms):
            break
    if not added:
        return models[0].best
    return max(_LEAST_MS, (models[1].best - models[0].best) / added)


def copies(work: Work) -> int:
    """How many layers are added: as many as a clock needs, of large ones fewer.

    If the work is cold, so many that no cache holds all their weights.
    """
    guess = work.macs / _MACS_PER_MS + work.moved_bytes / _BYTES_PER_MS
    least, most = _COPIES
    wanted = max(least, min(most, round(_VISIBLE_MS / guess)))
    if work.is_cold:
        wanted = max(wanted, min(_MOST_COLD, _COLD_BYTES // work.weight_bytes))
    return max(1, min(wanted, _WEIGHT_BYTES // max(1, work.weight_bytes)))


def _is_enough(models: Sequence["_Model"], counted: float, passed: float) -> bool:
    """Whether to stop: by the time of runs that counted, and all time, over the budget."""
    if len(models[0].bursts) < _LEAST_ROUNDS:
        return False
    if counted >= _PATIENCE or passed >= _LONGEST:
        return True
    return counted >= 1 and all(each.agrees for each in models)


class _Model:
    """A miniature on an engine, and the medians of its bursts in ms.

    The clock of a single thread is the processor's, which stands still while others run.
    """

    def __init__(
        self, engine: Engine, work: Work, count: int, threads: int, precision: str
    ) -> None:
        content, self._feeds = model(work, count)
        self._session = engine.prepare(content, threads=threads, precision=precision)
        self._session.run(self._feeds)  # engines may compile now
        self._clock = (
            time.process_time_ns if threads == 1 and _IS_FINE else time.perf_counter_ns
        )
        self.bursts: list[float] = []

    @property
    def best(self) -> float:
        """The fastest burst."""
        return min(self.bursts)

    @property
    def agrees(self) -> bool:
        """Whether another burst was about as fast as the fastest."""
        first, second = sorted(self.bursts)[:2]
        return second <= first * (1 + _AGREE)

    def burst(self) -> float:
        """Run for a moment, and tell the time that counted, in ms."""
        self._runs(_WARM_MS)
        times = self._runs(_BURST_MS)
        self.bursts.append(float(np.median(times)))
        return sum(times)

    def _runs(self, least_ms: float) -> list[float]:
        times, left_ms = [], least_ms
        while left_ms > 0:
            start = self._clock()
            self._session.run(self._feeds)
            times.append((self._clock() - start) / 1e6)
            left_ms -= times[-1]
        return times
