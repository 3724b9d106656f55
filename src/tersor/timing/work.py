"""What a layer asks of an engine: its operation and the shapes that it reads, nothing else.

Layers of the same work take the same time, whatever their weights are.

    conv, conv_transpose   (n, channels, ...), weight as ATen has it
    matmul                 (rows, k) by a weight (k, columns)
    product                (b, rows, k) by (b, k, columns), both activations
    attention              queries (n, heads, q, d), keys (n, heads, k, d), values
    lstm, gru, rnn         (steps, n, inputs), (directions, gates * units, inputs), units last
    move                   (elements,) that pass by an operation without a weight
    call                   (): what a run costs though nothing is computed
"""

import json
import math
from dataclasses import dataclass, replace

Shape = tuple[int, ...]

CONVOLUTIONS = ("conv", "conv_transpose")
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
OPS = (*CONVOLUTIONS, "matmul", "product", "attention", *GATES, "move", "call")
_BYTES = 4  # of an element


@dataclass(frozen=True, slots=True)
class Work:
    """One layer's work.

    Attributes:
        op: One of OPS.
        shapes: Of what it reads, the weight last; see the module.
        stride: Of a convolution, one number per spatial axis, as the next two.
        padding: At each side of an axis.
        dilation: Steps between the elements of a kernel.
        groups: Of a convolution, else 1.
        activation: What follows a convolution and is folded into it: "relu", "clip" or "".
        is_fed: Whether it reads an input of the network: bringing that into the order that
            the engine likes is part of the work then.
        is_cold: Whether its weights come from memory, as others of the network were read
            since the run before.
    """

    op: str
    shapes: tuple[Shape, ...]
    stride: Shape = ()
    padding: Shape = ()
    dilation: Shape = ()
    groups: int = 1
    activation: str = ""
    is_fed: bool = False
    is_cold: bool = False

    @property
    def key(self) -> str:
        """The work as text: equal for equal works only."""
        facts = tuple(getattr(self, name) for name in self.__slots__)
        return json.dumps(facts, separators=(",", ":"))

    @property
    def output(self) -> Shape:
        """The shape of the result."""
        shapes = self.shapes
        if self.op in CONVOLUTIONS:
            return self._convolved()
        if self.op in GATES:
            return (shapes[0][0], shapes[1][0], shapes[0][1], shapes[2][-1])
        if self.op in {"matmul", "product"}:
            return (*shapes[0][:-1], shapes[1][-1])
        if self.op == "attention":
            return (*shapes[0][:-1], shapes[2][-1])
        return shapes[0] if shapes else ()

    def _convolved(self) -> Shape:
        x, w = self.shapes
        sides = []
        for i, size in enumerate(x[2:]):
            reach, border = self.dilation[i] * (w[i + 2] - 1), 2 * self.padding[i]
            if self.op == "conv":
                sides.append((size + border - reach - 1) // self.stride[i] + 1)
            else:
                sides.append((size - 1) * self.stride[i] - border + reach + 1)
        out = w[0] if self.op == "conv" else w[1] * self.groups
        return (x[0], out, *sides)

    @property
    def macs(self) -> int:
        """Multiply-accumulates, as `network.cost` counts them."""
        shapes, out = self.shapes, math.prod(self.output)
        if self.op == "conv":
            return out * math.prod(shapes[1][1:])
        if self.op == "conv_transpose":
            return math.prod(shapes[0]) * math.prod(shapes[1][1:])
        if self.op in {"matmul", "product"}:
            return out * shapes[0][-1]
        if self.op == "attention":
            return (math.prod(shapes[0]) + out) * shapes[1][-2]
        if self.op in GATES:
            return math.prod(shapes[0][:2]) * sum(map(math.prod, shapes[1:]))
        return 0

    @property
    def weight_bytes(self) -> int:
        """Of its weights as 32 bit floats."""
        if self.op in GATES:
            return _BYTES * sum(map(math.prod, self.shapes[1:]))
        has_weight = self.op in {*CONVOLUTIONS, "matmul"}
        return _BYTES * math.prod(self.shapes[1]) if has_weight else 0

    @property
    def reuse(self) -> float:
        """How often each weight is used in a run; infinitely often if there is none."""
        return self.macs * _BYTES / self.weight_bytes if self.weight_bytes else math.inf

    @property
    def moved_bytes(self) -> int:
        """Of all that is read and written, as 32 bit floats."""
        return _BYTES * (sum(map(math.prod, self.shapes)) + math.prod(self.output))

    @property
    def widths(self) -> Shape:
        """The numbers of channels that pruning may change; () if only the work as a whole.

        The first two sizes of a weight; of a depthwise convolution its channels; none of
        other convolutions in groups, of which there are few.
        """
        if self.is_depthwise:
            return self.shapes[1][:1]
        if self.op in CONVOLUTIONS:
            return self.shapes[1][:2] if self.groups == 1 else ()
        if self.op == "matmul":
            return self.shapes[1]
        return self.shapes[0] if self.op == "move" else ()

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel is convolved by itself."""
        if self.op not in CONVOLUTIONS:
            return False
        w = self.shapes[1]
        return self.groups > 1 and self.groups == w[0] and w[1] == 1

    def at(self, widths: Shape) -> "Work":
        """The same work with other `widths`, as many as it has."""
        if not widths:
            return self
        if self.op == "move":
            return replace(self, shapes=(widths,))
        x, w = self.shapes
        if self.op == "matmul":
            return replace(self, shapes=((x[0], widths[0]), widths))
        read = widths[0] if self.is_depthwise or self.op == "conv_transpose" else widths[1]
        groups = read if self.is_depthwise else 1
        shapes = (x[0], read, *x[2:]), (*widths, *w[len(widths) :])
        return replace(self, shapes=shapes, groups=groups)
