"""How unlike those of its teachers a network's outputs are.

    classes      T^2 KL(p || q),   q = softmax(s / T),   p = mean of softmax(t / T)
    embeddings   1 - cos(s, t)
    other        mean square error over the variance of what the teacher gives

s are the network's scores and t a teacher's, or logarithms of chances where an output ends in
a softmax; p is the mean over teachers. T, the temperature, makes chances softer: those of
wrong classes, which tell what the teacher takes for similar, count more. T^2 keeps gradients
at one size for all T. The mean is taken over rows, and over all outputs of floating point; of
several teachers' embeddings and other outputs the mean is imitated.

An output has classes along the axis of its softmax, or else along axis 1 if there are two
axes; of outputs with more axes the caller may tell which one it is.

Without a temperature of the user's it is 4; 1 for networks most of whose weights are held by
3 bits or fewer. Chances at a high temperature ask for the teacher's scores themselves, also
those of classes that are far from right. Students far too small for that learn more at lower
temperatures (Hinton et al., section 3), and few levels are such a lack of room: ResNet-20 for
CIFAR-10 with weights of 3 bits falls to 80.9 % when it is taught at T = 5, and keeps 91.4 %
at T = 1, where with float weights T = 5 helps (figures of Intel's Distiller).

Source: Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network",
arXiv:1503.02531, sections 2 and 3.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from tersor.codes.code import Code
from tersor.errors import DataError, InputError
from tersor.network.arguments import arguments, op_name
from tersor.network.layers import weighted_layers
from tersor.network.network import Network
from tersor.train.objective import distance, has_classes, is_embedding

Outputs = Sequence[torch.Tensor]

_SMALLEST = 1e-12  # of a chance whose logarithm is taken
_USUAL, _LOW = 4.0, 1.0  # temperatures
_FEW = 8  # levels of a weight of 3 bits


@dataclass(frozen=True, slots=True)
class Form:
    """What an output of a network is.

    Attributes:
        chances: Whether it ends in a softmax, so that scores are its logarithm.
        axis: Of classes, as far as the graph tells; negative ones count from the end.
    """

    chances: bool = False
    axis: int | None = None

    def scores(self, output: torch.Tensor) -> torch.Tensor:
        """Scores whose softmax the chances are."""
        return output.clamp_min(_SMALLEST).log() if self.chances else output


def forms(network: Network) -> tuple[Form, ...]:
    """What each output of a network is."""
    (output,) = (node for node in network.graph.nodes if node.op == "output")
    found = []
    for node in output.args[0]:
        name = op_name(node)
        axis: Any = arguments(node).get("dim") if "softmax" in name else None
        found.append(Form("softmax" in name and "log" not in name, axis))
    return tuple(found)


class Imitation:
    """The distance of a network's outputs from those of its teachers."""

    def __init__(
        self,
        network: Network,
        teachers: Sequence[Network],
        *,
        temperature: float = 0.0,
        class_axis: int | None = None,
    ) -> None:
        """See the module.

        Args:
            network: The student.
            teachers: One or more; of as many outputs.
            temperature: 0 for that of the module, by the weights as they are held now.
            class_axis: Of outputs with three axes or more that end in no softmax; None if
                these are no classes.

        Raises:
            InputError: A teacher has another number of outputs.
        """
        self.temperature = temperature or temperature_for(network)
        self._own, self._class_axis = forms(network), class_axis
        self._teachers = [forms(teacher) for teacher in teachers]
        for found in self._teachers:
            if len(found) != len(self._own):
                allowed = f"{len(self._own)}, as many as the network has"
                raise InputError("outputs of a teacher", got=len(found), allowed=allowed)

    def __call__(self, outputs: Outputs, wanted: Sequence[Outputs]) -> torch.Tensor:
        """A scalar, 0 where the outputs are those of the teachers.

        Args:
            outputs: Of the network, (n, ...) each.
            wanted: The same of each teacher.

        Raises:
            DataError: Shapes differ, or no output is of floating point.
        """
        parts = []
        for i, own in enumerate(outputs):
            if not own.is_floating_point():
                continue
            given = [each[i] for each in wanted]
            for each in given:
                if each.shape != own.shape:
                    problem = (
                        f"have shape {tuple(each.shape)}, the network's {tuple(own.shape)}"
                    )
                    raise DataError("Outputs of a teacher", problem, "Give one that fits.")
            parts.append(self._one(i, own, given))
        if not parts:
            raise DataError("Outputs", "are no floats", "Leave the teacher out.")
        return torch.stack(parts).mean()

    def _one(self, i: int, own: torch.Tensor, given: Outputs) -> torch.Tensor:
        taught = [found[i] for found in self._teachers]
        axis = self._axis([self._own[i], *taught], given[0])
        if axis is None:
            mean = torch.stack(list(given)).mean(0)
            if is_embedding(given[0]):
                return (1 - functional.cosine_similarity(own, mean, dim=-1)).mean()
            return distance(own, mean)
        scores = [form.scores(each) for form, each in zip(taught, given, strict=True)]
        return soft_targets(self._own[i].scores(own), scores, self.temperature, axis)

    def _axis(self, known: Sequence[Form], output: torch.Tensor) -> int | None:
        """The axis of an output's classes; None if it has none."""
        told = [form.axis for form in known if form.axis is not None]
        if told:
            return told[0]
        if output.ndim > 2:
            return self._class_axis
        return 1 if has_classes(output) and not is_embedding(output) else None


def soft_targets(
    own: torch.Tensor, teachers: Outputs, temperature: float, axis: int = -1
) -> torch.Tensor:
    """T^2 KL(p || q) as in the module, the mean over all positions of the other axes.

    Args:
        own: Scores of the student, with classes along `axis`.
        teachers: Scores of each teacher, of the same shape.
        temperature: T, above 0.
        axis: Of the classes.

    >>> scores = torch.tensor([[1.0, 0.0, -1.0]])
    >>> float(soft_targets(scores, [scores], temperature=4.0))
    0.0
    """
    log_q = (own / temperature).log_softmax(axis)
    p = torch.stack([(each / temperature).softmax(axis) for each in teachers]).mean(0)
    divergence = functional.kl_div(log_q, p, reduction="none").sum(axis)
    return temperature**2 * divergence.mean()


def temperature_for(network: Network) -> float:
    """4, or 1 if more than half of the elements of weights are held by 3 bits or fewer.

    They are if the code of their weight stores an integer for each, of eight at most.
    """
    few = total = 0
    for layer in weighted_layers(network):
        code, elements = network.code(layer.weight), math.prod(layer.shape)
        total += elements
        if code is not None and _levels(code, elements) <= _FEW:
            few += elements
    return _LOW if 2 * few > total else _USUAL


def _levels(code: Code, elements: int) -> float:
    """How many different integers a code stores for the elements of a weight."""
    counts = [
        np.unique(symbols).size
        for symbols in code.symbols().values()
        if symbols.dtype.kind in "iub" and symbols.size == elements
    ]
    return min(counts, default=math.inf)
