"""Inputs and outputs of an ONNX graph, and sizes to try where a dimension may vary."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from onnx import TensorShapeProto, ValueInfoProto

from tersor.errors import FormatError, ModelError
from tersor.network.from_onnx.values import DTYPES
from tersor.network.network import Dimension, Port

_LARGEST = 1 << 31


@dataclass(frozen=True, slots=True)
class World:
    """Sizes for the dimensions that may vary.

    Attributes:
        sizes: One pair per world: the size of a first dimension, and of any other.
        telling: Whether a size that is the same in all worlds must be a fixed one.
    """

    sizes: tuple[tuple[int, int], ...]
    telling: bool


_FIXED = World(((1, 1),), telling=True)
_FIXED_BUT_VALUES = World(((1, 1), (1, 1)), telling=True)
_CHOICES = (
    World(((2, 64), (3, 96)), telling=True),
    World(((2, 8), (3, 16)), telling=True),
    World(((2, 224),), telling=False),
    World(((1, 32),), telling=False),
    World(((1, 1),), telling=False),
)


class Worlds:
    """What to try for the inputs of a graph.

    Where sizes depend on values, inputs of fixed sizes need two worlds, too.
    """

    def __init__(self, inputs: list[ValueInfoProto], *, values_make_sizes: bool) -> None:
        self._ports = ports_of(inputs)
        self._fixed = _FIXED_BUT_VALUES if values_make_sizes else _FIXED

    def choices(self) -> tuple[World, ...]:
        """The worlds to try, the most telling first."""
        fixed = all(isinstance(d, int) for port in self._ports for d in port.shape)
        return (self._fixed,) if fixed else _CHOICES

    def shapes(self, world: World) -> list[list[tuple[int, ...]]]:
        """For each input, its shape in each of the worlds."""
        return [
            [_concrete(port.shape, first, other) for first, other in world.sizes]
            for port in self._ports
        ]


def _concrete(shape: tuple[Dimension, ...], first: int, other: int) -> tuple[int, ...]:
    free = (first if i == 0 else other for i in itertools.count())
    return tuple(d if isinstance(d, int) else f for d, f in zip(shape, free, strict=False))


def ports_of(inputs: list[ValueInfoProto]) -> tuple[Port, ...]:
    """One port per input; dimensions without a name get one, as in "dim0"."""
    taken = {d.dim_param for i in inputs for d in i.type.tensor_type.shape.dim}
    fresh = (name for name in (f"dim{k}" for k in itertools.count()) if name not in taken)
    ports = []
    for info in inputs:
        kind = info.type.tensor_type
        if not kind.HasField("shape"):
            remedy = "Export the model again, with the shapes of its inputs."
            raise ModelError(f"Input {info.name!r}", "has no shape", remedy)
        shape = tuple(_named(_dimension(info, d), fresh) for d in kind.shape.dim)
        ports.append(Port(info.name, shape, _dtype_name(info)))
    return tuple(ports)


def _named(dimension: Dimension | None, fresh: Iterator[str]) -> Dimension:
    return next(fresh) if dimension is None else dimension


def _dimension(info: ValueInfoProto, dim: TensorShapeProto.Dimension) -> Dimension | None:
    value = dim.dim_value
    if value > _LARGEST:
        raise FormatError(f"{info.name!r} has a dimension of {value}", offset=0)
    is_fixed = dim.HasField("dim_value") and value >= 0
    return int(value) if is_fixed else str(dim.dim_param) or None


def _dtype_name(info: ValueInfoProto) -> str:
    kind = info.type.tensor_type.elem_type
    if kind not in DTYPES or DTYPES[kind] is torch.bfloat16:
        remedy = "Tersor reads tensors of the types that numpy has."
        raise ModelError(f"{info.name!r}", f"is no tensor of a known type ({kind})", remedy)
    return str(DTYPES[kind]).removeprefix("torch.")


def torch_dtype(port: Port) -> torch.dtype:
    """The element type of a port."""
    dtype: torch.dtype = getattr(torch, port.dtype)
    return dtype


def output_port(
    info: ValueInfoProto, shape: tuple[int | None, ...], dtype: torch.dtype, prefix: str
) -> Port:
    """The port of an output: as declared, where that agrees with the rank that was found.

    Args:
        info: What the file declares.
        shape: Sizes that were found; None for those that vary.
        dtype: Element type that was found.
        prefix: Start of the names of dimensions without a name.
    """
    declared = list(info.type.tensor_type.shape.dim)
    dims: list[Dimension | None] = [None] * len(shape)
    if len(declared) == len(shape):
        dims = [_dimension(info, d) for d in declared]
    found = tuple(
        d if isinstance(d, str) else s if s is not None else f"{prefix}{i}" if d is None else d
        for i, (d, s) in enumerate(zip(dims, shape, strict=True))
    )
    return Port(info.name, found, str(dtype).removeprefix("torch."))
