"""Log-mel energies of a sound.

    frame t      x[t h : t h + w], t = 0 ... floor((n - w) / h), times the periodic Hann window
                 0.5 - 0.5 cos(2 pi i / w), i = 0 ... w - 1
    energy       |rfft(frame)|^2, at the frequencies k rate / w, k = 0 ... floor(w / 2)
    mel          mel(f) = 2595 log10(1 + f / 700); m triangles whose corners are m + 2 points
                 evenly spaced in mel from the lowest to the highest frequency, of height 1
    result       ln(max(filters @ energy, floor))

Nothing is padded. Source: O'Shaughnessy, "Speech communication: human and machine", 1987
(the mel scale); Davis and Mermelstein, IEEE TASSP 28 (4), 1980 (triangular filters).
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def frames(count: int, window: int, hop: int) -> int:
    """How many frames `count` values give.

    >>> frames(400, 400, 160), frames(560, 400, 160), frames(399, 400, 160)
    (1, 2, 0)
    """
    return max(0, 1 + (count - window) // hop)


def mel_filters(mels: int, window: int, rate: int, band_hz: tuple[float, float]) -> Floats:
    """Triangular filters, (mels, window // 2 + 1).

    Args:
        mels: Number of filters.
        window: Values in a frame.
        rate: Values per second.
        band_hz: Lowest and highest frequency, 0 <= low < high <= rate / 2.
    """
    low, high = (2595 * np.log10(1 + f / 700) for f in band_hz)
    corners = 700 * (10 ** (np.linspace(low, high, mels + 2) / 2595) - 1)
    at = np.arange(window // 2 + 1) * rate / window
    rising = (at - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
    falling = (corners[2:, None] - at) / (corners[2:] - corners[1:-1])[:, None]
    filters: Floats = np.maximum(0, np.minimum(rising, falling))
    return filters


def log_mel(sound: Floats, filters: Floats, window: int, hop: int, floor: float) -> Floats:
    """Log-mel energies, (mels, frames).

    Args:
        sound: (n,) values, n >= window.
        filters: See `mel_filters`.
        window: Values in a frame.
        hop: Values from one frame to the next.
        floor: Smallest energy that counts, above 0.
    """
    parts = np.lib.stride_tricks.sliding_window_view(sound, window)[::hop]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    energy = np.abs(np.fft.rfft(parts * hann, axis=1)) ** 2
    found: Floats = np.log(np.maximum(filters @ energy.T, floor))
    return found
