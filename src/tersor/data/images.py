"""A folder of images as samples.

The folder's layout, and where labels come from, is that of `tersor.data.folder`; the table
is preprocess.toml, here with the defaults of all keys but `input` and `size`:

    input = "image"            name of the model's input
    size = [224, 224]          height and width of the array
    resize = 0                 shorter side before the centre is cut out; 0: resize to `size`
    filter = "bilinear"        or "nearest", "bicubic", "lanczos": how images are resized
    colour = "RGB"             or "L" for grey
    scale = 0.00392156862745098
    mean = [0.0, 0.0, 0.0]     subtracted after scaling, per channel
    std = [1.0, 1.0, 1.0]      divided by, per channel
    layout = "NCHW"            or "NHWC"

Images are read when a batch asks for them: memory does not grow with their number.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tersor.data.folder import files_of, samples_of_files, settings_of
from tersor.data.samples import Samples
from tersor.errors import DataError, InputError

Array = NDArray[np.generic]

TABLE = "preprocess.toml"

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
_FILTERS = ("bilinear", "nearest", "bicubic", "lanczos")
_CHANNELS = {"RGB": 3, "L": 1}
_BROKEN = (OSError, ValueError, SyntaxError, MemoryError)  # what Pillow raises for damage
_LARGEST = 65_536  # pixels on a side


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How an image becomes an array; see the module.

    Raises:
        InputError: A value is of the wrong type or out of range.
    """

    input: str
    size: tuple[int, int]
    resize: int = 0
    filter: str = "bilinear"
    colour: str = "RGB"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: str = "NCHW"

    def __post_init__(self) -> None:
        channels = _CHANNELS.get(str(self.colour))
        divides = _are(self.std, float, {1, channels}) and 0 not in self.std
        checks = [
            ("input", isinstance(self.input, str) and bool(self.input), "a name"),
            ("size", _are(self.size, int, {2}, low=1), "[height, width]"),
            ("resize", _are((self.resize,), int, {1}, low=0), "a number of pixels, or 0"),
            ("filter", str(self.filter) in _FILTERS, "one of " + ", ".join(_FILTERS)),
            ("colour", channels is not None, '"RGB" or "L"'),
            ("scale", _are((self.scale,), float, {1}), "a number"),
            ("mean", _are(self.mean, float, {1, channels}), "one number per channel"),
            ("std", divides, "one number per channel, not 0"),
            ("layout", str(self.layout) in {"NCHW", "NHWC"}, '"NCHW" or "NHWC"'),
        ]
        for name, fits, allowed in checks:
            if not fits:
                raise InputError(f"{TABLE}: {name}", got=getattr(self, name), allowed=allowed)
        if self.resize and self.resize < max(self.size):
            allowed = f"at least {max(self.size)}, or 0"
            raise InputError(f"{TABLE}: resize", got=self.resize, allowed=allowed)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one array."""
        channels = _CHANNELS[self.colour]
        return (channels, *self.size) if self.layout == "NCHW" else (*self.size, channels)

    def array(self, path: Path) -> Array:
        """One image.

        Raises:
            DataError: It cannot be read.
        """
        from PIL import Image

        try:
            with Image.open(path) as image:
                pixels = np.asarray(self._sized(image.convert(self.colour)), np.float32)
        except (*_BROKEN, Image.DecompressionBombError) as error:
            told = " ".join(str(error).split())[:200]
            raise DataError(
                f"Image {path}", f"cannot be read ({told})", "Remove it."
            ) from None
        pixels = pixels.reshape(*self.size, _CHANNELS[self.colour])
        mean, std = (np.asarray(values, np.float32) for values in (self.mean, self.std))
        found = (pixels * np.float32(self.scale) - mean) / std
        return cast(Array, found.transpose(2, 0, 1) if self.layout == "NCHW" else found)

    def _sized(self, image: Any) -> Any:
        from PIL import Image

        height, width = self.size
        method = Image.Resampling[self.filter.upper()]
        if not self.resize:
            return image.resize((width, height), method)
        factor = self.resize / min(image.size)
        across, down = (max(self.resize, round(side * factor)) for side in image.size)
        image = image.resize((across, down), method)
        left, top = (across - width) // 2, (down - height) // 2
        return image.crop((left, top, left + width, top + height))


def _are(values: Any, kind: type, lengths: set[Any], low: float = -np.inf) -> bool:
    """Whether it is a sequence of finite numbers of that kind."""
    kinds = (int,) if kind is int else (int, float)
    return (
        isinstance(values, tuple)
        and len(values) in lengths
        and all(type(v) in kinds and low <= v <= _LARGEST for v in values)
    )


def read_images(folder: Path) -> Samples:
    """The images of a folder; see the module.

    Raises:
        FileError: The table is missing or is not TOML, or there are no images.
        InputError: A key of the table is unknown, or a value is wrong.
        DataError: The labels do not fit the images.
    """
    how: Preprocessing = settings_of(folder / TABLE, Preprocessing, ("input", "size"))
    paths, labels = files_of(folder, _SUFFIXES, "images")
    return samples_of_files(paths, labels, how.input, how.shape, how.array)
