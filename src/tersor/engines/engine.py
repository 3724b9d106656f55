"""What an engine is: something that runs an ONNX model on this machine.

A module in this folder is an engine if it defines ENGINE, an instance. Optional packages
are imported inside the methods, never at the top. An absent package is reported as absent
(`version()` is None), never as a failure.
"""

from collections.abc import Mapping
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


class Session(Protocol):
    """A model made ready to run."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Compute all outputs by name, from one array per input by name.

        The first run of a new input shape may compile; later runs do not.

        Raises:
            EngineError: The engine refused the inputs.
        """
        ...

    def kernels(self, feeds: Mapping[str, Array]) -> dict[str, int]:
        """How many nodes the engine really runs, by the precision of the kernel.

        Read from the engine's own profile of a run on `feeds`; keys are "int8", "bf16",
        "f32", "other" (data movement and integer bookkeeping). Empty if the engine keeps
        no profile.
        """
        ...


class Engine(Protocol):
    """A way to run ONNX models."""

    name: ClassVar[str]  # the name of the module
    fast: ClassVar[bool]  # False: too slow to be tried in a race (the oracle)
    eager: ClassVar[bool]  # True: ready within about a second; False: compiles for long

    def version(self) -> str | None:
        """Version of the package, or None if it is not installed."""
        ...

    def precisions(self) -> tuple[str, ...]:
        """Arithmetic for the float parts that this machine really has: "f32", "bf16"."""
        ...

    def prepare(self, model: bytes, *, threads: int, precision: str = "f32") -> Session:
        """Make `model`, the bytes of an ONNX file, ready to run.

        Args:
            model: A whole ONNX file, without external data.
            threads: Number of threads for one run.
            precision: One of `precisions()`. Integer parts of a quantized model stay integer.

        Raises:
            EngineError: The package is absent, or the engine refused the model.
            InputError: `precision` is not one of `precisions()`.
        """
        ...
