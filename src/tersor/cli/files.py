"""`tersor pack`, `tersor unpack`, `tersor export`: from one file to another."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tersor.cli.answer import Answer, progress, say
from tersor.cli.options import LEVELS, command, level, model, writable_file

if TYPE_CHECKING:
    from rich.console import Console

_OUTPUT = click.option("-o", "--output", required=True, metavar="FILE", help="File to write.")


@command("tersor pack model.safetensors -o model.tsr")
@click.argument("file")
@click.option("-o", "--output", metavar="FILE", help="File to write.")
@level
@click.option(
    "--list",
    "listing",
    is_flag=True,
    help="Write nothing: show where the bytes of a .tsr FILE are, beside the entropy bound.",
)
def pack(file: str, output: str | None, level: str, *, listing: bool) -> Answer:
    """Make a FILE of tensors smaller, without loss.

    .onnx (with its external data), .safetensors, .npz, .pt2, and .pt, .pth or .th (what
    torch.save wrote, read as tensors and plain values only). `tersor unpack` gives back the
    same file, byte for byte, or, if an .npz was compressed, the same arrays, bit for bit;
    that is checked before the packed file appears.
    """
    if listing == (output is not None):
        raise click.UsageError("Give either --output or --list.", click.get_current_context())
    if output is None:
        return _listed(file)
    from tersor.store.pack import pack as packed

    target = writable_file(output, ".tsr", file)
    with progress() as advance:
        done = packed(Path(file), target, codec=LEVELS[level], advance=advance)
    return _answer(done, file, output)


def _listed(file: str) -> Answer:
    """Where the bytes of a .tsr file are."""
    from tersor.modelfile import naming
    from tersor.store.sizes import sizes

    with progress() as advance, naming(file):
        advance("read", 0.0)
        found = sizes(file)
    document = {"file": file, "file_bytes": found.file_bytes, **found.rows()}

    def show(console: "Console") -> None:
        from tersor.report.sizes import render_sizes

        console.print(render_sizes(document))

    return Answer(document, show)


@command("tersor unpack model.tsr -o model.safetensors")
@click.argument("file")
@_OUTPUT
def unpack(file: str, output: str) -> Answer:
    """Write the file that was packed into FILE, exactly as it was."""
    from tersor.modelfile import naming
    from tersor.store.pack import unpack as unpacked

    target = writable_file(output, "", file)
    with progress() as advance, naming(file):
        done = unpacked(Path(file), target, advance=advance)
    return _answer(done, file, output)


def _answer(done: object, source: str, output: str) -> Answer:
    """What packing or unpacking did."""
    from tersor.report import units
    from tersor.store.pack import PackResult

    assert isinstance(done, PackResult)  # noqa: S101 - imported here, to keep help quick
    ratio = done.original_bytes / max(1, done.stored_bytes)
    document = {
        "source": source,
        "output": output,
        "original_bytes": done.original_bytes,
        "stored_bytes": done.stored_bytes,
        "compression": ratio,
        "tensors": len(done.tensors),
        "identical": done.identical,
        "files": list(done.files),
        "seconds": done.seconds,
    }

    def show(console: "Console") -> None:
        sizes = (
            f"{units.bytes_text(done.original_bytes)} original, "
            f"{units.bytes_text(done.stored_bytes)} packed ({units.ratio_text(ratio)})"
        )
        tensors = units.tensors_text(len(done.tensors))
        say(console, f"Wrote {output}: {sizes}, {tensors}.")
        more = len(done.files) - 1
        if more:
            say(console, f"With {more} file{'s' * (more > 1)} of external data.")
        if done.identical != "bytes":
            say(console, "Members were compressed: their contents come back, bit for bit.")

    return Answer(document, show)


@command("tersor export model.tsr -o model.onnx")
@model
@_OUTPUT
def export(model: str, output: str) -> Answer:
    """Write MODEL as an ONNX file for other runtimes.

    A .tsr file gives back the ONNX model that it holds, byte for byte.
    """
    from tersor.modelfile import naming
    from tersor.store.atomic import write_atomically

    target = writable_file(output, ".onnx", model)
    with progress() as advance, naming(model):
        advance("export", 0.0)
        size = write_atomically(target, _onnx_of(model))

    def show(console: "Console") -> None:
        from tersor.report import units

        say(console, f"Wrote {output}: {units.bytes_text(size)}.")

    return Answer({"source": model, "output": output, "onnx_bytes": size}, show)


def _onnx_of(model: str) -> bytes:
    if Path(model).suffix == ".tsr":
        from tersor.store.model import load_model

        return load_model(model)[0]
    from tersor.reading import read

    network = read(model).network
    from tersor.export.onnx import to_onnx

    return to_onnx(network)
