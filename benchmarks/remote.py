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
from tersor.errors import EngineError

Array = NDArray[np.generic]


class TorchServer:
    """A process that runs exported PyTorch programs; started when it is first asked."""

    def __init__(self, threads: int, python: Path | None = None) -> None:
        self._threads, self._python = threads, python or environments.python("torchao")
        self._process: subprocess.Popen[str] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="tersor-")

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
            raise EngineError("torch", "ended without an answer", "See its messages above.")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise EngineError("torch", str(answer["error"]), "Only its own outputs run there.")
        return answer

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
        return subprocess.Popen(  # noqa: S603 - our own script
            [self._python, "-m", "benchmarks.peers.torch_server", str(self._threads)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


class Remote:
    """A program compiled for one shape of feeds, there."""

    def __init__(self, server: TorchServer, model: Path, feeds: Mapping[str, Array]) -> None:
        self._server = server
        answer = server.ask(do="open", model=str(model), feeds=str(server.put(feeds)))
        self._id = int(answer["id"])

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
