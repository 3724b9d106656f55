"""Least-squares repair: what is left makes up for the channels that go.

The network with zeros for channels that go runs beside the exact one. Each layer in turn gets
weights that give with its inputs x now, as nearly as they can, what it gave with the exact
inputs y:

    W' = E (W y x^T) (E x x^T)^-1

over samples and positions; the constant 1 is an input too where the layer has a bias. So the
layers behind a cut make up for it, and for what layers before them could not. A weight that
several layers have is fitted to all of them.

Layer and group normalization of the cut network take means over the channels that are left
(`network.following.norms`). Before those, channels that go are not 0 but that mean: then means
and variances are the same.

Source: He, Zhang, Sun, "Channel pruning for accelerating very deep neural networks",
arXiv:1707.06168, equation (2); here with inputs of the exact network, all layers in turn.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tersor.arrays.compensation import Seen, best_damping, regressed
from tersor.data.samples import Samples
from tersor.network.arguments import arguments, op_name
from tersor.network.channels import Channels
from tersor.network.dims import Dim, Kept, kept
from tersor.network.following.trail import Axes
from tersor.network.layers import weighted_layers
from tersor.network.moments import Lockstep, Moments, as_rows, as_weight
from tersor.network.network import Network

Gone = Mapping[Dim, Kept]

_ENOUGH = 32  # times as many inputs as weights of a row: then they are fitted as they are
# around a mean over channels, and from which axis on these stand, unless a shape tells
_CENTRED = {"layer_norm": 1, "native_layer_norm": 1, "group_norm": 1, "instance_norm": 2}


def repaired(
    network: Network, known: Channels, keep: Mapping[str, Kept], samples: Samples
) -> Network:
    """The network with 0 for channels that go, and weights that make up for them.

    Args:
        network: In evaluation mode; stays as it is.
        known: Its channels.
        keep: Which channels stay, by name of the group.
        samples: Inputs; of at most 256 of them, evenly spaced, layers make up for the rest.

    Returns:
        Of the same shapes: cutting the channels changes no more than the means of layer and
        group normalization.
    """
    gone = known.keeping(keep)
    plain = [layer for layer in weighted_layers(network) if network.code(layer.weight) is None]
    prepared, masks = _prepared(network, known, gone)
    work = Lockstep(prepared, plain, samples)
    for path, mask in masks.items():
        work.put(path, mask)
    result = network.copy()
    for path in known.trail.stored:
        tensor = _zeroed(network, known, gone, path)
        if tensor is not None:
            result.set_tensor(path, tensor)
            work.put(path, tensor)
    shared: dict[object, list[Seen]] = {}
    for moments in work:
        _repair(result, network, _joined(moments, shared))
        for name in (moments.layer.weight, moments.layer.bias):
            if name in known.trail.stored:
                tensor = _zeroed(result, known, gone, name)
                if tensor is not None:
                    result.set_tensor(name, tensor)
                work.put(name, result.tensor(name))
    result.module.recompile()
    return result


def standing_in(x: torch.Tensor, stays: torch.Tensor, groups: int) -> torch.Tensor:
    """Values of channels that go become the mean of those that stay.

    Args:
        x: (..., sizes of some axes), float.
        stays: Truth values that broadcast against these axes.
        groups: Parts of the first of these axes, each of which has a mean of its own.

    >>> standing_in(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([True, True, False]), 1)
    tensor([[1., 3., 2.]])
    """
    lead = x.ndim - stays.ndim
    rows = x.reshape(*x.shape[:lead], groups, -1)
    own = stays.expand(x.shape[lead:]).reshape(groups, -1)
    mean = (rows * own).sum(-1, keepdim=True) / own.sum(-1, keepdim=True).clamp_min(1)
    return torch.where(own, rows, mean).reshape(x.shape)


def _prepared(
    network: Network, known: Channels, gone: Gone
) -> tuple[Network, dict[str, torch.Tensor]]:
    """A network with `standing_in` before norms, and what `stays` there, by name.

    Until these are put in place all channels stay: the network computes what it did.
    """
    result, masks = network.copy(), {}
    own = {node.name: node for node in result.graph.nodes}
    for node in known.trail.scaled:
        first = _CENTRED.get(op_name(node))
        if first is None:
            continue
        given = arguments(node)
        source = given["input"]
        axes, groups = known.trail.of(source)[first:], int(given.get("num_groups", 1))
        if "normalized_shape" in given:
            axes = known.trail.of(source)[-len(given["normalized_shape"]) :]
        mask = _stays(axes, gone, network.device)
        if mask is None:
            continue
        path = f"stays.{node.name}"
        result.set_tensor(path, torch.ones_like(mask))
        masks[path] = mask
        norm, before = own[node.name], own[source.name]
        with result.graph.inserting_before(norm):
            stays = result.graph.get_attr(path)
            inputs = (before, stays, groups)
            norm.replace_input_with(before, result.graph.call_function(standing_in, inputs))
    result.module.recompile()
    return result, masks


def _stays(axes: Axes, gone: Gone, device: torch.device) -> torch.Tensor | None:
    """Which positions stay, to be broadcast against the axes; None if all do."""
    found = None
    for axis, dim in enumerate(axes):
        mask = kept(dim, gone)
        if not mask.all():
            shape = [-1 if i == axis else 1 for i in range(len(axes))]
            each = torch.from_numpy(mask).to(device).reshape(shape)
            found = each if found is None else found & each
    return found


def _zeroed(network: Network, known: Channels, gone: Gone, path: str) -> torch.Tensor | None:
    """A tensor with 0 where a channel goes; None if none of its channels does."""
    if network.code(path) is not None:
        return None
    value = network.tensor(path).detach()
    stays = _stays(known.trail.stored[path], gone, value.device)
    return None if stays is None else value * stays


def _joined(moments: Moments, shared: dict[object, list[Seen]]) -> Moments:
    """With those of earlier layers of the same weight."""
    layer = moments.layer
    key = layer.weight, layer.channel_axis, moments.seen.own.shape
    found = [moments.seen, *moments.halves]
    if key in shared:
        pairs = zip(found, shared[key], strict=True)
        found = [Seen(a.own + b.own, a.cross + b.cross) for a, b in pairs]
    shared[key] = found
    whole, first, last = found
    return replace(moments, seen=whole, halves=(first, last))


def _repair(result: Network, exact: Network, moments: Moments) -> None:
    """Put weights in place that do with inputs as they are what the exact ones did."""
    layer = moments.layer
    weight = exact.tensor(layer.weight).detach()
    rows = as_rows(weight.double().cpu().numpy(), layer)
    if moments.biased and layer.bias is not None:
        bias = exact.tensor(layer.bias).detach().double().cpu().numpy()
        rows = np.concatenate([rows, bias.reshape(*rows.shape[:2], 1)], 2)
    found = _regressed(rows, moments)
    if moments.biased and layer.bias is not None:
        found, last = found[:, :, :-1], found[:, :, -1]
        result.set_tensor(layer.bias, torch.from_numpy(last.reshape(-1)).to(weight))
    result.set_tensor(layer.weight, torch.from_numpy(as_weight(found, layer)).to(weight))


def _regressed(rows: NDArray[Any], moments: Moments) -> NDArray[Any]:
    """As `regressed`, carefully where there are few samples for many inputs."""
    if moments.rows >= _ENOUGH * rows.shape[2]:
        return regressed(rows, moments.seen)
    return regressed(rows, moments.seen, best_damping(rows, moments.halves))
