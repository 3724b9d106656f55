"""Torch-Pruning: a random half of the channels of each group, by its BasePruner.

`python -m benchmarks.peers.by_torch_pruning NAME ...` runs in the tool's environment, cuts the
networks of `tests/architectures` of these names, and prints a JSON object for each of them and
for each setting:

    head dims    the same channels of every head (`prune_head_dims`, the default)
    heads        whole heads (`prune_num_heads`), as its examples for language models have it

It gets what its documentation asks users for, see `torch_pruning_presets`: layers whose
results are outputs, numbers of heads, channels that are split in halves, and new attributes
and forward functions where modules compute with sizes.

    why_not             why no network came of it that runs; null if one did
    left                parameters left, of all that there were
    equal               whether the outputs are those of the network with 0 in place of what
                        was cut, norms and torch's attention going by what is left; null where
                        there is nothing to compare
    by_hand             what was written anew: "attributes", "forward functions", or nothing
    analysis_seconds    of the processor, for its graph of dependencies
    cut_seconds         of the processor, for finding groups and cutting
"""

import copy
import json
import signal
import sys
import time
import warnings
from collections.abc import Mapping
from functools import partial
from importlib import metadata
from typing import Any

from benchmarks.peers.torch_pruning_presets import PRESETS, Facts, Preset, having

_PATIENCE_S = 60
_LEAST_CUT = 0.3
_TOLERANCE = 1e-4  # of the largest output
_QUERIES = ("qkv", "to_qkv", "c_attn", "query", "q_proj")
_KEYS = ("key", "value", "k_proj", "v_proj")
_NORMS = {"LayerNorm": -1, "RMSNorm": -1, "ChannelsFirstNorm": 1, "GroupNorm": 1}


def main(names: list[str]) -> None:
    """Cut the architectures of these names."""
    from architectures import ARCHITECTURES

    warnings.simplefilter("ignore")
    signal.signal(signal.SIGPROF, _give_up)
    for name in names:
        preset = PRESETS.get(name, Preset())
        if preset.forward is not None:
            preset.forward()
        module, inputs = ARCHITECTURES[name]()
        settings = ("head dims", "heads") if _heads(module) else ("head dims",)
        for setting in settings:
            found = _tried(preset, setting, copy.deepcopy(module), inputs)
            print(json.dumps({"network": name, "setting": setting, **found}), flush=True)
            if "TimeoutError" in (found["why_not"] or ""):
                break  # while it read the network, for which settings do not matter


def versions() -> dict[str, str]:
    """Of the tool, and what it stands on."""
    return {name: metadata.version(name) for name in ("torch-pruning", "torch")}


def _give_up(*_: object) -> None:
    raise TimeoutError(f"took longer than {_PATIENCE_S} s of the processor")


def _tried(preset: Preset, setting: str, module: Any, inputs: Any) -> Facts:
    facts: Facts = {"why_not": None, "left": None, "equal": None, "versions": versions()}
    facts["by_hand"] = _by_hand(preset, module)
    signal.setitimer(signal.ITIMER_PROF, _PATIENCE_S)
    try:
        _cut(preset, setting, module, inputs, facts)
    except Exception as error:  # noqa: BLE001 - what a tool raises is what is to be told
        facts["why_not"] = f"{type(error).__name__}: {error}".split("\n")[0][:200]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return facts


def _by_hand(preset: Preset, module: Any) -> str:
    """What is written anew by hand."""
    if preset.forward is not None:
        return "forward functions"
    return "attributes" if preset.after is not None or _heads(module) else ""


def _cut(preset: Preset, setting: str, module: Any, inputs: Any, facts: Facts) -> None:
    """Cut a network, and look at what came of it."""
    import torch
    from torch.utils._pytree import tree_leaves

    torch.manual_seed(0)
    torch.backends.mha.set_fastpath_enabled(False)  # it would not call norms
    original = copy.deepcopy(module)
    shapes = [each.shape for each in tree_leaves(module(*inputs))]
    start = time.process_time()
    pruner = _pruner(preset, setting, module, inputs)
    facts["analysis_seconds"] = time.process_time() - start
    _number(module)
    start = time.process_time()
    pruner.step()
    facts["cut_seconds"] = time.process_time() - start
    alive = _numbers(module)
    _restore(module, original, alive)
    _set_heads(module, pruner.num_heads)
    if preset.after is not None:
        preset.after(module)
    counts = [sum(p.numel() for p in each.parameters()) for each in (module, original)]
    facts["left"] = counts[0] / counts[1]
    with torch.no_grad():
        found = tree_leaves(module(*inputs))
    if [each.shape for each in found] != shapes:
        facts["why_not"] = f"outputs of shape {[tuple(each.shape) for each in found]}"
    elif facts["left"] > 1 - _LEAST_CUT:
        facts["why_not"] = f"{100 * facts['left']:.0f} % of the parameters are left"
    else:
        with torch.no_grad():
            wanted = tree_leaves(_zeroed(original, module, alive, preset)(*inputs))
        facts["equal"] = all(
            bool((a - b).abs().max() <= _TOLERANCE * b.abs().max())
            for a, b in zip(found, wanted, strict=True)
        )


