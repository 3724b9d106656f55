"""ONNX Runtime on the CPU: all graph optimizations, one fixed pool of threads.

Threads of the pool spin for a moment after each run, as is the package's default: that is
how it reaches its speed, and whoever times something else right afterwards has to wait.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from tersor.engines.engine import (
    Array,
    Ends,
    Operations,
    absence,
    by_precision,
    check_feeds,
    check_settings,
    count_operations,
    ends_of,
    refusal,
    version_of,
)

_NAME = "onnxruntime"
_ERRORS_ONLY = 3
_INT8 = (  # beginnings of the names of operators that compute with 8-bit integers
    *("QLinear", "QGemm", "QAttention", "QEmbed", "QOrdered", "QMoE", "ConvInteger"),
    *("MatMulInteger", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"),
)
_MOVES = {  # operators that convert, copy or count, whatever the type
    *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast", "Identity"),
    *("ReorderInput", "ReorderOutput", "Transpose", "Reshape", "Flatten", "Squeeze"),
    *("Unsqueeze", "Concat", "QLinearConcat", "Split", "Slice", "Pad", "Gather", "Expand"),
    *("GatherElements", "GatherND", "ScatterElements", "ScatterND", "Tile", "Shape", "Size"),
    *("DepthToSpace", "SpaceToDepth", "ConstantOfShape", "Range", "Where"),
}
_BY_TYPE = {
    **dict.fromkeys(("int8", "uint8"), "int8"),
    **dict.fromkeys(("float", "double", "float16"), "f32"),
    "bfloat16": "bf16",
}


class _Session:
    """A model in ONNX Runtime; see `engine.Session`."""

    def __init__(self, model: bytes, threads: int) -> None:
        self._model, self._threads = model, threads
        self._ends: Ends = ends_of(_NAME, model)
        self._outputs = [end.name for end in self._ends.outputs]
        self._session = _open(model, _options(threads))

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """See `engine.Session.run`."""
        check_feeds(_NAME, self._ends, feeds)
        return dict(zip(self._outputs, _run(self._session, feeds), strict=True))

    def kernels(self, feeds: Mapping[str, Array]) -> dict[str, int]:
        """See `engine.Session.kernels`; runs once, in a session of its own."""
        return by_precision(self.operations(feeds))

    def operations(self, feeds: Mapping[str, Array]) -> Operations:
        """See `engine.Session.operations`; runs once, in a session of its own."""
        check_feeds(_NAME, self._ends, feeds)
        with tempfile.TemporaryDirectory(prefix="tersor-") as folder:
            options = _options(self._threads)
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = _open(self._model, options)
            try:
                _run(session, feeds)
            finally:
                profile = Path(session.end_profiling())
            events = _events(profile.read_bytes())
        return count_operations(
            (str(args["op_name"]), _precision(args)) for args in _executed(events)
        )


def _options(threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    # int8 weights that are multiplied with floats: exact products, not rounded ones
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    return options


def _open(model: bytes, options: Any) -> Any:
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise refusal(_NAME, "refused the model", error) from error


def _run(session: Any, feeds: Mapping[str, Array]) -> list[Array]:
    try:
        results: list[Array] = session.run(None, dict(feeds))
    except Exception as error:
        raise refusal(_NAME, "could not run the model", error) from error
    return results


def _events(profile: bytes) -> list[dict[str, Any]]:
    r"""The events of a profile; none if names in the model have made it no JSON.

    >>> _events(b'[{"name": "a"}]'), _events(b'[{"name": "\xff\x01"}]'), _events(b'["]')
    ([{'name': 'a'}], [{'name': '\ufffd\x01'}], [])
    """
    try:
        found: list[dict[str, Any]] = json.loads(
            profile.decode(errors="replace"), strict=False
        )
    except ValueError:
        return []
    return found


def _executed(events: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The facts about each node that ran, from the events of a profile."""
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            yield event["args"]


def _precision(args: Mapping[str, Any]) -> str:
    """The precision of a kernel, from its name and from the type of what it reads.

    >>> _precision({"op_name": "QLinearConv"})
    'int8'
    >>> _precision({"op_name": "MaxPool", "input_type_shape": [{"uint8": [1, 4]}]})
    'int8'
    >>> _precision({"op_name": "Slice", "input_type_shape": [{"float": [1, 4]}]})
    'other'
    """
    op = str(args["op_name"])
    if op in _MOVES:
        return "other"
    if op.startswith(_INT8):
        return "int8"
    types = args.get("input_type_shape") or args.get("output_type_shape") or [{}]
    first = next(iter(types[0]), "")
    return _BY_TYPE.get(first, "other")


class Onnxruntime:
    """ONNX Runtime with its CPU execution provider."""

    name: ClassVar[str] = _NAME
    fast: ClassVar[bool] = True
    eager: ClassVar[bool] = True

    def version(self) -> str | None:
        """See `engine.Engine.version`."""
        return version_of("onnxruntime")

    def precisions(self) -> tuple[str, ...]:
        """Only f32: the CPU provider has no switch to another arithmetic."""
        return ("f32",)

    def prepare(self, model: bytes, *, threads: int, precision: str = "f32") -> _Session:
        """See `engine.Engine.prepare`."""
        check_settings(self, threads, precision)
        if self.version() is None:
            raise absence(_NAME, "onnxruntime")
        return _Session(model, threads)


ENGINE = Onnxruntime()
