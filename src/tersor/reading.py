"""Reading a model from wherever the user has it.

.onnx                    an ONNX file
.pt2                     a file of torch.export.save
.tsr                     a file of Tersor
package.module:callable  returns an `nn.Module` and its example inputs, or a `Network`
"""

from dataclasses import dataclass
from pathlib import Path

from tersor.data.callables import call, is_spec
from tersor.errors import FileError, InputError
from tersor.network.capture import capture, load_pt2
from tersor.network.from_onnx.external import embedded
from tersor.network.from_onnx.reader import read as read_onnx
from tersor.network.network import Network
from tersor.store.model import load_model

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

    network: Network
    onnx: bytes | None
    name: str


def read(source: str | Path) -> Loaded:
    """Read a model.

    Raises:
        InputError: `source` is of no known kind, or the callable returns no model.
        FileError: There is no such file.
        FormatError, ModelError, UnsupportedError: It cannot be read.
    """
    path = Path(source)
    if path.suffix not in {".onnx", ".pt2", ".tsr"}:
        if is_spec(str(source)):
            return Loaded(_called(str(source)), None, str(source))
        raise InputError("model", got=str(source), allowed=_KINDS)
    if not path.is_file():
        raise FileError(path, "is not a file", "Check the path.")
    if path.suffix == ".pt2":
        return Loaded(load_pt2(path), None, path.name)
    if path.suffix == ".tsr":
        model, _ = load_model(path)
        return Loaded(read_onnx(model), model, path.name)
    network = read_onnx(path)
    return Loaded(network, embedded(path.read_bytes(), path.parent), path.name)


def load(source: str | Path) -> Network:
    """The network of a model; see `read`."""
    return read(source).network


def _called(spec: str) -> Network:
    from torch import nn

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
