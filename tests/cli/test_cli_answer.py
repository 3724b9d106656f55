"""Progress: drawn on stderr for people only."""

import sys

import pytest

from tersor.cli.answer import progress


def work(error=None):
    with progress() as advance:
        advance("read", 0.0)
        advance("read", 0.5)
        advance("race", 7.0)
        if error is not None:
            raise error


def test_nothing_is_drawn_where_nobody_looks(capsys):
    work()
    assert capsys.readouterr() == ("", "")


def test_phases_are_drawn_on_a_terminal_and_vanish(capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    work()
    out, err = capsys.readouterr()
    last = err.rpartition("read")[2]
    assert out == ""
    assert "100 %" in last.partition("race")[0]  # a phase is done when the next begins
    assert "100 %" in last.partition("race")[2]  # and never more than that
    assert err.endswith("\x1b[2K")  # the last thing is to clear the line


def test_the_cursor_is_back_after_a_failure(capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with pytest.raises(KeyboardInterrupt):
        work(KeyboardInterrupt())
    shown = capsys.readouterr().err
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
