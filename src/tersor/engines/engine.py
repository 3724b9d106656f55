"""What an engine is: something that runs an ONNX model on this machine.

A module in this folder is an engine if it defines ENGINE, an instance. Optional packages
are imported inside the methods, never at the top. An absent package is reported as absent
(`version()` is None), never as a failure.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from tersor.errors import EngineError, InputError

Array = NDArray[np.generic]
PRECISIONS = ("int8", "bf16", "f32", "other")  # of kernels
Operations = dict[str, dict[str, int]]  # kind of node, precision, how many


class Session(Protocol):
    """A model made ready to run."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Compute all outputs by name, from one array per input by name.

        The first run of a new input shape may compile; later runs do not.

        Raises:
            EngineError: The engine refused the inputs.
        """
        ...

    def kernels(self, feeds: Mapping[str, Array]) -> dict[str, int]:
        """How many nodes the engine really runs, by the precision of the kernel.

        Read from the engine's own profile of a run on `feeds`; keys are "int8", "bf16",
        "f32", "other" (data movement and integer bookkeeping). Empty if the engine keeps
        no profile.
        """
        ...

    def operations(self, feeds: Mapping[str, Array]) -> Operations:
        """The same nodes by kind and then by precision, as in {"Conv": {"int8": 20}}.

        Kinds are the engine's own words for what it runs.
        """
        ...


class Engine(Protocol):
    """A way to run ONNX models."""

    name: ClassVar[str]  # the name of the module
    fast: ClassVar[bool]  # False: too slow to be tried in a race (the oracle)
    eager: ClassVar[bool]  # True: ready within about a second; False: compiles for long

    def version(self) -> str | None:
        """Version of the package, or None if it is not installed."""
        ...

    def precisions(self) -> tuple[str, ...]:
        """Arithmetic for the float parts that this machine really has: "f32", "bf16"."""
        ...

    def prepare(self, model: bytes, *, threads: int, precision: str = "f32") -> Session:
        """Make `model`, the bytes of an ONNX file, ready to run.

        Args:
            model: A whole ONNX file, without external data.
            threads: Number of threads for one run.
            precision: One of `precisions()`. Integer parts of a quantized model stay integer.

        Raises:
            EngineError: The package is absent, or the engine refused the model.
            InputError: `precision` is not one of `precisions()`.
        """
        ...


# What the engines share: reading the ends of a model, and refusing in few words.

LONGEST_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class End:
    """An input or output of an ONNX model.

    Attributes:
        name: As in the file.
        shape: Sizes; a string names a size that may vary ("" if it has no name). None if
            not even the rank is fixed.
        dtype: The numpy name of the element type, as in "float32".
    """

    name: str
    shape: tuple[int | str, ...] | None
    dtype: str

    @property
    def is_fixed(self) -> bool:
        """Whether only one shape fits."""
        return self.shape is not None and all(isinstance(size, int) for size in self.shape)

    def concrete(self, size: int) -> tuple[int, ...]:
        """The shape with every size that may vary set to `size`; () if there is no rank."""
        return tuple(d if isinstance(d, int) else size for d in self.shape or ())

    def misfit(self, array: Array) -> tuple[str, str] | None:
        """What is wrong with `array` as this input, and what to do; None if it fits."""
        if not isinstance(array, np.ndarray):
            return f"is a {type(array).__name__}, not an array", "Give numpy arrays"
        found = _name_of(array.dtype)
        if found != self.dtype:
            remedy = f"Convert it on purpose, as in x.astype({self.dtype!r})"
            return f"is {found} where {self.dtype} belongs", remedy
        if self.shape is None or _fits(array.shape, self.shape):
            return None
        wanted = ", ".join(str(size) if size != "" else "any" for size in self.shape)
        return f"has shape {array.shape} where ({wanted}) belongs", "Reshape or resize it"


@cache
def _name_of(dtype: np.dtype[np.generic]) -> str:
    """The numpy name of a type: asked for in every run, and slow to make."""
    return dtype.name


def _fits(shape: tuple[int, ...], wanted: tuple[int | str, ...]) -> bool:
    if len(shape) != len(wanted):
        return False
    return all(isinstance(w, str) or w == s for w, s in zip(wanted, shape, strict=True))


@dataclass(frozen=True, slots=True)
class Ends:
    """All inputs and outputs of an ONNX model, in the order of the file."""

    inputs: tuple[End, ...]
    outputs: tuple[End, ...]

    def misfit(self, feeds: Mapping[str, Array]) -> tuple[str, str] | None:
        """What is wrong with `feeds`, and what to do; None if they fit."""
        if feeds.keys() != {end.name for end in self.inputs}:
            wanted = ", ".join(end.name for end in self.inputs)
            found = ", ".join(sorted(map(str, feeds))) or "nothing"
            return f"needs inputs named {wanted}, and got {found}", "Name them like the model"
        for end in self.inputs:
            wrong = end.misfit(feeds[end.name])
            if wrong is not None:
                return f"refuses input {end.name!r}: it {wrong[0]}", wrong[1]
        return None


def ends_of(engine: str, model: bytes) -> Ends:
    """Read the inputs and outputs of an ONNX file.

    Raises:
        EngineError: `model` is not an ONNX file, or has an input that is not a tensor.
    """
    import onnx

    try:
        graph = onnx.load_model_from_string(model).graph
    except Exception as error:
        raise refusal(engine, "cannot read the model", error) from error
    if not graph.output:
        raise EngineError(engine, "got a model without outputs", "Is it an ONNX file?")
    weights = {array.name for array in graph.initializer}
    weights |= {array.values.name for array in graph.sparse_initializer}
    return Ends(
        tuple(_end_of(engine, v) for v in graph.input if v.name not in weights),
        tuple(_end_of(engine, v) for v in graph.output),
    )


def _end_of(engine: str, value: Any) -> End:
    """One entry of a graph's `input` or `output`."""
    import onnx

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        problem = f"cannot take {value.name!r}, which is a {kind or 'value without a type'}"
        raise EngineError(engine, problem, "Only tensors can be fed and fetched.")
    tensor = value.type.tensor_type
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    except KeyError:
        problem = f"cannot take {value.name!r}, which has the element type {tensor.elem_type}"
        raise EngineError(engine, problem, "ONNX knows no such type.") from None
    if not tensor.HasField("shape"):
        return End(value.name, None, dtype)
    sizes = tensor.shape.dim
    shape = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param for d in sizes)
    return End(value.name, shape, dtype)


