"""Entropy penalty: the bits of the coder are part of the loss.

Weights that are held by integers cost what an ideal coder would take for them. With lengths
L(q) = -log2 of how frequent each integer is among those of its tensor, as they stand now, a
weight between two integers costs what lies between their lengths,

    R(w) = (1 - f) L(floor(w/s)) + f L(floor(w/s) + 1),   f = w/s - floor(w/s),

so that its gradient draws it to the more frequent of the two. The loss gets `strength` times
the mean bits of a weight. Lengths are counted anew after every fiftieth of training. To be
used after a method that holds weights by integers: `quantize.rate_distortion`, say.

Source: Wiedemann, Marban, Müller, Samek, "Entropy-constrained training of deep neural
networks", arXiv:1812.07520; Oktay, Ballé, Singh, Shrivastava, "Scalable model compression by
entropy penalized reparameterization", arXiv:1906.06624.
"""

import math
from dataclasses import dataclass

import torch

from tersor.codes.affine import Affine
from tersor.errors import InputError, ModelError
from tersor.network.layers import layers
from tersor.train.during import Part, Run

_COUNTS = 50  # times that lengths are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class EntropyPenalty:
    """Draw integers to the more frequent ones.

    Attributes:
        strength: What a bit per weight adds to the loss.
    """

    strength: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.strength < math.inf:
            raise InputError("strength", got=self.strength, allowed="0 or more")

    def start(self, run: Run) -> Part:
        """See `During.start`."""
        codes = [run.network.code(x.weight) for x in layers(run.network) if x.weight]
        held = [code for code in codes if isinstance(code, Affine)]
        if not held:
            remedy = "Put quantize.rate_distortion, or quantize.weights, before this step."
            raise ModelError("The network", "holds no weight by integers", remedy)
        return _Rate(self.strength, run, held)


class _Rate(Part):
    def __init__(self, strength: float, run: Run, codes: list[Affine]) -> None:
        self._strength, self._run, self._codes = strength, run, codes
        self._every = max(1, run.steps // _COUNTS)
        self._count = sum(code.latent.numel() for code in codes)
        self._lengths = [_lengths(code) for code in codes]

    def after_step(self) -> None:
        if self._run.step % self._every == 0:
            self._lengths = [_lengths(code) for code in self._codes]

    @property
    def settled(self) -> bool:
        """Not where it is at work: which weights are best is not told by the error alone."""
        return self._strength == 0

    def penalty(self) -> torch.Tensor | None:
        if not self._strength:
            return None
        pairs = zip(self._codes, self._lengths, strict=True)
        total = torch.stack([_bits(code, lengths) for code, lengths in pairs]).sum()
        return self._strength * total / self._count


def _lengths(code: Affine) -> torch.Tensor:
    """Bits of each integer, from the lowest on; those that are not there as if seen once."""
    codes = code.codes().flatten().long() - code.low
    counts = torch.bincount(codes, minlength=code.high - code.low + 1).double()
    return (math.log2(codes.numel() + 1) - counts.clamp_min(1).log2()).float()


def _bits(code: Affine, lengths: torch.Tensor) -> torch.Tensor:
    """Of all weights of a tensor, between integers too."""
    steps = (code.exact_codes() - code.low).clamp(0, len(lengths) - 1)
    below = steps.detach().floor().clamp(max=len(lengths) - 2)
    low = lengths[below.long()]
    return (low + (steps - below) * (lengths[below.long() + 1] - low)).sum()


DURING = EntropyPenalty
AFTER = "quantize.weights"
EXAMPLE = EntropyPenalty(strength=1.0)
IDENTITY = EntropyPenalty(strength=0.0)
