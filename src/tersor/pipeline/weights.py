"""What became of the weights: the file after each step, and values of the largest layers."""

import base64
from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from tersor.choosing.making import Maker
from tersor.export.onnx import to_onnx
from tersor.network.fold import fold_batch_norm
from tersor.network.layers import weighted_layers
from tersor.network.network import Network
from tersor.plan.recipe import Step
from tersor.report.picture import pattern
from tersor.report.shown_weights import Stage, WeightView
from tersor.store.model import packed
from tersor.store.sizes import sizes

Weights = NDArray[np.floating]

_CODEC = "auto"
_QUICK = 1 << 22  # bytes that are coded in a moment; more only where training took long anyway
_MOST_STAGES = 24
_MOST_LAYERS = 8
_BINS = 41  # odd: the middle one lies around 0
_OUTLIERS = 0.999  # the quantile that the outermost bins begin at
_SPARSE = 0.1  # the fraction of zeros from which their pattern is worth a look


def stages(
    original: bytes, steps: Sequence[Step], maker: Maker, tsr: bytes, codec: str
) -> list[Stage]:
    """The bytes of the file after each step that changed it, by the default coder.

    Nothing of a single step that does not train, since it is before and after only; nor of
    large networks where nothing trains, since coding takes longer than the steps.

    Args:
        original: The ONNX file as it came.
        steps: What won.
        maker: Made it, and kept what each step gave.
        tsr: The file of the winner.
        codec: Its coder.
    """
    trains = any(step.trains for step in steps)
    if not trains and (len(steps) < 2 or len(original) > _QUICK):
        return []
    found: list[Stage] = [
        {
            "name": "original",
            "file_bytes": len(original),
            "weights_bytes": None,
            "bound_bytes": None,
        },
        _stage("coded as it is", packed(original)),
    ]
    last = original
    for index, step in enumerate(steps[:_MOST_STAGES], start=1):
        onnx = to_onnx(maker.after(steps[:index]))
        if onnx != last:
            found.append(_stage(_name(step), packed(onnx)))
        last = onnx
    if codec == _CODEC:
        found[-1] = _stage(found[-1]["name"], tsr)  # what is noted in it counts
    else:
        found.append(_stage(f"coder {codec}", tsr))
    return found


def _stage(name: str, file: bytes) -> Stage:
    tensors = sizes(file).tensors
    return {
        "name": name,
        "file_bytes": len(file),
        "weights_bytes": sum(t.stored for t in tensors),
        "bound_bytes": sum(t.bound for t in tensors),
    }


def _name(step: Step) -> str:
    """As in "train.fine_tune with prune.gradual"."""
    parts = step.to_dict().get("during", [])
    names = [part["method"] for part in parts] if isinstance(parts, list) else []
    return f"{step.method} with {', '.join(names)}" if names else step.method


def views(original: Network, compressed: Network) -> list[WeightView]:
    """Values of the largest layers whose weights were changed, in the order of the network.

    Before means as it was, or with batch normalization folded in, if that is nearer.
    """
    known = [
        (network, {layer.name: layer.weight for layer in weighted_layers(network)})
        for network in (original, fold_batch_norm(original))
    ]
    ours = weighted_layers(compressed)
    found: dict[int, WeightView] = {}
    for index in sorted(range(len(ours)), key=lambda i: -prod(ours[i].shape)):
        name, after = ours[index].name, _weights(compressed, ours[index].weight)
        was = [_weights(net, names[name]) for net, names in known if name in names]
        was = [each for each in was if each.shape == after.shape]
        nearest = min(
            was, key=lambda each: float(np.square(each - after).sum()), default=after
        )
        if not np.array_equal(nearest, after):
            found[index] = _view(name, nearest, after)
        if len(found) == _MOST_LAYERS:
            break
    return [found[index] for index in sorted(found)]


def _weights(network: Network, path: str) -> Weights:
    return np.asarray(network.tensor(path).detach().cpu().numpy(), np.float64)


def _view(name: str, before: Weights, after: Weights) -> WeightView:
    """One layer; `before` and `after` of the same shape."""
    kept = after != 0
    magnitudes = np.abs(np.concatenate([before[before != 0], after[kept]]))
    most = float(np.quantile(magnitudes, _OUTLIERS)) if magnitudes.size else 1.0
    zeros_after = 1 - float(kept.mean())
    picture = pattern(kept) if zeros_after >= _SPARSE else None
    return {
        "layer": name,
        "shape": list(after.shape),
        "most": most,
        "before": _counts(before, most),
        "after": _counts(after, most),
        "zeros_before": 1 - float((before != 0).mean()),
        "zeros_after": zeros_after,
        "values": len(np.unique(after)),
        "pattern": None if picture is None else base64.b64encode(picture).decode("ascii"),
    }


def _counts(weights: Weights, most: float) -> list[int]:
    """Elements in each bin, zeros left out."""
    inside = np.clip(weights[weights != 0], -most, most)
    counts, _ = np.histogram(inside, bins=_BINS, range=(-most, most))
    return [int(count) for count in counts]
