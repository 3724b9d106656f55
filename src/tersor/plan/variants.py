"""Variants of what won: the same steps with other seeds."""

from dataclasses import dataclass, replace

from tersor.plan.recipe import Step

Steps = tuple[Step, ...]

_SEED = "seed"
_SEEDS = 1 << 31


@dataclass(frozen=True, slots=True)
class Variant:
    """Steps to be tried beside those that won.

    Attributes:
        kind: "seed".
        name: As reports show it.
        steps: Perhaps those that won.
    """

    kind: str
    name: str
    steps: Steps


def draws(steps: Steps) -> bool:
    """Whether anything is drawn at random, so that another seed gives another result."""
    return any(_SEED in step.settings for step in steps)


def seeded(steps: Steps, count: int) -> list[Variant]:
    """The same steps with each of `count` seeds but the first, which is their own.

    Every seed of every step is moved on by 1, 2 and so on; nothing where nothing is drawn.
    """
    if not draws(steps):
        return []
    return [
        Variant("seed", f"seeds moved on by {number}", tuple(_moved(s, number) for s in steps))
        for number in range(1, count)
    ]


def _moved(step: Step, number: int) -> Step:
    if _SEED not in step.settings:
        return step
    seed = (int(str(step.settings[_SEED])) + number) % _SEEDS
    return replace(step, settings={**step.settings, _SEED: seed})
