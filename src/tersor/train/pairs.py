"""Values of a network, each with the one of its teacher that it is compared with.

A network that was made from its teacher has nodes of the same names, whatever became of its
weights and of the number of its channels. Of a pair all axes but that of the channels agree.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tersor.errors import InputError, ModelError
from tersor.network.network import WHOLE, Network, Note
from tersor.network.shapes import Shape, shapes
from tersor.network.stages import channel_axes, stages
from tersor.train.during import Run

_SAMPLES = 2  # and what sizes are set to that vary
_REMEDY = "Name nodes of both, of the same sizes but for channels; see `tersor inspect`."


@dataclass(frozen=True, slots=True)
class Pair:
    """Two values.

    Attributes:
        own: Node of the network.
        teacher: Node of the teacher.
        axis: Of channels.
        shape: Of the network's value, for two samples.
        teacher_shape: Of the teacher's.
    """

    own: str
    teacher: str
    axis: int
    shape: Shape
    teacher_shape: Shape

    @property
    def channels(self) -> tuple[int, int]:
        """How many the network's value has, and the teacher's."""
        return self.shape[self.axis], self.teacher_shape[self.axis]

    @property
    def positions(self) -> int:
        """Elements of a channel, for one sample."""
        found = 1
        for i, size in enumerate(self.shape):
            found *= 1 if i in {0, self.axis} else size
        return found

    def described(self) -> str:
        """As in "relu_3 (16 for 64 channels)"."""
        own, wanted = self.channels
        return f"{self.own} ({own} for {wanted} channels)"


@dataclass(frozen=True, slots=True)
class Pairs:
    """What is compared, and what is not.

    Attributes:
        found: One or more, in the order in which they were asked for.
        left: Nodes of the teacher without a partner, each with the reason.
    """

    found: tuple[Pair, ...]
    left: tuple[tuple[str, str], ...] = ()

    def only(self, wanted: Callable[[Pair], bool], why: str) -> "Pairs":
        """Those that are wanted; the others are left out for the same reason."""
        left = [(pair.teacher, why) for pair in self.found if not wanted(pair)]
        found = tuple(pair for pair in self.found if wanted(pair))
        return _checked(Pairs(found, (*self.left, *left)))

    def notes(self, method: str, text: str) -> tuple[Note, ...]:
        """What a method that compares them says: `text`, the pairs, and what is left out."""
        told = f"{text}: {', '.join(pair.described() for pair in self.found)}"
        left = [
            Note(name, method, done=False, text=f"left out: {why}") for name, why in self.left
        ]
        return (Note(WHOLE, method, done=True, text=told), *left)


def at_stages(
    run: Run, nodes: Sequence[str] = (), teacher_nodes: Sequence[str] = (), *, count: int = 0
) -> Pairs:
    """The pairs that somebody named, or else those at the ends of stages.

    Args:
        run: Of what is trained, and its teacher.
        nodes: Nodes of the network; none for those of the teacher's stages that it has, too.
        teacher_nodes: Their partners; none if they have the same names.
        count: See `network.stages`.

    Raises:
        InputError: There are not as many partners as nodes, or a node is not there.
        ModelError: No pair is left, or there is no teacher.
        UnsupportedError: As `network.shapes`.
    """
    if teacher_nodes and len(teacher_nodes) != len(nodes):
        allowed = f"one for each of the {len(nodes)} nodes"
        raise InputError("teacher_nodes", got=teacher_nodes, allowed=allowed)
    if nodes:
        _check("nodes", nodes, _sizes(run.network))
        _check("teacher_nodes", teacher_nodes or nodes, _sizes(run.teacher))
        return paired(run, list(zip(nodes, teacher_nodes or nodes, strict=True)))
    known = {node.name for node in run.network.graph.nodes}
    return paired(run, [(name, name) for name in stages(run.teacher, count, known)])


def paired(run: Run, names: Sequence[tuple[str, str]]) -> Pairs:
    """The pairs of these nodes of the network and of the teacher, as far as they fit.

    Raises:
        ModelError: No pair is left, or there is no teacher.
        UnsupportedError: As `network.shapes`.
    """
    network, teacher = run.network, replace(run.teacher, sizes=run.network.sizes)
    own, others, axes = _sizes(network), _sizes(teacher), channel_axes(teacher)
    found, left = [], []
    for name, partner in names:
        shape, other, axis = own.get(name), others[partner], axes.get(partner, 1)
        if shape is None:
            left.append((partner, "the network has no such node"))
        elif _without(shape, axis) != _without(other, axis):
            left.append((partner, f"the network's value is {shape}, the teacher's {other}"))
        else:
            found.append(Pair(name, partner, axis, shape, other))
    return _checked(Pairs(tuple(found), tuple(left)))


def _sizes(network: Network) -> dict[str, Shape]:
    return {
        name: shape
        for name, (shape, dtype) in shapes(network, _SAMPLES).items()
        if dtype.is_floating_point and len(shape) > 1
    }


def _check(what: str, names: Sequence[str], known: dict[str, Shape]) -> None:
    for name in names:
        if name not in known:
            allowed = "nodes whose values are floats of two axes or more"
            raise InputError(what, got=name, allowed=allowed)


def _without(shape: Shape, axis: int) -> Shape:
    """A shape but for one axis."""
    return (*shape[:axis], *shape[axis + 1 :])


def _checked(pairs: Pairs) -> Pairs:
    if pairs.found:
        return pairs
    told = (
        "; ".join(f"{name}: {why}" for name, why in pairs.left) or "there are none to choose"
    )
    raise ModelError("The network", f"shares no values with its teacher ({told})", _REMEDY)
