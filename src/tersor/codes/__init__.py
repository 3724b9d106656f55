"""How a weight is held: one file per code, found by file name."""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from tersor.errors import InputError

_NOT_CODES = {"code"}


def names() -> list[str]:
    """Names of all codes, sorted, without importing any."""
    return sorted(m.name for m in iter_modules(__path__) if m.name not in _NOT_CODES)


def find(name: str) -> ModuleType:
    """The module of the code called `name`, with CODE and EXAMPLES.

    Raises:
        InputError: There is no such code; the message lists those that exist.
    """
    if name not in names():
        raise InputError("code", got=name, allowed="one of " + ", ".join(names()))
    return import_module(f"{__name__}.{name}")
