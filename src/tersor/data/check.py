"""Whether samples fit a model: names, shapes, element types, finite values."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tersor.data.samples import Samples
from tersor.errors import DataError

Array = NDArray[np.generic]
PortLike = tuple[str, Sequence[int | str | None], str]  # name, shape, numpy dtype name

_ROWS_AT_ONCE = 256


def fit(samples: Samples, ports: Sequence[PortLike]) -> Samples:
    """The samples with every array in the element type that the model takes.

    Floats become floats of the model's width, and integers integers, if every value
    fits. Integers never become floats: nobody but the user knows their scale.

    Args:
        samples: Any samples.
        ports: Name, shape and numpy dtype of every input; the first dimension of a shape
            counts samples, and a dimension that is not a number may be anything.

    Raises:
        DataError: Names, shapes or types do not match, or a value is NaN or infinite.
    """
    _names(samples, ports)
    inputs = {}
    for name, shape, dtype in ports:
        array = samples.inputs[name]
        _shape(name, array.shape, tuple(shape))
        _finite(f"Input {name!r}", array)
        inputs[name] = _typed(name, array, np.dtype(dtype))
    if samples.labels is not None:
        if samples.labels.dtype.kind not in "biuf":
            raise DataError("labels", f"hold {samples.labels.dtype}", "Give numbers.")
        _finite("labels", samples.labels)
    return Samples(inputs, samples.labels)


def _names(samples: Samples, ports: Sequence[PortLike]) -> None:
    found, wanted = sorted(samples.inputs), [name for name, _, _ in ports]
    if set(found) != set(wanted):
        raise DataError(
            "Samples",
            f"have arrays named {', '.join(found)}, but the model's inputs are "
            f"{', '.join(wanted)}",
            "Name every array like its input; an array named labels is optional.",
        )


def _shape(name: str, found: tuple[int, ...], wanted: tuple[int | str | None, ...]) -> None:
    fits = len(found) == len(wanted) and all(
        not isinstance(w, int) or w == f for f, w in zip(found[1:], wanted[1:], strict=True)
    )
    if not fits:
        text = ", ".join(["n", *(str(d or "any") for d in wanted[1:])])
        raise DataError(
            f"Input {name!r}",
            f"has shape {found}, but the model takes ({text})",
            "The first dimension counts samples.",
        )


def _finite(what: str, array: Array) -> None:
    if array.dtype.kind != "f":
        return
    for start in range(0, len(array), _ROWS_AT_ONCE):
        rows = np.asarray(array[start : start + _ROWS_AT_ONCE])
        if not np.isfinite(rows).all():
            bad = np.argwhere(~np.isfinite(rows))
            sample, inside = start + int(bad[0][0]), tuple(int(i) for i in bad[0][1:])
            value = rows[tuple(bad[0])]
            raise DataError(
                what,
                f"holds {value} in sample {sample}" + (f" at {inside}" if inside else ""),
                "Remove or repair such samples.",
            )


def _typed(name: str, array: Array, wanted: np.dtype[np.generic]) -> Array:
    found = array.dtype
    if found == wanted:
        return array
    kinds = {"u": "i"}.get(found.kind, found.kind), {"u": "i"}.get(wanted.kind, wanted.kind)
    if kinds not in {("f", "f"), ("i", "i")}:
        raise DataError(
            f"Input {name!r}",
            f"holds {found}, but the model takes {wanted}",
            f'Convert it with .astype("{wanted}"), scaled as in training.',
        )
    limits = np.finfo(str(wanted)) if kinds[0] == "f" else np.iinfo(str(wanted))
    values = np.asarray(array)
    low, high = values.min(initial=0), values.max(initial=0)
    if low < limits.min or high > limits.max:
        raise DataError(
            f"Input {name!r}",
            f"has values from {low} to {high}, which {wanted} cannot hold",
            "Give values that the model's input type can hold.",
        )
    return values.astype(wanted)
