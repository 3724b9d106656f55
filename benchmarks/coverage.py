"""Which networks can be cut? Tersor and Torch-Pruning on the same list.

`python -m benchmarks.coverage` cuts a random half of every group of channels out of every
network of `tests/architectures`, with Tersor and, in an environment of its own, with
Torch-Pruning. A network counts as cut if it runs, with outputs of the same shape, and has at
least 30 % fewer parameters. Its outputs are compared with those of the untouched network with
0 in place of what was cut: whoever has cut other channels than those that belong together
gives other outputs, or none.

Of Torch-Pruning's settings the best counts; `peers/torch_pruning_presets.py` has what was
written for it by hand. One line per network and tool goes to results/coverage.jsonl.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks import coverage_table, environments, records
from benchmarks.records import ROOT, Row
from tersor import machine
from tersor.errors import EngineError

NAME = "coverage"
COMMAND = "python -m benchmarks.coverage"
PEER = "torch_pruning"
TESTS = ROOT / "tests"
_CLOCKED = ("capture_seconds", "analysis_seconds", "cut_seconds")
_LEAST_CUT = 0.3
_TOLERANCE = 1e-4  # of the largest output


def main() -> None:
    """Cut all networks, or those that are asked for."""
    sys.path.insert(0, str(TESTS))
    from architectures import ARCHITECTURES

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=ARCHITECTURES)
    names = parser.parse_args().networks or list(ARCHITECTURES)
    rows = [by_tersor(name) for name in names] + best(by_torch_pruning(names))
    about = {"machine": machine.describe(), "command": COMMAND}
    records.replace(NAME, [{**row, **about} for row in rows], by=("network", "tool"))
    print(coverage_table.coverage())
    print(coverage_table.scores())


def by_tersor(name: str) -> Row:
    """Cut one network with Tersor."""
    from tests.network.cutting import outputs, random_part, wanted

    import tersor
    from architectures import ARCHITECTURES
    from tersor.network.channels import channels
    from tersor.network.surgery import cut

    module, inputs = ARCHITECTURES[name]()
    clock = [time.process_time()]
    network = tersor.capture(module, inputs)
    clock.append(time.process_time())
    found = channels(network)
    clock.append(time.process_time())
    keep = random_part(found)
    small = cut(network, keep, found)
    clock.append(time.process_time())
    left = _parameters(small.module) / _parameters(network.module)
    pairs = zip(outputs(small, inputs), wanted(network, inputs, found, keep), strict=True)
    enough = left <= 1 - _LEAST_CUT
    seconds = np.diff(clock).tolist()
    return {
        "network": name,
        "tool": "tersor",
        "setting": "",
        "by_hand": "",
        "why_not": None if enough else f"{100 * left:.0f} % of the parameters are left",
        "left": left,
        "equal": all(_alike(a, b) for a, b in pairs),
        **dict(zip(_CLOCKED, seconds, strict=True)),
        "versions": {"tersor": tersor.__version__},
    }


def _parameters(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _alike(value: Any, like: Any) -> bool:
    return bool(
        value.shape == like.shape
        and np.abs(value - like).max() <= _TOLERANCE * np.abs(like).max()
    )


def by_torch_pruning(names: Sequence[str]) -> list[Row]:
    """Cut networks with Torch-Pruning: a row for each network and setting.

    Raises:
        EngineError: Its environment is missing, or its process ended too early.
    """
    python = environments.python(PEER)
    if not python.exists():
        remedy = f"Run `python -m benchmarks.environments {PEER}`."
        raise EngineError(PEER, "has no environment", remedy)
    done = subprocess.run(  # noqa: S603 - our own script
        [str(python), "-m", "benchmarks.peers.by_torch_pruning", *names],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{TESTS}"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        problem = f"ended with code {done.returncode}"
        raise EngineError(PEER, problem, f"Try {shlex.join(done.args)}.")
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [{**row, "tool": PEER} for row in rows]


def best(rows: Iterable[Row]) -> list[Row]:
    """Of each network's settings the one that did most."""
    found: dict[str, Row] = {}
    for row in rows:
        known = found.setdefault(row["network"], row)
        if _merit(row) > _merit(known):
            found[row["network"]] = row
    return list(found.values())


def _merit(row: Row) -> tuple[bool, bool, float]:
    """Does it run, is it right, how much is gone."""
    return row["why_not"] is None, bool(row["equal"]), -(row["left"] or 1.0)


if __name__ == "__main__":
    main()
