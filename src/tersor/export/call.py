"""What an operator file sees of one node of the workshop graph: its arguments, by name.

`Value` is a tensor, `Size` a whole number that is known only when the network runs; a number
that is always the same is a plain int.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

import torch
from torch import fx

from tersor.errors import UnsupportedError
from tersor.export.probe import op_name

Number = int | float | bool


@dataclass(frozen=True, slots=True)
class Size:
    """A whole number that varies; in the file an int64 vector of one element."""

    name: str
    probes: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A tensor.

    Attributes:
        name: Its name in the file.
        probes: Two empty tensors, from the two runs of `probe`.
        weight: The dotted name, if this is a weight and not computed.
        users: How many nodes read it.
    """

    name: str
    probes: tuple[torch.Tensor, torch.Tensor]
    weight: str | None = None
    users: int = 0

    @property
    def dtype(self) -> torch.dtype:
        """Type of the elements."""
        return self.probes[0].dtype

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return self.probes[0].ndim

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """The size of each dimension in both runs."""
        return tuple(zip(*(p.shape for p in self.probes), strict=True))

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The size of each dimension; None where it varies."""
        return tuple(a if a == b else None for a, b in self.sizes)

    @property
    def is_float(self) -> bool:
        """Whether the elements are floating point numbers."""
        return self.dtype.is_floating_point


@lru_cache(maxsize=512)
def _parameters(target: torch._ops.OpOverload) -> tuple[tuple[str, object], ...]:
    return tuple(
        (a.name, a.default_value if a.has_default_value() else None)
        for a in target._schema.arguments
    )


class Call:
    """One node: its arguments, with defaults, and what is known of its result.

    Attributes:
        node: The node itself.
        out: What is known of the tensor that it gives (the name means nothing).
        several: What is known of the tensors that it gives, if it gives several.
    """

    def __init__(
        self, node: fx.Node, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> None:
        self.node = node
        if isinstance(node.target, torch._ops.OpOverload):
            self._args = dict(_parameters(node.target))
        else:
            self._args = dict.fromkeys((str(i) for i in range(len(args))), None)
        self._args.update(zip(self._args, args, strict=False))
        self._args.update(kwargs)
        self.out: Value | None = None
        self.several: list[Value] = []

    @property
    def result(self) -> Value:
        """`out`, for operations that give one tensor."""
        assert self.out is not None  # noqa: S101 - only operations of one result ask
        return self.out

    @property
    def x(self) -> Value:
        """The first argument, a tensor."""
        return self.value(next(iter(self._args)))

    @property
    def y(self) -> Value:
        """The second argument, a tensor."""
        return self.value(list(self._args)[1])

    def get(self, name: str) -> object:
        """An argument as it is."""
        return self._args[name]

    def get_or(self, name: str, default: object = None) -> object:
        """An argument as it is; `default` if this overload does not have it."""
        return self._args.get(name, default)

    def at(self, index: int) -> object:
        """The argument at a position, as it is."""
        return list(self._args.values())[index]

    def value(self, name: str) -> Value:
        """An argument that is a tensor."""
        found = self._args[name]
        if not isinstance(found, Value):
            self.fail(f"has no tensor {name}")
        return found

    def maybe(self, name: str) -> Value | None:
        """An argument that is a tensor, or None."""
        return None if self._args[name] is None else self.value(name)

    def values(self, name: str) -> list[Value]:
        """An argument that is a list of tensors."""
        found = self._args[name]
        if not isinstance(found, (list, tuple)):
            self.fail(f"has no list {name}")
        tensors = [v for v in found if isinstance(v, Value)]
        return tensors if len(tensors) == len(found) else self.fail(f"has a gap in {name}")

    def whole(self, name: str) -> int:
        """An argument that is a fixed whole number."""
        found = self._args[name]
        if not isinstance(found, int):
            self.fail(f"has no fixed {name}")
        return int(found)

    def number(self, name: str) -> Number:
        """An argument that is a fixed number."""
        found = self._args[name]
        if not isinstance(found, (int, float)):
            self.fail(f"has no fixed {name}")
        return found

    def flag(self, name: str) -> bool:
        """An argument that is true or false; None counts as false."""
        return bool(self._args[name])

    def ints(self, name: str, count: int | None = None) -> list[int]:
        """A list of fixed whole numbers; one alone is repeated up to `count`."""
        found = self.sizes(name)
        fixed = [v for v in found if isinstance(v, int)]
        if len(fixed) < len(found):
            self.fail(f"has a varying {name}")
        if count is not None and len(fixed) == 1:
            fixed = fixed * count
        return fixed

    def sizes(self, name: str) -> list[int | Size]:
        """A list of whole numbers, fixed or varying; a number alone counts as a list."""
        found = self._args[name]
        items = found if isinstance(found, (list, tuple)) else [found]
        return [
            v if isinstance(v, (int, Size)) else self.fail(f"has no whole number in {name}")
            for v in items
        ]

    def axis(self, name: str, rank: int | None = None) -> int:
        """An argument that names a dimension, as a number from 0."""
        count = self.x.rank if rank is None else rank
        return self.whole(name) % max(count, 1)

    def axes(self, name: str) -> list[int]:
        """Dimensions as numbers from 0; none given means all."""
        found = self._args[name]
        given = [] if found is None else self.ints(name)
        rank = self.x.rank
        return [a % max(rank, 1) for a in given] if given else list(range(rank))

    def fail(self, problem: str) -> NoReturn:
        """Refuse the node.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError(
            node=self.node.name, op=op_name(self.node), opset="ATen", problem=problem
        )
