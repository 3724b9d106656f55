"""Hashed: each element is one of K trained numbers, or its negative, chosen by a hash.

    decode[i] = t[h(i)],   t = (c_0, ..., c_{K-1}, -c_0, ..., -c_{K-1}),   i in C order
    h(i) = ((a (i + s))^2 mod P) mod 2K,   P = 2^26 - 5

so that only the numbers c and the seed are stored, whatever the size of the weight. a and s
follow from the seed: with z_1, z_2 the first two outputs of SplitMix64 of that seed, a = 1 +
z_1 mod (P - 1) and s = z_2 mod 2^26. As a (i + s) is taken modulo P before it is squared, and
there are at most 2^26 elements, products stay below 2^53: some engines use doubles.

The gradient of a number is the sum over its members, signs included. The numbers may be held
by another code of one dimension ("int8 over hashed").

An engine computes the hash while loading: i + s by a Range, and the rest by six nodes.

Sources: Chen, Wilson, Tyree, Weinberger, Chen, "Compressing neural networks with the hashing
trick", arXiv:1504.04788; Steele, Lea, Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014 (SplitMix64); Carter, Wegman, "Universal classes of hash functions",
JCSS 18, 1979 (arithmetic modulo a prime).
"""

from collections.abc import Sequence
from math import prod
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tersor.codes.code import Code, OnnxForm, OnnxNode, held, latent_of, pinned_of
from tersor.errors import InputError

PRIME = 2**26 - 5
MOST_ELEMENTS = 2**26
MOST_NUMBERS = PRIME // 2
_WORD = 2**64 - 1


class Hashed(Code):
    """A weight of few numbers that a hash spreads over it.

    Attributes:
        buckets: The numbers, float32 of shape (K,), or a code that holds them.
        shape: Of the weight.
        seed: Of the hash, 0 or more, below 2^63.
    """

    buckets: nn.Parameter | Code
    places: torch.Tensor  # h(i), int32, flat: known from the seed, so no part of the state

    def __init__(
        self, buckets: torch.Tensor | Code, shape: tuple[int, ...], *, seed: int = 0
    ) -> None:
        super().__init__()
        self.buckets, self.shape, self.seed = held(buckets, torch.float32), tuple(shape), seed
        count = latent_of(self.buckets).shape
        if len(count) != 1 or not 1 <= count[0] <= MOST_NUMBERS:
            raise InputError(
                "buckets", got=tuple(count), allowed=f"a vector of 1 to {MOST_NUMBERS} numbers"
            )
        if not 0 < prod(self.shape) <= MOST_ELEMENTS:
            raise InputError(
                "shape", got=self.shape, allowed=f"of 1 to {MOST_ELEMENTS} elements"
            )
        if not 0 <= seed < 2**63:
            raise InputError("seed", got=seed, allowed="0 or more, below 2^63")
        places = places_of(prod(self.shape), count[0], seed)
        device = latent_of(self.buckets).device
        self.register_buffer("places", places.to(device), persistent=False)

    @classmethod
    def encode(cls, weight: torch.Tensor, count: int, *, seed: int = 0) -> Self:
        """Hold `weight` by the `count` numbers of least squared error: means of members."""
        if not 1 <= count <= MOST_NUMBERS:
            raise InputError("count", got=count, allowed=f"1 to {MOST_NUMBERS}")
        flat = weight.detach().flatten().double()
        places = places_of(flat.numel(), count, seed).to(flat.device)
        signs = 1.0 - 2.0 * (places >= count)
        index = (places % count).long()
        sums = torch.zeros(count, dtype=torch.float64, device=flat.device)
        members = sums.index_add(0, index, torch.ones_like(flat)).clamp(min=1.0)
        means = sums.index_add(0, index, flat * signs) / members
        return cls(means, tuple(weight.shape), seed=seed)

    def decode(self) -> torch.Tensor:
        """The dense weight, float32, of shape `shape`."""
        numbers = latent_of(self.buckets)
        table = torch.cat((numbers, -numbers))
        return torch.index_select(table, 0, self.places).reshape(self.shape)

    def pinned(self) -> torch.Tensor | None:
        """See `Code.pinned`: members of numbers that are."""
        inner = pinned_of(self.buckets)
        if inner is None:
            return None
        return torch.cat((inner, inner))[self.places].reshape(self.shape)

    def symbols(self) -> dict[str, NDArray[np.generic]]:
        """See `Code.symbols`: what the numbers are stored as, `shape` and `seed`."""
        inner = self.buckets
        numbers = (
            {f"buckets.{name}": array for name, array in inner.symbols().items()}
            if isinstance(inner, Code)
            else {"buckets": inner.detach().cpu().numpy()}
        )
        return {**numbers, "shape": np.array(self.shape), "seed": np.array(self.seed)}

    def to_onnx(self, name: str) -> OnnxForm:
        """A Gather from the numbers and their negatives, by the hash of a Range."""
        numbers = self._numbers_form(f"{name}.buckets")
        factor, start = multiplier_and_first(self.seed)
        size, count = prod(self.shape), latent_of(self.buckets).numel()
        integers = {
            "first": start,
            "end": start + size,
            "one": 1,
            "factor": factor,
            "prime": PRIME,
            "count": 2 * count,
            "shape": self.shape,
        }
        first, end, one, by, prime, twice, shape = (f"{name}.{key}" for key in integers)
        minus, table = f"{name}.minus", f"{name}.table"
        nodes = (
            *numbers.nodes,
            OnnxNode("Neg", (numbers.output,), (minus,)),
            OnnxNode("Concat", (numbers.output, minus), (table,), {"axis": 0}),
            *_chain(
                f"{name}.way",
                (
                    ("Range", first, end, one),
                    ("Mul", "", by),
                    ("Mod", "", prime),
                    ("Mul", "", ""),
                    ("Mod", "", prime),
                    ("Mod", "", twice),
                    ("Reshape", "", shape),
                ),
            ),
            OnnxNode("Gather", (table, f"{name}.way6"), (name,)),
        )
        constants = {f"{name}.{k}": np.array(v, np.int64) for k, v in integers.items()}
        return OnnxForm({**numbers.initializers, **constants}, nodes, name)

    def describe(self) -> str:
        """As in "100 hashed values"."""
        inner = f", {self.buckets.describe()}" if isinstance(self.buckets, Code) else ""
        return f"{latent_of(self.buckets).numel()} hashed values{inner}"

    def _numbers_form(self, name: str) -> OnnxForm:
        if isinstance(self.buckets, Code):
            return self.buckets.to_onnx(name)
        return OnnxForm({name: self.buckets.detach().cpu().numpy()}, (), name)


