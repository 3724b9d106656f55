"""OpenVINO on the CPU: one stream, tuned for latency, the precision always spelled out.

A model compiled for fixed shapes runs up to twice as fast as one whose batch is open, so
a session compiles the model for the shapes that it is fed, and keeps the last few.

Only the runtime is used, never the package's converter: the converter is the only part
that sends telemetry.
"""

from collections import OrderedDict
from collections.abc import Mapping
from functools import cache
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
from tersor.errors import EngineError

_NAME = "openvino"
_KEPT = 4  # compiled models per session
_ENDS = {"Input", "Output"}  # no computation at all
_MOVES = {  # layer types that convert, copy or count, whatever the type
    *("Reorder", "Reshape", "Transpose", "Concatenation", "Split", "StridedSlice", "Pad"),
    *("Gather", "GatherElements", "GatherND", "ScatterUpdate", "ScatterElementsUpdate"),
    *("ScatterNDUpdate", "ShapeOf", "Broadcast", "Tile", "Convert", "FakeQuantize"),
    *("DepthToSpace", "SpaceToDepth", "ShuffleChannels", "Range", "Select", "MemoryInput"),
    *("MemoryOutput", "SpaceToBatch", "BatchToSpace", "Reverse", "Roll"),
}
_BY_TYPE = {
    **dict.fromkeys(("i8", "u8"), "int8"),
    **dict.fromkeys(("f32", "f16", "f64"), "f32"),
    "bf16": "bf16",
}

Shapes = tuple[tuple[int, ...], ...]


class _Session:
    """A model in OpenVINO; see `engine.Session`."""

    def __init__(self, model: bytes, config: dict[str, Any]) -> None:
        self._ends: Ends = ends_of(_NAME, model)
        self._config = config
        self._requests: OrderedDict[Shapes, Any] = OrderedDict()
        try:
            self._model = _core().read_model(model)
        except Exception as error:
            raise refusal(_NAME, "refused the model", error) from error
        if len(self._model.outputs) != len(self._ends.outputs):
            problem = f"found {len(self._model.outputs)} outputs of {len(self._ends.outputs)}"
            raise EngineError(_NAME, problem, "Try another engine.")
        self._compile_ahead()

    def _compile_ahead(self) -> None:
        """Compile for the first shape already if there is only one; else say no early."""
        ends = self._ends.inputs
        if all(end.is_fixed for end in ends):
            self._request(tuple(end.concrete(1) for end in ends))

    def _request(self, shapes: Shapes) -> Any:
        """The inference request for inputs of these shapes, compiled if it is not here."""
        if shapes in self._requests:
            self._requests.move_to_end(shapes)
            return self._requests[shapes]
        wanted = {e.name: list(s) for e, s in zip(self._ends.inputs, shapes, strict=True)}
        try:
            if wanted:
                self._model.reshape(wanted)
            compiled = _core().compile_model(self._model, "CPU", self._config)
            self._requests[shapes] = compiled.create_infer_request()
        except Exception as error:
            raise refusal(_NAME, f"refused the model for {wanted}", error) from error
        while len(self._requests) > _KEPT:
            self._requests.popitem(last=False)
        return self._requests[shapes]

    def _shapes(self, feeds: Mapping[str, Array]) -> Shapes:
        check_feeds(_NAME, self._ends, feeds)
        return tuple(feeds[end.name].shape for end in self._ends.inputs)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """See `engine.Session.run`; compiles for every new combination of shapes."""
        request = self._request(self._shapes(feeds))
        try:
            # without copies: what comes in is read at once, what comes out is copied here
            request.infer(dict(feeds), share_inputs=True, share_outputs=True)
            return {
                end.name: request.get_output_tensor(i).data.copy()
                for i, end in enumerate(self._ends.outputs)
            }
        except Exception as error:
            raise refusal(_NAME, "could not run the model", error) from error

    def kernels(self, feeds: Mapping[str, Array]) -> dict[str, int]:
        """See `engine.Session.kernels`; read from the graph that the engine executes."""
        return by_precision(self.operations(feeds))

    def operations(self, feeds: Mapping[str, Array]) -> Operations:
        """See `engine.Session.operations`; read from the graph that the engine executes."""
        self.run(feeds)
        compiled = self._request(self._shapes(feeds)).get_compiled_model()
        ran = []
        for operation in compiled.get_runtime_model().get_ops():
            layer = _fact(operation, "layerType")
            sources = [value.get_source_output().get_node() for value in operation.inputs()]
            runs = any(_fact(source, "layerType") != "Const" for source in sources)
            if layer not in _ENDS and runs:
                ran.append((layer, _precision(layer, _fact(operation, "runtimePrecision"))))
        return count_operations(ran)


def _fact(operation: Any, name: str) -> str:
    """What the engine notes about a node of the graph that it executes."""
    return str(operation.get_rt_info()[name].astype(str))


def _precision(layer: str, element: str) -> str:
    """The precision of a kernel, from the type of its layer and of what it reads.

    >>> _precision("Convolution", "u8"), _precision("Reorder", "u8")
    ('int8', 'other')
    """
    return "other" if layer in _MOVES else _BY_TYPE.get(element, "other")


@cache
def _core() -> Any:
    """One for the process: where several come and go, signals crash it.

    Each brings the thread a stack for signals, and going puts back the one that was there
    before, though whoever brought that may have gone with it.
    """
    import openvino

    core = openvino.Core()
    core.set_property({"LOG_LEVEL": "LOG_NONE"})
    return core


class Openvino:
    """OpenVINO with its CPU plugin."""

    name: ClassVar[str] = _NAME
    fast: ClassVar[bool] = True
    eager: ClassVar[bool] = True

    def version(self) -> str | None:
        """See `engine.Engine.version`."""
        return version_of("openvino")

    def precisions(self) -> tuple[str, ...]:
        """f32, and bf16 where the processor computes with it (by the plugin's own word)."""
        if self.version() is None:
            return ("f32",)
        able = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return ("f32", "bf16") if "BF16" in able else ("f32",)

    def prepare(self, model: bytes, *, threads: int, precision: str = "f32") -> _Session:
        """See `engine.Engine.prepare`."""
        if self.version() is None:
            raise absence(_NAME, "tersor[openvino]")
        check_settings(self, threads, precision)
        config = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        }
        return _Session(model, config)


ENGINE = Openvino()
