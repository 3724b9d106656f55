"""Sessions of programs that run in the process of `peers.torch_server`."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import environments
from benchmarks.records import ROOT
from benchmarks.running import last_words
from tersor.errors import EngineError

Array = NDArray[np.generic]


class TorchServer:
    """A process that runs exported PyTorch programs; started when it is first asked."""

    def __init__(self, threads: int, python: Path | None = None) -> None:
        self._threads, self._python = threads, python or environments.python("torchao")
        self._process: subprocess.Popen[str] | None = None
        self._opened: dict[tuple[object, ...], int] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="tersor-")
        self._log = Path(self._folder.name) / "log.txt"

    def __enter__(self) -> "TorchServer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()
        self._folder.cleanup()

    def ask(self, **question: object) -> dict[str, Any]:
        """The answer to one question.

        Raises:
            EngineError: The process refused, or is gone.
        """
        if self._process is None:
            self._process = self._start()
        try:
            _pipe(self._process.stdin).write(json.dumps(question) + "\n")
            _pipe(self._process.stdin).flush()
            line = _pipe(self._process.stdout).readline()
        except OSError:
            line = ""
        if not line:
            problem = f"ended without an answer: {last_words(self._log)[:300]}"
            raise EngineError("torch", problem, "Is there enough memory?")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise EngineError(
                "torch", f"refused: {answer['error']}", "Does it run in PyTorch?"
            )
        return answer

    def open(self, model: Path, feeds: Mapping[str, Array]) -> int:
        """The number of a program compiled for feeds of these shapes; compiled just once."""
        key = (model, *(array.shape for array in feeds.values()))
        if key not in self._opened:
            answer = self.ask(do="open", model=str(model), feeds=str(self.put(feeds)))
            self._opened[key] = int(answer["id"])
        return self._opened[key]

    def put(self, arrays: Mapping[str, Array]) -> Path:
        """A file with these arrays."""
        handle, path = tempfile.mkstemp(suffix=".npz", dir=self._folder.name)
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        return Path(path)

    def _start(self) -> "subprocess.Popen[str]":
        if not self._python.exists():
            problem = "has no environment"
            raise EngineError("torch", problem, "Run `python -m benchmarks.environments`.")
        with self._log.open("w") as log:
            return subprocess.Popen(  # noqa: S603 - our own script
                [self._python, "-m", "benchmarks.peers.torch_server", str(self._threads)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


class Remote:
    """A program compiled for one shape of feeds, there."""

    def __init__(self, server: TorchServer, model: Path, feeds: Mapping[str, Array]) -> None:
        self._server = server
        self._id = server.open(model, feeds)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by their place, for any number of samples."""
        to = self._server.put({})
        asked = self._server.put(feeds)
        self._server.ask(do="outputs", id=self._id, feeds=str(asked), to=str(to))
        with np.load(to, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        asked.unlink()
        to.unlink()
        return found

    def burst(self, runs: int) -> list[float]:
        """See `tersor.measure.Contestant`."""
        times: list[float] = self._server.ask(do="burst", id=self._id, runs=runs)["ms"]
        return times
