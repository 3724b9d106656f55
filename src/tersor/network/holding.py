"""Weights put into codes: what methods that look at one weight at a time share."""

from collections.abc import Callable, Sequence

import torch

from tersor.codes.code import Code
from tersor.codes.masked import Masked
from tersor.errors import ModelError
from tersor.network.layers import Layer, layers
from tersor.network.network import Network, Note

Make = Callable[[Layer, torch.Tensor | Masked], Code | str]


def hold_weights(
    network: Network, make: Make, *, method: str, keep: Sequence[str] = (), minimum: int = 0
) -> Network:
    """A network whose weights are held by the codes that `make` gives, with notes.

    Args:
        network: Any; it stays as it is.
        make: Gives the code for a layer's weight, which is a plain tensor, or a mask over
            one; or the reason why it does not.
        method: Name of the method, for the notes.
        keep: Names of layers that stay as they are.
        minimum: Weights of fewer elements stay as they are.

    Raises:
        ModelError: A name in `keep` is no layer, or a weight is not finite.
    """
    result = network.copy()
    found = layers(result)
    unknown = sorted(set(keep) - {layer.name for layer in found})
    if unknown:
        raise ModelError(unknown[0], "is not a layer", "See `tersor inspect` for names.")
    notes = []
    for layer in found:
        made = reason_against(result, layer, keep, minimum) or _made(result, layer, make)
        if isinstance(made, str):
            notes.append(Note(layer.name, method, done=False, text=made))
        else:
            result.set_code(layer.weight, made)
            notes.append(Note(layer.name, method, done=True, text=made.describe()))
    return result.with_notes(*notes)


def _made(network: Network, layer: Layer, make: Make) -> Code | str:
    held, weight = network.code(layer.weight), network.tensor(layer.weight).detach()
    if not bool(torch.isfinite(weight).all()):
        raise ModelError(layer.weight, "holds NaN or infinity", "Repair or exclude it.")
    return make(layer, held if isinstance(held, Masked) else weight)


def reason_against(
    network: Network, layer: Layer, keep: Sequence[str], minimum: int = 0
) -> str | None:
    """Why a layer's weight is left as it is; None if a code may hold it.

    Args:
        network: The layer's.
        layer: Of it.
        keep: Names of layers that stay as they are.
        minimum: Weights of fewer elements stay as they are.
    """
    if not layer.compressible:
        return layer.reason
    if layer.name in keep:
        return "kept as asked"
    held = network.code(layer.weight)
    if held is not None and not isinstance(held, Masked):
        return "its weight is compressed already"
    if (other := other_type(network, layer)) is not None:
        return other
    if network.tensor(layer.weight).numel() < minimum:
        return f"fewer than {minimum} weights"
    return None


def other_type(network: Network, layer: Layer) -> str | None:
    """Why a weight that is no float32 cannot be held by a code; None if it is one."""
    dtype = network.tensor(layer.weight).dtype
    name = str(dtype).removeprefix("torch.")
    return None if dtype == torch.float32 else f"its weight holds {name}, codes float32"
