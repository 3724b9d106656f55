"""The fine-tuning loop: every method that trains uses this one.

It knows nothing of codes: their parameters are trained like any others, and what a code
keeps fixed (zeros, indices) stays fixed, because the code decodes it so. What else happens
during training is the parts' business: see `train.during`.

A tenth of the samples is held out and tells which epoch was best; the weights before the
first step count as one. With a constant rate training ends once ten epochs in a row, all parts
being settled, were no better; with a falling one the rate ends it. A loss that is not finite
ends the training, too; the best weights are kept and the notes say where it was.
"""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from tersor.codes.code import Code
from tersor.data.samples import Samples
from tersor.errors import DataError, ModelError
from tersor.network.layers import layers
from tersor.network.modes import set_training
from tersor.network.network import Network
from tersor.train import batches, layout, surroundings
from tersor.train.checkpoint import Checkpoint, key_of
from tersor.train.during import During, Epoch, Forward, Needs, Part, Run
from tersor.train.objective import labels_of, resolve
from tersor.train.optimizer import Optimizer
from tersor.train.taps import parted, tapped
from tersor.train.teacher import Answer, Teacher

_PATIENCE = 10  # epochs


class Settings(Protocol):
    """What a training has to be told; see `methods.train.fine_tune`."""

    @property
    def epochs(self) -> int:
        """How often each sample is seen."""

    @property
    def batch(self) -> int:
        """Samples of a step."""

    @property
    def optimizer(self) -> Optimizer:
        """How weights are changed."""

    @property
    def loss(self) -> str:
        """See `train.objective`."""

    @property
    def seed(self) -> int:
        """Of all that is drawn."""

    @property
    def during(self) -> tuple[During, ...]:
        """What else happens."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A training that is over.

    Attributes:
        network: Tensors and codes are its own; behaves as in evaluation.
        epochs: What each came to, in order.
        best: Number of the epoch whose weights these are; 0 for those before the first step.
        first_error: Of the held-out samples before the first step; None without such.
        loss: Name of what was made small.
        samples: How many samples an epoch saw.
        ended: Why it ended early; "" if it did not.
    """

    network: Network
    epochs: tuple[Epoch, ...]
    best: int
    first_error: float | None
    loss: str
    samples: int
    ended: str


def fit(network: Network, samples: Samples, settings: Settings) -> Fitted:
    """Train a copy of a network.

    Args:
        network: Stays as it is.
        samples: To train on, those held out included.
        settings: How long, and how.

    Raises:
        DataError: The samples do not fit the loss.
        ModelError: There is nothing to train.
    """
    around = surroundings.current()
    device = around.place()
    module = copy.deepcopy(network.module).to(device)
    own = replace(network, module=module, origin=_teacher_for(network))
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
        torch.manual_seed(settings.seed)
        training = _Training(own, samples, settings)
        saved = None
        if around.checkpoints is not None:
            key = key_of(settings, network, samples, training.others())
            saved = Checkpoint(around.checkpoints, key)
        return training.go(saved, around.tell or (lambda _: None))


def trainable(network: Network) -> dict[str, nn.Parameter]:
    """The parameters of all layers, by name: weights, biases, and what codes have instead.

    Other constants of a graph, such as the means by which it normalizes its inputs, stay.
    """
    wanted = {name for layer in layers(network) for name in (layer.weight, layer.bias) if name}
    found = {}
    for name, parameter in network.module.named_parameters():
        owners = {name[:i] for i, letter in enumerate(name) if letter == "."}
        if parameter.requires_grad and (name in wanted or owners & wanted):
            found[name] = parameter
    return found


