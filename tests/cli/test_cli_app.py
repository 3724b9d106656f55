"""The program as a whole: help, errors, exit codes, what goes where."""

import json
import os
import signal
import subprocess
import sys
import time

import click
import pytest

from tersor import cli
from tersor.cli import app
from tersor.cli.answer import Answer, say
from tersor.cli.options import command
from tersor.errors import VerifyError

COMMANDS = (
    *("inspect", "compress", "evaluate", "run", "bench", "pack", "unpack", "export"),
    *("methods", "info", "demo"),
)
PROGRAM = [sys.executable, "-m", "tersor.cli"]


def start(*words, code="", **settings):
    """The program in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    program = [sys.executable, "-c", code] if code else [*PROGRAM, *words]
    return subprocess.Popen(
        program,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, **settings},
    )


@pytest.fixture
def made(monkeypatch):
    """A function that adds a command called "own" which does what it is told."""

    def add(action):
        monkeypatch.setitem(
            app.tersor.commands, "own", command("tersor own")(lambda: action())
        )

    return add


def raises(error):
    def action():
        raise error

    return action


def test_help_names_all_commands_in_order(tersor):
    shown = tersor("--help")
    listed = [
        line.split()[0] for line in shown.out.partition("Commands:")[2].splitlines()[1:12]
    ]
    assert tuple(listed) == COMMANDS
    assert (shown.code, shown.err, tersor().out) == (0, "", shown.out)
    assert " tersor inspect model.onnx                 what is in a model\n" in shown.out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_has_an_example_that_it_understands(tersor, name):
    shown = tersor(name, "--help")
    example = shown.out.partition("Example:\n")[2].strip()
    words = example.split()
    assert shown.code == 0
    assert max(map(len, shown.out.splitlines())) <= 80
    assert words[:2] == ["tersor", name]
    with app.tersor.get_command(None, name).make_context(name, words[2:]) as ctx:
        assert "json" not in ctx.params


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained_and_has_room_for_its_name(name):
    options = [
        p for p in app.tersor.get_command(None, name).params if isinstance(p, click.Option)
    ]
    assert [option.name for option in options if not option.help] == []
    assert "json" in [option.name for option in options]


def test_version_is_that_of_the_package(tersor):
    from importlib.metadata import version

    assert tersor("--version").out == f"tersor {version('tersor')}\n"


def test_help_is_there_at_once_and_loads_nothing_heavy():
    code = (
        "import sys; from tersor.cli import main; main(['--help']);"
        "heavy = {'torch', 'numpy', 'onnx', 'onnxruntime', 'openvino', 'scipy', 'rich'};"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    out, err = start(code=code).communicate()
    assert out.startswith("Usage: ")
    assert err == "[]\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["frobnicate"], "No such command 'frobnicate'. Try: tersor --help"),
        (["inspect"], "Missing argument 'MODEL'. Try: tersor inspect --help"),
        (
            ["inspect", "m.onnx", "--fast"],
            "No such option '--fast'. Try: tersor inspect --help",
        ),
        (["bench", "m.onnx", "--batch", "0"], "Invalid value for '--batch': 0 is not in"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_usage_is_code_2(refused, words, message):
    assert message in refused(*words, code=2)


def test_an_answer_is_shown_or_written_as_one_document(made, tersor):
    made(
        lambda: Answer(
            {"a": [1.5, float("nan")]}, lambda c: c.print("[b]shown[/b] :smile:"), 3
        )
    )
    assert (tersor("own").out, tersor("own").code) == ("shown :smile:\n", 3)
    written = tersor("own", "--json")
    assert (written.document, written.code) == ({"a": [1.5, None]}, 3)


def test_with_json_what_others_print_goes_to_stderr(made, tersor):
    def talkative():
        print("hello")  # noqa: T201
        return Answer({}, lambda _: None)

    made(talkative)
    called = tersor("own", "--json")
    assert (called.document, called.err) == ({}, "hello\n")


def test_an_error_of_ours_is_one_line_and_its_own_code(made, refused):
    made(raises(VerifyError("Output 'y'", got=2.0, allowed=1.0, remedy="Compress less.")))
    text = "Error: Output 'y' is 2, allowed 1. Compress less.\n"
    assert refused("own", code=1) == text


def test_what_a_file_says_cannot_act_on_the_terminal(made, tersor):
    made(raises(VerifyError("Output 'a\x1b[2J\nb'", got=2.0, allowed=1.0, remedy="x.")))
    assert tersor("own").err == "Error: Output 'a?[2J b' is 2, allowed 1. x.\n"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left on device"), "No space left on device."),
        (OSError(13, "Permission denied", "f"), "f: Permission denied."),
        (MemoryError(), "There is not enough memory."),
    ],
    ids=["full", "file", "memory"],
)
def test_errors_of_the_system_are_no_bugs(made, refused, error, message):
    made(raises(error))
    assert message in refused("own", code=1)


def test_an_unexpected_error_is_called_a_bug(made, tersor, monkeypatch):
    made(raises(KeyError("lost")))
    monkeypatch.delenv("TERSOR_TRACEBACK", raising=False)
    called = tersor("own")
    assert (called.code, called.out) == (1, "")
    assert called.err == (
        "Error: This is a bug in Tersor: KeyError: 'lost'. "
        "Set TERSOR_TRACEBACK=1 to see where, and report it.\n"
    )
    assert tersor("own", "--json").document["error"]["type"] == "KeyError"
    monkeypatch.setenv("TERSOR_TRACEBACK", "1")
    traced = tersor("own")
    assert traced.err.startswith("Traceback (most recent call last)")
    assert traced.err.endswith(called.err)


def test_ctrl_c_is_code_130_and_one_line(made, tersor, monkeypatch):
    made(raises(KeyboardInterrupt()))
    assert (tersor("own").code, tersor("own").err) == (130, "Stopped.\n")
    assert tersor("own", "--json").document["error"]["message"] == "Stopped."
    monkeypatch.setattr(app, "run", lambda _: raises(KeyboardInterrupt())())
    assert cli.main([]) == 130


def test_characters_that_a_terminal_lacks_do_not_stop_it():
    code = (
        "from tersor.cli.answer import write; import sys;"
        "write(sys.stdout, 'gr\\u00f6\\u00dfe \\u25b6')"
    )
    out, _ = start(code=code, PYTHONIOENCODING="ascii").communicate()
    assert out == "gr??e ?"


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_closed_stream_is_no_error(closed):
    code = f"import sys; from tersor.cli import main; sys.{closed} = None;"
    code += "sys.exit(main(['methods', 'nothing', '--json']) - 2 or main(['info', '--json']))"
    process = start(code=code)
    out, err = process.communicate()
    assert process.returncode == 0
    assert ("Traceback" in err, "bug" in out + err) == (False, False)


def test_nobody_reading_the_output_is_no_error():
    code = (
        "import sys; from tersor.cli import main; sys.stdin.read();"
        "sys.exit(main(['methods', '--help']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    process.stdout.close()
    process.stdin.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == app.UNREAD


@pytest.mark.usefixtures("folder")
def test_a_failure_in_a_process_of_its_own():
    process = start("run", "missing.onnx", "--input", "in.npz", "--output", "o.npz", "--json")
    out, err = process.communicate()
    assert process.returncode == 1
    assert err == "Error: missing.onnx is not a file. Check the path.\n"
    assert json.loads(out)["error"]["type"] == "FileError"


def test_ctrl_c_leaves_no_half_written_file(folder):
    code = (
        "import sys, time; from tersor.cli import main, arrays;\n"
        "def slow(file, *rest, **more):\n"
        "    file.write(b'half'); print('writing', flush=True); time.sleep(30)\n"
        "arrays.np.lib.format.write_array = slow\n"
        "sys.exit(main(['run', 'net.tsr', '--input', 'in.npz', '--output', 'o.npz']))"
    )
    process = start(code="from tersor.cli import arrays;" + code)
    assert process.stdout.readline() == "writing\n"
    before = sorted(p.name for p in folder.iterdir() if p.suffix == ".tmp")
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (130, "", "Stopped.\n")
    assert time.monotonic() - started < 20
    assert len(before) == 1
    assert sorted(p.name for p in folder.iterdir()) == ["in.npz", "net.onnx", "net.tsr"]


def test_a_line_is_not_folded_and_cannot_act_on_the_terminal(made, tersor, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    made(lambda: Answer({}, lambda console: say(console, "[b]a:smile:\x1b[2J " + 50 * "x")))
    assert tersor("own").out == "[b]a:smile:?[2J " + 50 * "x" + "\n"
