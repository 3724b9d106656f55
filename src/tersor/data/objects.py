"""Samples from Python objects: arrays, dicts, tuples, batches, datasets and loaders.

    Samples, dict of arrays, (dict, labels), tuple of arrays, one array: all samples at once
    torch DataLoader over a dataset with indices, or such a dataset: read when needed
    any other iterable of batches: one pass, kept in memory up to a limit

A batch, or an item of a dataset, is a dict by the names of the model's inputs, perhaps with
"labels" or "label"; or a tuple of the inputs in the model's order, perhaps with labels at
the end; or (inputs, labels), where inputs is a dict or a tuple; or one array.

Reading again must give the same. So a loader's order counts only as far as it selects: each
sample is taken once, in the order of the dataset; and data that change from one reading to
the next (random augmentation) are refused.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tersor.data.lazy import Lazy
from tersor.data.samples import Samples
from tersor.data.stream import Stream
from tersor.errors import DataError, InputError

Array = NDArray[np.generic]
Names = Sequence[str] | None

LABELS = "labels"
PASS_BYTES = 1 << 30  # what one pass over an iterable may keep

_KINDS = (
    "Samples, arrays, a dict of arrays, (dict, labels), batches, a dataset with indices, "
    "or a torch DataLoader"
)


def samples_of(made: Any, what: str, names: Names = None) -> Samples:
    """Samples from an object; see the module.

    Args:
        made: The object.
        what: What to call it in errors.
        names: Of the model's inputs; without them, tuples cannot be told apart.

    Raises:
        InputError: It is of no known kind.
        DataError: It does not hold numbers, or not the same ones every time.
    """
    if isinstance(made, Samples):
        return made
    if isinstance(made, Mapping) or _is_array(made) or _is_whole(made):
        return samples_of_arrays(what, _named(what, made, names))
    if _is_loader(made) and _is_indexed(made.dataset):
        return _from_loader(what, made, names)
    if _is_indexed(made) and not isinstance(made, list | tuple | str | bytes):
        return _from_dataset(what, made, range(len(made)), names)
    if isinstance(made, Iterable) and not isinstance(made, str | bytes):
        return _from_batches(what, made, names)
    raise InputError(what, got=type(made).__name__, allowed=_KINDS)


def samples_of_arrays(what: str, arrays: Mapping[str, Any]) -> Samples:
    """Samples of named arrays; one named `labels` holds the labels."""
    found = {str(name): array_of(f"{what}: {name}", value) for name, value in arrays.items()}
    labels = found.pop(LABELS, None)
    return Samples(found, labels)


def array_of(what: str, value: Any) -> Array:
    """An array, a tensor, a list or a number as an array of numbers.

    Raises:
        DataError: It holds something else.
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        array = value if isinstance(value, np.ndarray | Lazy) else np.asarray(value)
    except ValueError as error:  # lists of different lengths
        problem = f"is no array ({str(error).split('.', 1)[0]})"
        raise DataError(what, problem, "Pad or cut to one size.") from None
    if array.dtype.kind not in "biuf":
        raise DataError(what, f"holds {array.dtype}, not numbers", "Give arrays of numbers.")
    return cast(Array, array)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or hasattr(value, "detach")


def _is_whole(made: Any) -> bool:
    """Whether a tuple holds all samples: arrays, or inputs and labels."""
    return (
        isinstance(made, tuple)
        and bool(made)
        and (_is_array(made[-1]) or isinstance(made[0], Mapping))
        and not isinstance(made[-1], Mapping)
    )


def _is_loader(made: Any) -> bool:
    kinds = {(kind.__module__, kind.__name__) for kind in type(made).__mro__}
    return ("torch.utils.data.dataloader", "DataLoader") in kinds


def _is_indexed(made: Any) -> bool:
    streams = any(kind.__name__ == "IterableDataset" for kind in type(made).__mro__)
    return hasattr(made, "__getitem__") and hasattr(made, "__len__") and not streams


def _named(what: str, item: Any, names: Names) -> dict[str, Any]:
    """Inputs by name, and "labels" if there are any; see the module.

    Raises:
        InputError: It has another form.
    """
    if isinstance(item, Mapping):
        found = {str(name): value for name, value in item.items()}
        if LABELS not in found and "label" in found and "label" not in (names or ()):
            found[LABELS] = found.pop("label")
        return found
    if not isinstance(item, tuple | list):
        item = (item,)
    if len(item) == 2 and isinstance(item[0], Mapping | tuple):
        inner = item[0] if isinstance(item[0], Mapping) else tuple(item[0])
        return {**_named(what, inner, names), LABELS: item[1]}
    if names is None:
        allowed = "a dict by the names of the model's inputs, or (dict, labels)"
        raise InputError(what, got=f"a tuple of {len(item)}", allowed=allowed)
    if len(item) not in {len(names), len(names) + 1}:
        allowed = f"a dict, or the inputs {', '.join(names)} in this order, then labels"
        raise InputError(what, got=f"a tuple of {len(item)}", allowed=allowed)
    return dict(zip([*names, LABELS], item, strict=False))


