"""The program: its commands, and what becomes of errors.

Whatever goes wrong ends in one line on stderr and an exit code, never in a traceback; that is
shown only if the environment variable TERSOR_TRACEBACK is 1.
"""

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout

import click

from tersor.cli import STOPPED
from tersor.cli.about import info, inspect, methods
from tersor.cli.answer import Answer, deliver, write, write_json
from tersor.cli.compressing import compress, demo
from tersor.cli.files import export, pack, unpack
from tersor.cli.running import bench, evaluate
from tersor.cli.running import run as run_command
from tersor.errors import TersorError
from tersor.report.plain import plain

FAILED = 1
UNREAD = 141  # as a shell reports a program that was stopped by SIGPIPE
_LONGEST = 2000  # characters of an error


_HELP = """Make a trained network small and fast on CPUs, and get proof that it still works.

\b
First steps:
  tersor demo                               see it work, without data of your own
  tersor inspect model.onnx                 what is in a model
  tersor compress model.onnx --data d.npz   make it smaller and faster
"""
_EPILOG = (
    "MODEL is an .onnx, .pt2 or .tsr file, or package.module:callable that returns a "
    "torch module and its example inputs. Exit codes: 0 done, 1 failed, 2 bad usage, "
    "3 budget missed (results are written)."
)


class _InOrder(click.Group):
    """A group that lists its commands in the order in which a user meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=_InOrder,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help=_HELP,
    epilog=_EPILOG,
)
@click.option("--version", is_flag=True, is_eager=True, help="Show the version and exit.")
@click.pass_context
def tersor(ctx: click.Context, *, version: bool) -> None:
    """Show the version or the help, where no command is given."""
    if version:
        from importlib import metadata

        click.echo(f"tersor {metadata.version('tersor')}")
        ctx.exit()
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


_COMMANDS = (
    *(inspect, compress, evaluate, run_command, bench),
    *(pack, unpack, export, methods, info, demo),
)
for _command in _COMMANDS:
    tersor.add_command(_command)


def run(args: Sequence[str]) -> int:
    """Run one command and return its exit code; see `tersor.cli.main`.

    Args:
        args: The words after `tersor`.
    """
    as_json = "--json" in args
    try:
        with warnings.catch_warnings():
            if not (sys.warnoptions or _wants_traceback()):
                warnings.simplefilter("ignore")
            return _answered(list(args), as_json=as_json)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the last flush
        return UNREAD
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - nobody gets a traceback
        return _failed(error, as_json=as_json)


def _answered(args: list[str], *, as_json: bool) -> int:
    """Run a command and deliver its answer."""
    elsewhere = redirect_stdout(sys.stderr) if as_json else nullcontext()
    with elsewhere, tersor.make_context("tersor", list(args), obj=args) as ctx:
        answer = tersor.invoke(ctx)
    if not isinstance(answer, Answer):
        sys.stdout.flush()
        return 0
    deliver(answer, as_json=as_json)
    return answer.exit_code


def _words(error: BaseException) -> tuple[str, int]:
    """What went wrong, and the exit code."""
    code = FAILED
    if isinstance(error, KeyboardInterrupt):
        return "Stopped.", STOPPED
    if isinstance(error, click.ClickException):
        ctx = error.ctx if isinstance(error, click.UsageError) else None
        hint = f" Try: {ctx.command_path} --help" if ctx is not None else ""
        text, code = f"{error.format_message()}{hint}", error.exit_code
    elif isinstance(error, TersorError):
        text, code = str(error), error.exit_code
    elif isinstance(error, MemoryError):
        text = "There is not enough memory. Use fewer samples or a smaller batch."
    elif isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        text = f"{where}{error.strerror or error}."
    else:
        text = (
            f"This is a bug in Tersor: {type(error).__name__}: {error}. "
            "Set TERSOR_TRACEBACK=1 to see where, and report it."
        )
    return f"Error: {text}", code


def _failed(error: BaseException, *, as_json: bool) -> int:
    """Say what went wrong: one line on stderr, and with --json an object on stdout."""
    if _wants_traceback():
        write(sys.stderr, "".join(traceback.format_exception(error)))
    text, code = _words(error)
    line = plain(text, _LONGEST)
    write(sys.stderr, line + "\n")
    if as_json:
        message = line.removeprefix("Error: ")
        write_json({"error": {"type": type(error).__name__, "message": message}})
    return code


def _wants_traceback() -> bool:
    return os.environ.get("TERSOR_TRACEBACK") == "1"
