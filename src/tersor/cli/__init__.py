"""The command line: `tersor`. Each command calls one function of the library and shows it."""

import sys
from collections.abc import Sequence

STOPPED = 130


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; see `tersor.cli.app.run`.

    Args:
        args: The words after `tersor`; by default those of this process.

    Returns:
        The exit code: 0 done, 1 failed, 2 bad usage, 3 budget missed (results are
        written), 130 stopped by Ctrl-C, 141 nobody reads the output any more.
    """
    try:
        from tersor.cli.app import run

        return run(sys.argv[1:] if args is None else list(args))
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        return STOPPED