def _from_loader(what: str, loader: Any, names: Names) -> Samples:
    """The samples that a loader selects, each once, in the order of its dataset."""
    import torch

    count = len(loader.dataset)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # for samplers that select by chance
        own = type(loader.batch_sampler).__name__ not in {"BatchSampler", "NoneType"}
        drawn: Iterable[Any] = loader.sampler
        if own:
            drawn = itertools.chain.from_iterable(loader.batch_sampler)
        order = [int(i) for i in itertools.islice(drawn, count)]
    chosen = sorted(set(order))
    if not chosen or chosen[-1] >= count or chosen[0] < 0:
        raise DataError(what, "selects no samples of its dataset", "Check its sampler.")
    notes = []
    if len(chosen) < count:
        notes.append(f"{len(chosen)} of the {count} samples of the loader's dataset are taken")
    if order != sorted(order):
        notes.append("the loader shuffles, so its samples are taken in the dataset's order")
    items = loader.dataset if loader.batch_sampler is None else _Collated(loader)
    return _from_dataset(what, items, chosen, names, "; ".join(notes))


class _Collated:
    """Items of a loader's dataset as its `collate_fn` leaves them."""

    def __init__(self, loader: Any) -> None:
        self._dataset, self._collate = loader.dataset, loader.collate_fn

    def __getitem__(self, number: int) -> Any:
        return _unbatched(self._collate([self._dataset[number]]))


def _unbatched(batch: Any) -> Any:
    """The only sample of a batch."""
    if isinstance(batch, Mapping):
        return {name: _unbatched(value) for name, value in batch.items()}
    if isinstance(batch, tuple | list) and not _is_array(batch):
        return tuple(_unbatched(value) for value in batch)
    return batch[0]


def _from_dataset(
    what: str, dataset: Any, order: Sequence[int], names: Names, note: str = ""
) -> Samples:
    """The items of a dataset, read when a batch asks for them."""

    def make(number: int) -> dict[str, Array]:
        item = _named(what, dataset[order[number]], names)
        return {n: array_of(f"{what}: {n} of sample {number}", v) for n, v in item.items()}

    if not len(order):
        raise DataError(what, "is empty", "Give at least one sample.")
    for number in sorted({0, len(order) // 2}):
        first, again = make(number), make(number)
        if not all(np.array_equal(first[n], again.get(n, ())) for n in first):
            problem = f"gives another sample {number} every time it is read"
            raise DataError(what, problem, "Turn random augmentation off.")
    layout = {name: (array.shape, array.dtype) for name, array in make(0).items()}
    stream = Stream(make, len(order), layout)
    columns = {name: cast(Array, stream.column(name)) for name in layout}
    labels = columns.pop(LABELS, None)
    return Samples(columns, labels, note)


def _from_batches(what: str, batches: Iterable[Any], names: Names) -> Samples:
    """One pass, kept in memory, as far as the limit allows."""
    kept: dict[str, list[Array]] = {}
    size, taken, note = 0, 0, ""
    for number, batch in enumerate(batches):
        found = _named(what, batch, names)
        arrays = {n: array_of(f"{what}: {n} of batch {number}", v) for n, v in found.items()}
        _alike(what, number, arrays, kept)
        size += sum(array.nbytes for array in arrays.values())
        if size > PASS_BYTES and kept:
            note = f"only the first {taken} samples were taken, up to {PASS_BYTES} bytes"
            break
        taken += len(next(iter(arrays.values())))
        for name, array in arrays.items():
            kept.setdefault(name, []).append(array)
    if not kept:
        raise DataError(what, "gives no batch", "An iterator can be read once only.")
    whole = {name: np.concatenate(kept.pop(name)) for name in list(kept)}
    labels = whole.pop(LABELS, None)
    return Samples(whole, labels, note)


def _alike(
    what: str, number: int, arrays: Mapping[str, Array], kept: Mapping[str, list[Array]]
) -> None:
    """Refuse a batch that cannot be put behind those before it."""
    for name, array in arrays.items():
        first = kept[name][0] if name in kept else array
        if not array.ndim or array.shape[1:] != first.shape[1:]:
            raise DataError(
                f"{what}: {name} of batch {number}",
                f"has shape {array.shape}, and {first.shape} in batch 0",
                "The first axis counts samples; pad or cut the others to one size.",
            )
    if kept and set(arrays) != set(kept):
        problem = f"holds {', '.join(arrays)}, and batch 0 {', '.join(kept)}"
        raise DataError(f"{what}: batch {number}", problem, "Give the same arrays each time.")
