"""Tersor makes a trained neural network small and fast, and proves that it still works.

Importing this package loads neither torch nor an engine: the public names are found when
they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tersor.data.samples import Samples as Samples
    from tersor.errors import TersorError as TersorError
    from tersor.network.network import Network as Network
    from tersor.plan.budget import Budget as Budget
    from tersor.plan.recipe import Recipe as Recipe

_HOME = {
    "Budget": "tersor.plan.budget",
    "Network": "tersor.network.network",
    "Options": "tersor.pipeline",
    "Recipe": "tersor.plan.recipe",
    "Samples": "tersor.data.samples",
    "TersorError": "tersor.errors",
    "capture": "tersor.network.capture",
    "compress": "tersor.pipeline",
    "load": "tersor.reading",
    "open": "tersor.runtime",
    "read_samples": "tersor.data.read",
    "split": "tersor.data.split",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # takes longer to import than all else here

        return version("tersor")
    if name not in _HOME:
        raise AttributeError(f"module 'tersor' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
