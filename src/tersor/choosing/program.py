"""Programs: the forms in which a model can be given to an engine.

A compressed model is stored once, as ONNX with its codes, and can be run in two ways:

    as stored    QuantizeLinear and DequantizeLinear stay: integer kernels where an engine
                 has them
    as float     weights are decoded while loading, roundings of activations are dropped: the
                 arithmetic of the original, with the weights of the compressed model

Two programs with the same signature ask the same work of an engine: the same operations
on weights of the same shapes, whatever the numbers in them. Batch normalization after a
convolution does not count, since every engine folds it.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
Run = Callable[[Mapping[str, Array]], dict[str, Array]]
Signature = frozenset[tuple[Any, int]]

ORIGINAL = "original"

_FREE = {"BatchNormalization", "Identity", "Constant", "Dropout"}
_SHAPING = {"strides", "dilations", "group", "kernel_shape"}


@dataclass(frozen=True)
class Program:
    """A model in one form.

    Attributes:
        name: Which model: "original", or the candidate's name in the recipe.
        model: The ONNX file as an engine gets it.
        stored: The ONNX file as it is stored.
        expand: What turns `stored` into `model`: None, "weights" or "all".
        workshop: The network that it was exported from; None for the original.
        noise: What compression did to each output, root mean square; None for the original.
        depth: Number of layers, for tolerances.
    """

    name: str
    model: bytes = field(repr=False)
    stored: bytes = field(repr=False)
    expand: str | None = None
    workshop: Run | None = field(default=None, repr=False)
    noise: Mapping[str, float] | None = None
    depth: int = 1

    @property
    def title(self) -> str:
        """As reports show it."""
        return self.name if self.expand is None else f"{self.name} as float"

    @cached_property
    def file_bytes(self) -> int:
        """Size of the `.tsr`, but for what is noted of the model."""
        from tersor.store.model import packed_bytes

        return packed_bytes(self.stored)

    @cached_property
    def signature(self) -> Signature:
        """What is asked of an engine."""
        return _signature(self.model)


def forms(stored: Program) -> list[Program]:
    """The program as it is stored, and as float if that is another one."""
    from tersor.store.expand import expand_weights, strip_activation_rounding

    dense = expand_weights(stored.model)
    bare = strip_activation_rounding(dense)
    if bare == stored.model:
        return [stored]
    what = "weights" if bare == dense else "all"
    as_float = Program(
        name=stored.name,
        model=bare,
        stored=stored.stored,
        expand=what,
        workshop=stored.workshop,
        noise=stored.noise,
        depth=stored.depth,
    )
    return [stored, as_float]


def _signature(model: bytes) -> Signature:
    import onnx

    graph = onnx.load_model_from_string(model).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    counts: Counter[Any] = Counter()
    for node in graph.node:
        if node.op_type in _FREE:
            continue
        weights = tuple(shapes[name] for name in node.input[1:2] if name in shapes)
        settings = [
            (a.name, tuple(a.ints) or a.i) for a in node.attribute if a.name in _SHAPING
        ]
        unusual = tuple(sorted((n, v) for n, v in settings if not _is_ones(v)))
        counts[(node.domain, node.op_type, weights, unusual)] += 1
    return frozenset(counts.items())


def _is_ones(value: Any) -> bool:
    return set(value) == {1} if isinstance(value, tuple) else value == 1