def _pruner(preset: Preset, setting: str, module: Any, inputs: Any) -> Any:
    import torch_pruning
    from torch import nn
    from torch.utils._pytree import tree_leaves

    kinds = (nn.Linear, nn.modules.conv._ConvNd)
    last = [part for part in module.modules() if isinstance(part, kinds)][-1]
    by_head = setting == "heads"
    return torch_pruning.pruner.BasePruner(
        module,
        inputs if len(inputs) > 1 else inputs[0],
        importance=torch_pruning.importance.RandomImportance(),
        pruning_ratio=0.5,
        ignored_layers=[last, *(module.get_submodule(name) for name in preset.ignored)],
        in_channel_groups={},
        out_channel_groups=_groups(preset, module),
        num_heads=_heads(module),
        prune_num_heads=by_head,
        prune_head_dims=not by_head,
        head_pruning_ratio=0.5 if by_head else 0.0,
        output_transform=lambda found: sum(each.sum() for each in tree_leaves(found)),
        **preset.settings(),
    )


def _groups(preset: Preset, module: Any) -> dict[Any, int]:
    """Layers of whose results every group must lose the same channels."""
    from torch import nn

    found = {module.get_submodule(name): 2 for name in preset.halves}
    kind = nn.MultiheadAttention
    return found | {m: m.num_heads for m in module.modules() if isinstance(m, kind)}


def _heads(module: Any) -> dict[Any, int]:
    """The number of heads of every layer that makes some."""
    found: dict[Any, int] = {}
    for part in having(module, "heads"):
        children = dict(part.named_children())
        found |= {children[n]: part.heads for n in _QUERIES if n in children}
        count = getattr(part, "kv_heads", part.heads)
        found |= {children[n]: count for n in _KEYS if n in children}
    return found


def _set_heads(module: Any, heads: Mapping[Any, int]) -> None:
    """What attention computes with, as the tool's examples set it."""
    for part in having(module, "heads"):
        children = dict(part.named_children())
        makers = [children[n] for n in _QUERIES if n in children and children[n] in heads]
        for layer in makers:
            fused = 1 if "query" in children or "q_proj" in children else 3
            part.heads = heads[layer]
            width = layer.out_features // fused
            for name, value in (("width", width), *_of_heads(width, part.heads)):
                if hasattr(part, name):
                    setattr(part, name, value)
        if hasattr(part, "kv_heads"):
            part.kv_heads = heads[children["k_proj"]]


def _of_heads(width: int, heads: int) -> list[tuple[str, int]]:
    return [("head_dim", width // heads), ("head_size", width // heads)]


def _number(module: Any) -> None:
    """Let every element be its own number, which shows afterwards which ones are left."""
    import torch

    for tensor in _tensors(module).values():
        tensor.data.copy_(torch.arange(tensor.numel()).reshape(tensor.shape))


def _numbers(module: Any) -> dict[str, Any]:
    return {name: tensor.detach().long() for name, tensor in _tensors(module).items()}


def _tensors(module: Any) -> dict[str, Any]:
    """Parameters, and statistics of norms."""
    found = dict(module.named_parameters(remove_duplicate=False))
    return found | {n: t for n, t in module.named_buffers() if ".running_" in f".{n}"}


def _restore(module: Any, original: Any, alive: Mapping[str, Any]) -> None:
    """Give every element that is left its value back."""
    values = _tensors(original)
    for name, tensor in _tensors(module).items():
        tensor.data = values[name].detach().flatten()[alive[name]]


def _zeroed(original: Any, module: Any, alive: Mapping[str, Any], preset: Preset) -> Any:
    """The original with 0 in place of what was cut; norms look at what is left."""
    import torch

    result = copy.deepcopy(original)
    shapes = {name: tensor.shape for name, tensor in _tensors(original).items()}
    for name, tensor in _tensors(result).items():
        mask = torch.zeros(tensor.numel())
        mask[alive[name].flatten()] = 1
        tensor.data *= mask.reshape(tensor.shape)
    for name, part in result.named_modules():
        if isinstance(part, torch.nn.MultiheadAttention):
            _cool(part, module.get_submodule(name).embed_dim)
        path = preset.reads.get(name, f"{name}.weight")
        axis = 1 if name in preset.reads else _NORMS.get(type(part).__name__)
        if axis is not None and path in alive:
            kept = _first_axis(alive[path], shapes[path])
            same = name not in preset.reads
            part.forward = partial(_on_kept, module.get_submodule(name), kept, axis, same)
    return result


def _cool(part: Any, width: int) -> None:
    """Let torch's attention divide by the root of the width that is left, as it does there."""
    factor = (part.embed_dim / width) ** 0.5
    part.in_proj_weight.data[: part.embed_dim] *= factor
    part.in_proj_bias.data[: part.embed_dim] *= factor


def _first_axis(alive: Any, shape: Any) -> Any:
    """Which positions of the first axis are left."""
    per_row = max(1, shape.numel() // shape[0])
    return (alive.flatten() // per_row).unique()


def _on_kept(part: Any, kept: Any, axis: int, same: bool, x: Any) -> Any:  # noqa: FBT001
    """What a part gives for the channels that are left; 0 for the others."""
    import torch

    found = part(x.index_select(axis, kept))
    return torch.zeros_like(x).index_copy(axis % x.ndim, kept, found) if same else found


if __name__ == "__main__":
    main(sys.argv[1:])
