"""Lossless codecs, found by file name: the name of a codec is the name of its module."""

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from tersor.errors import InputError

_NOT_CODECS = {"codec"}


def names() -> list[str]:
    """Names of all codecs, sorted, without importing any."""
    return sorted(m.name for m in iter_modules(__path__) if m.name not in _NOT_CODECS)


def find(name: str) -> ModuleType:
    """The module of the codec called `name`, with CODEC.

    Raises:
        InputError: There is no such codec; the message lists those that exist.
    """
    if name not in names():
        raise InputError("codec", got=name, allowed="one of " + ", ".join(names()))
    return import_module(f"{__name__}.{name}")
