"""A folder of images as samples.

    folder/preprocess.toml     how an image becomes an array
    folder/labels.tsv          file <tab> number of the class, one per line; or
    folder/CLASS/*.png         one folder per class, numbered from 0 in the order of names; or
    folder/*.png               no labels

preprocess.toml, with the defaults of all keys but `input` and `size`:

    input = "image"            name of the model's input
    size = [224, 224]          height and width of the array
    resize = 256               shorter side before the centre is cut out; 0: resize to `size`
    colour = "RGB"             or "L" for grey
    scale = 0.00392156862745098
    mean = [0.0, 0.0, 0.0]     subtracted after scaling, per channel
    std = [1.0, 1.0, 1.0]      divided by, per channel
    layout = "NCHW"            or "NHWC"

Images are read when a batch asks for them: memory does not grow with their number.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tersor.data.samples import Samples
from tersor.errors import DataError, FileError, InputError

Array = NDArray[np.generic]

TABLE = "preprocess.toml"
LABELS = "labels.tsv"

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
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
    colour: str = "RGB"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: str = "NCHW"

    def __post_init__(self) -> None:
        channels = _CHANNELS.get(self.colour)
        checks = [
            ("input", isinstance(self.input, str) and bool(self.input), "a name"),
            ("size", _are(self.size, int, {2}, low=1), "[height, width]"),
            ("resize", _are((self.resize,), int, {1}, low=0), "a number of pixels, or 0"),
            ("colour", channels is not None, '"RGB" or "L"'),
            ("scale", _are((self.scale,), float, {1}), "a number"),
            ("mean", _are(self.mean, float, {1, channels}), "one number per channel"),
            ("std", _are(self.std, float, {1, channels}), "one number per channel, not 0"),
            ("std", 0 not in self.std, "one number per channel, not 0"),
            ("layout", self.layout in {"NCHW", "NHWC"}, '"NCHW" or "NHWC"'),
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
        if not self.resize:
            return image.resize((width, height), Image.Resampling.BILINEAR)
        factor = self.resize / min(image.size)
        across, down = (max(self.resize, round(side * factor)) for side in image.size)
        image = image.resize((across, down), Image.Resampling.BILINEAR)
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


class Images:
    """Images that stand in for an array (n, ...): read when they are asked for."""

    def __init__(self, paths: Sequence[Path], how: Preprocessing) -> None:
        self._paths, self._how = list(paths), how
        self.shape = (len(paths), *how.shape)
        self.ndim = len(self.shape)
        self.dtype: np.dtype[Any] = np.dtype(np.float32)
        self.nbytes = int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, part: Any) -> Any:
        if isinstance(part, slice):
            return Images(self._paths[part], self._how)
        if isinstance(part, np.ndarray) and part.ndim == 1:
            return Images([self._paths[i] for i in np.arange(len(self))[part]], self._how)
        return np.asarray(self)[part]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:  # noqa: FBT001
        if copy is False:
            raise ValueError("images cannot be given as an array without a copy")
        found = np.empty(self.shape, self.dtype)
        for i, path in enumerate(self._paths):
            found[i] = self._how.array(path)
        return found if dtype is None else found.astype(dtype)


def read_images(folder: Path) -> Samples:
    """The images of a folder; see the module.

    Raises:
        FileError: The table is missing or is not TOML, or there are no images.
        InputError: A key of the table is unknown, or a value is wrong.
        DataError: The labels do not fit the images.
    """
    how = _table(folder / TABLE)
    is_listed = (folder / LABELS).is_file()
    paths, labels = _listed(folder) if is_listed else _found(folder)
    if not paths:
        known = ", ".join(sorted(_SUFFIXES))
        raise FileError(folder, "holds no images", f"Images end with {known}.")
    return Samples(
        {how.input: cast(Array, Images(paths, how))},
        None if labels is None else np.asarray(labels, np.int64),
    )


def _table(path: Path) -> Preprocessing:
    if not path.is_file():
        remedy = "Say there how an image becomes an array: at least `input` and `size`."
        raise FileError(path, "is not there", remedy)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(path, f"is not TOML ({error})", "Correct it.") from None
    known = [field.name for field in fields(Preprocessing)]
    for key in table:
        if key not in known:
            raise InputError(f"key of {path}", got=key, allowed="one of " + ", ".join(known))
    for key in ("input", "size"):
        if key not in table:
            raise InputError(f"{path}", got=sorted(table), allowed=f"with the key {key}")
    given: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in table.items()
    }
    return Preprocessing(**given)


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES)


def _found(folder: Path) -> tuple[list[Path], list[int] | None]:
    """Images by class, or all without labels."""
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and _images(p))
    if not classes:
        return _images(folder), None
    by_class = [_images(one) for one in classes]
    labels = [number for number, paths in enumerate(by_class) for _ in paths]
    return [path for paths in by_class for path in paths], labels


def _listed(folder: Path) -> tuple[list[Path], list[int] | None]:
    """The images that labels.tsv names."""
    table = folder / LABELS
    paths: list[Path] = []
    labels: list[int] = []
    for number, line in enumerate(table.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        name, _, label = line.partition("\t")
        where = f"{table}, line {number},"
        if not label.strip().isdecimal():
            remedy = "Write file, tab, number of the class."
            raise DataError(where, f"holds no label ({line.strip()[:80]!r})", remedy)
        path = folder / name
        inside = path.resolve().is_relative_to(folder.resolve())
        if not inside or not path.is_file():
            raise DataError(where, f"names {name!r}, which is not there", "Correct it.")
        paths.append(path)
        labels.append(int(label))
    return paths, labels
