"""The engines, found by file name: the name of an engine is the name of its module."""

from importlib import import_module
from pkgutil import iter_modules

from tersor.engines.engine import Engine
from tersor.errors import InputError

_NOT_ENGINES = {"engine"}


def names() -> list[str]:
    """Names of all engines, sorted, without importing any."""
    return sorted(m.name for m in iter_modules(__path__) if m.name not in _NOT_ENGINES)


def find(name: str) -> Engine:
    """The engine called `name`; its package may still be absent, see `Engine.version`.

    Raises:
        InputError: There is no such engine; the message lists those that exist.
    """
    if name not in names():
        raise InputError("engine", got=name, allowed="one of " + ", ".join(names()))
    engine: Engine = import_module(f"{__name__}.{name}").ENGINE
    return engine


def available() -> list[str]:
    """Names of the engines whose packages are here."""
    return [name for name in names() if find(name).version() is not None]
