"""Sounds as logarithms of mel energies.

One second at 8 kHz in frames of 256 samples, 160 apart, under a Hann window; power spectrum;
32 triangular filters from 60 to 4,000 Hz, equally wide in mel = 2595 log10(1 + Hz / 700);
log(energy + 1e-6). Shorter sounds get zeros at the end, longer ones lose theirs.

Source: Davis and Mermelstein, "Comparison of parametric representations for monosyllabic word
recognition", IEEE Transactions on Acoustics, Speech and Signal Processing 28 (1980).
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

RATE, LENGTH = 8000, 8000
WINDOW, HOP = 256, 160
MELS = 32
FRAMES = (LENGTH - WINDOW) // HOP + 1
_LOWEST = 60.0


def log_mel(sounds: Floats) -> Floats:
    """(n, LENGTH) sounds to (n, FRAMES, MELS) features."""
    frames = np.lib.stride_tricks.sliding_window_view(sounds, WINDOW, axis=-1)[..., ::HOP, :]
    spectrum = np.fft.rfft(frames * np.hanning(WINDOW).astype(np.float32), axis=-1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    return np.asarray(np.log(power @ _filters().T + np.float32(1e-6)), dtype=np.float32)


def one_second(sound: Floats) -> Floats:
    """(LENGTH,) samples: the sound cut, or with zeros after it.

    >>> one_second(np.ones(3, np.float32)).sum()
    np.float32(3.0)
    """
    kept = sound[:LENGTH]
    return np.pad(kept, (0, LENGTH - len(kept)))


@cache
def _filters() -> Floats:
    """(MELS, WINDOW / 2 + 1) weights of the bins of the spectrum."""
    edges = np.linspace(_mel(_LOWEST), _mel(RATE / 2), MELS + 2)
    hz = 700 * (10 ** (edges / 2595) - 1)
    bins = np.arange(WINDOW // 2 + 1) * RATE / WINDOW
    low, middle, high = (hz[i : i + MELS, None] for i in range(3))
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def _mel(hz: float) -> float:
    return float(2595 * np.log10(1 + hz / 700))
