"""Averaged weights: what is kept is a running mean of the weights of all steps.

    a <- d a + (1 - d) w,   d = min(decay, (1 + t) / (10 + t)) after t steps

Epochs are judged by the averaged weights, and these are what training ends with. Statistics of
normalizations are those of the training itself.

Source: Polyak, Juditsky, "Acceleration of stochastic approximation by averaging", SIAM Journal
on Control and Optimization 30, 1992; the decay's warm-up as in Tensorflow's
ExponentialMovingAverage.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from tersor.errors import InputError
from tersor.train.during import Part, Run
from tersor.train.loop import trainable


@dataclass(frozen=True, slots=True, kw_only=True)
class Ema:
    """Average the weights over steps.

    Attributes:
        decay: How much of the mean stays in each step, in [0, 1).
    """

    decay: float = 0.999

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise InputError("decay", got=self.decay, allowed="in [0, 1)")

    def start(self, run: Run) -> Part:
        """See `During.start`."""
        return _Averaging(self.decay, run)


class _Averaging(Part):
    def __init__(self, decay: float, run: Run) -> None:
        self._decay, self._run = decay, run
        self._means: dict[str, torch.Tensor] = {}

    def _parameters(self) -> dict[str, nn.Parameter]:
        """Those of now: other parts may have replaced some since the start."""
        return trainable(self._run.network)

    def after_step(self) -> None:
        step = self._run.step
        decay = min(self._decay, step / (9 + step))
        for name, parameter in self._parameters().items():
            weight = parameter.detach()
            if name not in self._means:
                self._means[name] = weight.clone()
            self._means[name].lerp_(weight, 1 - decay)

    def judged(self) -> AbstractContextManager[None]:
        """The means are in place."""
        return self._swapped()

    @contextmanager
    def _swapped(self) -> Iterator[None]:
        parameters = self._parameters()
        known = {name: p for name, p in parameters.items() if name in self._means}
        own = {name: parameter.detach().clone() for name, parameter in known.items()}
        with torch.no_grad():
            for name, parameter in known.items():
                parameter.copy_(self._means[name])
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in known.items():
                    parameter.copy_(own[name])

    def state(self) -> dict[str, torch.Tensor]:
        return dict(self._means)

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        self._means = {name: mean.clone() for name, mean in state.items()}


DURING = Ema
EXAMPLE = Ema(decay=0.9)
IDENTITY = Ema(decay=0.0)
