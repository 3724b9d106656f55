"""Any model as a file that engines run: what benchmarks and evaluations begin with."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tersor.data.callables import is_spec
from tersor.errors import FileError, FormatError, InputError

_RUNNABLE = (".onnx", ".tsr")
_KINDS = "an .onnx, .pt2 or .tsr file, or package.module:callable"


@contextmanager
def model_file(source: str | Path) -> Iterator[Path]:
    """The path of a `.onnx` or `.tsr` file that holds the model.

    These two are taken as they are. A `.pt2` file or a callable is exported into a
    temporary file, which is gone afterwards; only that needs torch.

    Args:
        source: See `tersor.reading.read`.

    Raises:
        InputError: `source` is of no known kind.
        FileError: There is no such file.
        FormatError: It is no ONNX file, is cut short, or would take too much memory.
        ModelError, UnsupportedError: It cannot be exported.
    """
    path = Path(source)
    if path.suffix in _RUNNABLE:
        if not path.is_file():
            raise FileError(path, "is not a file", "Check the path.")
        if path.suffix == ".onnx":
            _check(path)
        yield path
        return
    if path.suffix != ".pt2" and not is_spec(str(source)):
        raise InputError("model", got=str(source), allowed=_KINDS)
    import tempfile

    from tersor.export.onnx import to_onnx
    from tersor.reading import read

    with tempfile.TemporaryDirectory(prefix="tersor-") as folder:
        made = Path(folder) / "model.onnx"
        made.write_bytes(to_onnx(read(source).network))
        yield made


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Say in format errors which file is damaged, if they do not say it themselves."""
    try:
        yield
    except FormatError as error:
        if str(path) in error.problem:
            raise
        raise FormatError(f"{path}: {error.problem}", offset=error.offset) from None


def _check(path: Path) -> None:
    """Raise unless the file is a whole ONNX model."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    from tersor.network.from_onnx.messages import messages
    from tersor.network.from_onnx.wire import look_over

    try:
        data = path.read_bytes()
    except OSError as error:
        raise FileError(path, f"cannot be read ({error.strerror})", "Check it.") from None
    with naming(path):
        look_over(data)
    try:
        graph = messages().ModelProto.FromString(data).graph
    except DecodeError:
        graph = None
    if graph is None or not (graph.node and graph.output):
        problem = f"{path} is not an ONNX model, or is cut short"
        raise FormatError(problem, offset=len(data))
