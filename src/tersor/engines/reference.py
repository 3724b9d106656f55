"""The reference evaluator of the onnx package: slow, exact about the standard, the oracle.

It lacks DequantizeLinear before version 19 of the standard, so that one is defined here:

    y = (x - zero_point) * scale, in float32, along `axis` if scale is a vector
"""

from collections.abc import Mapping
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
    version_of,
)

_NAME = "reference"
_FIRST_DEQUANTIZE = 19


class _Session:
    """A model in the reference evaluator; see `engine.Session`."""

    def __init__(self, model: bytes) -> None:
        import onnx
        from onnx.reference import ReferenceEvaluator

        self._ends = ends_of(_NAME, model)
        try:
            proto = onnx.load_model_from_string(model)
            self._evaluator = ReferenceEvaluator(proto, new_ops=_lacking(proto))
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

    def operations(self, feeds: Mapping[str, Array]) -> Operations:
        """Empty, as `kernels`."""
        return {}


def _lacking(proto: Any) -> list[Any]:
    """Operators that the evaluator lacks in the model's version of the standard."""
    from onnx.reference.op_run import OpRun

    class DequantizeLinear(OpRun):
        op_domain = ""

        def _run(
            self, x: Any, scale: Any, zero: Any = None, axis: int = 1, **later: object
        ) -> tuple[Any]:  # `later`: settings of later versions, at their defaults
            shape = [1] * x.ndim
            if scale.ndim == 1 and x.ndim:
                shape[axis] = -1
            whole = x.astype(np.int64)
            if zero is not None:
                whole = whole - zero.astype(np.int64).reshape(shape)
            return (whole.astype(np.float32) * scale.reshape(shape),)

    versions = [entry.version for entry in proto.opset_import if not entry.domain]
    return [DequantizeLinear] if max(versions, default=1) < _FIRST_DEQUANTIZE else []


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
