"""Having a tool do its work in its own process, and what is known of it afterwards."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import environments
from benchmarks.peers.job import Job
from benchmarks.records import ROOT
from benchmarks.subject import Subject
from tersor.machine import Others, default_threads

_CALM = 0.05  # share of the cores that others may take
_WAIT_S = 20.0  # longest wait for them to take less


@dataclass(frozen=True)
class Done:
    """What a tool did with one setting, in a folder that outlives the process.

    Attributes:
        tool: Its name; "float" for the untouched network.
        setting: One of its settings.
        folder: Where its files are, and `facts.json`.
    """

    tool: str
    setting: str
    folder: Path

    @property
    def facts(self) -> dict[str, Any]:
        """What is known; nothing before it has run."""
        path = self.folder / "facts.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    @property
    def is_finished(self) -> bool:
        """Whether it has run and given a network; what failed may be tried again."""
        return bool(self.facts) and self.why_not is None

    @property
    def why_not(self) -> str | None:
        """Why there is no network; None if there is one."""
        reason: str | None = self.facts.get("why_not")
        return reason

    def note(self, **facts: object) -> None:
        """Keep some more facts."""
        path = self.folder / "facts.json"
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({**self.facts, **facts}))
        fresh.replace(path)

    def fail(self, reason: str) -> None:
        """Keep that there is no network."""
        self.note(why_not=reason[:300])


def run(job: Job, patience_s: float) -> None:
    """Do a job in a process of its own; its facts are in the target afterwards.

    Args:
        job: What to do.
        patience_s: After so many seconds it is stopped.
    """
    done = Done(job.tool, job.setting, Path(job.target))
    python = Path(sys.executable) if job.tool == "tersor" else environments.python(job.tool)
    if not python.exists():
        done.fail("has no environment: run `python -m benchmarks.environments`")
        return
    command = [str(python), "-m", "benchmarks.peers.job", str(job.save())]
    threads = str(default_threads())
    paths = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    wait_for_calm()
    others = Others()
    with job.into("log.txt").open("w") as log:
        try:
            code = subprocess.run(  # noqa: S603 - our own script
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": threads},
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=patience_s,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            done.fail(f"took longer than {patience_s:g} s")
            return
    others_share = others.share()
    if code or not job.into("done.json").exists():
        done.fail(f"ended with code {code}: {last_words(job.into('log.txt'))}")
        return
    done.note(**json.loads(job.into("done.json").read_text()), quiet=others_share <= _CALM)


def last_words(log: Path) -> str:
    """What a process said last: its last error, or else its last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    said = [line for line in lines if line] or ["it said nothing"]
    errors = [line for line in said if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return (errors or said)[-1]


def wait_for_calm() -> None:
    """Wait until other processes leave the cores alone, for a bounded time."""
    deadline = time.monotonic() + _WAIT_S
    others = Others()
    while time.monotonic() < deadline:
        others.start()
        time.sleep(others.window_s)
        if others.share() <= _CALM:
            return


def export(subject: Subject, path: Path) -> None:
    """Write the float network as torch.export does it, the first axis of all inputs free."""
    import torch

    module, example = subject.build()
    axis = {0: torch.export.Dim("batch")}
    program = torch.export.export(
        module, (), kwargs=example, dynamic_shapes=dict.fromkeys(example, axis)
    )
    torch.export.save(program, path)
