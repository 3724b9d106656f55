"""Whether samples fit a model: names, shapes, element types, finite values."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from tersor.data.lazy import Lazy, lazy
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
        DataError: Names, shapes or types do not match, or a value is NaN or infinite; where
            an array is lazy, values are looked at when they are read.
    """
    _names(samples, ports)
    inputs = {}
    for name, shape, dtype in ports:
        array = samples.inputs[name]
        _shape(name, array.shape, tuple(shape))
        inputs[name] = _checked(name, array, np.dtype(dtype))
    return Samples(inputs, _checked_labels(samples.labels), samples.note)


def _checked(name: str, array: Array, wanted: np.dtype[np.generic]) -> Array:
    """The array, of the wanted type; a lazy one, or one in a file, when it is read."""
    what = f"Input {name!r}"
    _convertible(what, array.dtype, wanted)
    if isinstance(array, np.memmap) and array.dtype != wanted:
        array = cast(Array, lazy(array))
    if isinstance(array, Lazy):

        def change(values: Array, rows: NDArray[np.intp]) -> Array:
            _finite(what, values, rows)
            return _typed(what, values, wanted)

        return cast(Array, array.changed(change, wanted))
    _finite(what, array)
    return _typed(what, array, wanted)


def _checked_labels(labels: Array | None) -> Array | None:
    if labels is None:
        return None
    if labels.dtype.kind not in "biuf":
        raise DataError("labels", f"hold {labels.dtype}", "Give numbers.")
    if not isinstance(labels, Lazy):
        _finite("labels", labels)
        return labels

    def change(values: Array, rows: NDArray[np.intp]) -> Array:
        _finite("labels", values, rows)
        return values

    return cast(Array, labels.changed(change, labels.dtype))


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


def _finite(what: str, array: Array, numbers: NDArray[np.intp] | None = None) -> None:
    """Refuse NaN and infinity; `numbers` are the rows' own, if not 0, 1, 2, ..."""
    if array.dtype.kind != "f":
        return
    for start in range(0, len(array), _ROWS_AT_ONCE):
        rows = np.asarray(array[start : start + _ROWS_AT_ONCE])
        if not np.isfinite(rows).all():
            bad = np.argwhere(~np.isfinite(rows))
            sample, inside = start + int(bad[0][0]), tuple(int(i) for i in bad[0][1:])
            sample = sample if numbers is None else int(numbers[sample])
            value = rows[tuple(bad[0])]
            raise DataError(
                what,
                f"holds {value} in sample {sample}" + (f" at {inside}" if inside else ""),
                "Remove or repair such samples.",
            )


def _convertible(what: str, found: np.dtype[np.generic], wanted: np.dtype[np.generic]) -> None:
    kinds = {"u": "i"}.get(found.kind, found.kind), {"u": "i"}.get(wanted.kind, wanted.kind)
    if found != wanted and kinds not in {("f", "f"), ("i", "i")}:
        raise DataError(
            what,
            f"holds {found}, but the model takes {wanted}",
            f'Convert it with .astype("{wanted}"), scaled as in training.',
        )


def _typed(what: str, values: Array, wanted: np.dtype[np.generic]) -> Array:
    if values.dtype == wanted:
        return values
    limits = np.finfo(str(wanted)) if wanted.kind == "f" else np.iinfo(str(wanted))
    low, high = values.min(initial=0), values.max(initial=0)
    if low < limits.min or high > limits.max:
        raise DataError(
            what,
            f"has values from {low} to {high}, which {wanted} cannot hold",
            "Give values that the model's input type can hold.",
        )
    return values.astype(wanted)
