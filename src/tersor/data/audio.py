"""A folder of .wav files as samples.

The folder's layout, and where labels come from, is that of `tersor.data.folder`; the table
is audio.toml, here with the defaults of all keys but `input`, `rate` and `seconds`:

    input = "audio"            name of the model's input
    rate = 16000               values per second; files of other rates are resampled
    seconds = 1.0              longer sounds are cut at the end, shorter ones padded with 0
    features = "waveform"      values in [-1, 1]; or "log_mel", see `tersor.arrays.mel`
    window_ms = 25.0           of log_mel: length of a frame,
    hop_ms = 10.0              from one frame to the next,
    mels = 40                  number of filters,
    band_hz = [0.0, 8000.0]    lowest and highest frequency; by default up to rate / 2,
    floor = 1e-6               smallest energy that counts
    mean = 0.0                 subtracted from all values
    std = 1.0                  divided by
    layout = "NT"              order of the axes: T time, M mel, C one channel;
                               by default NT, or NMT for log_mel

Several channels become their mean. Files are read when a batch asks for them.
"""

import math
import struct
import warnings
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tersor.arrays.mel import frames, log_mel, mel_filters
from tersor.data.folder import files_of, samples_of_files, settings_of
from tersor.data.samples import Samples
from tersor.errors import DataError, InputError

Array = NDArray[np.generic]

TABLE = "audio.toml"

