"""The state of a training in a file, so that an interrupted one goes on where it was.

The file is torch's format, read with `weights_only`: plain values and tensors, no code. Its
name and its first entry are a digest of the settings, the network, the samples and the further
networks that parts of the training brought, so that no training goes on from the state of
another one.
"""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tersor.data.samples import Samples
from tersor.errors import FileError
from tersor.network.network import Network

_EDGE = 16  # samples at either end that are looked at
_KEY = "training"


def key_of(
    settings: object, network: Network, samples: Samples, others: Iterable[Network] = ()
) -> str:
    """A digest of what a training does, to what, and with what.

    Args:
        settings: Whose text tells all of them.
        network: What is trained; its origin, the teacher of some losses, counts, too.
        samples: To train on; those at either end are looked at.
        others: Networks that came by a name only, such as the path of a file.
    """
    origin = () if network.origin is None else (network.origin,)
    digest = hashlib.sha256()
    digest.update(f"{settings!r}\n{len(origin)}\n".encode())
    for each in (network, *origin, *others):
        digest.update(f"{each.graph}\n".encode())
        for name, tensor in each.module.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    columns = dict(samples.inputs)
    if samples.labels is not None:
        columns["labels"] = samples.labels
    for name, column in columns.items():
        digest.update(f"{name} {column.dtype} {column.shape}\n".encode())
        for part in (column[:_EDGE], column[-_EDGE:]):
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


class Checkpoint:
    """One file that holds the newest state of one training."""

    def __init__(self, folder: Path, key: str) -> None:
        self.path = folder / f"training-{key[:16]}.pt"
        self._key = key

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file; the old one or the new one is there at any moment.

        Raises:
            FileError: It cannot be written.
        """
        partial = self.path.with_suffix(".tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.save({_KEY: self._key, **state}, partial)
            partial.replace(self.path)
        except (OSError, RuntimeError) as error:
            with suppress(OSError):
                partial.unlink()
            problem = f"cannot be written: {error}"
            raise FileError(self.path, problem, "Free some space.") from None

    def load(self) -> dict[str, Any] | None:
        """The state; None if there is no such file.

        Raises:
            FileError: It is damaged, or of another training.
        """
        if not self.path.exists():
            return None
        remedy = "Delete it to train from the start."
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # noqa: BLE001 - torch raises whatever the bytes led it to
            problem = f"is no checkpoint: {type(error).__name__}"
            raise FileError(self.path, problem, remedy) from None
        if not isinstance(found, dict) or found.get(_KEY) != self._key:
            raise FileError(self.path, "is the checkpoint of another training", remedy)
        return found

    def remove(self) -> None:
        """The training is over."""
        self.path.unlink(missing_ok=True)
        with suppress(OSError):
            self.path.parent.rmdir()  # only if it is empty
