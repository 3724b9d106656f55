"""The rounding of activations to a few integers, as a module in the graph.

    real = scale * (code - zero_point),  low <= code <= high

In training the gradient passes straight through inside the range (straight-through
estimator: Bengio, Leonard, Courville, arXiv:1308.3432). Export writes a
QuantizeLinear/DequantizeLinear pair.
"""

import torch
from torch import nn


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
        return torch.fake_quantize_per_tensor_affine(
            x, self.scale, self.zero_point, self.low, self.high
        )


def _traced(x: torch.Tensor, q: ActivationQuantizer) -> torch.Tensor:
    """The same as two operations that ONNX knows."""
    import torch.ao.quantization.fx._decomposed  # registers the operations

    ops = torch.ops.quantized_decomposed
    dtype = torch.int8 if q.signed else torch.uint8
    args = (float(q.scale), int(q.zero_point), q.low, q.high, dtype)
    codes = ops.quantize_per_tensor(x, *args)
    return torch.as_tensor(ops.dequantize_per_tensor(codes, *args))
