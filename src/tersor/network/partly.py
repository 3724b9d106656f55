"""Take layers of a rounded network back to float, without looking at activations again.

The grids of what stays rounded are those that the network has. A value is left rounded
where `network.points` still wants it; biases are corrected anew, where that is better, since
the errors that they made up for are others now.
"""

from collections.abc import Collection

import torch

from tersor.codes.affine import Affine
from tersor.codes.code import Code
from tersor.data.samples import Samples
from tersor.network.layers import Layer, layers
from tersor.network.network import Network
from tersor.network.points import points
from tersor.network.quantizer import rounded_value
from tersor.network.trial import Trial


def partly(
    rounded: Network, exact: Network, integer: Collection[str], samples: Samples
) -> Network:
    """`rounded` with the layers named in `integer` as they are, and all others in float.

    Args:
        rounded: With codes for weights and biases, and roundings of activations.
        exact: The same graph without them, batch normalization folded.
        integer: Names of layers; each is rounded in `rounded`.
        samples: Inputs for the correction of biases; the first 32 are looked at.
    """
    kept = [layer for layer in layers(exact) if layer.name in integer]
    result = rounded.copy()
    _drop_roundings(result, exact, kept)
    _restore(result, exact, kept)
    return Trial(exact, samples).corrected(result)[0]


def _drop_roundings(network: Network, exact: Network, kept: list[Layer]) -> None:
    """Leave only those roundings, and those readers of them, that the kept layers want."""
    wanted = {
        node.name: {reader.name for reader in readers}
        for node, readers in points(exact.graph, kept).readers.items()
    }
    for node in list(network.graph.nodes):
        source = rounded_value(network, node)
        if source is None:
            continue
        for user in list(node.users):
            if user.name not in wanted.get(source.name, ()):
                user.replace_input_with(node, source)
        if not node.users:
            network.graph.erase_node(node)
    network.module.recompile()


def _restore(network: Network, exact: Network, kept: list[Layer]) -> None:
    """Plain tensors for what no kept layer reads; biases without their correction."""
    held = {name for layer in kept for name in (layer.weight, layer.bias)}
    for layer in layers(exact):
        for name in filter(None, (layer.weight, layer.bias)):
            code = network.code(name)
            if code is not None and name not in held:
                network.release(name, exact.tensor(name))
            elif isinstance(code, Affine) and name == layer.bias:
                network.set_code(name, _like(code, exact.tensor(name)))
            elif code is None and name == layer.bias:
                network.set_tensor(name, exact.tensor(name))


def _like(code: Affine, value: torch.Tensor) -> Code:
    """The same grid for another value."""
    return Affine(value, code.scale, bits=code.bits, axis=code.axis)
