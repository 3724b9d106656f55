"""What becomes of an output that cannot be compared."""

from types import SimpleNamespace

import numpy as np
from benchmarks import ptq
from benchmarks.running import Done
from benchmarks.scoring import Drop

from tersor.data.samples import Samples

SUBJECT = SimpleNamespace(
    outputs=("y",),
    metric="top1",
    samples=lambda _, __: Samples({"x": np.zeros((4, 2))}, np.zeros(4, int)),
    drop=lambda _, __, ___: Drop(0.0, 0.0, 0.0),
    score=lambda _, __: 100.0,
)


def test_outputs_that_are_no_numbers_are_a_row_with_the_reason(tmp_path, monkeypatch):
    values = {"original": 0.0, "fine": 1.0, "damaged": np.nan}
    monkeypatch.setattr(
        ptq.outputs, "run_all", lambda folder, *_: np.full((4, 2), values[folder.name])
    )
    monkeypatch.setattr(ptq.outputs, "size_bytes", lambda _: 10)
    monkeypatch.setattr(ptq.outputs, "packed_bytes", lambda _: 9)
    done = [Done("tool", name, tmp_path / name) for name in values]
    for one in done:
        one.folder.mkdir()
        one.note(seconds=1.0)
    ptq._score(done, SUBJECT, None, None)
    assert [one.why_not for one in done] == [None, None, "its outputs are not numbers"]
    assert done[1].facts["drop"]["value"] == 0.0
