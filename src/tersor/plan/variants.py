"""Variants of what won: the same steps with other seeds, or with one part left out."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from tersor.plan.recipe import Step

Steps = tuple[Step, ...]

_SEED = "seed"
_SEEDS = 1 << 31
_DURING = "during"
_PENALTY = "train.entropy_penalty"
_PRUNING = ("prune.", "train.l1", "train.group_lasso")
_CUTS = {"prune.channels", "prune.dead", "prune.heads", "prune.layers"}
_INTEGERS = "quantize."  # the family after which that penalty has something to count


@dataclass(frozen=True, slots=True)
class Variant:
    """Steps to be tried beside those that won.

    Attributes:
        kind: "seed", "without", "with", "only", "coder" or "control".
        name: As reports show it.
        steps: Perhaps those that won.
        codec: Of the file, where it is another than that of the winner's.
    """

    kind: str
    name: str
    steps: Steps
    codec: str | None = None


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


def ablated(steps: Steps) -> list[Variant]:
    """What won with each part of it left out in turn, and each step alone.

    A part is a step, or what happens during one that trains. Where a training after a rounding
    has no `train.entropy_penalty`, that is also tried. Each variant comes once.
    """
    found = [*_without_steps(steps), *_without_parts(steps), *_with_penalty(steps)]
    if len(steps) > 2:
        labels = _labels([step.method for step in steps])
        pairs = zip(labels, steps, strict=True)
        found += [Variant("only", f"only {label}", (step,)) for label, step in pairs]
    seen, different = [steps], []
    for variant in found:
        if variant.steps not in seen:
            seen.append(variant.steps)
            different.append(variant)
    return different


def dense(steps: Steps) -> Steps:
    """The same trainings, without all that makes zeros, of weights in eight bits.

    Methods that prune are left out, and so are they within trainings. The first step that
    rounds or shares gives way to eight bits for every weight, which follow the trainings where
    there is none; the others go. (Rounding that weighs bits makes most weights 0 by itself.)
    """
    result: list[Step] = []
    rounded = Step("quantize.weights", {"bits": 8, "minimum": 0})
    for step in steps:
        if step.trains:
            parts = _during(step)
            left = [part for part in parts if not str(part["method"]).startswith(_PRUNING)]
            result += _changed((step,), 0, left)
        elif not step.method.startswith(_PRUNING) and rounded not in result:
            result.append(rounded)
    return tuple(result if rounded in result else [*result, rounded])


def after_cuts(steps: Steps) -> int:
    """How many of the steps come up to the last that changes shapes; 0 where none does."""
    return max((i for i, step in enumerate(steps, 1) if step.method in _CUTS), default=0)


def _without_steps(steps: Steps) -> list[Variant]:
    """All steps but one; none of a single step, which would leave the original."""
    if len(steps) == 1:
        return []
    return [
        Variant("without", f"without {label}", steps[:index] + steps[index + 1 :])
        for index, label in enumerate(_labels([step.method for step in steps]))
    ]


def _without_parts(steps: Steps) -> list[Variant]:
    """All that happens during trainings but one."""
    places = [(i, j) for i, step in enumerate(steps) for j in range(len(_during(step)))]
    names = [str(_during(steps[i])[j]["method"]) for i, j in places]
    return [
        Variant("without", f"without {label}", _changed(steps, i, _but(_during(steps[i]), j)))
        for (i, j), label in zip(places, _labels(names), strict=True)
    ]


def _with_penalty(steps: Steps) -> list[Variant]:
    """With the coder's rate in the loss of the last training, if it was in none."""
    parts = [part["method"] for step in steps for part in _during(step)]
    rounded = [i for i, step in enumerate(steps) if step.method.startswith(_INTEGERS)]
    last = max((i for i, step in enumerate(steps) if _DURING in step.settings), default=-1)
    if _PENALTY in parts or not rounded or last < rounded[0]:
        return []
    more = [*_during(steps[last]), {"method": _PENALTY}]
    return [Variant("with", f"with {_PENALTY}", _changed(steps, last, more))]


def _during(step: Step) -> list[dict[str, Any]]:
    """What happens during a step, as a recipe file holds it."""
    found: Any = step.to_dict().get(_DURING, [])
    return list(found)


def _changed(steps: Steps, index: int, during: list[dict[str, Any]]) -> Steps:
    changed = replace(steps[index], settings={**steps[index].settings, _DURING: tuple(during)})
    return (*steps[:index], changed, *steps[index + 1 :])


def _but(parts: list[dict[str, Any]], index: int) -> list[dict[str, Any]]:
    return parts[:index] + parts[index + 1 :]


def _labels(names: list[str]) -> list[str]:
    """The names, numbered where one comes more than once.

    >>> _labels(["share", "train", "train"])
    ['share', 'train (1)', 'train (2)']
    """
    counts, seen = Counter(names), Counter[str]()
    labels = []
    for name in names:
        seen[name] += 1
        labels.append(f"{name} ({seen[name]})" if counts[name] > 1 else name)
    return labels
