"""Integer dot products on x86 processors without VNNI: sums of pairs saturate at 16 bits.

The instruction pmaddubsw multiplies uint8 by int8 and adds neighbouring products,

    pair = clamp(a[2i] w[2i] + a[2i+1] w[2i+1], -2^15, 2^15 - 1),

and only the pairs are added in 32 bits. Weights of b bits, |w| <= 2^(b-1) - 1, stay
inside if 2 * 255 * (2^(b-1) - 1) < 2^15: up to b = 7.

Source: Intel 64 and IA-32 architectures software developer's manual, volume 2, PMADDUBSW.
"""

import numpy as np
from numpy.typing import NDArray

from tersor.errors import InputError


def saturating_dot(
    activations: NDArray[np.uint8], weights: NDArray[np.int8]
) -> NDArray[np.int32]:
    """Dot products as such a processor computes them.

    Args:
        activations: (..., k) uint8; an odd k is filled up with a zero.
        weights: (..., k) int8; the other axes broadcast.

    Raises:
        InputError: Another element type.

    >>> a, w = np.full(2, 255, np.uint8), np.full(2, 127, np.int8)
    >>> int(saturating_dot(a, w)), 2 * 255 * 127
    (32767, 64770)
    """
    if activations.dtype != np.uint8 or weights.dtype != np.int8:
        got = (str(activations.dtype), str(weights.dtype))
        raise InputError("elements", got=got, allowed="uint8 activations and int8 weights")
    products = activations.astype(np.int32) * weights
    if products.shape[-1] % 2:
        products = np.concatenate([products, np.zeros_like(products[..., :1])], axis=-1)
    pairs = products.reshape(*products.shape[:-1], -1, 2).sum(axis=-1)
    clamped = np.clip(pairs, -(2**15), 2**15 - 1)
    return np.asarray(clamped.sum(axis=-1), dtype=np.int32)
