"""The reference evaluator of the onnx package: slow, exact about the standard, the oracle."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from tersor.engines.engine import (
    Array,
    absence,
    check_feeds,
    check_settings,
    ends_of,
    refusal,
    version_of,
)

_NAME = "reference"


class _Session:
    """A model in the reference evaluator; see `engine.Session`."""

    def __init__(self, model: bytes) -> None:
        import onnx
        from onnx.reference import ReferenceEvaluator

        self._ends = ends_of(_NAME, model)
        try:
            self._evaluator = ReferenceEvaluator(onnx.load_model_from_string(model))
        except Exception as error:
            raise refusal(_NAME, "refused the model", error) from error

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """See `engine.Session.run`."""
        check_feeds(_NAME, self._ends, feeds)
        try:
            with np.errstate(all="ignore"):
                results = self._evaluator.run(None, dict(feeds))
        except Exception as error:
            raise refusal(_NAME, "could not run the model", error) from error
        names = (end.name for end in self._ends.outputs)
        return {n: np.asarray(r) for n, r in zip(names, results, strict=True)}

    def kernels(self, feeds: Mapping[str, Array]) -> dict[str, int]:
        """Empty: the evaluator keeps no profile."""
        return {}


class Reference:
    """`onnx.reference.ReferenceEvaluator`; numpy decides how many threads it takes."""

    name: ClassVar[str] = _NAME
    fast: ClassVar[bool] = False
    eager: ClassVar[bool] = True

    def version(self) -> str | None:
        """See `engine.Engine.version`."""
        return version_of("onnx")

    def precisions(self) -> tuple[str, ...]:
        """f32: it computes in the types that the model names."""
        return ("f32",)

    def prepare(self, model: bytes, *, threads: int, precision: str = "f32") -> _Session:
        """See `engine.Engine.prepare`."""
        if self.version() is None:
            raise absence(_NAME, "onnx")
        check_settings(self, threads, precision)
        return _Session(model)


ENGINE = Reference()
