"""Second moments of what layers get, while a network is rounded layer by layer.

Two networks run side by side: the exact one, and one whose layers are rounded in turn. At each
layer the products of inputs, E x x^T of the rounded network and E y x^T with those of the
exact one, are summed over samples and positions; the caller then puts the rounded weights in
place, and both go on from where they are: nothing is computed twice. As many samples take part
as memory allows; where values get smaller deeper in the network, more of them join.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx
from torch.nn import functional

from tersor.arrays.compensation import Seen
from tersor.data.lazy import select
from tersor.data.samples import Batch, Samples
from tersor.errors import ModelError, UnsupportedError
from tersor.network.arguments import arguments
from tersor.network.cost import live_activation_bytes
from tersor.network.layers import Layer
from tersor.network.network import Network
from tersor.network.running import each_value, for_running
from tersor.network.workers import together

_MOST_SAMPLES, _LEAST_SAMPLES = 256, 16
_BYTES = 512 << 20  # of the values of both networks
_PART = 4  # samples that run at once
_ROWS = 1 << 15  # of inputs of a layer, about

Run = Iterator[tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True, slots=True)
class Moments:
    """What a layer gets; a constant 1 follows the inputs where the bias is its own.

    Attributes:
        layer: Which.
        seen: Moments of the inputs, in as many groups as the layer has.
        biased: Whether the last of the inputs is the constant.
        halves: Moments of the first and of the last samples; of one batch twice the same.
        rows: How many inputs these are means of.
    """

    layer: Layer
    seen: Seen
    biased: bool
    halves: tuple[Seen, Seen]
    rows: int


class Lockstep:
    """An exact network and one that is rounded on the way.

    Iterating gives the moments of one layer after the other; whoever iterates calls `put`
    with what the layer's weight and bias became, before asking for the next. It raises a
    ModelError where a layer gets values that are not finite.
    """

    def __init__(self, network: Network, layers: Iterable[Layer], samples: Samples) -> None:
        """Prepare.

        Args:
            network: In evaluation mode; stays as it is.
            layers: Of it; those whose inputs cannot be told are left out.
            samples: Inputs; at most 256 of them, evenly spaced, are looked at.
        """
        nodes = {node.name: node for node in network.graph.nodes}
        windows = [w for layer in layers if (w := _window(network, nodes, layer)) is not None]
        found: dict[str, list[_Window]] = {}
        for window in windows:
            found.setdefault(window.source, []).append(window)
        self._windows = {node: found[node] for node in nodes if node in found}
        self.layers = tuple(w.layer for each in self._windows.values() for w in each)
        self._exact = for_running(network, keep=found)
        self._rounded = for_running(network, keep=found, packed=False)
        own = {str(n.target) for n in self._rounded.graph.nodes if n.op == "get_attr"}
        for path in own:  # `put` overwrites them, and the network is to stay as it is
            self._rounded.set_tensor(path, self._rounded.tensor(path).detach().clone())
        self._batches = _batches(samples, network.fixed_batch)
        self._samples = min(len(samples), _MOST_SAMPLES)
        self._limits = _limits(network, list(self._windows))
        self._rows = math.ceil(_ROWS / self._samples)

    def put(self, path: str, tensor: torch.Tensor) -> None:
        """Replace a weight or bias in the rounded network."""
        with torch.no_grad():
            self._rounded.tensor(path).copy_(tensor)

    def __iter__(self) -> Iterator[Moments]:
        runs: list[Run] = []
        seen = 0
        for place, (windows, limit) in enumerate(
            zip(self._windows.values(), self._limits, strict=True)
        ):
            while seen < min(limit, self._samples):
                batch = next(self._batches, None)
                if batch is None:
                    break
                runs.append(self._run(batch.inputs, place))
                seen += batch.size
            pairs = together(next, runs, self._rounded.device)
            for window in windows:
                yield window.moments(pairs, self._rows)

    def _run(self, inputs: dict[str, Any], place: int) -> Run:
        """A batch in both networks, up to where all others are."""
        sides = [
            each_value(n, n.tensors(inputs), of=self._windows)
            for n in (self._exact, self._rounded)
        ]
        run = ((exact, rounded) for (_, exact), (_, rounded) in zip(*sides, strict=True))
        with torch.no_grad():
            for _ in range(place):
                next(run)
        return run


def as_rows(weight: NDArray[Any], layer: Layer) -> NDArray[Any]:
    """A layer's weight as (groups, rows, k), a row for each output, in the order of inputs."""
    rows = np.moveaxis(weight, layer.channel_axis, 0)
    return rows.reshape(layer.groups, len(rows) // layer.groups, -1)


def as_weight(rows: NDArray[Any], layer: Layer) -> NDArray[Any]:
    """The reverse of `as_rows`."""
    axis = layer.channel_axis
    others = [size for i, size in enumerate(layer.shape) if i != axis]
    return np.moveaxis(rows.reshape(layer.shape[axis], *others), 0, axis)


class _Sizes(NamedTuple):
    """How a convolution of two dimensions moves."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]


@dataclass(frozen=True)
class _Window:
    """How the inputs of a layer become rows: (groups, rows, k)."""

    layer: Layer
    source: str
    biased: bool
    sizes: _Sizes | None

    def moments(self, pairs: list[tuple[torch.Tensor, torch.Tensor]], rows: int) -> Moments:
        """Over all batches: of each sample as many rows as asked for, or so."""
        middle = len(pairs) // 2
        first, count = self._sums(pairs[:middle], rows, 0)
        last, more = self._sums(pairs[middle:], rows, middle)
        whole = [a + b for a, b in zip(first, last, strict=True)] if count else last
        halves = [_mean(first, count), _mean(last, more)] if count else [_mean(last, more)] * 2
        found = _mean(whole, count + more)
        if not all(np.isfinite(each).all() for each in found):
            name = self.layer.name
            raise ModelError(name, "gets values that are not finite", "Check samples.")
        return Moments(self.layer, found, self.biased, (halves[0], halves[1]), count + more)

    def _sums(
        self, pairs: list[tuple[torch.Tensor, torch.Tensor]], rows: int, number: int
    ) -> tuple[list[torch.Tensor], int]:
        """Of products of inputs, (groups, k, k), and of how many inputs."""
        sums: list[torch.Tensor] = []
        count = 0
        for i, pair in enumerate(pairs, number):
            exact, rounded = (self._rows(value.detach().float(), rows, i) for value in pair)
            both = [(each.transpose(1, 2) @ rounded).double() for each in (rounded, exact)]
            sums = [a + b for a, b in zip(sums, both, strict=True)] if sums else both
            count += rounded.shape[1]
        return sums, count

    def _rows(self, value: torch.Tensor, most: int, number: int) -> torch.Tensor:
        if self.sizes is None:
            flat = value.reshape(1, -1, value.shape[-1])
            step = max(1, flat.shape[1] // (most * len(value)))
            found = flat[:, number % step :: step]
        else:
            found = self._patches(value, self.sizes, most, number)
        if not self.biased:
            return found
        return torch.cat([found, found.new_ones(*found.shape[:2], 1)], 2)

    def _patches(
        self, value: torch.Tensor, sizes: _Sizes, most: int, number: int
    ) -> torch.Tensor:
        images = value if value.ndim == 4 else value.unsqueeze(2)
        moves = list(zip(images.shape[2:], *sizes, strict=True))
        counts = [(n + 2 * pad - d * (k - 1) - 1) // s + 1 for n, k, s, pad, d in moves]
        sparser = max(1, math.isqrt(math.prod(counts) // most))
        steps = [min(sparser, count) for count in counts]
        strides = tuple(s * step for s, step in zip(sizes.stride, steps, strict=True))
        top, left = (s * (number % step) for s, step in zip(sizes.stride, steps, strict=True))
        down, right = sizes.padding
        padded = functional.pad(images, (right, right, down, down))[:, :, top:, left:]
        found = functional.unfold(padded, sizes.kernel, sizes.dilation, stride=strides)
        groups = self.layer.groups
        n, _, count = found.shape
        split = found.reshape(n, groups, -1, count).permute(1, 0, 3, 2)
        return split.reshape(groups, n * count, -1)


def _mean(sums: list[torch.Tensor], count: int) -> Seen:
    return Seen(*((each / count).cpu().numpy() for each in sums))


def _window(network: Network, nodes: dict[str, fx.Node], layer: Layer) -> _Window | None:
    """None for layers whose inputs are not told by one value and a window."""
    given = arguments(nodes[layer.node]) if layer.op in _INPUTS else {}
    source = given.get(_INPUTS.get(layer.op, ""))
    if not isinstance(source, fx.Node):
        return None
    if layer.op not in {"conv1d", "conv2d"}:
        if len(layer.shape) != 2:  # one matrix for each of several parts of the inputs
            return None
        return _Window(layer, source.name, _is_biased(network, layer), None)
    given = {"groups": 1, **given}
    raw = [given[name] for name in ("stride", "padding", "dilation")]
    if any(isinstance(each, str) for each in raw):
        return None
    kernel = tuple(layer.shape[2:])
    stride, padding, dilation = (
        tuple(each) * (len(kernel) if len(each) == 1 else 1) for each in raw
    )
    if len(kernel) == 1:
        kernel, stride, dilation = ((1, *each) for each in (kernel, stride, dilation))
        padding = (0, *padding)
    return _Window(
        layer,
        source.name,
        _is_biased(network, layer),
        _Sizes(kernel, stride, padding, dilation),  # type: ignore[arg-type]
    )


def _is_biased(network: Network, layer: Layer) -> bool:
    """Whether the bias is one plain number for each output channel, of this layer alone."""
    if layer.bias is None or network.is_coded(layer.bias):
        return False
    readers = sum(len(n.users) for n in network.graph.nodes if n.target == layer.bias)
    return readers == 1 and network.tensor(layer.bias).ndim == 1


def _batches(samples: Samples, fixed: int | None) -> Iterator[Batch]:
    """Of evenly spaced samples, at most as many as are looked at; no part of a fixed batch."""
    most = max(_MOST_SAMPLES, fixed or 0)
    if len(samples) > most:
        rows = np.linspace(0, len(samples) - 1, most).astype(np.intp)
        chosen = {name: select(array, rows) for name, array in samples.inputs.items()}
        samples = Samples(chosen)
    whole = (b for b in samples.batches(fixed or _PART) if b.size == fixed or fixed is None)
    return iter(whole)


def _limits(network: Network, places: list[str]) -> list[int]:
    """How many samples may be at each place, since they have to get to the end from there."""
    try:
        live = live_activation_bytes(network)
    except UnsupportedError:
        return [_LEAST_SAMPLES] * len(places)
    most, found = 1, dict[str, int]()
    for name, size in reversed(live.items()):
        most = max(most, size)
        found[name] = max(_LEAST_SAMPLES, _BYTES // (2 * most))
    return [found[place] for place in places]


_INPUTS = {
    "conv1d": "input",
    "conv2d": "input",
    "linear": "input",
    "addmm": "mat1",
    "matmul": "self",
    "mm": "self",
}
