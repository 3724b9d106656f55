"""Filling a module with published weights that are stored as arrays by name."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Array = NDArray[np.generic]

_NORMALIZATION = {
    "gamma": "weight",
    "beta": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def fill(module: nn.Module, path: Path, names: Mapping[str, str] | None = None) -> None:
    """Put the arrays of an .npz file into a module; see `put`."""
    with np.load(path, allow_pickle=False) as arrays:
        put(module, {name: arrays[name] for name in arrays.files}, names)


def put(
    module: nn.Module, arrays: Mapping[str, Array], names: Mapping[str, str] | None = None
) -> None:
    """Put arrays into a module, and set evaluation mode.

    Names are those of the state dict but for gamma, beta, mean and var of a normalization.

    Args:
        module: Every parameter and every running statistic must be there, and nothing else.
        arrays: By name.
        names: Regular expressions and what replaces them at the start of a name.
    """
    state = {_name(name, names or {}): torch.from_numpy(a) for name, a in arrays.items()}
    for name in module.state_dict():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(0)
    module.load_state_dict(state)
    module.eval()


def _name(name: str, names: Mapping[str, str]) -> str:
    owner, _, leaf = name.rpartition(".")
    if owner:
        name = f"{owner}.{_NORMALIZATION.get(leaf, leaf)}"
    for pattern, replacement in names.items():
        name = re.sub(f"^{pattern}", replacement, name)
    return name
