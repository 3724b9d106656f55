"""What a tool has written: its bytes, its form, and the engines that run it.

A folder holds one network: `model.onnx`, `model.xml` with `model.bin` (OpenVINO) or
`model.pt2` (PyTorch); the untouched network's holds the first and the last. A `model.tsr`
stands for the `model.onnx` beside it, and is also opened as its user would.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import zstandard

import tersor
from benchmarks.remote import Remote, TorchServer
from tersor import engines
from tersor.engines.engine import Array, refusal
from tersor.errors import EngineError
from tersor.machine import default_threads
from tersor.measure import Contestant

Feeds = Mapping[str, Array]
_STORED = (("model.tsr",), ("model.onnx",), ("model.xml", "model.bin"), ("model.pt2",))


def stored(folder: Path) -> list[Path]:
    """The files that a user keeps of what a tool has written.

    Raises:
        FileNotFoundError: There is no network in the folder.
    """
    for names in _STORED:
        if all((folder / name).exists() for name in names):
            return [folder / name for name in names]
    raise FileNotFoundError(f"{folder} holds no network")


def size_bytes(folder: Path) -> int:
    """What these files take."""
    return sum(path.stat().st_size for path in stored(folder))


def packed_bytes(folder: Path) -> int:
    """The same if they were packed with zstd at its level 19."""
    packer = zstandard.ZstdCompressor(level=19)
    return sum(len(packer.compress(path.read_bytes())) for path in stored(folder))


def form(folder: Path) -> str:
    """Equal for networks that differ in numbers only: they take the same time."""
    path = stored(folder)[0]
    if (folder / "model.onnx").exists():
        text = _onnx_form(folder / "model.onnx")
    else:
        text = _ir_form(path) if path.suffix == ".xml" else path.read_bytes()
    return hashlib.sha256(text).hexdigest()


def _onnx_form(path: Path) -> bytes:
    """The graph without the numbers in its tensors."""
    import onnx

    graph = onnx.load(path).graph
    for tensor in graph.initializer:
        for field in ("raw_data", "float_data", "int32_data", "int64_data"):
            tensor.ClearField(field)
    text: bytes = graph.SerializeToString(deterministic=True)
    return text


def _ir_form(path: Path) -> bytes:
    """Layers by type, settings and shapes, without their names, and what leads where."""
    root = ElementTree.parse(path).getroot()  # noqa: S314 - a tool's output, not a user's
    parts = []
    for element in root.iter():
        facts = {k: v for k, v in element.attrib.items() if k not in {"name", "offset"}}
        if element.tag not in {"net", "rt_info", "attribute", "port"} and facts:
            parts.append((element.tag, sorted(facts.items())))
        elif element.tag == "dim":
            parts.append(("dim", [("size", element.text or "")]))
    return repr(parts).encode()


def contestant(folder: Path, engine: str, feeds: Feeds, server: TorchServer) -> Contestant:
    """A network on an engine, made ready for these feeds.

    Raises:
        EngineError: The engine does not take it.
    """
    session = _session(folder, engine, feeds, server)
    burst = session.burst if isinstance(session, Remote) else None
    session.run(feeds)
    return Contestant(f"{folder.name} on {engine}", session, feeds, burst)


def able(folder: Path) -> Iterator[str]:
    """The engines that may take what is in a folder.

    "openvino" and "onnxruntime" are Tersor's engines, "torch" is the compiler in its own
    process, "tersor.open" a `.tsr` file on the engine that it asks for.
    """
    has = {path.name for path in folder.iterdir()}
    if "model.onnx" in has or "model.xml" in has:
        yield "openvino"
    if "model.onnx" in has:
        yield "onnxruntime"
    if "model.pt2" in has:
        yield "torch"
    if "model.tsr" in has:
        yield "tersor.open"


def _session(folder: Path, engine: str, feeds: Feeds, server: TorchServer) -> Any:
    if engine == "torch":
        return Remote(server, folder / "model.pt2", feeds)
    if engine == "tersor.open":
        return tersor.open(folder / "model.tsr")
    if (folder / "model.xml").exists():
        return Ir(folder / "model.xml")
    model = (folder / "model.onnx").read_bytes()
    return engines.find(engine).prepare(model, threads=default_threads())


class Ir:
    """An OpenVINO model, run with the settings that Tersor's engine has for ONNX files."""

    def __init__(self, path: Path) -> None:
        import openvino

        self._core = openvino.Core()
        self._model = self._core.read_model(path)
        self._names = [port.get_any_name() for port in self._model.outputs]
        self._requests: dict[tuple[tuple[int, ...], ...], Any] = {}

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Compute all outputs; compiles for every new combination of shapes.

        Raises:
            EngineError: OpenVINO refused.
        """
        shapes = tuple(array.shape for array in feeds.values())
        try:
            if shapes not in self._requests:
                self._requests[shapes] = self._compile(feeds)
            request = self._requests[shapes]
            request.infer(dict(feeds), share_inputs=True, share_outputs=True)
            found = enumerate(self._names)
            return {name: request.get_output_tensor(i).data.copy() for i, name in found}
        except Exception as error:
            raise refusal("openvino", "refused the model", error) from error

    def _compile(self, feeds: Feeds) -> Any:
        config = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": default_threads(),
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        }
        self._model.reshape({name: list(array.shape) for name, array in feeds.items()})
        return self._core.compile_model(self._model, "CPU", config).create_infer_request()


def run_all(folder: Path, feeds: Feeds, size: int, server: TorchServer) -> Array:
    """The first output for all samples, on the first engine that takes the network.

    Args:
        folder: What a tool has written.
        feeds: All samples.
        size: How many run at once.
        server: Where PyTorch programs run.

    Raises:
        EngineError: None takes it; the last one's reason.
    """
    few = {name: array[:size] for name, array in feeds.items()}
    reason = EngineError("every", f"refuses {folder.name}", "See the tool's messages.")
    for engine in able(folder):
        try:
            session = contestant(folder, engine, few, server).session
            if engine == "torch":
                return next(iter(session.run(feeds).values()))
            count = len(next(iter(feeds.values())))
            found = [
                next(
                    iter(session.run({n: a[i : i + size] for n, a in feeds.items()}).values())
                )
                for i in range(0, count, size)
            ]
            return np.concatenate([part.copy() for part in found])
        except EngineError as error:
            reason = error
    raise reason
