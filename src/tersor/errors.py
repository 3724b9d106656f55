"""Every error that Tersor raises on purpose: one class per cause.

A message has up to three short sentences: what is wrong, what was found, what
to do. The facts in the message are fields too, so that a caller can act on them.
`exit_code` is what the command line returns: 2 for bad usage, 1 for a failure.
"""

from pathlib import Path

_LONGEST = 1000  # characters of a message: names in files may be of any length


class TersorError(Exception):
    """Base of all errors raised on purpose.

    >>> str(TersorError("n" * 5000 + " is damaged. Write it again."))[496:509]
    'nnnn ... nnnn'
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        if len(message) > _LONGEST:
            half = _LONGEST // 2
            message = f"{message[:half]} ... {message[-half:]}"
        super().__init__(message)


class InputError(TersorError, ValueError):
    """A setting or an argument is outside its allowed range."""

    exit_code = 2

    def __init__(self, what: str, *, got: object, allowed: str) -> None:
        super().__init__(f"{what} must be {allowed}. Got {got!r}.")
        self.what, self.got, self.allowed = what, got, allowed


class ModelError(TersorError):
    """A model, or one tensor of it, cannot be worked on."""

    def __init__(self, tensor: str, problem: str, remedy: str) -> None:
        super().__init__(f"{tensor} {problem}. {remedy}")
        self.tensor, self.problem, self.remedy = tensor, problem, remedy


class UnsupportedError(TersorError):
    """A model holds an operation that Tersor cannot read or write."""

    def __init__(self, *, node: str, op: str, opset: str, problem: str) -> None:
        super().__init__(f"Node {node!r}: {op} ({opset}) {problem}.")
        self.node, self.op, self.opset, self.problem = node, op, opset, problem


class DataError(TersorError):
    """Samples do not fit the model, or hold values that cannot be used."""

    def __init__(self, what: str, problem: str, remedy: str) -> None:
        super().__init__(f"{what} {problem}. {remedy}")
        self.what, self.problem, self.remedy = what, problem, remedy


class FormatError(TersorError, ValueError):
    """Stored bytes are damaged, cut short, or not ours."""

    def __init__(self, problem: str, *, offset: int) -> None:
        super().__init__(f"{problem}, at byte {offset}. The data cannot be trusted.")
        self.problem, self.offset = problem, offset


class FileError(TersorError):
    """A path cannot be read or written."""

    def __init__(self, path: str | Path, problem: str, remedy: str) -> None:
        super().__init__(f"{path} {problem}. {remedy}")
        self.path, self.problem, self.remedy = Path(path), problem, remedy


class EngineError(TersorError):
    """An engine is absent, or refused a model."""

    def __init__(self, engine: str, problem: str, remedy: str) -> None:
        super().__init__(f"Engine {engine} {problem}. {remedy}")
        self.engine, self.problem, self.remedy = engine, problem, remedy


class VerifyError(TersorError):
    """The compressed model does not compute what it should."""

    def __init__(self, what: str, *, got: float, allowed: float, remedy: str) -> None:
        super().__init__(f"{what} is {got:.4g}, allowed {allowed:.4g}. {remedy}")
        self.what, self.got, self.allowed, self.remedy = what, got, allowed, remedy
