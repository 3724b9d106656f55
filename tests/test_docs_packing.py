"""The text on packing runs, block by block, in an empty folder."""

import re
import shlex
from pathlib import Path

import numpy as np

from tersor.cli import main

TEXT = (Path(__file__).parents[1] / "docs" / "packing.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)


def test_every_block_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for kind, code in BLOCKS:
        if kind == "python":
            exec(compile(code, "packing.md", "exec"), names)  # noqa: S102
        for line in code.splitlines() if kind == "sh" else ():
            assert main(shlex.split(line)[1:]) == 0, line
    assert [kind for kind, _ in BLOCKS] == ["python", "sh", "python"]
    printed = capsys.readouterr().out
    assert "1225\n('fc.weight', 'steps') (400, 300)" in printed
    assert "fc.weight" in printed.split("Streams")[0]
    assert (tmp_path / "back.npz").read_bytes() == (tmp_path / "model.npz").read_bytes()
    assert np.array_equal(np.load("back.npz")["steps"], np.arange(50))
