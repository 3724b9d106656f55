"""The methods, found by file name: `quantize/static.py` is the method `quantize.static`.

A file holds a METHOD, a step of recipes, or what happens DURING a training step, as
`methods.method` and `train.during` say. Nothing is imported before it is asked for, and
nothing registers itself.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType

from tersor.errors import InputError


def names() -> list[str]:
    """Names of all methods, sorted, without importing any."""
    here = Path(__file__).parent
    files = (f.relative_to(here) for f in here.glob("*/*.py") if f.name != "__init__.py")
    return sorted(".".join(f.with_suffix("").parts) for f in files)


def find(name: str) -> ModuleType:
    """The module of the method called `name`: METHOD or DURING, EXAMPLE and IDENTITY.

    Raises:
        InputError: There is no such method; the message lists those that exist.
    """
    if name not in names():
        raise InputError("method", got=name, allowed="one of " + ", ".join(names()))
    return import_module(f"{__name__}.{name}")


def class_of(name: str) -> type:
    """The class of the method called `name`, a step's or one that is at work during training.

    Raises:
        InputError: There is no such method.
    """
    module = find(name)
    found: type = module.DURING if is_during(name) else module.METHOD
    return found


def is_during(name: str) -> bool:
    """Whether the method of that name happens during training, and is no step.

    Raises:
        InputError: There is no such method.
    """
    return "DURING" in vars(find(name))


def trains(name: str) -> bool:
    """Whether the method of that name trains: its module says so by `TRAINS = True`.

    Raises:
        InputError: There is no such method.
    """
    return bool(vars(find(name)).get("TRAINS", False))
