"""What training makes small: the user's loss, that of the labels, or the original's imitation.

    labels     cross-entropy for class numbers, mean square error for other labels
    original   what the network computed before anything was done to it is the teacher:
               cross-entropy against its classes' chances (Hinton, Vinyals, Dean,
               arXiv:1503.02531, at temperature 1), the angle for embeddings, else mean square
               error over the variance of what it gives
    both       the mean of the two
    auto       labels where there are any, else the original

A name such as "package.module:callable" is the user's own: a function of all outputs (a dict
of tensors) and the labels (a tensor or None) that gives a scalar tensor.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from tersor.data.callables import find, is_spec
from tersor.errors import DataError, InputError
from tersor.network.arguments import op_name
from tersor.network.network import Network

NAMES = ("auto", "labels", "original", "both")
_UNIT = 1e-3  # how far the length of a vector of unit length may be from 1
_SMALLEST = 1e-12  # of a chance whose logarithm is taken

Outputs = tuple[torch.Tensor, ...]
Loss = Callable[[Outputs, Any, Any], torch.Tensor]  # labels and teacher may be missing


@dataclass(frozen=True, slots=True)
class Objective:
    """What is made small, and what tells which epoch was best.

    Attributes:
        name: As notes show it.
        loss: Outputs, labels, the teacher's outputs -> a scalar that gradients come from.
        error: The same -> a scalar: the share of wrong classes where there are classes (the
            loss breaks ties), else the loss.
        asks_teacher: Whether the teacher's outputs are needed.
    """

    name: str
    loss: Loss
    error: Loss
    asks_teacher: bool = False


def resolve(name: str, network: Network, *, has_labels: bool) -> Objective:
    """The objective that a name means for a network.

    Args:
        name: One of NAMES, or "package.module:callable".
        network: Its first output is what labels are for.
        has_labels: Whether the samples have labels.

    Raises:
        InputError: There is no such objective.
        DataError: It needs labels, and there are none; or a teacher, and there is none.
    """
    if is_spec(name):
        return _of_user(name, network)
    if name not in NAMES:
        allowed = f"one of {', '.join(NAMES)}, or package.module:callable"
        raise InputError("loss", got=name, allowed=allowed)
    if name == "auto":
        name = "labels" if has_labels else "original"
    if name != "original" and not has_labels:
        raise DataError(f"Loss {name!r}", "needs labels", "Give labels, or loss = 'original'.")
    if name != "labels" and network.origin is None:
        remedy = "Give samples with labels, or a network whose `origin` is the teacher."
        raise DataError(f"Loss {name!r}", "needs a teacher, and there is none", remedy)
    logits = logits_of(network)
    if name == "labels":
        return Objective(name, lambda o, t, _: _fit(logits(o[0]), t), _wrong_labels(logits))
    if name == "original":
        return Objective(
            name,
            lambda o, _, teacher: _imitate(logits, o, teacher),
            lambda o, _, teacher: _unlike(logits, o, teacher),
            asks_teacher=True,
        )
    return Objective(
        name,
        lambda o, t, teacher: (_fit(logits(o[0]), t) + _imitate(logits, o, teacher)) / 2,
        _wrong_labels(logits),
        asks_teacher=True,
    )


def _of_user(name: str, network: Network) -> Objective:
    called, ports = find(name), [port.name for port in network.outputs]

    def loss(outputs: Outputs, labels: torch.Tensor | None, _: Outputs | None) -> torch.Tensor:
        found = called(dict(zip(ports, outputs, strict=True)), labels)
        if not isinstance(found, torch.Tensor) or found.numel() != 1:
            raise InputError(name, got=type(found).__name__, allowed="a scalar tensor")
        return found.reshape(())

    return Objective(name, loss, loss)


def logits_of(network: Network) -> Callable[[torch.Tensor], torch.Tensor]:
    """What makes scores of the first output: the logarithm, if it ends in a softmax."""
    (output,) = (node for node in network.graph.nodes if node.op == "output")
    last = output.args[0][0]
    if "softmax" in op_name(last) and "log" not in op_name(last):
        return lambda chances: chances.clamp_min(_SMALLEST).log()
    return lambda scores: scores


def _fit(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """How badly scores fit labels."""
    if labels.is_floating_point():
        if labels.numel() != scores.numel():
            _refuse(scores, labels)
        return functional.mse_loss(scores, labels.reshape(scores.shape).to(scores.dtype))
    rows, truth = _rows(scores, labels)
    return functional.cross_entropy(rows, truth)


def _rows(scores: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores (m, classes) and their class numbers (m,)."""
    shape = tuple(labels.shape)
    if len(shape) > 1 and shape[-1] == 1 and scores.ndim == len(shape):
        shape = shape[:-1]
    if scores.ndim > 2 and tuple(scores.shape[:-1]) != shape:
        scores = scores.movedim(1, -1)
    if scores.ndim < 2 or tuple(scores.shape[:-1]) != shape:
        _refuse(scores, labels)
    truth = labels.reshape(-1).long()
    classes = scores.shape[-1]
    if int(truth.min()) < 0 or int(truth.max()) >= classes:
        bad = int(truth[(truth < 0) | (truth >= classes)][0])
        problem = f"hold {bad}, but the model has classes 0 to {classes - 1}"
        raise DataError("labels", problem, "Number the classes as in training.")
    return scores.reshape(-1, classes), truth


