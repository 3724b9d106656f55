"""Small networks, built node by node, on which parts are tried in milliseconds."""

from typing import Any

import numpy as np
import torch
from torch import fx, nn

from tersor.data.samples import Samples
from tersor.network.network import Network, Port

aten = torch.ops.aten


def convolutional(seed: int = 0) -> Network:
    """Convolution, batch norm, relu, residual add, pools, depthwise, linear: 8x8 images.

    Input "x" (batch, 3, 8, 8), output "scores" (batch, 5), float32.
    """
    made = _Builder(seed)
    x = made.graph.placeholder("x")
    stem = made.conv("stem", x, (8, 3, 3, 3))
    stem = made.call(aten.relu.default, made.batch_norm("stem_bn", stem, 8))
    branch = made.call(aten.relu.default, made.conv("branch", stem, (8, 8, 3, 3), bias=True))
    joined = made.call(aten.relu.default, made.call(aten.add.Tensor, branch, stem))
    pooled = made.call(aten.max_pool2d.default, joined, [2, 2])
    deep = made.conv("depthwise", pooled, (8, 1, 3, 3), groups=8)
    deep = made.call(aten.hardtanh.default, made.batch_norm("deep_bn", deep, 8), 0.0, 6.0)
    both = made.call(aten.cat.default, [deep, pooled], 1)
    flat = made.call(aten.mean.dim, both, [2, 3])
    scores = made.linear("head", flat, 16, 5)
    shapes: tuple[int | str, ...] = ("batch", 3, 8, 8)
    return made.network(
        Port("x", shapes, "float32"), Port("scores", ("batch", 5), "float32"), scores
    )


def half_dead(seed: int = 0) -> Network:
    """`convolutional` with 0 wherever the first four of the stem's channels stand."""
    network = convolutional(seed)
    for name, tensor in network.module.state_dict().items():
        if not name.endswith("running_var") and not name.startswith("head"):
            tensor[:4] = 0
    with torch.no_grad():
        network.tensor("branch.weight")[:, :4] = 0
        network.tensor("head.weight")[:, [0, 1, 2, 3, 8, 9, 10, 11]] = 0
    return network


def perceptron(seed: int = 0) -> Network:
    """Three linear layers with relu between: "x" (batch, 12) to "y" (batch, 3), float32."""
    made = _Builder(seed)
    x = made.graph.placeholder("x")
    hidden = made.call(aten.relu.default, made.linear("first", x, 12, 32))
    hidden = made.call(aten.relu.default, made.linear("second", hidden, 32, 16))
    y = made.linear("third", hidden, 16, 3)
    return made.network(
        Port("x", ("batch", 12), "float32"), Port("y", ("batch", 3), "float32"), y
    )


def encoder(seed: int = 0) -> Network:
    """A transformer's block, normalized after each sum, with outliers in two channels.

    Input "x" (batch, tokens, 16), output "y" (batch, 16), float32; four heads of four.
    """
    made = _Builder(seed)
    x = made.graph.placeholder("x")
    batch, tokens = (made.call(aten.sym_size.int, x, axis) for axis in (0, 1))
    x = made.layer_norm("entry", x, 16)

    def heads(name: str) -> fx.Node:
        split = made.call(
            aten.view.default, made.linear(name, x, 16, 16), [batch, tokens, 4, 4]
        )
        return made.call(aten.transpose.int, split, 1, 2)

    q, k, v = heads("query"), heads("key"), heads("value")
    mixed = made.call(aten.scaled_dot_product_attention.default, q, k, v)
    mixed = made.call(aten.transpose.int, mixed, 1, 2)
    joined = made.call(aten.reshape.default, mixed, [batch, tokens, 16])
    total = made.call(aten.add.Tensor, x, made.linear("dense", joined, 16, 16))
    middle = made.layer_norm("middle", total, 16)
    wide = made.call(aten.gelu.default, made.linear("up", middle, 16, 32))
    total = made.call(aten.add.Tensor, middle, made.linear("down", wide, 32, 16))
    y = made.call(aten.mean.dim, made.layer_norm("exit", total, 16), [1])
    shapes: tuple[int | str, ...] = ("batch", "tokens", 16)
    return made.network(Port("x", shapes, "float32"), Port("y", ("batch", 16), "float32"), y)


