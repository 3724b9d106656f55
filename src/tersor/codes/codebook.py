"""Codebook: each element is one of a few shared values.

    decode = centroids[indices]

The centroids are trained, the indices stay: the gradient of a centroid is the sum of the
gradients of its members. One centroid may be 0 for good; its members stay 0.

Stored are the centroids, and for each element a signed integer: its centroid's rank among
the sorted centroids, counted from the one that stays 0, or else from the smallest. So
frequent elements are small integers, which the codecs of integers model best. An engine
gathers from a table that begins with the centroid of 0, goes up, and ends with those below
it: negative indices count from the end. Centroids without members are not stored.

Source: Han, Mao, Dally, "Deep Compression", arXiv:1510.00149, section 3.
"""

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tersor.codes.code import Code, OnnxForm, OnnxNode
from tersor.errors import InputError

MOST_CENTROIDS = 256
_INT32 = 6  # onnx.TensorProto.INT32
_LOWEST, _HIGHEST = -128, 127  # what a stored integer can be


class Codebook(Code):
    """A weight of shared values.

    Attributes:
        centroids: float32 of shape (K,), 1 to 256 of them, in any order. The element at
            `zero` is not used.
        indices: uint8, of the shape of the weight: which centroid each element is.
        zero: Index of the centroid that is 0 for good; None if there is none.
    """

    indices: torch.Tensor

    def __init__(
        self, centroids: torch.Tensor, indices: torch.Tensor, *, zero: int | None = None
    ) -> None:
        super().__init__()
        count = centroids.numel()
        if centroids.ndim != 1 or not 1 <= count <= MOST_CENTROIDS:
            allowed = f"a vector of 1 to {MOST_CENTROIDS} numbers"
            raise InputError("centroids", got=tuple(centroids.shape), allowed=allowed)
        if not bool(torch.isfinite(centroids).all()):
            raise InputError("centroids", got=centroids.tolist(), allowed="finite")
        if indices.is_floating_point() or indices.dtype == torch.bool or not indices.numel():
            raise InputError("indices", got=str(indices.dtype), allowed="one or more integers")
        low, high = int(indices.min()), int(indices.max())
        if low < 0 or high >= count:
            raise InputError("indices", got=(low, high), allowed=f"in [0, {count - 1}]")
        if zero is not None and not 0 <= zero < count:
            raise InputError("zero", got=zero, allowed=f"None or in [0, {count - 1}]")
        self.centroids = nn.Parameter(centroids.detach().to(torch.float32, copy=True))
        self.register_buffer("indices", indices.detach().to(torch.uint8, copy=True))
        self.zero = zero

    @classmethod
    def encode(
        cls, weight: torch.Tensor | Code, centroids: torch.Tensor, *, zero: bool = False
    ) -> Self:
        """Hold `weight` by the centroid next to each element, the lower one in ties.

        Args:
            weight: Any shape. Where a code pins it to 0, a centroid must be 0 for good.
            centroids: 1 to 256 numbers, in any order.
            zero: Whether the centroid that is 0, which must be there, stays 0 for good.

        Raises:
            InputError: There are none or too many centroids, or none is 0 where one must be.
        """
        dense = (weight() if isinstance(weight, Code) else weight).detach()
        pinned = weight.pinned() if isinstance(weight, Code) else None
        table = torch.unique(centroids.detach().to(dense.device, torch.float32))
        at = torch.nonzero(table == 0).flatten().tolist()
        if zero and not at:
            raise InputError("centroids", got=table.tolist(), allowed="with a 0 among them")
        if pinned is not None and bool(pinned.any()) and not zero:
            raise InputError("zero", got=zero, allowed="True for a weight with a mask")
        middles = (table[1:].double() + table[:-1].double()) / 2
        indices = torch.bucketize(dense.double(), middles)
        return cls(table, indices, zero=at[0] if zero else None)

    def decode(self) -> torch.Tensor:
        """The dense weight, float32, of the shape of `indices`."""
        flat = torch.index_select(self._table(), 0, self.indices.flatten().int())
        return flat.reshape(self.indices.shape)

    def pinned(self) -> torch.Tensor | None:
        """See `Code.pinned`: the members of the centroid that stays 0."""
        return None if self.zero is None else self.indices == self.zero

    def symbols(self) -> dict[str, NDArray[np.generic]]:
        """See `Code.symbols`: `codes`, int8, and `centroids`, as the module's text says."""
        table = self._table().detach().cpu().numpy()
        indices = self.indices.cpu().numpy()
        used = np.flatnonzero(np.bincount(indices.reshape(-1), minlength=table.size))
        order = used[np.argsort(table[used], kind="stable")]
        centre = self._centre(order, table)
        codes = np.zeros(table.size, np.int8)
        codes[order] = np.arange(order.size) - centre
        return {"codes": codes[indices], "centroids": np.roll(table[order], -centre)}

    def to_onnx(self, name: str) -> OnnxForm:
        """A Gather from the table, by the stored integers."""
        symbols = self.symbols()
        codes, table, wide = f"{name}.codes", f"{name}.centroids", f"{name}.indices"
        nodes = (
            OnnxNode("Cast", (codes,), (wide,), {"to": _INT32}),
            OnnxNode("Gather", (table, wide), (name,)),
        )
        arrays = {codes: symbols["codes"], table: symbols["centroids"]}
        return OnnxForm(arrays, nodes, name, elements=codes)

    def describe(self) -> str:
        """As in "32 shared values, 85 % zeros"."""
        text = f"{self.centroids.numel()} shared values"
        pinned = self.pinned()
        if pinned is None:
            return text
        return f"{text}, {100 * float(pinned.float().mean()):.3g} % zeros"

    def _table(self) -> torch.Tensor:
        """The centroids, with the 0 in its place."""
        c, at = self.centroids, self.zero
        return c if at is None else torch.cat((c[:at], c.new_zeros(1), c[at + 1 :]))

    def _centre(self, order: NDArray[np.intp], table: NDArray[np.float32]) -> int:
        """Which of the sorted centroids is code 0, so that all codes fit eight bits."""
        first = self.zero if self.zero in order else order[np.abs(table[order]).argmin()]
        centre = int(np.flatnonzero(order == first)[0])
        return min(max(centre, order.size - 1 - _HIGHEST), -_LOWEST)


def _example(count: int, *, zero: bool) -> Codebook:
    weight = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    centroids = torch.linspace(-2, 2, count)
    if zero:
        weight = torch.where(weight.abs() < 1, 0.0, weight)
        centroids[count // 2] = 0.0
    return Codebook.encode(weight, centroids, zero=zero)


CODE = Codebook
EXAMPLES = {
    "four_bits": lambda: _example(16, zero=False),
    "five_bits-most_zero": lambda: _example(32, zero=True),
    "eight_bits": lambda: _example(256, zero=False),
}
