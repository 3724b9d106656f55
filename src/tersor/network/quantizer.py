"""The rounding of activations to a few integers, as a module in the graph.

    real = scale * (code - zero_point),  low <= code <= high

In training the gradient passes straight through inside the range (straight-through
estimator: Bengio, Leonard, Courville, arXiv:1308.3432). Export writes a
QuantizeLinear/DequantizeLinear pair.
"""

from typing import Any

import torch
from torch import fx, nn

from tersor.network.network import Network

_PIECE = 1 << 17  # numbers that a core's cache holds


class ActivationQuantizer(nn.Module):
    """Round a tensor of any shape to the codes of one scale and zero point.

    Attributes:
        scale: float32 scalar.
        zero_point: int32 scalar, in [low, high].
        signed: True for int8 codes, [-128, 127]; False for uint8, [0, 255].
    """

    scale: torch.Tensor
    zero_point: torch.Tensor

    def __init__(self, scale: float, zero_point: int, *, signed: bool = False) -> None:
        super().__init__()
        self.signed = signed
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        self.register_buffer("zero_point", torch.tensor(zero_point, dtype=torch.int32))

    @property
    def low(self) -> int:
        """The smallest code."""
        return -128 if self.signed else 0

    @property
    def high(self) -> int:
        """The largest code."""
        return 127 if self.signed else 255

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x` rounded to the nearest code, ties to even; same shape."""
        if torch.compiler.is_exporting():
            return _traced(x, self)
        if torch.is_grad_enabled() and x.requires_grad:
            return torch.fake_quantize_per_tensor_affine(
                x, self.scale, self.zero_point, self.low, self.high
            )
        # clamping to tensors takes five times as long; reading one would cut a compiled graph
        compiled = torch.compiler.is_compiling()
        zero: Any = self.zero_point if compiled else int(self.zero_point)
        codes = x.mul(1 / self.scale).round_()
        codes.clamp_(self.low - zero, self.high - zero)  # less the zero point
        return codes.mul_(self.scale)

    def constants(self) -> tuple[float, float, int, int]:
        """1 / scale and scale, and the smallest and largest code less the zero point."""
        zero = int(self.zero_point)
        return float(1 / self.scale), float(self.scale), self.low - zero, self.high - zero


def round_in_place(
    x: torch.Tensor, inverse: float, scale: float, low: int, high: int
) -> torch.Tensor:
    """`x` itself, each number rounded as `ActivationQuantizer` of these `constants` does.

    Large tensors go through the cache in pieces: memory is read and written once.
    """
    flat = x.permute(0, 2, 3, 1) if x.ndim == 4 and _has_channels_last(x) else x
    whole = flat.is_contiguous()
    for part in torch.split(flat.view(-1), _PIECE) if whole else (x,):
        part.mul_(inverse).round_().clamp_(low, high).mul_(scale)
    return x


def _has_channels_last(x: torch.Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


def rounded_value(network: Network, node: fx.Node) -> fx.Node | None:
    """The node whose value `node` rounds; None if it does not round."""
    if node.op != "call_module" or len(node.args) != 1:
        return None
    module = network.module.get_submodule(str(node.target))
    source = node.args[0]
    if isinstance(module, ActivationQuantizer) and isinstance(source, fx.Node):
        return source
    return None


def without_roundings(network: Network) -> Network:
    """The network with all activations left as they are; weights stay."""
    result = network.copy()
    for node in list(result.graph.nodes):
        source = rounded_value(result, node)
        if source is not None:
            node.replace_all_uses_with(source)
            result.graph.erase_node(node)
    result.module.recompile()
    return result


def _traced(x: torch.Tensor, q: ActivationQuantizer) -> torch.Tensor:
    """The same as two operations that ONNX knows."""
    import torch.ao.quantization.fx._decomposed  # registers the operations

    ops = torch.ops.quantized_decomposed
    dtype = torch.int8 if q.signed else torch.uint8
    args = (float(q.scale), int(q.zero_point), q.low, q.high, dtype)
    codes = ops.quantize_per_tensor(x, *args)
    return torch.as_tensor(ops.dequantize_per_tensor(codes, *args))