def _chain(name: str, steps: Sequence[tuple[str, ...]]) -> list[OnnxNode]:
    """Nodes of which each reads what the one before gives, wherever an input is ""."""
    nodes, last = [], ""
    for index, (op, *inputs) in enumerate(steps):
        made = f"{name}{index}"
        nodes.append(OnnxNode(op, tuple(part or last for part in inputs), (made,)))
        last = made
    return nodes


def multiplier_and_first(seed: int) -> tuple[int, int]:
    """The numbers a and s of the hash.

    >>> multiplier_and_first(0)
    (1843378, 28927476)
    """
    state, found = seed, []
    for _ in range(2):
        state = state + 0x9E3779B97F4A7C15 & _WORD
        z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _WORD
        z = (z ^ z >> 27) * 0x94D049BB133111EB & _WORD
        found.append(z ^ z >> 31)
    return 1 + found[0] % (PRIME - 1), found[1] % MOST_ELEMENTS


def places_of(size: int, count: int, seed: int) -> torch.Tensor:
    """h(i) of the first `size` elements, int32 in [0, 2 * count)."""
    a, first = multiplier_and_first(seed)
    line = torch.arange(first, first + size, dtype=torch.int64) * a % PRIME
    return (line * line % PRIME % (2 * count)).to(torch.int32)


def _example(shape: tuple[int, ...], count: int) -> Hashed:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return Hashed.encode(weight, count, seed=7)


CODE = Hashed
EXAMPLES = {
    "an_eighth": lambda: _example((8, 4, 3, 3), 36),
    "a_matrix": lambda: _example((32, 16), 20),
}
