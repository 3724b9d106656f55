"""Where trainings of benchmarks happen: they can be interrupted, and show how far they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tersor.cli.answer import progress
from tersor.train.surroundings import Surroundings, surrounded


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Trainings inside multiply in bf16 and, if they were interrupted, go on where they were.

    Args:
        folder: Keeps their state until they end.
    """
    with progress() as advance:
        around = Surroundings(
            checkpoints=folder, precision="bf16", tell=partial(advance, folder.name)
        )
        with surrounded(around):
            yield
