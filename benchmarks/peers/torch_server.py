"""Runs exported PyTorch programs through the compiler, on demand, in torchao's environment.

`python -m benchmarks.peers.torch_server THREADS` reads one JSON object per line and answers
each with one; "error" in an answer says what went wrong. Arrays go through .npz files.

Programs are compiled as torchao's documentation says, with frozen weights. (Its option of a
C++ wrapper saves some of Python's time for a call, and takes minutes of compiling each.)

    {"do": "open", "model": PATH.pt2, "feeds": PATH.npz}      compiles for just these shapes
    {"do": "burst", "id": N, "runs": N}                       times of that many runs, in ms
    {"do": "outputs", "id": N, "feeds": PATH, "to": PATH}     all samples, a batch at a time
"""

import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tersor.machine import let_pools_rest
from tersor.measure import burst

Array = NDArray[np.generic]
Answer = dict[str, Any]


@dataclass(frozen=True)
class Program:
    """A program compiled for the shapes of its feeds."""

    compiled: Callable[..., Any]
    feeds: dict[str, Array]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by their place."""
        import torch

        with torch.no_grad():
            found = self.compiled(**{n: torch.from_numpy(a) for n, a in feeds.items()})
        found = found if isinstance(found, tuple | list) else [found]
        return {str(i): tensor.numpy() for i, tensor in enumerate(found)}


class Server:
    """The programs that were opened, by number."""

    def __init__(self) -> None:
        self.programs: list[Program] = []

    def open(self, model: str, feeds: str) -> Answer:
        """Compile a program, and run it once."""
        import torch
        import torchao.quantization.pt2e.quantize_pt2e  # noqa: F401 - its operators

        arrays = _read(feeds)
        module = torch.export.load(model).module()
        program = Program(torch.compile(module, dynamic=False), arrays)
        program.run(arrays)
        self.programs.append(program)
        return {"id": len(self.programs) - 1}

    def burst(self, id: int, runs: int) -> Answer:
        """See `tersor.measure.burst`; the pools are at rest afterwards."""
        program = self.programs[id]
        times = burst(program, program.feeds, runs)
        let_pools_rest()
        return {"ms": times}

    def outputs(self, id: int, feeds: str, to: str) -> Answer:
        """Run all samples, in batches of the size that the program is compiled for."""
        program, arrays = self.programs[id], _read(feeds)
        size = len(next(iter(program.feeds.values())))
        count = len(next(iter(arrays.values())))
        rows = np.arange(-(-count // size) * size).reshape(-1, size) % count
        found = [program.run({n: a[part] for n, a in arrays.items()}) for part in rows]
        joined = {n: np.concatenate([f[n] for f in found])[:count] for n in found[0]}
        np.savez(to, **joined)  # type: ignore[arg-type]
        return {}


def _read(path: str) -> dict[str, Array]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def main(threads: int) -> None:
    """Answer until there are no more lines."""
    import torch
    from torch._inductor import config

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not come between the answers
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    config.freezing, config.compile_threads = True, 1
    server = Server()
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = getattr(server, asked.pop("do"))(**asked)
        except Exception as error:  # noqa: BLE001 - told to whoever asked
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