class _Training:
    """One training, from start to end."""

    def __init__(self, network: Network, samples: Samples, settings: Settings) -> None:
        self._samples, self._settings = samples, settings
        self._rows, self._held = batches.parts(len(samples), settings.seed)
        self._size = network.fixed_batch or min(settings.batch, len(self._rows))
        per_epoch = len(self._rows) // self._size
        if per_epoch == 0:
            problem = f"are {len(self._rows)}, fewer than the {self._size} of a batch"
            raise DataError("Samples to train on", problem, "Give more samples.")
        epochs = settings.epochs
        seen = per_epoch * self._size
        self._run = Run(
            network, per_epoch * epochs, epochs, seen, settings.seed, rows=len(samples)
        )
        has_labels = samples.labels is not None
        self._objective = resolve(settings.loss, network, has_labels=has_labels)
        self._parts: list[Part] = [during.start(self._run) for during in settings.during]
        self._run.steady = all(type(part).inputs is Part.inputs for part in self._parts)
        self._needs = Needs.of_all([part.needs() for part in self._parts])
        self._teacher = self._teacher_of()
        own = trainable(network)
        if not own:
            raise ModelError("The network", "has nothing to train", "See `tersor inspect`.")
        others = (each for part in self._parts for each in part.parameters())
        self._parameters = [*own.values(), *others]
        self._optimizer = settings.optimizer.build(self._parameters)
        self._rates = settings.optimizer.rates(self._optimizer, self._run.steps)
        self._trainee = tapped(set_training(network, training=True), self._needs.values)
        self._last = layout.pays(self._trainee)
        self._history: list[Epoch] = []
        self._best: tuple[float, int, dict[str, torch.Tensor]] | None = None
        self._first: float | None = None

    def _teacher_of(self) -> Teacher | None:
        run, needs = self._run, self._needs
        if not self._objective.asks_teacher and not needs.teacher:
            return None
        module = copy.deepcopy(run.teacher.module).to(run.network.device)
        origin = replace(run.teacher, module=module)
        return Teacher(origin, run.rows, keep=run.steady, values=needs.teacher_values)

    def others(self) -> list[Network]:
        """Networks that parts brought."""
        return [network for part in self._parts for network in part.networks()]

    def go(self, saved: Checkpoint | None, tell: Callable[[float], None]) -> Fitted:
        """Train, and put the best weights in place."""
        run, begun = self._run, 0
        if saved is not None:
            begun = self._resume(saved)
        if not begun:
            self._first = self._judge(0)
        for number in range(begun + 1, run.epochs + 1):
            loss = self._epoch(number, tell)
            if loss is None:
                break
            epoch = Epoch(number, loss, self._judge(number))
            self._history.append(epoch)
            for part in self._parts:
                part.after_epoch(epoch)
            self._stop_if_idle(number)
            if saved is not None:
                saved.save(self._state())
            if run.ended:
                break
        best = self._restore()
        for part in self._parts:
            part.finish()
        if saved is not None:
            saved.remove()
        notes = [note for part in self._parts for note in part.notes()]
        return Fitted(
            network=set_training(run.network, training=False).with_notes(*notes),
            epochs=tuple(self._history),
            best=best,
            first_error=self._first,
            loss=self._objective.name,
            samples=run.samples,
            ended=run.ended,
        )

    def _epoch(self, number: int, tell: Callable[[float], None]) -> float | None:
        """Mean loss of an epoch; None if a loss was not finite."""
        run, total, count = self._run, 0.0, 0
        torch.manual_seed(_mixed(run.seed, number))
        self._trainee.module.train()
        order = batches.shuffled(self._rows, self._size, seed=run.seed, epoch=number)
        for rows in order:
            loss = self._step(rows)
            if not math.isfinite(loss):
                run.ended = f"the loss was {loss} in step {run.step + 1}, epoch {number}"
                return None
            run.step += 1
            self._rates.step()
            for part in self._parts:
                part.after_step()
            total, count = total + loss, count + 1
            tell(run.progress)
        return total / count

    def _step(self, rows: batches.Rows) -> float:
        """Change the weights by one batch; the loss, before which nothing was changed."""
        tensors, labels = self._given(rows)
        answer = Answer() if self._teacher is None else self._teacher.answer(rows, tensors)
        with surroundings.current().products(self._run.network.device):
            found = self._trainee.module(*tensors)
        outputs, values = parted(found, self._needs.values)
        loss = self._objective.loss(outputs, labels, answer.outputs)
        forward = Forward(rows, tuple(tensors), labels, outputs, values, answer)
        for part in self._parts:
            for more in (part.loss(forward), part.penalty()):
                loss = loss if more is None else loss + more
        value = float(loss.detach())
        if not math.isfinite(value):
            return value
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for part in self._parts:
            part.before_step()
        if self._settings.optimizer.clip:
            nn.utils.clip_grad_norm_(self._parameters, self._settings.optimizer.clip)
        self._optimizer.step()
        return value

    def _given(self, rows: batches.Rows) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """Inputs and labels of a batch."""
        network = self._run.network
        batch = batches.pick(self._samples, rows)
        tensors = network.tensors(batch.inputs)
        if self._trainee.module.training:
            for part in self._parts:
                tensors = part.inputs(tensors)
        if self._last:
            tensors = [layout.channels_last(tensor) for tensor in tensors]
        return tensors, labels_of(batch.labels, network.device)

    def _judge(self, number: int) -> float | None:
        """The error of the held-out samples after an epoch, which is kept if it is best."""
        with self._as_judged():
            error = self._error()
            self._keep_if_best(number, error)
        return error

    @contextmanager
    def _as_judged(self) -> Iterator[None]:
        """Weights are in place as all parts want them judged."""
        with ExitStack() as stack:
            for part in self._parts:
                stack.enter_context(part.judged())
            yield

    def _copied(self) -> dict[str, torch.Tensor]:
        state = self._run.network.module.state_dict()
        return {name: tensor.clone() for name, tensor in state.items()}

    def _error(self) -> float | None:
        """Of the held-out samples, as in evaluation."""
        network, total, count = self._run.network, 0.0, 0
        self._trainee.module.eval()
        whole = network.fixed_batch is not None
        teacher = self._teacher if self._objective.asks_teacher else None
        for rows in batches.in_order(self._held, self._size, whole=whole):
            tensors, labels = self._given(rows)
            wanted = () if teacher is None else teacher.outputs(rows, tensors)
            with torch.no_grad(), surroundings.current().products(network.device):
                outputs = network.module(*tensors)
            error = self._objective.error(parted(outputs, ())[0], labels, wanted)
            total, count = total + float(error) * len(rows), count + len(rows)
        return total / count if count else None

    def _keep_if_best(self, number: int, error: float | None) -> None:
        """Keep a copy of the weights; without held-out samples the newest are the best."""
        if not all(part.settled for part in self._parts):
            return
        value = -math.inf if error is None else error
        if math.isnan(value) or (self._best is not None and value > self._best[0]):
            return
        self._best = value, number, self._copied()

    def _stop_if_idle(self, number: int) -> None:
        """Early stopping (Prechelt, 1998), where the rate does not end the training itself."""
        if self._settings.optimizer.schedule != "constant" or self._best is None:
            return
        if len(self._held) and number - self._best[1] >= _PATIENCE:
            self._run.ended = f"{_PATIENCE} epochs were no better"

    def _restore(self) -> int:
        """Put the best weights in place, or else the last as they are judged; their epoch."""
        if self._best is None:
            with self._as_judged():
                state = self._copied()
            number = len(self._history)
        else:
            _, number, state = self._best
        self._run.network.module.load_state_dict(state)
        return number

    def _state(self) -> dict[str, Any]:
        value, number, best = self._best if self._best is not None else (0.0, -1, {})
        return {
            "step": self._run.step,
            "ended": self._run.ended,
            "first": self._first,
            "history": [[e.number, e.loss, e.error] for e in self._history],
            "network": self._run.network.module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "rates": self._rates.state_dict(),
            "best": {"error": value, "number": number, "state": best},
            "parts": [part.state() for part in self._parts],
        }

    def _resume(self, saved: Checkpoint) -> int:
        """Go on from the file, if there is one; how many epochs are behind."""
        state = saved.load()
        if state is None:
            return 0
        run = self._run
        run.step, run.ended, self._first = state["step"], state["ended"], state["first"]
        self._history = [Epoch(*each) for each in state["history"]]
        run.network.module.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._rates.load_state_dict(state["rates"])
        best = state["best"]
        if best["number"] >= 0:
            self._best = best["error"], best["number"], best["state"]
        for part, known in zip(self._parts, state["parts"], strict=True):
            part.load(known)
        return run.epochs if run.ended else len(self._history)


def _teacher_for(network: Network) -> Network | None:
    """What it was before its first change; itself, if no weight is held by a code."""
    if network.origin is None and any(isinstance(m, Code) for m in network.module.modules()):
        return None
    return network.origin or network


def _mixed(seed: int, epoch: int) -> int:
    """A seed for what is drawn in an epoch."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
