"""Images made larger or smaller: x (N, C, sizes...)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from tersor.export.call import Call
from tersor.export.operators.reshaping import names
from tersor.export.operators.sizes import size_of
from tersor.export.writer import Writer


@dataclass(frozen=True, slots=True)
class Sampling:
    """How Resize takes its samples; see the ONNX operator."""

    mode: str
    coordinates: str = "half_pixel"
    nearest: str = "round_prefer_floor"


def resize(sampling: Sampling) -> Callable[[Writer, Call], str]:
    """To sizes, or by factors."""

    def write(w: Writer, call: Call) -> str:
        aligned = call.get_or("align_corners") is True
        attributes: dict[str, object] = {
            "mode": sampling.mode,
            "coordinate_transformation_mode": (
                "align_corners" if aligned else sampling.coordinates
            ),
        }
        if sampling.mode == "nearest":
            attributes["nearest_mode"] = sampling.nearest
        if sampling.mode == "cubic":
            attributes["cubic_coeff_a"] = -0.75
        return w.node("Resize", call.x.name, "", *target(w, call), **attributes)

    return write


def target(w: Writer, call: Call) -> list[str]:
    """The factors, or no factors and the sizes."""
    factors = call.get_or("scale_factors")
    given = [call.get_or(n) for n in ("scales", "scales_h", "scales_w")]
    if isinstance(factors, (list, tuple)):
        return [w.constant([1, 1, *factors], torch.float32, "scales")]
    if any(v is not None for v in given):
        call.fail("has both sizes and factors")
    whole = whole_factors(call)
    if whole:
        return [w.constant([1, 1, *whole], torch.float32, "scales")]
    sizes = names(call.sizes("output_size"))
    return ["", w.ints([size_of(w, call.x, 0), size_of(w, call.x, 1), *sizes])]


def whole_factors(call: Call) -> list[int]:
    """The factors where sizes are fixed and all factors whole; else nothing."""
    result = []
    for size, out in zip(call.x.shape[2:], call.result.shape[2:], strict=True):
        if size is None or out is None or out % size:
            return []
        result.append(out // size)
    return result


_NEAREST = Sampling("nearest", "asymmetric", "floor")
_EXACT = Sampling("nearest", "half_pixel", "round_prefer_ceil")
_LINEAR = Sampling("linear")
_CUBIC = Sampling("cubic")


def grid_sample(w: Writer, call: Call) -> str:
    """Images sampled at the positions of a grid (N, H, W, 2)."""
    mode = ("bilinear", "nearest", "bicubic")[call.whole("interpolation_mode")]
    padding = ("zeros", "border", "reflection")[call.whole("padding_mode")]
    return w.node(
        "GridSample",
        call.x.name,
        call.y.name,
        mode=mode,
        padding_mode=padding,
        align_corners=int(call.flag("align_corners")),
    )


OPERATORS = {
    "aten.upsample_nearest1d.vec": resize(_NEAREST),
    "aten.upsample_nearest2d.vec": resize(_NEAREST),
    "aten.upsample_nearest3d.vec": resize(_NEAREST),
    "aten.upsample_nearest2d.default": resize(_NEAREST),
    "aten._upsample_nearest_exact2d.vec": resize(_EXACT),
    "aten.upsample_linear1d.vec": resize(_LINEAR),
    "aten.upsample_bilinear2d.vec": resize(_LINEAR),
    "aten.upsample_bilinear2d.default": resize(_LINEAR),
    "aten.upsample_trilinear3d.vec": resize(_LINEAR),
    "aten.upsample_bicubic2d.vec": resize(_CUBIC),
    "aten.grid_sampler.default": grid_sample,
    "aten.grid_sampler_2d.default": grid_sample,
}
