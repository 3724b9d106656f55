"""How weights are changed, step by step: torch's optimizers and schedules."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.optim import SGD, AdamW, lr_scheduler

from tersor.errors import InputError

_FIRST = 0.05  # fraction of the steps in which the rate of "warmup" rises


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """Which optimizer, and how its rate goes.

    Attributes:
        kind: "adam" (AdamW: weight decay apart from the gradient) or "sgd" (Nesterov).
        learning_rate: Of the first step; after the warm-up where there is one.
        weight_decay: Of weights; biases and normalizations are left out.
        momentum: Of "sgd"; the first beta of "adam".
        schedule: "cosine" falls to 0, "warmup" rises over the first twentieth of the steps
            and falls to 0 as "cosine" does, "constant" stays.
        clip: Longest gradient, all parameters as one vector; 0 leaves gradients as they are.
    """

    kind: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.9
    schedule: Literal["cosine", "warmup", "constant"] = "cosine"
    clip: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise InputError("learning_rate", got=self.learning_rate, allowed="above 0")
        for name in ("weight_decay", "clip"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise InputError(name, got=value, allowed="0 or more")
        if not 0 <= self.momentum < 1:
            raise InputError("momentum", got=self.momentum, allowed="in [0, 1)")

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of these parameters."""
        given = list(parameters)
        groups = [
            {"params": [p for p in given if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in given if p.ndim <= 1], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        if self.kind == "sgd":
            nesterov = self.momentum > 0
            return SGD(groups, self.learning_rate, self.momentum, nesterov=nesterov)
        betas = (self.momentum, 0.999)
        return AdamW(groups, self.learning_rate, betas=betas, fused=True)

    def rates(self, optimizer: torch.optim.Optimizer, steps: int) -> lr_scheduler.LRScheduler:
        """Sets the rate before each of `steps` steps, once `step` is called after each."""
        rise = max(1, round(_FIRST * steps)) if self.schedule == "warmup" else 0

        def factor(step: int) -> float:
            if self.schedule == "constant":
                return 1.0
            if step < rise:
                return (step + 1) / (rise + 1)
            return 0.5 + 0.5 * math.cos(math.pi * (step - rise) / max(1, steps - rise))

        return lr_scheduler.LambdaLR(optimizer, factor)
