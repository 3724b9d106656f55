"""PyTorch as it is: the model read into a `Network` and run node by node."""

from collections.abc import Mapping
from typing import ClassVar

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

_NAME = "torch"


class _Session:
    """A model in PyTorch; see `engine.Session`."""

    def __init__(self, model: bytes, threads: int) -> None:
        from tersor.network.from_onnx.reader import read

        self._ends, self._threads = ends_of(_NAME, model), threads
        try:
            self._network = read(model)
        except Exception as error:
            raise refusal(_NAME, "refused the model", error) from error

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """See `engine.Session.run`."""
        check_feeds(_NAME, self._ends, feeds)
        try:
            with torch_threads(self._threads):
                return self._network.run(feeds)
        except Exception as error:
            raise refusal(_NAME, "could not run the model", error) from error

    def kernels(self, feeds: Mapping[str, Array]) -> dict[str, int]:
        """Empty: PyTorch's profile does not tell the precision of its kernels."""
        return {}

    def operations(self, feeds: Mapping[str, Array]) -> Operations:
        """Empty, as `kernels`."""
        return {}


class Torch:
    """PyTorch on the CPU, without a compiler."""

    name: ClassVar[str] = _NAME
    fast: ClassVar[bool] = True
    eager: ClassVar[bool] = True

    def version(self) -> str | None:
        """See `engine.Engine.version`."""
        return version_of("torch")

    def precisions(self) -> tuple[str, ...]:
        """f32 only: the graph is run in the types that the model names."""
        return ("f32",)

    def prepare(self, model: bytes, *, threads: int, precision: str = "f32") -> _Session:
        """See `engine.Engine.prepare`."""
        if self.version() is None:
            raise absence(_NAME, "torch")
        check_settings(self, threads, precision)
        return _Session(model, threads)


ENGINE = Torch()
