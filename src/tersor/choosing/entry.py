"""Entries of the contest: one program on one engine at one precision."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tersor.choosing.program import ORIGINAL, Array, Program
from tersor.engines import find, names
from tersor.engines.engine import Operations, Session, by_precision
from tersor.errors import EngineError, InputError
from tersor.measure import Timing
from tersor.verify import Verdict

NODE_BY_NODE = {"torch", "torch_compiled"}  # run quantized files in floats, slowly


@dataclass
class Entry:
    """A program on an engine, and all that the contest finds out about it.

    Attributes:
        program: What is run.
        engine: Name of the engine.
        precision: Arithmetic of float parts.
        threads: Number of threads for one run.
        twin: The original's entry that asks the same work of the same engine: it ran in this
            one's stead.
        timing: Of the last race that it took part in; None if it could not run.
        speed: How many times faster than the original's fastest float32 entry in that race.
        verdict: Against the original on the validation samples; None if not judged.
        why_not: Why it is not chosen; None while nothing speaks against it.
        failed: True if it cannot be used, whatever its speed.
    """

    program: Program
    engine: str
    precision: str
    threads: int
    twin: "Entry | None" = None
    timing: Timing | None = None
    speed: float | None = None
    verdict: Verdict | None = None
    why_not: str | None = None
    failed: bool = False
    _session: Session | None = field(default=None, repr=False)
    _operations: Operations | None = field(default=None, repr=False)

    @property
    def is_original(self) -> bool:
        """Whether this is the untouched model."""
        return self.program.name == ORIGINAL

    @property
    def title(self) -> str:
        """As in "int8 on openvino f32"."""
        return f"{self.program.title} on {self.engine} {self.precision}"

    @property
    def place(self) -> tuple[str, str]:
        """Engine and precision."""
        return self.engine, self.precision

    @property
    def median_ms(self) -> float:
        """Median time of a run; infinite if it did not run."""
        return float("inf") if self.timing is None else self.timing.median_ms

    @property
    def session(self) -> Session:
        """The program made ready, once; errors as `Engine.prepare`."""
        if self._session is None:
            self._session = find(self.engine).prepare(
                self.program.model, threads=self.threads, precision=self.precision
            )
        return self._session

    def kernels(self, feeds: Mapping[str, Array]) -> dict[str, int]:
        """See `Session.kernels`; the engine is asked once."""
        return by_precision(self.operations(feeds))

    def operations(self, feeds: Mapping[str, Array]) -> Operations:
        """See `Session.operations`; the engine is asked once."""
        if self._operations is None:
            self._operations = self.session.operations(feeds)
        return self._operations

    def refuse(self, why: str) -> None:
        """Take it out of the contest."""
        self.why_not, self.failed = why, True

    def adopt(self) -> None:
        """Take over what the twin has run, or why it did not."""
        if self.twin is not None:
            self.timing, self.speed = self.twin.timing, self.twin.speed
            if self.twin.failed and self.twin.why_not is not None:
                self.refuse(self.twin.why_not)


def places(wanted: Sequence[str] | None) -> list[tuple[str, str]]:
    """Engines and precisions to try: those named, or all that are fast and ready at once.

    Raises:
        InputError: There is no such engine.
        EngineError: None of them is installed.
    """
    chosen = [find(name) for name in wanted or names()]
    if wanted is None:
        chosen = [engine for engine in chosen if engine.fast and engine.eager]
    found = [
        (engine.name, precision)
        for engine in chosen
        if engine.version() is not None
        for precision in engine.precisions()
    ]
    if not found:
        told = ", ".join(engine.name for engine in chosen)
        raise EngineError(told, "is not installed", "Run: pip install onnxruntime.")
    if not any(precision == "f32" for _, precision in found):
        raise InputError("engines", got=wanted, allowed="with one that computes in float32")
    return found


def entries(
    programs: Iterable[Program], where: Sequence[tuple[str, str]], threads: int
) -> Iterator[Entry]:
    """Every program at every place where it can be of use.

    What runs the nodes of a quantized file one by one tries it only as float.
    """
    for program in programs:
        for engine, precision in where:
            as_stored = program.name != ORIGINAL and program.expand is None
            if as_stored and engine in NODE_BY_NODE:
                continue
            yield Entry(program, engine, precision, threads)


def pair_up(rivals: Sequence[Entry], originals: Sequence[Entry]) -> None:
    """Tell each rival which entry of the original asks the same work of the same engine."""
    for rival in rivals:
        for original in originals:
            same_place = rival.place == original.place
            if same_place and rival.program.signature == original.program.signature:
                rival.twin = original
