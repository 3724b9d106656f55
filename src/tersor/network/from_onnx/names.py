"""Attribute paths for the names of an ONNX file.

A name such as "layer1.0.conv1.weight" is a path already and stays as it is. Otherwise it
is changed as little as possible, and always in the same way:

* a character outside A-Z a-z 0-9 _ - / : and dot becomes "_" (names end up in code);
* an empty part, as in "a..b", becomes "_";
* a part that torch uses itself, or that is already taken, gets "_" at its end: with a
  leaf "a", the leaf "a.b" becomes "a_.b".
"""

import re

from torch import fx, nn

_DEEPEST = 24
_OTHERS = re.compile(r"[^A-Za-z0-9_\-/:.]")


class Paths:
    """Gives each name its own path."""

    def __init__(self) -> None:
        self._leaves: set[str] = set()
        self._containers: set[str] = set()

    def take(self, name: str) -> str:
        """The path for a new leaf called `name`; it is taken from now on.

        >>> paths = Paths()
        >>> [paths.take(name) for name in ("a", "a.b", "a", "c..d", "x y", "training")]
        ['a', 'a_.b', 'a__', 'c._.d', 'x_y', 'training_']
        """
        parts = _OTHERS.sub("_", name).split(".", _DEEPEST)
        parts[-1] = parts[-1].replace(".", "_")
        path = ""
        for i, part in enumerate(parts):
            owner, last = path, i == len(parts) - 1
            found = part or "_"
            while not self._is_free(_join(owner, found), found, last=last):
                found += "_"
            path = _join(owner, found)
            if not last:
                self._containers.add(path)
        self._leaves.add(path)
        return path

    def _is_free(self, path: str, part: str, *, last: bool) -> bool:
        if path in self._leaves or (last and path in self._containers):
            return False
        return path in self._containers or not _is_reserved(part)


def _join(owner: str, part: str) -> str:
    return f"{owner}.{part}" if owner else part


_EMPTY = fx.GraphModule(nn.Module(), fx.Graph())


def _is_reserved(part: str) -> bool:
    return hasattr(_EMPTY, part)


def readable(name: str) -> str:
    """`name` as an identifier; "" if nothing remains.

    >>> readable("/layer1/layer1.0/conv1/Conv")
    'layer1_layer1_0_conv1_Conv'
    """
    return re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")[:200]