def check_feeds(engine: str, ends: Ends, feeds: Mapping[str, Array]) -> None:
    """Compare `feeds` with the inputs of the model.

    Raises:
        EngineError: Names, element types, ranks or fixed sizes differ.
    """
    wrong = ends.misfit(feeds)
    if wrong is not None:
        raise EngineError(engine, wrong[0], f"{wrong[1]}.")


def check_settings(engine: Engine, threads: int, precision: str) -> None:
    """Check what `prepare` was asked for, before anything is loaded.

    Raises:
        InputError: `threads` is below 1, or `precision` is not one of the engine's.
    """
    if threads < 1:
        raise InputError("threads", got=threads, allowed="at least 1")
    known = engine.precisions()
    if precision not in known:
        allowed = f"one of {', '.join(known)} for {engine.name} on this machine"
        raise InputError("precision", got=precision, allowed=allowed)


def count_operations(found: Iterable[tuple[str, str]]) -> Operations:
    """Nodes by kind and by precision, from a pair of these for each node.

    >>> count_operations([("Conv", "int8"), ("Add", "f32"), ("Conv", "int8")])
    {'Conv': {'int8': 2}, 'Add': {'f32': 1}}
    """
    counts: Operations = {}
    for kind, precision in found:
        row = counts.setdefault(kind, {})
        row[precision] = row.get(precision, 0) + 1
    return counts


def by_precision(operations: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """What `Session.kernels` gives: the same nodes, kinds summed up.

    >>> by_precision({"Conv": {"f32": 1, "int8": 2}, "Add": {"f32": 1}})
    {'int8': 2, 'f32': 2}
    """
    counts: Counter[str] = Counter()
    for row in operations.values():
        counts.update(row)
    known = [name for name in PRECISIONS if name in counts]
    return {name: counts[name] for name in (*known, *sorted(counts.keys() - set(known)))}


def version_of(package: str) -> str | None:
    """Version of an installed package, without importing it; None if it is absent."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def absence(engine: str, install: str, *, also: str = "") -> EngineError:
    """The error for an engine whose package is not here; `also` is a further need."""
    remedy = f"Run: pip install '{install}'. {also}".strip()
    return EngineError(engine, "is not installed", remedy)


def refusal(engine: str, what: str, error: Exception) -> EngineError:
    """The error for a model or feeds that an engine refused: its own words, in one line."""
    words = " ".join(str(error).split()) or type(error).__name__
    if len(words) > LONGEST_MESSAGE:
        words = words[: LONGEST_MESSAGE - 4] + " ..."
    return EngineError(engine, f"{what}: {words}", "Try another engine.")


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let PyTorch use `count` threads, and after that as many as before."""
    import torch

    before = torch.get_num_threads()
    if count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
