"""How compressing is done, and what is tried beside it: what changes no result."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tersor.errors import InputError

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How compressing is done; but for `sure`, none of it changes what may be handed back.

    Attributes:
        batch: Batch size that speed is measured at.
        threads: Threads for one run; by default one per physical core.
        engines: Names of the engines to try; by default all that are ready within a second.
        seconds: Longest time for racing the candidates.
        codec: Of the file: "auto", "fast", or "best" for the fewest bytes; see
            `store.container.write`.
        checkpoints: A folder where trainings keep their state, to go on from if they are
            interrupted; it is gone once they are over. None keeps none.
        device: Where to train, as torch names it; "auto" is the GPU where torch sees one.
        seeds: With how many seeds in all the steps that won are run, in [1, 100]; the file is
            that of the first, the others are only reported.
        ablate: Whether to run what won with each part of it left out in turn, and to store it
            with every other coder; only reported.
        control: "scratch" to train a dense network of the size of the result anew beside it,
            see `pipeline.control`; only reported. None for no control.
        sure: Whether a loss must keep the limit with 95 % confidence: the upper end of its
            interval must, not only the loss itself. Few samples then let nothing pass.
        on_progress: Called with the name of the phase and the fraction of it that is done.
    """

    batch: int = 1
    threads: int | None = None
    engines: tuple[str, ...] | None = None
    seconds: float = 20.0
    codec: str = "auto"
    checkpoints: Path | None = None
    device: str = "auto"
    seeds: int = 1
    ablate: bool = False
    control: str | None = None
    sure: bool = False
    on_progress: Progress | None = None

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise InputError("batch", got=self.batch, allowed="at least 1")
        if self.threads is not None and self.threads < 1:
            raise InputError("threads", got=self.threads, allowed="at least 1")
        if not 0 < self.seconds < math.inf:
            raise InputError("seconds", got=self.seconds, allowed="above 0 and finite")
        if not 1 <= self.seeds <= 100:
            raise InputError("seeds", got=self.seeds, allowed="in [1, 100]")
        if self.control not in {None, "scratch"}:
            raise InputError("control", got=self.control, allowed='"scratch" or None')

    @property
    def tries_variants(self) -> bool:
        """Whether anything is to be tried beside the winner."""
        return self.seeds > 1 or self.ablate or self.control is not None

    def tell(self, phase: str, done: float) -> None:
        """Pass progress on, if anybody listens."""
        if self.on_progress is not None:
            self.on_progress(phase, done)
