"""Pruning by ADMM, and quantization with it: weights are drawn to where they may be.

Alternating directions: training with a quadratic pull, and projections in between,

    W <- argmin loss(W) + rho/2 |W - Z + U|^2      by the steps of the optimizer
    Z <- the nearest point to W + U that is allowed
    U <- U + W - Z

Z and U move `updates` times in a training. Allowed is what has the wanted fraction of zeros;
with `bits` all others must be a step times a whole number of that many bits, the step chosen
for the least squared error. In the end W becomes the nearest allowed point: zeros are held by
a mask, and `quantize.rate_distortion`, `quantize.weights` or `share.kmeans` can hold the rest.

Source: Zhang, Ye, Zhang, Tang, Wen, Fardad, Wang, "A systematic DNN weight pruning framework
using alternating direction method of multipliers", arXiv:1804.03294; joint with quantization:
Ren et al., "ADMM-NN", arXiv:1812.11677.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tersor.errors import InputError
from tersor.network.network import Note
from tersor.network.pruning import Prunable, masks_for, prunable
from tersor.train.during import Part, Run

_NAME = "prune.admm"
_STEPS = 24  # that are tried for the integers' step

Floats = NDArray[np.floating]


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneAdmm:
    """Zeros, and perhaps integers, by alternating directions.

    Attributes:
        sparsity: The fraction of each weight that is 0 in the end, in [0, 1).
        rho: How strong the pull is: the loss gets rho/2 times the mean squared distance of
            each weight from where it may be, over its mean square.
        updates: How often Z and U move.
        bits: Of the whole numbers that all other weights become, 2 to 8; 0 for any weights.
        keep: Names of layers that are left alone.
    """

    sparsity: float = 0.8
    rho: float = 1.0
    updates: int = 10
    bits: int = 0
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity < 1:
            raise InputError("sparsity", got=self.sparsity, allowed="in [0, 1)")
        if not 0 < self.rho < math.inf:
            raise InputError("rho", got=self.rho, allowed="above 0")
        if self.updates < 1:
            raise InputError("updates", got=self.updates, allowed="at least 1")
        if self.bits and not 2 <= self.bits <= 8:
            raise InputError("bits", got=self.bits, allowed="0, or 2 to 8")

    def start(self, run: Run) -> Part:
        """See `During.start`."""
        return _Admm(self, run, prunable(run.network, _NAME, self.keep))


class _Admm(Part):
    def __init__(self, settings: PruneAdmm, run: Run, found: Prunable) -> None:
        self._settings, self._run, self._found = settings, run, found
        self._every = max(1, run.steps // settings.updates)
        latents = [code.weight.detach() for code in found.codes]
        self._rhos = [settings.rho / float(w.square().sum() + 1e-30) for w in latents]
        self._duals = [torch.zeros_like(w) for w in latents]
        self._goals = [self._nearest(w) for w in latents]

    @property
    def settled(self) -> bool:
        """Only the end is: until then weights are merely near to where they may be."""
        return False

    def _nearest(self, weight: torch.Tensor) -> torch.Tensor:
        """The nearest allowed point."""
        dense = weight.cpu().numpy()
        (mask,) = masks_for([np.abs(dense)], self._settings.sparsity, "layer")
        found = np.where(mask, dense, 0)
        if self._settings.bits:
            found = _on_grid(found, mask, (1 << (self._settings.bits - 1)) - 1)
        return torch.from_numpy(found.astype(np.float32)).to(weight.device)

    def penalty(self) -> torch.Tensor:
        pulls = []
        for code, goal, dual, rho in zip(
            self._found.codes, self._goals, self._duals, self._rhos, strict=True
        ):
            pulls.append(rho / 2 * (code.weight - goal + dual).square().sum())
        return torch.stack(pulls).sum()

    def after_step(self) -> None:
        if self._run.step % self._every:
            return
        for index, code in enumerate(self._found.codes):
            weight = code.weight.detach()
            self._goals[index] = self._nearest(weight + self._duals[index])
            self._duals[index] += weight - self._goals[index]

    def finish(self) -> None:
        for code in self._found.codes:
            with torch.no_grad():
                code.weight.copy_(self._nearest(code.weight.detach()))
            code.set_mask(code.weight.detach() != 0)

    def notes(self) -> list[Note]:
        return self._found.told()

    def state(self) -> dict[str, torch.Tensor]:
        pairs = (("goal", self._goals), ("dual", self._duals))
        return {f"{what}{i}": each for what, some in pairs for i, each in enumerate(some)}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        count = len(self._found.codes)
        self._goals = [state[f"goal{i}"] for i in range(count)]
        self._duals = [state[f"dual{i}"] for i in range(count)]


def _on_grid(weights: Floats, mask: NDArray[np.bool_], most: int) -> Floats:
    """The kept weights on the nearest of -most ... most steps, none of them on 0."""
    kept = weights[mask]
    largest, best, least = float(np.abs(kept).max(initial=0.0)), weights, math.inf
    if largest == 0:
        return weights
    for step in np.geomspace(largest / most / 4, largest / most * 1.5, _STEPS):
        codes = np.clip(np.round(kept / step), -most, most)
        codes = np.where(codes == 0, np.where(kept < 0, -1, 1), codes)
        error = float(np.square(codes * step - kept).sum())
        if error < least:
            least, best = error, weights.copy()
            best[mask] = codes * step
    return best


DURING = PruneAdmm
EXAMPLE = PruneAdmm(sparsity=0.5)
IDENTITY = None