def _refuse(scores: torch.Tensor, labels: torch.Tensor) -> None:
    problem = f"have shape {tuple(labels.shape)}, but the output has {tuple(scores.shape)}"
    raise DataError("labels", problem, "Give one class number per sample, or another loss.")


def _wrong_labels(logits: Callable[[torch.Tensor], torch.Tensor]) -> Loss:
    def error(outputs: Outputs, labels: torch.Tensor, _: Outputs | None) -> torch.Tensor:
        scores = logits(outputs[0])
        loss = _fit(scores, labels)
        if labels.is_floating_point():
            return loss
        rows, truth = _rows(scores, labels)
        return _share(rows.argmax(-1) != truth, loss)

    return error


def _share(wrong: torch.Tensor, loss: torch.Tensor) -> torch.Tensor:
    """The share that is wrong; the loss breaks ties, and counts less than one sample."""
    return wrong.double().mean() + 1e-6 * loss.double().clamp(max=1e3)


def _imitate(
    logits: Callable[[torch.Tensor], torch.Tensor], outputs: Outputs, teacher: Outputs
) -> torch.Tensor:
    """How unlike the teacher's all outputs are; the first may be classes or an embedding."""
    parts = [_imitate_one(logits, outputs[0], teacher[0])]
    pairs = zip(outputs[1:], teacher[1:], strict=True)
    parts += [distance(own, wanted) for own, wanted in pairs if own.is_floating_point()]
    return torch.stack(parts).mean()


def _imitate_one(
    logits: Callable[[torch.Tensor], torch.Tensor], own: torch.Tensor, wanted: torch.Tensor
) -> torch.Tensor:
    if is_embedding(wanted):
        return (1 - functional.cosine_similarity(own, wanted, dim=-1)).mean()
    if not has_classes(wanted):
        return distance(own, wanted)
    chances = logits(wanted).softmax(-1)
    return functional.cross_entropy(
        logits(own).reshape(-1, own.shape[-1]), chances.reshape(-1, own.shape[-1])
    )


def _unlike(
    logits: Callable[[torch.Tensor], torch.Tensor], outputs: Outputs, teacher: Outputs
) -> torch.Tensor:
    loss = _imitate(logits, outputs, teacher)
    wanted = teacher[0]
    if is_embedding(wanted) or not has_classes(wanted):
        return loss
    return _share(outputs[0].argmax(-1) != wanted.argmax(-1), loss)


def has_classes(output: torch.Tensor) -> bool:
    """Whether an output looks like scores or chances of classes, (n, at least 2)."""
    return output.ndim == 2 and output.shape[1] > 1 and output.is_floating_point()


def is_embedding(output: torch.Tensor) -> bool:
    """Rows of unit length with negative elements; see `metrics.is_embedding`."""
    if not has_classes(output) or bool(output.min() >= 0):
        return False
    return bool((output.norm(dim=1) - 1).abs().max() <= _UNIT)


def distance(own: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Mean square error over the variance of what is wanted."""
    variance = wanted.var(correction=0).clamp_min(_SMALLEST)
    return functional.mse_loss(own, wanted) / variance


def labels_of(labels: NDArray[np.generic] | None, device: torch.device) -> torch.Tensor | None:
    """Labels of a batch as a tensor: whole numbers as int64, others as float32."""
    if labels is None:
        return None
    kind = np.int64 if labels.dtype.kind in "iub" else np.float32
    return torch.from_numpy(np.asarray(labels, dtype=kind)).to(device)
