"""Networks with random channels cut, and what they should compute."""

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import torch
from torch import fx, nn

import tersor
from architectures import ARCHITECTURES
from tersor.network.arguments import arguments, op_name
from tersor.network.channels import Channels, channels
from tersor.network.dims import kept
from tersor.network.network import Network
from tersor.network.surgery import cut

Keep = Mapping[str, np.ndarray]


@cache
def captured(name: str) -> tuple[Network, tuple[torch.Tensor, ...], Channels]:
    """An architecture, its inputs and its channels; shared by all tests, so do not write."""
    module, inputs = ARCHITECTURES[name]()
    network = tersor.capture(module, inputs)
    return network, inputs, channels(network)


@cache
def halved(name: str) -> Network:
    """An architecture without a random half of every group."""
    network, _, found = captured(name)
    return cut(network, random_part(found), found)


def random_part(found: Channels, part: float = 0.5, seed: int = 0) -> dict[str, np.ndarray]:
    """Random channels of every group; at least one of each."""
    rng = np.random.default_rng(seed)
    keep = {}
    for group in found.groups:
        mask = np.zeros(group.size, bool)
        mask[rng.permutation(group.size)[: max(1, round(part * group.size))]] = True
        keep[group.name] = mask
    return keep


def outputs(network: Network, inputs: Sequence[torch.Tensor]) -> list[np.ndarray]:
    with torch.no_grad():
        return [each.numpy() for each in network.module(*inputs)]


def wanted(
    network: Network, inputs: Sequence[torch.Tensor], found: Channels, keep: Keep
) -> list[np.ndarray]:
    """The outputs with 0 in place of what is not kept."""
    with torch.no_grad():
        run = StatisticsOfTheKept(zeroed(network, found, keep), found, keep).run
        return [each.numpy() for each in run(*inputs)]


def assert_cuts_like_zeros(
    network: Network, inputs: Sequence[torch.Tensor], found: Channels, keep: Keep
) -> Network:
    """The cut network, once its outputs are those of the network with zeros."""
    small = cut(network, keep, found)
    pairs = zip(outputs(small, inputs), wanted(network, inputs, found, keep), strict=True)
    for value, like in pairs:
        np.testing.assert_allclose(value, like, rtol=0, atol=2e-5 * np.abs(like).max())
    return small


def zeroed(network: Network, found: Channels, keep: Keep) -> Network:
    """The network with 0 wherever a channel stands that is not kept, by the members' word."""
    result = network.copy()
    for group in found.groups:
        gone = np.flatnonzero(~keep[group.name])
        for member in group.members:
            value = result.tensor(member.path).detach().clone()
            places = torch.from_numpy(np.flatnonzero(np.isin(member.channels, gone)))
            value.index_fill_(member.axis, places, 0)
            result.set_tensor(member.path, value)
    result.module.recompile()
    return result


class StatisticsOfTheKept(fx.Interpreter):
    """Runs a graph with 0 in place of channels; means over them leave these out.

    Mean squares count them as zeros: their sum is divided by the number there was before.
    """

    def __init__(self, network: Network, found: Channels, keep: Keep) -> None:
        super().__init__(network.module)
        self.axes = {node.name: axes for node, axes in found.trail.axes.items()}
        self.keep = found.keeping(keep)

    def run_node(self, n):
        norm = _NORMS.get(op_name(n))
        if norm is None:
            return super().run_node(n)
        given = {
            name: self.env[value] if isinstance(value, fx.Node) else value
            for name, value in arguments(n).items()
        }
        source = next(iter(n.all_input_nodes))
        return norm(given, self.there(source.name, self.env[source]), source)

    def there(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """1 where a channel is kept, 0 where it is not."""
        mask = torch.ones_like(x)
        for axis, dim in enumerate(self.axes[name]):
            own = torch.from_numpy(kept(dim, self.keep))
            if not bool(own.all()):
                mask = mask * own.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
        return mask


def _layer_norm(given, there, _):
    x, last = given["input"], len(given["normalized_shape"])
    return _standardized(x, there, tuple(range(x.ndim - last, x.ndim)), given)


def _group_norm(given, there, _):
    x = given["input"]
    shape = (x.shape[0], given["num_groups"], -1, *x.shape[2:])
    parted, there = x.reshape(shape), there.reshape(shape)
    own = {"eps": given["eps"]}
    normal = _standardized(parted, there, tuple(range(2, parted.ndim)), own).reshape(x.shape)
    if given["weight"] is None:
        return normal
    shape = (1, -1, *[1] * (x.ndim - 2))
    return normal * given["weight"].reshape(shape) + given["bias"].reshape(shape)


def _instance_norm(given, there, _):
    x = given["input"]
    normal = _standardized(x, there, tuple(range(2, x.ndim)), {"eps": given["eps"]})
    if given["weight"] is None:
        return normal
    shape = (1, -1, *[1] * (x.ndim - 2))
    return normal * given["weight"].reshape(shape) + given["bias"].reshape(shape)


def _standardized(x, there, axes, given):
    count = there.sum(axes, keepdim=True).clamp_min(1)
    mean = (x * there).sum(axes, keepdim=True) / count
    variance = ((x - mean).square() * there).mean(axes, keepdim=True)
    normal = (x - mean) / (variance + given["eps"]).sqrt() * there
    if given.get("weight") is not None:
        normal = normal * given["weight"]
    return normal + given["bias"] if given.get("bias") is not None else normal


def _mean(given, there, source):
    x, dims, keepdim = given["self"] * there, given["dim"], given["keepdim"]
    if op_name(source) in {"pow", "square"}:
        return x.mean(dims, keepdim=keepdim)
    return x.sum(dims, keepdim=keepdim) / there.sum(dims, keepdim=keepdim).clamp_min(1)


_NORMS = {
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "mean": _mean,
}


class Made(nn.Module):
    """Parts by name, and a function of these and the inputs."""

    def __init__(self, function, **parts) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def followed(module: nn.Module, *inputs: torch.Tensor) -> tuple[Network, Channels]:
    """A module with drawn parameters as a network, and its channels."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                tensor.uniform_(-1, 1, generator=generator)
        for name, tensor in module.named_buffers():
            if name.endswith("running_var"):
                tensor.abs_().add_(0.5)
    network = tersor.capture(module.eval(), inputs)
    return network, channels(network)


def described(found: Channels) -> list[str]:
    """A line for each group: name, size, and where it stands, as in "a 8: a.weight:0+".

    After "+" the channels are results of a layer there, after "-" they are what it adds up.
    """
    return [
        f"{group.name} {group.size}: "
        + " ".join(f"{m.path}:{m.axis}{'+' * m.makes}{'-' * m.reads}" for m in group.members)
        for group in found.groups
    ]


def frozen(found: Channels) -> dict[str, str]:
    """Why the channels of layers cannot be cut, by layer; reasons joined by "; "."""
    reasons: dict[str, list[str]] = {}
    for each in found.frozen:
        reasons.setdefault(each.layer, []).append(f"{each.count}: {each.reason}")
    return {layer: "; ".join(found) for layer, found in reasons.items()}


def drawn(*shape: int) -> torch.Tensor:
    """Floats of a shape, the same ones each time."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))
