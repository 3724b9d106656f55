"""Block pruning: blocks of weights become 0 as a whole, those of the smallest norm first.

A weight is seen as a matrix: a row for each output, and in it inputs and their taps, as they
are stored. It is laid out in blocks of `rows` x `columns` (1 x 4, 16 x 1, ...), those at the
lower and right edges cut off. A block's score is the root mean square of its elements, which
orders blocks of one size as their norms do. Of the n blocks of a weight the
round(sparsity * n) of smallest score become 0, at least one stays. Zeros of a mask that is
there stay zeros. Over all layers together ("global") those with large weights keep more.

Shapes do not change; kernels that skip blocks are faster at less sparsity than those that
skip single weights. What is lost is regained by `train.fine_tune`.

Source: Narang, Undersander, Diamos, "Block-sparse recurrent neural networks",
arXiv:1711.02782; Gray, Radford, Kingma, "GPU kernels for block-sparse weights", 2017.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tersor.data.samples import Samples
from tersor.errors import InputError
from tersor.network.layers import Layer
from tersor.network.network import Network
from tersor.network.pruning import masks_for, prunable

_NAME = "prune.blocks"


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneBlocks:
    """Zeros for the blocks of smallest norm.

    Attributes:
        sparsity: The fraction of blocks that becomes 0, in [0, 1).
        rows: Outputs of a block.
        columns: Inputs, or taps of them, of a block.
        scope: "layer": of each weight; "global": of all together.
        keep: Names of layers that are left alone.
    """

    sparsity: float = 0.5
    rows: int = 1
    columns: int = 4
    scope: Literal["layer", "global"] = "layer"
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity < 1:
            raise InputError("sparsity", got=self.sparsity, allowed="in [0, 1)")
        for name in ("rows", "columns"):
            if getattr(self, name) < 1:
                raise InputError(name, got=getattr(self, name), allowed="1 or more")

    def apply(self, network: Network, samples: Samples | None = None) -> Network:
        """See `Method.apply`. Needs no samples."""
        result = network.copy()
        found = prunable(result, _NAME, self.keep)
        there = [code.mask.cpu().numpy() for code in found.codes]
        held = zip(found.layers, found.scores(), there, strict=True)
        norms = [self._norms(_matrix(s * old, layer)) for layer, s, old in held]
        kept = masks_for(norms, self.sparsity, self.scope)
        masks = []
        for layer, blocks, old in zip(found.layers, kept, there, strict=True):
            rows, columns = _matrix(old, layer).shape
            mask = np.repeat(blocks, self.rows, 0)[:rows]
            mask = np.repeat(mask, self.columns, 1)[:, :columns]
            masks.append(_weight(mask, layer) & old)
        found.put(masks)
        return result.with_notes(*found.told())

    def _norms(self, matrix: NDArray[Any]) -> NDArray[np.float64]:
        """The root mean square of each block."""
        found, doubles = [], matrix.astype(np.float64)
        for values in (np.square(doubles), np.ones_like(doubles)):
            strips = np.add.reduceat(values, np.arange(0, len(matrix), self.rows), 0)
            starts = np.arange(0, matrix.shape[1], self.columns)
            found.append(np.add.reduceat(strips, starts, 1))
        squares, counts = found
        means: NDArray[np.float64] = np.sqrt(squares / counts)
        return means


def _matrix(weight: NDArray[Any], layer: Layer) -> NDArray[Any]:
    """A row for each output."""
    rows = np.moveaxis(weight, layer.channel_axis, 0)
    return rows.reshape(len(rows), -1)


def _weight(matrix: NDArray[Any], layer: Layer) -> NDArray[Any]:
    """The reverse of `_matrix`."""
    others = [size for i, size in enumerate(layer.shape) if i != layer.channel_axis]
    return np.moveaxis(matrix.reshape(-1, *others), 0, layer.channel_axis)


METHOD = PruneBlocks
EXAMPLE = PruneBlocks()
IDENTITY = PruneBlocks(sparsity=0.0)
