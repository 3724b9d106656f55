"""The samples on which two models differ most, kept few while batches come.

    ratio = sum of (compressed - original)^2 / sum of original^2, of one sample, and of the
            output where that is largest

Samples whose answer changed come first, then the larger ratio; among equals the earlier one.
The answer is the class of the highest score, the lowest number among equals; its margin is
the difference to the second highest score, in the unit of the scores.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
FEW = 12


@dataclass(frozen=True, slots=True)
class Answer:
    """The class that a model gives a sample, and by how much it leads."""

    label: int
    margin: float


@dataclass(frozen=True, slots=True)
class Case:
    """One sample.

    Attributes:
        index: Among the samples that were compared.
        output: The output that moved most.
        ratio: Error power over signal power there; inf where the original gave zeros.
        label: The sample's class; None if it is not known or is no single whole number.
        before, after: Answers of the original and of the compressed model; None if the
            first output holds no scores of classes.
    """

    index: int
    output: str
    ratio: float
    label: int | None
    before: Answer | None
    after: Answer | None

    @property
    def changed(self) -> bool:
        """Whether the answer is another."""
        return (
            self.before is not None
            and self.after is not None
            and self.before.label != self.after.label
        )


@dataclass
class Cases:
    """The worst few samples of those seen so far.

    Attributes:
        few: How many are kept.
    """

    few: int = FEW
    _found: list[Case] = field(default_factory=list)

    def add(
        self,
        start: int,
        ratios: Mapping[str, NDArray[np.float64]],
        labels: Array | None,
        scores: tuple[Array, Array] | None,
    ) -> None:
        """Take in a batch whose first sample has the index `start`.

        Args:
            start: Index of the first sample.
            ratios: (n,) by output.
            labels: (n, ...) or None.
            scores: (n, classes) of the original and of the compressed model, or None.
        """
        names = list(ratios)
        table = np.stack([ratios[name] for name in names])
        worst, place = table.max(axis=0), table.argmax(axis=0)
        changed = np.zeros(len(worst), bool)
        if scores is not None:
            changed = scores[0].argmax(axis=1) != scores[1].argmax(axis=1)
        order = np.lexsort((np.arange(len(worst)), -worst, ~changed))
        for i in order[worst[order] > 0][: self.few]:
            before, after = (None, None) if scores is None else (_answer(s[i]) for s in scores)
            label = _label(labels, int(i))
            case = Case(start + int(i), names[place[i]], float(worst[i]), label, before, after)
            self._found.append(case)
        self._found = self.worst()

    def worst(self) -> list[Case]:
        """Those kept, the worst first; none on which both models agree to the bit."""
        ordered = sorted(self._found, key=lambda c: (not c.changed, -c.ratio, c.index))
        return ordered[: self.few]


def _answer(scores: Array) -> Answer:
    best = int(scores.argmax())
    first, second = np.sort(np.asarray(scores, np.float64))[::-1][:2]
    return Answer(best, float(first - second))


def _label(labels: Array | None, index: int) -> int | None:
    if labels is None or labels[index].size != 1:
        return None
    value = float(np.asarray(labels[index], np.float64).reshape(()))
    return int(value) if value.is_integer() else None
