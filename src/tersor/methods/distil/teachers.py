"""Several teachers, one student: what they say on average is learnt.

As `distil.soft_targets`, with the mean of all teachers' chances, each at the temperature T, in
place of the original's: an ensemble in the size of one network. Of embeddings and of other
outputs the mean is imitated. See `train.imitation`.

Teachers are files: `.onnx`, `.pt2` (of torch.export.save) or `.tsr`, and what the network was
before its first change. Their inputs are those of the network, by name, or by place where
there is one; their outputs have its shapes, in its order. It needs no labels.

Source: Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network",
arXiv:1503.02531, sections 1 and 4.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tersor.errors import InputError
from tersor.network.capture import load_pt2
from tersor.network.from_onnx.file import parse
from tersor.network.from_onnx.reader import build
from tersor.network.network import WHOLE, Network, Note, Port
from tersor.store.model import load_model
from tersor.train.during import Forward, Needs, Part, Run
from tersor.train.imitation import Imitation
from tersor.train.teacher import Teacher

_NAME = "distil.teachers"
_KINDS = (".onnx", ".pt2", ".tsr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Teachers:
    """Imitate the mean of several teachers.

    Attributes:
        models: Paths of files.
        original: Whether the network as it was before its first change is one, too.
        temperature: T; 0 for 4, or 1 where most weights are held by 3 bits or fewer.
        weight: Of what the loss gets.
        class_axis: Axis of the classes of outputs with three axes or more; None if these are
            no classes. Where an output ends in a softmax its axis is known.
    """

    models: tuple[str, ...] = ()
    original: bool = True
    temperature: float = 0.0
    weight: float = 1.0
    class_axis: int | None = None

    def __post_init__(self) -> None:
        for model in self.models:
            if Path(model).suffix not in _KINDS:
                raise InputError("models", got=model, allowed=f"files {', '.join(_KINDS)}")
        if not self.models and not self.original:
            raise InputError("models", got=(), allowed="given, or original = true")
        if not 0 <= self.temperature < math.inf:
            raise InputError("temperature", got=self.temperature, allowed="above 0, or 0")
        if not 0 <= self.weight < math.inf:
            raise InputError("weight", got=self.weight, allowed="0 or more")

    def start(self, run: Run) -> Part:
        """See `During.start`."""
        return _Taught(self, run) if self.weight else Part()


class _Taught(Part):
    def __init__(self, settings: Teachers, run: Run) -> None:
        self._settings, self._run = settings, run
        self._networks = [_read(Path(model)) for model in settings.models]
        pairs = zip(settings.models, self._networks, strict=True)
        self._orders = [_order(run.network, network, path) for path, network in pairs]
        self._originals = [run.teacher] if settings.original else []
        self._teachers: list[Teacher] = []
        self._imitation: Imitation | None = None  # weights may be held otherwise by then

    def needs(self) -> Needs:
        return Needs(teacher=self._settings.original)

    def networks(self) -> list[Network]:
        return self._networks

    def loss(self, forward: Forward) -> torch.Tensor:
        if self._imitation is None:
            self._imitation = self._begun()
        said = [
            teacher.outputs(forward.rows, [forward.inputs[place] for place in order])
            for teacher, order in zip(self._teachers, self._orders, strict=True)
        ]
        if self._settings.original:
            said.append(forward.teacher.outputs)
        return self._settings.weight * self._imitation(forward.outputs, said)

    def _begun(self) -> Imitation:
        run, settings = self._run, self._settings
        for network in self._networks:
            network.module.to(run.network.device)
            self._teachers.append(Teacher(network, run.rows, keep=run.steady))
        return Imitation(
            run.network,
            [*self._networks, *self._originals],
            temperature=settings.temperature,
            class_axis=settings.class_axis,
        )

    def notes(self) -> list[Note]:
        if self._imitation is None:
            return []
        names = [Path(model).name for model in self._settings.models]
        names += ["the original"] * self._settings.original
        text = f"mean of {', '.join(names)} at temperature {self._imitation.temperature:g}"
        return [Note(WHOLE, _NAME, done=True, text=text)]


def _read(path: Path) -> Network:
    """The network in a file.

    Raises:
        FileError, FormatError, ModelError, UnsupportedError: It cannot be read.
    """
    if path.suffix == ".pt2":
        return load_pt2(path)
    return build(parse(path if path.suffix == ".onnx" else load_model(path)[0]))


def _order(network: Network, teacher: Network, path: str) -> list[int]:
    """For each input of a teacher, which one of the network it is.

    Raises:
        InputError: Inputs or outputs do not fit.
    """
    own, given = list(network.inputs), list(teacher.inputs)
    names = [port.name for port in own]
    by_name = sorted(names) == sorted(port.name for port in given)
    order = [names.index(port.name) for port in given] if by_name else [0] * len(given)
    if len(own) != len(given) or (len(own) > 1 and not by_name):
        _refuse(f"inputs of {path}", given, own)
    if not all(_fits(own[place], port) for place, port in zip(order, given, strict=True)):
        _refuse(f"inputs of {path}", given, own)
    wanted, results = network.outputs, teacher.outputs
    if len(wanted) != len(results) or not all(map(_fits, wanted, results)):
        _refuse(f"outputs of {path}", results, wanted)
    return order


def _fits(own: Port, other: Port) -> bool:
    """Whether types agree, and sizes wherever both are fixed; the batch as it is with us."""
    if own.dtype != other.dtype or len(own.shape) != len(other.shape):
        return False
    sizes = list(zip(own.shape, other.shape, strict=True))
    if sizes and isinstance(sizes[0][1], int) and sizes[0][0] != sizes[0][1]:
        return False
    return all(a == b or isinstance(a, str) or isinstance(b, str) for a, b in sizes)


def _refuse(what: str, got: Sequence[Port], wanted: Sequence[Port]) -> None:
    told = [f"{port.name} {port.dtype} {port.shape}" for port in got]
    allowed = "like " + ", ".join(f"{p.name} {p.dtype} {p.shape}" for p in wanted)
    raise InputError(what, got=told, allowed=allowed)


DURING = Teachers
EXAMPLE = Teachers(temperature=4.0)
IDENTITY = Teachers(weight=0.0)
