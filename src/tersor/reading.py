"""Reading a model from wherever the user has it.

.onnx                    an ONNX file
.pt2                     a file of torch.export.save
.tsr                     a file of Tersor
package.module:callable  returns an `nn.Module` and its example inputs, or a `Network`
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tersor.data.callables import call, is_spec
from tersor.errors import FileError, InputError
from tersor.store.frame import check_frame

if TYPE_CHECKING:
    from tersor.network.from_onnx.file import OnnxFile
    from tersor.network.network import Network

_KINDS = "an .onnx, .pt2 or .tsr file, or package.module:callable"


@dataclass(frozen=True)
class Loaded:
    """A model and where it came from.

    Attributes:
        network: The workshop's graph.
        onnx: The untouched ONNX file, where the model came as one; else None. Data that it
            keeps in other files are put into it.
        name: For reports: the file's name, or the callable's.
    """

    network: "Network"
    onnx: bytes | None
    name: str


@dataclass(frozen=True)
class Opened:
    """A model that was found and, where it is a file of ONNX, checked as far as that is quick.

    Attributes:
        name: The file's name, or the callable's.
        path: The file; None for a callable.
        file: What is in an `.onnx` or `.tsr` file; else None.
        onnx: The ONNX file that a `.tsr` file holds; else None.
    """

    name: str
    path: Path | None = None
    file: "OnnxFile | None" = None
    onnx: bytes | None = None


def opened(source: str | Path) -> Opened:
    """The first look at a model, before torch is imported: what is damaged is refused here.

    Raises:
        InputError: `source` is of no known kind.
        FileError: There is no such file.
        FormatError, ModelError: It is no whole ONNX, .pt2 or .tsr file, or not a valid one.
    """
    path = Path(source)
    if path.suffix not in {".onnx", ".pt2", ".tsr"}:
        if is_spec(str(source)):
            return Opened(str(source))
        raise InputError("model", got=str(source), allowed=_KINDS)
    if not path.is_file():
        raise FileError(path, "is not a file", "Check the path.")
    if path.suffix == ".onnx":
        from tersor.network.from_onnx.file import parse

        return Opened(path.name, path, parse(path))
    if path.suffix == ".pt2":
        from tersor.network.zipped import archive_of

        with archive_of(path):  # before torch is loaded
            pass
        return Opened(path.name, path)
    check_frame(path)  # before numpy is loaded
    from tersor.store.model import load_model

    model, _ = load_model(path)
    from tersor.network.from_onnx.file import parse

    return Opened(path.name, path, parse(model), model)


def read(source: str | Path | Opened) -> Loaded:
    """Read a model.

    Raises:
        InputError: `source` is of no known kind, or the callable returns no model.
        FileError: There is no such file.
        FormatError, ModelError, UnsupportedError: It cannot be read.
    """
    found = source if isinstance(source, Opened) else opened(source)
    if found.path is None:
        return Loaded(_called(found.name), None, found.name)
    if found.file is None:
        from tersor.network.capture import load_pt2

        return Loaded(load_pt2(found.path), None, found.name)
    from tersor.network.from_onnx.external import embedded
    from tersor.network.from_onnx.reader import build

    network, onnx = build(found.file), found.onnx
    if onnx is None:
        onnx = embedded(found.path.read_bytes(), found.path.parent)
    return Loaded(network, onnx, found.name)


def load(source: str | Path) -> "Network":
    """The network of a model; see `read`."""
    return read(source).network


def _called(spec: str) -> "Network":
    from torch import nn

    from tersor.network.capture import capture
    from tersor.network.network import Network

    made = call(spec)
    if isinstance(made, Network):
        return made
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], nn.Module)):
        got = type(made).__name__
        raise InputError(
            spec,
            got=got,
            allowed="a callable that returns (module, inputs), or what tersor.capture returns",
        )
    return capture(made[0], made[1])
