"""The code in the README runs."""

import re
from pathlib import Path

import pytest
from benchmarks import records

TEXT = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)

pytestmark = pytest.mark.usefixtures("made_up_memory")


def test_there_is_code():
    assert BLOCKS


@pytest.mark.parametrize("code", BLOCKS)
def test_readme_code_runs(code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102
    assert "array(" in capsys.readouterr().out
    assert (tmp_path / "out" / "model.tsr").stat().st_size > 0


@pytest.mark.parametrize("page", records.pages(), ids=lambda page: page.name)
def test_tables_are_those_of_the_committed_results(page):
    text, tables = page.read_text(), records.pages()[page]
    assert records.with_tables(text, tables) == text
    assert all(f"<!-- {name} -->" in text for name in tables)
