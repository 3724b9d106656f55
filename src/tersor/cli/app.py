"""The program: its commands, and what becomes of errors.

Whatever goes wrong ends in one line on stderr and an exit code, never in a traceback; that is
shown only if the environment variable TERSOR_TRACEBACK is 1.
"""

import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from importlib import import_module

import click

from tersor.cli import STOPPED
from tersor.cli.answer import Answer, deliver, write, write_json
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


_MODULES = {  # of each command, in the order in which a user meets them
    "inspect": "about",
    "compress": "compressing",
    **dict.fromkeys(("evaluate", "run", "bench"), "running"),
    **dict.fromkeys(("pack", "unpack", "export"), "files"),
    **dict.fromkeys(("methods", "info"), "about"),
    "demo": "compressing",
}


class _OnDemand(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _MODULES and cmd_name not in self.commands:
            module = import_module(f"tersor.cli.{_MODULES[cmd_name]}")
            self.add_command(getattr(module, cmd_name))
        return super().get_command(ctx, cmd_name)


@click.group(
    cls=_OnDemand,
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
        import traceback

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
