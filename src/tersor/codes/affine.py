"""Affine: integers times a scale, per tensor or per channel.

    decode = scale * (q - zero_point),   q = clamp(round(w / scale) + zero_point, low, high)

The latent weight w stays in float, so that the code can be trained: the rounding passes
the gradient straight through, and the clamp cuts it (Bengio, Leonard, Courville,
arXiv:1308.3432). With zero point 0 the range is symmetric, [-(2^(b-1) - 1), 2^(b-1) - 1]; the
most negative integer is not used, so that |q| fits b - 1 bits.

Rounding is to the nearest integer, ties to even, as QuantizeLinear does.

Source: Jacob et al., "Quantization and training of neural networks for efficient
integer-arithmetic-only inference", arXiv:1712.05877, equation (1).
"""

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tersor.arrays.affine import symmetric_scales
from tersor.codes.code import Code, OnnxForm, OnnxNode, held, latent_of, pinned_of
from tersor.errors import InputError

_DTYPES = {8: torch.int8, 16: torch.int16, 32: torch.int32}


class Affine(Code):
    """A weight held by integers and scales.

    Attributes:
        weight: The latent weight, any shape; float32, or float64 where 32 bits are stored.
            A code that holds it (a mask, say) may stand in its place.
        scale: float32, of shape () for one scale, or (C,) along `axis`.
        zero_point: int32, of the shape of `scale`.
        bits: Width of a stored integer: 2 to 8, 16 or 32. Fewer than 8 are stored as int8.
        axis: The dimension of `weight` that has a scale per index; None for one scale.
    """

    weight: nn.Parameter | Code
    scale: torch.Tensor
    zero_point: torch.Tensor

    def __init__(
        self,
        weight: torch.Tensor | Code,
        scale: torch.Tensor,
        zero_point: torch.Tensor | None = None,
        *,
        bits: int = 8,
        axis: int | None = None,
    ) -> None:
        super().__init__()
        if bits not in {2, 3, 4, 5, 6, 7, 8, 16, 32}:
            raise InputError("bits", got=bits, allowed="2 to 8, 16 or 32")
        wanted = () if axis is None else (latent_of(weight).shape[axis],)
        if tuple(scale.shape) != wanted:
            raise InputError("scale", got=tuple(scale.shape), allowed=f"of shape {wanted}")
        self.weight = held(weight, torch.float64 if bits == 32 else torch.float32)
        if zero_point is None:
            zero_point = torch.zeros_like(scale, dtype=torch.int32)
        self.bits, self.axis = bits, axis
        self.register_buffer("scale", scale.detach().to(torch.float32).clone())
        self.register_buffer("zero_point", zero_point.detach().to(torch.int32).clone())
        self.symmetric = not bool(zero_point.any())

    @classmethod
    def encode(
        cls, weight: torch.Tensor | Code, *, bits: int = 8, axis: int | None = None
    ) -> Self:
        """Hold `weight` symmetrically, with the smallest scales that clamp nothing."""
        dense = latent_of(weight).detach()
        scale = np.asarray(symmetric_scales(dense.cpu().numpy(), bits=bits, axis=axis))
        return cls(weight, torch.from_numpy(scale).to(dense.device), bits=bits, axis=axis)

    @classmethod
    def from_codes(
        cls,
        codes: torch.Tensor,
        scale: torch.Tensor,
        zero_point: torch.Tensor | None = None,
        *,
        bits: int = 8,
        axis: int | None = None,
    ) -> Self:
        """The code whose stored integers are `codes`, of the weight's shape.

        The most negative integer stays what it is, also where the zero point is 0.
        """
        zero = torch.zeros_like(scale) if zero_point is None else zero_point.to(scale.dtype)
        view = (
            _along(scale.double(), codes.ndim, axis),
            _along(zero.double(), codes.ndim, axis),
        )
        dense = (codes.double() - view[1]) * view[0]
        code = cls(dense, scale, zero_point, bits=bits, axis=axis)
        if bool((codes < code.low).any()):
            code.symmetric = False
        return code

    @property
    def latent(self) -> torch.Tensor:
        """The latent weight, whatever holds it."""
        return latent_of(self.weight)

    @property
    def low(self) -> int:
        """The smallest code: symmetric ranges leave the most negative integer out."""
        return -(1 << (self.bits - 1)) + (1 if self.symmetric and self.bits < 32 else 0)

    @property
    def high(self) -> int:
        """The largest code."""
        return (1 << (self.bits - 1)) - 1

    def decode(self) -> torch.Tensor:
        """The dense weight, float32, of the shape of `weight`."""
        steps = self.exact_codes()
        scale, zero = self._views(steps.ndim)
        rounded = steps + (steps.round() - steps).detach()
        codes = (rounded.clamp(self.low, self.high) - zero).to(torch.float32)
        return codes * scale.to(torch.float32)

    def exact_codes(self) -> torch.Tensor:
        """What is rounded to the stored integers: floats, differentiable, not clamped."""
        latent = self.latent
        scale, zero = self._views(latent.ndim)
        return latent / scale + zero

    def codes(self) -> torch.Tensor:
        """The stored integers, int8, int16 or int32, of the shape of `weight`."""
        with torch.no_grad():
            rounded = self.exact_codes().round().clamp(self.low, self.high)
            return rounded.to(_DTYPES[max(self.bits, 8)])

    def pinned(self) -> torch.Tensor | None:
        """See `Code.pinned`."""
        return pinned_of(self.weight)

    def symbols(self) -> dict[str, NDArray[np.generic]]:
        """See `Code.symbols`: `codes`, `scale`, and `zero_point` where it is not 0."""
        result = {"codes": self.codes().cpu().numpy(), "scale": self.scale.cpu().numpy()}
        if not self.symmetric:
            result["zero_point"] = self.zero_point.cpu().numpy()
        return result

    def to_onnx(self, name: str) -> OnnxForm:
        """One DequantizeLinear of the stored integers."""
        codes = self.codes().cpu().numpy()
        if self.bits == 16:
            codes = codes.astype(np.int32)  # before opset 21 there is no int16 here
        zero = self.zero_point.cpu().numpy().astype(codes.dtype)
        arrays: dict[str, NDArray[np.generic]] = {
            f"{name}.codes": codes,
            f"{name}.scale": self.scale.cpu().numpy(),
        }
        if codes.dtype == np.int8:
            arrays[f"{name}.zero_point"] = zero
        elif not self.symmetric:
            raise InputError("zero_point", got=self.bits, allowed="0 where bits exceed 8")
        attributes: dict[str, object] = {} if self.axis is None else {"axis": self.axis}
        node = OnnxNode("DequantizeLinear", tuple(arrays), (name,), attributes)
        return OnnxForm(arrays, (node,), name, elements=f"{name}.codes")

    def describe(self) -> str:
        """As in "int8 per channel"."""
        grain = "tensor" if self.axis is None else "channel"
        inner = f", {self.weight.describe()}" if isinstance(self.weight, Code) else ""
        return f"int{self.bits} per {grain}{inner}"

    def _views(self, ndim: int) -> tuple[torch.Tensor, torch.Tensor]:
        scale, zero = self.scale, self.zero_point
        if self.bits == 32:
            scale = scale.double()
        return _along(scale, ndim, self.axis), _along(zero.to(scale.dtype), ndim, self.axis)


def _along(per_channel: torch.Tensor, ndim: int, axis: int | None) -> torch.Tensor:
    """`per_channel` shaped so that it broadcasts along `axis` of `ndim` dimensions."""
    if axis is None:
        return per_channel
    return per_channel.reshape([-1 if i == axis else 1 for i in range(ndim)])


def _example(axis: int | None, bits: int) -> Affine:
    weight = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    return Affine.encode(weight, bits=bits, axis=axis)


CODE = Affine
EXAMPLES = {
    "int8-per_channel": lambda: _example(0, 8),
    "int8-per_tensor": lambda: _example(None, 8),
    "int4-per_channel": lambda: _example(0, 4),
    "int32-per_channel": lambda: _example(0, 32),
}
