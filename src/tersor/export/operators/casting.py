"""Changes of the element type. Devices and memory layouts mean nothing in a file."""

from collections.abc import Callable

from tersor.export.call import Call, Value
from tersor.export.writer import Writer


def cast(w: Writer, call: Call) -> str | Value:
    """The input in the type of the result."""
    dtype = call.result.dtype
    return call.x if call.x.dtype == dtype else w.cast(call.x.name, dtype)


OPERATORS: dict[str, Callable[[Writer, Call], str | Value]] = {
    "aten.to.dtype": cast,
    "aten.to.dtype_layout": cast,
    "aten.to.device": cast,
    "aten.to.other": cast,
    "aten._to_copy.default": cast,
    "aten.type_as.default": cast,
}
