"""A short run of the fuzzer, always the same; `make fuzz` is the long one, ever new."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fuzz.__main__ import main
from tests.fuzz.mutate import damaged
from tests.fuzz.readers import FORMATS, Format
from tests.fuzz.trial import Outcome, attempt, smaller

from tersor.errors import FormatError

COUNTS = dict.fromkeys(FORMATS, 60) | {"onnx": 25, "pt2": 4, "packed pt": 25, "packed pt2": 10}
COUNTS |= dict.fromkeys(("wav", "audio", "tsv", "csv", "jsonl", "text", "words"), 30)


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_read_or_refused(tmp_path, name):
    reader = FORMATS[name]()
    kinds = set()
    for example in reader.examples:
        attempt(reader, example, tmp_path)  # the first time takes longer: parts of torch
        assert attempt(reader, example, tmp_path) == Outcome("read")
    for seed in range(COUNTS[name]):
        rng = np.random.default_rng(seed)
        data = damaged(reader.examples[seed % len(reader.examples)], rng, text=reader.text)
        outcome = attempt(reader, data, tmp_path)
        assert not outcome.is_finding, f"seed {seed}: {outcome}"
        kinds.add(outcome.kind)
    assert "refused" in kinds


@pytest.mark.parametrize("name", ["onnx", "tsr", "npz", "safetensors", "recipe", "preprocess"])
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_bytes_are_read_or_refused(tmp_path, name, data):
    """Also after the first bytes of a good file, which open more doors."""
    if name not in MADE:
        MADE[name] = FORMATS[name]()
        attempt(MADE[name], MADE[name].examples[0], tmp_path)
    reader = MADE[name]
    start = data.draw(st.sampled_from([0, 4, 20, 60]))
    content = reader.examples[0][:start] + data.draw(st.binary(max_size=200))
    outcome = attempt(reader, content, tmp_path)
    assert not outcome.is_finding, outcome


MADE: dict[str, Format] = {}


def crashing(path):
    data = path.read_bytes()
    if b"boom" in data:
        raise KeyError("boom")
    if b"bad" in data:
        raise FormatError("it is bad", offset=0)


def test_the_trial_tells_findings_from_refusals(tmp_path):
    reader = Format("a.bin", (b"x",), crashing)
    assert attempt(reader, b"good", tmp_path) == Outcome("read")
    assert attempt(reader, b"bad", tmp_path) == Outcome("refused")
    found = attempt(reader, b"boom", tmp_path)
    assert (found.kind, found.is_finding) == ("KeyError", True)
    assert found.detail == "test_fuzz_short.py:crashing: 'boom'"


def test_what_hangs_or_swells_is_a_finding(tmp_path, monkeypatch):
    def wait(_):
        while True:
            pass

    monkeypatch.setattr("tests.fuzz.trial.HANGS_SECONDS", 1)
    assert attempt(Format("a", (b"",), wait), b"", tmp_path).kind == "HangError"
    monkeypatch.setattr("tests.fuzz.trial.MOST_SECONDS", -1.0)
    assert attempt(Format("a", (b"",), len_of), b"", tmp_path).kind == "slow"
    monkeypatch.setattr("tests.fuzz.trial.MOST_SECONDS", 60.0)
    monkeypatch.setattr("tests.fuzz.trial.MOST_BYTES", 50_000_000)
    assert attempt(Format("a", (b"",), swell), b"", tmp_path).kind == "large"


def swell(_):
    return bytearray(10**8)


def len_of(path):
    return len(path.read_bytes())


def test_a_finding_is_shortened_to_its_core(tmp_path):
    reader = Format("a.bin", (b"x",), crashing)
    assert smaller(reader, b"a" * 300 + b"boom" + b"z" * 500, tmp_path) == b"boom"


def test_the_program_prints_seeds_and_saves_findings(tmp_path, monkeypatch, capsys):
    one = Format("a.bin", (b"-boom-",), crashing)
    monkeypatch.setitem(FORMATS, "recipe", lambda: one)
    monkeypatch.setattr("tests.fuzz.__main__.damaged", lambda data, *_, **__: data)
    words = ["--only", "recipe", "--count", "3", "--seed", "7", "--folder", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["fuzz", *words])
    assert main() == 1
    said = capsys.readouterr().out
    assert "seed 7" in said
    assert "recipe: {'KeyError': 3}" in said
    assert (tmp_path / "recipe-7.bin").read_bytes() == b"boom"