_LAYOUTS = {
    "waveform": ("NT", "NCT", "NTC"),
    "log_mel": ("NMT", "NTM", "NCMT", "NCTM", "NMTC", "NTMC"),
}
_LARGEST = 1 << 28  # values in one sample, and bytes of one file
_BROKEN = (
    *(OSError, ValueError, TypeError, EOFError, MemoryError, OverflowError, struct.error),
    *(ArithmeticError, NameError),  # of scipy, where a file has no blocks or no channels
)
_FASTEST = 1 << 20  # values per second
_FINEST = 1 << 13  # denominator of a ratio of rates: filters grow with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """How a sound becomes an array; see the module.

    Raises:
        InputError: A value is of the wrong type or out of range.
    """

    input: str
    rate: int
    seconds: float
    features: str = "waveform"
    window_ms: float = 25.0
    hop_ms: float = 10.0
    mels: int = 40
    band_hz: tuple[float, float] | None = None
    floor: float = 1e-6
    mean: float = 0.0
    std: float = 1.0
    layout: str = ""

    def __post_init__(self) -> None:
        layouts = _LAYOUTS.get(str(self.features), ())
        checks = [
            ("input", isinstance(self.input, str) and bool(self.input), "a name"),
            ("rate", _is(self.rate, 1, 1 << 20, int), "a number of values per second"),
            ("seconds", _is(self.seconds, 1e-3, 3600), "from 0.001 to 3600"),
            ("features", bool(layouts), "one of " + ", ".join(_LAYOUTS)),
            ("window_ms", _is(self.window_ms, 1e-1, 1e4), "from 0.1 to 10000"),
            ("hop_ms", _is(self.hop_ms, 1e-1, 1e4), "from 0.1 to 10000"),
            ("mels", _is(self.mels, 1, 1024, int), "from 1 to 1024"),
            ("floor", _is(self.floor, 1e-30, 1.0), "above 0 and at most 1"),
            ("mean", _is(self.mean), "a number"),
            ("std", _is(self.std) and self.std != 0, "a number, not 0"),
            ("layout", self.layout in {"", *layouts}, "one of " + ", ".join(layouts)),
        ]
        for name, fits, allowed in checks:
            if not fits:
                raise InputError(f"{TABLE}: {name}", got=getattr(self, name), allowed=allowed)
        self._check_sizes()

    def _check_sizes(self) -> None:
        band = self.band_hz
        if band is not None:
            numbers = isinstance(band, tuple) and len(band) == 2 and all(_is(f) for f in band)
            if not numbers or not 0 <= band[0] < band[1] <= self.rate / 2:
                allowed = f"[low, high] from 0 to {self.rate / 2:g}"
                raise InputError(f"{TABLE}: band_hz", got=band, allowed=allowed)
        if self.count > _LARGEST:
            allowed = f"so short that it has at most {_LARGEST} values"
            raise InputError(f"{TABLE}: seconds", got=self.seconds, allowed=allowed)
        if self.features == "log_mel" and not 2 <= self.window <= self.count:
            allowed = f"from 2 values to the whole sound of {self.count}"
            raise InputError(f"{TABLE}: window_ms", got=self.window_ms, allowed=allowed)

    @property
    def count(self) -> int:
        """Values in one sound."""
        return round(self.rate * self.seconds)

    @property
    def window(self) -> int:
        """Values in one frame."""
        return round(self.rate * self.window_ms / 1000)

    @property
    def hop(self) -> int:
        """Values from one frame to the next."""
        return max(1, round(self.rate * self.hop_ms / 1000))

    @property
    def axes(self) -> str:
        """The order of the axes of one sample."""
        return (self.layout or _LAYOUTS[self.features][0])[1:]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        time = self.count
        if self.features == "log_mel":
            time = frames(self.count, self.window, self.hop)
        return tuple({"T": time, "M": self.mels, "C": 1}[axis] for axis in self.axes)

    def array(self, sound: NDArray[np.float64]) -> Array:
        """One sample from a sound of `count` values in [-1, 1]."""
        axes, found = "T", sound
        if self.features == "log_mel":
            filters = mel_filters(
                self.mels, self.window, self.rate, self.band_hz or (0.0, self.rate / 2)
            )
            axes, found = "MT", log_mel(sound, filters, self.window, self.hop, self.floor)
        if "C" in self.axes:
            axes, found = "C" + axes, found[None]
        ordered = found.transpose([axes.index(axis) for axis in self.axes])
        return cast(Array, ((ordered - self.mean) / self.std).astype(np.float32))

    def read(self, path: Path) -> Array:
        """One file.

        Raises:
            DataError: It cannot be read.
        """
        from scipy.io import wavfile
        from scipy.signal import resample_poly

        try:
            if path.stat().st_size > _LARGEST:
                raise ValueError(f"more than {_LARGEST} bytes")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rate, values = wavfile.read(path)
            if not 1 <= rate <= _FASTEST:
                raise ValueError(f"{rate} values per second")
            sound = _mono(values)
            if rate != self.rate:
                exact = Fraction(self.rate, int(rate))
                ratio = exact.limit_denominator(_FINEST) or exact
                needed = math.ceil(self.count / ratio) + 64
                sound = resample_poly(sound[:needed], ratio.numerator, ratio.denominator)
        except _BROKEN as error:
            told = " ".join(str(error).split())[:200]
            raise DataError(
                f"Sound {path}", f"cannot be read ({told})", "Remove it."
            ) from None
        whole = np.zeros(self.count)
        whole[: len(sound)] = sound[: self.count]
        return self.array(whole)


def read_audio(folder: Path) -> Samples:
    """The sounds of a folder; see the module.

    Raises:
        FileError: The table is missing or is not TOML, or there are no sounds.
        InputError: A key of the table is unknown, or a value is wrong.
        DataError: The labels do not fit the sounds.
    """
    how: Hearing = settings_of(folder / TABLE, Hearing, ("input", "rate", "seconds"))
    paths, labels = files_of(folder, {".wav"}, "sounds")
    return samples_of_files(paths, labels, how.input, how.shape, how.read)


def _mono(values: Array) -> NDArray[np.float64]:
    """The mean of the channels, in [-1, 1].

    Raises:
        ValueError: The values are of no known type.
    """
    kind = values.dtype.kind
    if kind not in "uif" or (kind == "u" and values.dtype.itemsize > 1):
        raise ValueError(f"values of type {values.dtype}")
    sound = values.astype(np.float64)
    if kind == "u":
        sound = (sound - 128) / 128
    elif kind == "i":
        sound /= 2.0 ** (8 * values.dtype.itemsize - 1)
    return cast(NDArray[np.float64], sound.mean(axis=1) if sound.ndim == 2 else sound)


def _is(
    value: Any, low: float = -math.inf, high: float = math.inf, kind: type = float
) -> bool:
    """Whether it is a finite number of that kind, from `low` to `high`."""
    kinds = (int,) if kind is int else (int, float)
    return type(value) in kinds and math.isfinite(value) and low <= value <= high