def of_four(seed: int = 0) -> Network:
    """A linear layer that takes four rows at a time, no more and no fewer.

    Input "x" (4, 6), output "y" (4, 3), float32.
    """
    made = _Builder(seed)
    x = made.graph.placeholder("x")
    y = made.linear("only", made.call(aten.reshape.default, x, [4, 6]), 6, 3)
    return made.network(Port("x", (4, 6), "float32"), Port("y", (4, 3), "float32"), y)


def samples_for(network: Network, count: int = 16, seed: int = 0) -> Samples:
    """Standard normal inputs for a network of float inputs, without labels."""
    rng = np.random.default_rng(seed)
    shapes = {p.name: (count, *p.concrete(1)[1:]) for p in network.inputs}
    return Samples({n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()})


class _Builder:
    """A graph in the making, and the tensors that it reads."""

    def __init__(self, seed: int) -> None:
        self.graph, self.root = fx.Graph(), nn.Module()
        self.random = torch.Generator().manual_seed(seed)

    def call(self, target: Any, *args: Any) -> fx.Node:
        return self.graph.call_function(target, args)

    def tensor(self, path: str, value: torch.Tensor, *, buffer: bool = False) -> fx.Node:
        owner, leaf = path.split(".")
        if owner not in self.root._modules:
            self.root.add_module(owner, nn.Module())
        module = self.root.get_submodule(owner)
        if buffer:
            module.register_buffer(leaf, value)
        else:
            module.register_parameter(leaf, nn.Parameter(value))
        return self.graph.get_attr(path)

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=self.random)

    def conv(
        self,
        name: str,
        x: fx.Node,
        shape: tuple[int, ...],
        *,
        bias: bool = False,
        groups: int = 1,
    ) -> fx.Node:
        fan_in = float(np.prod(shape[1:]))
        weight = self.tensor(f"{name}.weight", self.normal(*shape) * (2 / fan_in) ** 0.5)
        b = self.tensor(f"{name}.bias", self.normal(shape[0]) * 0.1) if bias else None
        return self.call(aten.conv2d.default, x, weight, b, [1, 1], [1, 1], [1, 1], groups)

    def linear(self, name: str, x: fx.Node, size: int, out: int) -> fx.Node:
        weight = self.tensor(f"{name}.weight", self.normal(out, size) * (2 / size) ** 0.5)
        bias = self.tensor(f"{name}.bias", self.normal(out) * 0.1)
        return self.call(aten.linear.default, x, weight, bias)

    def layer_norm(self, name: str, x: fx.Node, channels: int) -> fx.Node:
        gamma = 1 + 0.1 * self.normal(channels)
        gamma[:2] *= 20
        weight = self.tensor(f"{name}.weight", gamma)
        bias = self.tensor(f"{name}.bias", 0.1 * self.normal(channels))
        return self.call(aten.layer_norm.default, x, [channels], weight, bias)

    def batch_norm(self, name: str, x: fx.Node, channels: int) -> fx.Node:
        gamma = self.tensor(f"{name}.weight", 1 + 0.1 * self.normal(channels))
        beta = self.tensor(f"{name}.bias", 0.1 * self.normal(channels))
        mean = self.tensor(f"{name}.running_mean", 0.1 * self.normal(channels), buffer=True)
        var = 0.5 + self.normal(channels).square()
        variance = self.tensor(f"{name}.running_var", var, buffer=True)
        flags = (False, 0.1, 1e-5, False)
        return self.call(aten.batch_norm.default, x, gamma, beta, mean, variance, *flags)

    def network(self, given: Port, wanted: Port, result: fx.Node) -> Network:
        self.graph.output((result,))
        module = fx.GraphModule(self.root, self.graph)
        return Network(module, (given,), (wanted,))
