"""Where training happens: device, precision, checkpoints, and who listens to its progress.

None of it is a setting of a method, since it does not change what a method means.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from tersor.errors import InputError
from tersor.machine import isa_flags

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where training happens.

    Attributes:
        device: As torch names it; "auto" is the GPU where torch sees one, else the CPU.
        precision: Of products in training: "f32", "bf16", or "auto", which is bf16 on a GPU
            and on processors with matrix instructions for it (AMX).
        checkpoints: A folder where training keeps its state after each epoch, and from which
            it goes on if it was interrupted; None to keep none.
        tell: Called with the fraction of a training that is done.
    """

    device: str = "auto"
    precision: Literal["auto", "f32", "bf16"] = "auto"
    checkpoints: Path | None = None
    tell: Progress | None = None

    def place(self) -> torch.device:
        """The device to train on."""
        if self.device != "auto":
            return _checked(self.device)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def in_bf16(self) -> bool:
        """Whether products are computed in bf16."""
        if self.precision != "auto":
            return self.precision == "bf16"
        return self.place().type == "cuda" or "amx_bf16" in isa_flags()

    def products(self, device: torch.device) -> torch.autocast:
        """Where products are computed as `precision` says, the teacher's as the student's."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.in_bf16())


def _checked(name: str) -> torch.device:
    """The device of that name, if torch can use it.

    Raises:
        InputError: It cannot.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        allowed = f"auto, cpu, or another that torch can use here ({reason})"
        raise InputError("device", got=name, allowed=allowed) from None
    return device


_CURRENT: ContextVar[Surroundings | None] = ContextVar("surroundings", default=None)


def current() -> Surroundings:
    """What holds here and now."""
    return _CURRENT.get() or Surroundings()


@contextmanager
def surrounded(surroundings: Surroundings) -> Iterator[None]:
    """Everything that trains inside does it there."""
    token = _CURRENT.set(surroundings)
    try:
        yield
    finally:
        _CURRENT.reset(token)
