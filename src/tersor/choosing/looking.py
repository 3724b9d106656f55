"""A quick look at which engine is the fastest for quantized networks of one kind."""

import time
from collections.abc import Mapping, Sequence

from tersor.choosing.entry import NODE_BY_NODE
from tersor.choosing.program import Array, Run
from tersor.engines import find
from tersor.engines.engine import Session
from tersor.errors import EngineError
from tersor.export.onnx import to_onnx
from tersor.network.network import Network

_LOOKS = 3


class Fastest:
    """Puts networks on the engine that runs the first of them the fastest, in float32.

    So a mix of integer and float layers is judged where it will most likely run: engines
    round differently, and a network may keep a limit on one that it misses on another.
    """

    def __init__(
        self, where: Sequence[tuple[str, str]], feeds: Mapping[str, Array], threads: int
    ) -> None:
        names = dict.fromkeys(name for name, precision in where if precision == "f32")
        self.engines = [name for name in names if name not in NODE_BY_NODE] or list(names)
        self.feeds, self.threads = feeds, threads

    def __call__(self, network: Network) -> Run:
        """What runs the network.

        Raises:
            EngineError: No engine takes it; the last one's reason.
        """
        onnx = to_onnx(network)
        looks: list[tuple[float, str, Session]] = []
        refusal: EngineError | None = None
        for name in self.engines:
            try:
                session = find(name).prepare(onnx, threads=self.threads)
                looks.append((self._look(session), name, session))
            except EngineError as error:
                refusal = error
        if refusal is not None and not looks:
            raise refusal
        _, name, session = min(looks, key=lambda look: look[0])
        self.engines = [name]
        return session.run

    def _look(self, session: Session) -> float:
        """Seconds of a run; none is timed where there is no choice."""
        best = float("inf")
        for _ in range(_LOOKS if len(self.engines) > 1 else 0):
            start = time.perf_counter()
            session.run(self.feeds)
            best = min(best, time.perf_counter() - start)
        return best
