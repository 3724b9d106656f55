"""Weights that may lose elements: which ones, and their masks.

What all pruning methods share: layers that can be pruned, codes `Masked` put in their places,
masks by score within a layer or over all of them, and notes; which axis the inputs of a weight
run along, for patterns of zeros among them.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from tersor.arrays.masks import largest, largest_of_all, with_one_each
from tersor.codes.masked import Masked
from tersor.errors import ModelError
from tersor.network.holding import reason_against
from tersor.network.layers import Layer, layers
from tersor.network.network import Network, Note

Scope = Literal["layer", "global"]
Scores = NDArray[np.floating]

SMALLEST = 64  # weights of fewer elements are left alone: their biases are as large


@dataclass(frozen=True, slots=True)
class Prunable:
    """Layers that can be pruned, each with its code, and notes on the others.

    Attributes:
        network: Where they are.
        method: Who asked.
        layers: Those that can be pruned.
        codes: One for each, as they were put in place.
        notes: Why the others cannot.
    """

    network: Network
    method: str
    layers: tuple[Layer, ...]
    codes: tuple[Masked, ...]
    notes: tuple[Note, ...]

    def scores(self) -> list[Scores]:
        """The magnitude of each latent weight."""
        return [np.abs(code.weight.detach().cpu().numpy()) for code in self.codes]

    def put(self, masks: Sequence[NDArray[np.bool_]]) -> None:
        """Set all masks."""
        for code, mask in zip(self.codes, masks, strict=True):
            code.set_mask(torch.from_numpy(mask).to(code.mask.device))

    def told(self) -> list[Note]:
        """What holds each layer now, and why others were skipped."""
        held = [(layer.name, self.network.code(layer.weight)) for layer in self.layers]
        done = [
            Note(name, self.method, done=True, text=code.describe())
            for name, code in held
            if code is not None
        ]
        return [*done, *self.notes]


def prunable(
    network: Network,
    method: str,
    keep: Sequence[str],
    against: Callable[[Layer], str | None] = lambda _: None,
) -> Prunable:
    """Put a mask in the place of every weight that can have one.

    A mask that is there already stays as it is, in a copy of its code, since networks share
    codes; plain weights get one without zeros, but for elements that are 0 already.

    Args:
        network: A network of one's own.
        method: Who asks, for the notes.
        keep: Names of layers that are left alone.
        against: Why the method leaves a layer alone that could be pruned; None if it does not.

    Raises:
        ModelError: A name in `keep` is no layer, a weight is not finite, or nothing can be
            pruned.
    """
    found = layers(network)
    unknown = sorted(set(keep) - {layer.name for layer in found})
    if unknown:
        raise ModelError(unknown[0], "is not a layer", "See `tersor inspect` for names.")
    chosen, notes = [], []
    for layer in found:
        reason = reason_against(network, layer, keep, SMALLEST)
        if reason is None:
            reason = against(layer)
        if reason is not None:
            notes.append(Note(layer.name, method, done=False, text=reason))
        else:
            chosen.append(layer)
    if not chosen:
        reasons = [f" ({note.layer}: {note.text})" for note in notes]
        problem = f"has no weight to prune{next(iter(reasons), '')}"
        raise ModelError("The network", problem, "See `tersor inspect`.")
    for layer in chosen:
        weight = network.tensor(layer.weight)
        if not bool(torch.isfinite(weight).all()):
            raise ModelError(layer.weight, "holds NaN or infinity", "Repair or exclude it.")
        code = network.code(layer.weight)
        own = Masked.encode(weight, weight != 0) if code is None else copy.deepcopy(code)
        network.set_code(layer.weight, own)
    codes = [network.code(layer.weight) for layer in chosen]
    masked = tuple(code for code in codes if isinstance(code, Masked))
    return Prunable(network, method, tuple(chosen), masked, tuple(notes))


def masks_for(
    scores: Sequence[Scores], sparsity: float, scope: Scope
) -> list[NDArray[np.bool_]]:
    """Masks that keep the largest scores: of each array, or of all; at least one of each.

    Args:
        scores: One array per weight.
        sparsity: The fraction that goes, in [0, 1): round(sparsity * n) of n elements.
        scope: "layer": of each array; "global": of all together.
    """
    if scope == "layer":
        masks = [largest(each, each.size - round(sparsity * each.size)) for each in scores]
    else:
        total = sum(each.size for each in scores)
        masks = largest_of_all(scores, total - round(sparsity * total))
    return with_one_each(masks, scores)


def inputs_axis(layer: Layer) -> int:
    """The weight's axis of inputs: what is summed over goes along it, taps aside."""
    dimensions = len(layer.shape)
    pair = (0, 1) if layer.op.startswith("conv") else (dimensions - 2, dimensions - 1)
    return pair[1] if layer.channel_axis == pair[0] else pair[0]


def undivided(layer: Layer, size: int) -> str | None:
    """Why the inputs of a layer are not whole groups of `size`; None if they are."""
    axis = inputs_axis(layer)
    count = layer.shape[axis]
    if layer.op.startswith("conv_transpose") and axis == 0:
        count //= layer.groups
    if count % size == 0:
        return None
    return f"the number of its inputs, {count}, is no multiple of {size}"
