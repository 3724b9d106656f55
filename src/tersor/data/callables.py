"""Things that a user names as "package.module:callable": a model, samples, a metric.

The current directory is importable, as with `python -m`. What goes wrong inside the
user's code is reported with the line where it happened.
"""

import importlib
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tersor.errors import InputError, TersorError

_SPEC = re.compile(r"[A-Za-z_][\w]*(\.[A-Za-z_][\w]*)*:[A-Za-z_][\w]*(\.[A-Za-z_][\w]*)*")


class CallableError(TersorError):
    """Code that the user named by "package.module:callable" failed.

    Attributes:
        spec: What was called.
        place: File, line and function of the innermost frame, or "" if there is none.
    """

    def __init__(self, spec: str, doing: str, error: BaseException) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        last = frames[-1] if frames else None
        self.spec = spec
        self.place = f"{last.filename}, line {last.lineno}, in {last.name}" if last else ""
        where = f" ({self.place})" if self.place else ""
        told = " ".join(str(error).split())
        super().__init__(f"{spec} {doing}: {type(error).__name__}: {told}{where}.")


def is_spec(text: str) -> bool:
    """Whether `text` has the form of "package.module:callable".

    >>> is_spec("mypackage.data:samples"), is_spec("C:/data.npz")
    (True, False)
    """
    return _SPEC.fullmatch(text) is not None


def find(spec: str) -> Callable[..., Any]:
    """The callable of that name.

    Raises:
        InputError: The name has another form, or there is no such module or callable.
        CallableError: The module raised while it was imported.
    """
    found = _found(spec)
    if not callable(found):
        raise InputError(spec, got=type(found).__name__, allowed="a callable")
    called: Callable[..., Any] = found
    return called


def call(spec: str) -> Any:
    """What the callable of that name returns, called without arguments; other values as is.

    Raises:
        InputError: See `find`.
        CallableError: It raised.
    """
    found = _found(spec)
    if not callable(found):
        return found
    try:
        return found()
    except TersorError:
        raise
    except Exception as error:
        raise CallableError(spec, "raised", error) from error


def _found(spec: str) -> Any:
    if not is_spec(spec):
        raise InputError("callable", got=spec, allowed='of the form "package.module:callable"')
    module, _, path = spec.partition(":")
    found = _import(module, spec)
    for part in path.split("."):
        if not hasattr(found, part):
            known = sorted(n for n in vars(found) if not n.startswith("_"))[:20]
            listed = ", ".join(known) or "nothing"
            raise InputError(spec, got=part, allowed=f"a name in {module}, which has {listed}")
        found = getattr(found, part)
    return found


def _import(module: str, spec: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module + ".").startswith(error.name + "."):
            allowed = f"importable from {here} or from the Python path"
            raise InputError("module", got=error.name, allowed=allowed) from None
        raise CallableError(spec, "cannot be imported", error) from error
    except Exception as error:
        raise CallableError(spec, "cannot be imported", error) from error
