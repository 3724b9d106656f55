"""Which implementation of the kernels is used, and why.

The native module is built when Tersor is installed. Where it is missing or of another
interface (a tree that was not built), the numpy twins do the same work, slowly. What the
native kernels may use is asked of the processor. All give the same bits.
"""

import os
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType

from tersor.errors import InputError

INTERFACE = 11  # as in native/bindings.cpp
VARIABLE = "TERSOR_KERNELS"  # the environment variable that asks for one of LEVELS
LEVELS = ("reference", "portable", "avx2", "avx512")  # from slow to fast


@dataclass(frozen=True, slots=True)
class Choice:
    """What is used.

    Attributes:
        name: One of LEVELS.
        why: In words.
        available: Those of LEVELS that can be used here.
    """

    name: str
    why: str
    available: tuple[str, ...]


@cache
def choice() -> Choice:
    """What is used: the fastest, unless the environment asks for another.

    Raises:
        InputError: The environment asks for one that is not available here.
    """
    native, problem = _native()
    available = ("reference", *(native.levels() if native else ()))
    asked = os.environ.get(VARIABLE, "")
    if asked and asked not in available:
        raise InputError(VARIABLE, got=asked, allowed="one of " + ", ".join(available))
    if asked:
        return Choice(asked, f"{VARIABLE} asks for it", available)
    if native is None:
        return Choice("reference", problem, available)
    return Choice(available[-1], "the fastest that this processor has", available)


def module() -> ModuleType | None:
    """The native kernels; None if the numpy twins are to be used."""
    return None if choice().name == "reference" else _native()[0]


def level() -> int:
    """The level as the native kernels count it, from 0."""
    return LEVELS.index(choice().name) - 1


@cache
def _native() -> tuple[ModuleType | None, str]:
    """The native kernels, or None and why not."""
    try:
        found = import_module("tersor.kernels._native")
    except ImportError:
        return None, "the native kernels were not built"
    if found.INTERFACE != INTERFACE:
        return None, "the native kernels are of another release: install again"
    return found, ""
