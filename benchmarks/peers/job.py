"""One tool with one setting on one network: `python -m benchmarks.peers.job JOB.json`.

It runs in the environment of the tool. What it took is written to `done.json` in the target:

    seconds            from the model's file to the quantized one, imports not included
    import_seconds     for importing the tool
    import_bytes       peak memory after that
    peak_bytes         peak memory of the process at its end
    versions           of what matters in the tool's environment

A process may take half of the machine's memory; beyond that it fails.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]

KINDS = ("image", "text", "audio")
_PACKAGES = (
    *("nncf", "onnx", "onnxruntime", "onnx-neural-compressor", "openvino"),
    *("numpy", "torch", "torchao"),
)


@dataclass(frozen=True)
class Job:
    """What a tool is to do.

    Attributes:
        tool: Its name: the module is `by_<tool>`.
        setting: One of its settings.
        kind: "image", "text" or "audio".
        source: A folder with model.onnx, model.pt2, calibration.npz; see `Subject.write`.
        target: A folder for what the tool writes.
    """

    tool: str
    setting: str
    kind: str
    source: str
    target: str

    @property
    def model(self) -> Path:
        """The float network as ONNX."""
        return Path(self.source) / "model.onnx"

    def into(self, name: str) -> Path:
        """The path of a file to write."""
        return Path(self.target) / name

    @property
    def calibration_file(self) -> Path:
        """All samples to calibrate with, in an .npz file."""
        return Path(self.source) / "calibration.npz"

    def calibration(self) -> dict[str, Array]:
        """All samples to calibrate with, by input."""
        with np.load(self.calibration_file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def feeds(self, size: int = 1) -> Iterator[dict[str, Array]]:
        """The same, `size` at a time."""
        arrays = self.calibration()
        count = len(next(iter(arrays.values())))
        for start in range(0, count, size):
            yield {name: a[start : start + size] for name, a in arrays.items()}

    def save(self) -> Path:
        """Write the job into its target, for `main`."""
        path = self.into("job.json")
        path.write_text(json.dumps(asdict(self)))
        return path


def tool(name: str) -> Any:
    """The module of a tool."""
    return import_module(f"benchmarks.peers.by_{name}")


def main(path: str) -> None:
    """Do the job in a file."""
    from tersor.machine import peak_memory_bytes

    _bound_memory()
    job = Job(**json.loads(Path(path).read_text()))
    start = time.monotonic()
    tool(job.tool).load()
    loaded = time.monotonic()
    import_bytes = peak_memory_bytes()
    tool(job.tool).quantize(job)
    done = {
        "seconds": time.monotonic() - loaded,
        "import_seconds": loaded - start,
        "import_bytes": import_bytes,
        "peak_bytes": peak_memory_bytes(),
        "versions": _versions(),
    }
    job.into("done.json").write_text(json.dumps(done))


def _bound_memory() -> None:
    import resource

    import psutil

    half = psutil.virtual_memory().total // 2
    resource.setrlimit(resource.RLIMIT_DATA, (half, half))


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main(sys.argv[1])
