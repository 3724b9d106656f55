"""PyTorch through its compiler (inductor), which needs a C++ compiler on this machine.

Each new combination of shapes is compiled by itself, which takes up to half a minute.
"""

import os
import shutil
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from tersor.engines.engine import (
    Array,
    Operations,
    absence,
    check_feeds,
    check_settings,
    ends_of,
    refusal,
    torch_threads,
    version_of,
)

_NAME = "torch_compiled"
_KEPT = 4  # compiled graphs per session

Shapes = tuple[tuple[int, ...], ...]


class _Session:
    """A model in compiled PyTorch; see `engine.Session`."""

    def __init__(self, model: bytes, threads: int) -> None:
        from tersor.network.from_onnx.reader import read

        self._ends, self._threads = ends_of(_NAME, model), threads
        self._compiled: OrderedDict[Shapes, Callable[..., Any]] = OrderedDict()
        try:
            self._network = read(model)
        except Exception as error:
            raise refusal(_NAME, "refused the model", error) from error

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """See `engine.Session.run`; compiles for every new combination of shapes."""
        check_feeds(_NAME, self._ends, feeds)
        arrays = [np.ascontiguousarray(feeds[end.name]) for end in self._ends.inputs]
        try:
            results = self._call(arrays)
        except Exception as error:
            raise refusal(_NAME, "could not run the model", error) from error
        names = (end.name for end in self._ends.outputs)
        return {n: r.numpy() for n, r in zip(names, results, strict=True)}

    def _call(self, arrays: list[Array]) -> tuple[Any, ...]:
        import torch

        args = [torch.from_numpy(array) for array in arrays]
        shapes = tuple(array.shape for array in arrays)
        with torch_threads(self._threads), torch.no_grad():
            if shapes not in self._compiled:
                self._compiled[shapes] = self._compile(args)
                while len(self._compiled) > _KEPT:
                    self._compiled.popitem(last=False)
            self._compiled.move_to_end(shapes)
            results: tuple[Any, ...] = self._compiled[shapes](*args)
        return results

    def _compile(self, args: list[Any]) -> Callable[..., Any]:
        """The graph compiled for the shapes of `args`: a copy, since each has its own guards.

        The compiler works in this very process: its helpers would stay, and use the cores.
        """
        import torch
        import torch._inductor.config as inductor

        with warnings.catch_warnings(), inductor.patch(compile_threads=1):
            warnings.simplefilter("ignore")
            compiled: Callable[..., Any] = torch.compile(
                self._network.copy().module, dynamic=False, fullgraph=True
            )
            compiled(*args)
        return compiled

    def kernels(self, feeds: Mapping[str, Array]) -> dict[str, int]:
        """Empty: the compiled code keeps no profile of precisions."""
        return {}

    def operations(self, feeds: Mapping[str, Array]) -> Operations:
        """Empty, as `kernels`."""
        return {}


class TorchCompiled:
    """`torch.compile` with inductor, on the CPU."""

    name: ClassVar[str] = _NAME
    fast: ClassVar[bool] = True
    eager: ClassVar[bool] = False

    def version(self) -> str | None:
        """Version of PyTorch; None also where there is no C++ compiler."""
        compiler = shutil.which(os.environ.get("CXX", "g++"))
        return version_of("torch") if compiler else None

    def precisions(self) -> tuple[str, ...]:
        """f32 only: the graph is run in the types that the model names."""
        return ("f32",)

    def prepare(self, model: bytes, *, threads: int, precision: str = "f32") -> _Session:
        """See `engine.Engine.prepare`."""
        if self.version() is None:
            raise absence(_NAME, "torch", also="It needs a C++ compiler too, as in g++.")
        check_settings(self, threads, precision)
        return _Session(model, threads)


ENGINE = TorchCompiled()
