"""Virtual environments of the other tools, each with its own packages: `.venv-bench/<tool>`.

What goes into each is the group `bench-<tool>` of `pyproject.toml`, within `constraints.txt`.
Tersor itself is not installed there. `python -m benchmarks.environments [TOOL ...]` makes
those that are missing or out of date.
"""

import argparse
import subprocess
import tomllib
import venv
from pathlib import Path

from benchmarks.records import ROOT

PEERS = ("nncf", "onnxruntime", "inc", "torchao")
CODERS = ("nncodec",)
CUTTERS = ("torch_pruning",)
_FOLDER = ROOT / ".venv-bench"
_CONSTRAINTS = ROOT / "constraints.txt"


def packages(peer: str) -> list[str]:
    """What is to be installed for a tool."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    return [str(package) for package in groups[f"bench-{peer}"]]


def python(peer: str) -> Path:
    """The interpreter of a tool's environment; see `make` for whether it is there."""
    return _FOLDER / peer / "bin" / "python"


def make(peer: str) -> None:
    """Install what a tool needs, unless just that is installed already.

    Raises:
        subprocess.CalledProcessError: It cannot be installed; the installer has said why.
    """
    wanted = "\n".join([*packages(peer), _CONSTRAINTS.read_text()])
    stamp = _FOLDER / peer / ".installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    venv.create(_FOLDER / peer, with_pip=True, clear=True)
    pip = [str(python(peer)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    constraints = ["--constraint", str(_CONSTRAINTS)]
    subprocess.run([*pip, *constraints, *packages(peer)], check=True)  # noqa: S603 - our list
    stamp.write_text(wanted)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tools", nargs="*", metavar="TOOL")
    for tool in parser.parse_args().tools or PEERS + CODERS + CUTTERS:
        print(tool, flush=True)
        make(tool)
