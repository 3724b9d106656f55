"""Saves that end badly, again and again: `python crashes.py WHAT FOLDER SEED COUNT`.

Processes are forked from this one, which has imported everything and started no thread.

kill    each child saves two models in turns and is killed at a random moment
full    each child may write no file longer than a random number of bytes
mix     one child saves two models in turns, two others read all the while

Ends with code 1 and a line if the file was ever anything but one of the two models; else tells
what happened, as JSON.
"""

import json
import os
import random
import resource
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from onnx import helper, numpy_helper

from tersor.errors import FileError
from tersor.store.model import load_model, save_model

_LONGEST_S = 0.03  # a save takes about half of that


def model(seed: int) -> bytes:
    """A model of some 200 kB, in tensors of several blocks."""
    rng = np.random.default_rng(seed)
    arrays = [rng.integers(-9, 9, (4 + seed, 20_000), np.int8) for _ in range(2)]
    tensors = [numpy_helper.from_array(a, f"w{i}") for i, a in enumerate(arrays)]
    graph = helper.make_graph([], "network", [], [], tensors)
    return bytes(helper.make_model(graph).SerializeToString())


MODELS = [model(0), model(1)]


def is_whole(path: Path) -> bool:
    """Whether the file is one of the two models."""
    return load_model(path)[0] in MODELS


def fork(work) -> int:
    """Start a child that does the work and ends with what it returns."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    return child


def code_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def save_on(path: Path, first: int, count: int = 10**9) -> int:
    for turn in range(count):
        save_model(path, MODELS[(first + turn) % 2], {})
    return 0


def kill(path: Path, rng: random.Random, count: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for turn in range(count):
        child = fork(lambda first=turn: save_on(path, first))
        time.sleep(rng.uniform(0, _LONGEST_S))
        os.kill(child, signal.SIGKILL)
        code_of(child)
        if not is_whole(path):
            sys.exit("torn")
        torn = list(path.parent.glob(".*.tmp"))
        found["in a save"] += bool(torn)
        for file in torn:
            file.unlink()
    return found


def save_limited(path: Path, limit: int) -> int:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        save_model(path, MODELS[1], {})
    except FileError as error:
        return 0 if "cannot be written" in str(error) else 2
    return 3


def full(path: Path, rng: random.Random, count: int) -> Counter[str]:
    size = path.stat().st_size
    found: Counter[str] = Counter()
    for _ in range(count):
        limit = rng.randrange(size)
        code = code_of(fork(lambda limit=limit: save_limited(path, limit)))
        if code or load_model(path)[0] != MODELS[0] or list(path.parent.glob(".*.tmp")):
            sys.exit(f"code {code} at {limit} bytes")
        found["refused"] += 1
    return found


def read_on(path: Path, end: Path) -> int:
    """Read until the file `end` is there: 1 if anything was neither of the two models."""
    while not end.exists():
        if not is_whole(path):
            return 1
    return 0


def mix(path: Path, rng: random.Random, count: int) -> Counter[str]:
    end = path.with_suffix(".end")
    readers = [fork(lambda: read_on(path, end)) for _ in range(2)]
    saved = code_of(fork(lambda: save_on(path, rng.randrange(2), count)))
    end.touch()
    codes = [code_of(reader) for reader in readers]
    if saved or any(codes):
        sys.exit(f"the saver ended with {saved}, the readers with {codes}")
    return Counter({"replaced": count})


def main() -> None:
    what, folder, seed, count = sys.argv[1:]
    path = Path(folder) / "m.tsr"
    save_model(path, MODELS[0], {})
    rng = random.Random(int(seed))  # noqa: S311 - which moments is no secret
    found = {"kill": kill, "full": full, "mix": mix}[what](path, rng, int(count))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
