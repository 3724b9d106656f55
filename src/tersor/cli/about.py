"""`tersor inspect`, `tersor methods`, `tersor info`: what there is."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, fields
from typing import TYPE_CHECKING, Any

import click

from tersor.cli.answer import Answer, progress
from tersor.cli.options import command, model

if TYPE_CHECKING:
    from rich.console import Console


_SATURATING = "sums of pairs of products saturate: weights are given seven bits here"


@command("tersor inspect model.onnx --groups")
@model
@click.option(
    "--groups", is_flag=True, help="Show which channels can be cut, and must be cut together."
)
def inspect(model: str, *, groups: bool) -> Answer:
    """Show what is in MODEL, layer by layer.

    For each layer its size, its work, and whether it can be compressed, or why not;
    with --groups also which channels can be cut, and which node freezes the others.
    Multiply-accumulates (MACs), shapes and activation memory are for one sample.
    """
    with progress() as advance:
        advance("read", 0.0)
        from tersor.modelfile import naming
        from tersor.reading import read

        with naming(model):
            loaded = read(model)
        from tersor.machine import isa_flags
        from tersor.network.cost import describe
        from tersor.store.saturation import warning_here

        document = {"model": loaded.name, **describe(loaded.network)}
        if groups:
            from tersor.network.channels import channels

            document |= channels(loaded.network).describe()
        document["warning"] = warning_here(loaded.onnx or b"", isa_flags())

    def show(console: "Console") -> None:
        from tersor.report.inspection import render_inspect

        console.print(render_inspect(document))

    return Answer(document, show)


@command("tersor methods quantize.static")
@click.argument("name", required=False)
def methods(name: str | None) -> Answer:
    """List the compression methods and their settings.

    With NAME, only that method. A recipe is a list of methods with settings, which
    `tersor compress --set` changes.
    """
    from tersor.methods import names

    chosen = [name] if name else names()
    found = {each: _method(each) for each in chosen}

    return Answer({"methods": found}, lambda console: _show_methods(found, console))


def _show_methods(found: Mapping[str, Any], console: "Console") -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    for number, (name, method) in enumerate(found.items()):
        table = Table.grid(padding=(0, 2, 0, 0))
        for setting in method["settings"]:
            default = "required" if setting["required"] else repr(setting["default"])
            row = (setting["name"], default, setting["meaning"])
            table.add_row(*(Text(*cell) for cell in zip(row, ("", "dim", ""), strict=True)))
        when = "  (during train.fine_tune)" if method["during_training"] else ""
        title = Text(("\n" if number else "") + name, "bold").append(when, "dim")
        console.print(title)
        console.print(Padding(Text(method["summary"]), (0, 0, 0, 2)))
        console.print(Padding(table, (0, 0, 0, 4)))


def _method(name: str) -> dict[str, Any]:
    """One line on a method, when it is at work, and its settings."""
    from tersor.methods import class_of, find, is_during

    kind: Any = class_of(name)
    meanings = _attributes(kind.__doc__ or "")
    return {
        "summary": _first_sentence(find(name).__doc__ or ""),
        "during_training": is_during(name),
        "settings": [
            {
                "name": each.name,
                "default": _default(each),
                "required": each.default is MISSING and each.default_factory is MISSING,
                "meaning": meanings.get(each.name, ""),
            }
            for each in fields(kind)
        ],
    }


def _default(setting: "Field[Any]") -> object:
    """The default as JSON holds it, tables as tables; None if there is none."""
    from tersor.plan.settings import plain

    if setting.default_factory is not MISSING:
        value = setting.default_factory()
    else:
        value = None if setting.default is MISSING else setting.default
    return plain(value)


def _first_sentence(text: str) -> str:
    """The first paragraph, on one line."""
    return " ".join(text.strip().partition("\n\n")[0].split())


def _attributes(text: str) -> dict[str, str]:
    r"""The meanings in the section "Attributes" of a docstring, by name.

    >>> _attributes("Attributes:\n    a: One,\n        two.\n    b, c: More.\n\nX:\n    d: e")
    {'a': 'One, two.', 'b': 'More.', 'c': 'More.'}
    """
    found: dict[str, str] = {}
    names: list[str] = []
    lines = text.partition("Attributes:\n")[2].splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip()) if lines else 0
    for line in lines:
        depth = len(line) - len(line.lstrip())
        if not line.strip() or depth < indent:
            break
        if depth == indent:
            head, _, line = line.partition(":")
            names = [name.strip() for name in head.split(",")]
        for name in names:
            found[name] = f"{found.get(name, '')} {line.strip()}".strip()
    return found


@command("tersor info")
def info() -> Answer:
    """Show version, machine, engines and named recipes."""
    from importlib import metadata

    from tersor.kernels.choose import choice
    from tersor.machine import describe, isa_flags, pairs_saturate
    from tersor.plan.recipe_file import describe as recipes

    document = {
        "version": metadata.version("tersor"),
        "machine": describe(),
        "pairs_saturate": pairs_saturate(isa_flags()),
        "kernels": asdict(choice()),
        "engines": _engines(),
        "recipes": recipes(),
    }
    return Answer(document, lambda console: _show_info(document, console))


def _engines() -> list[dict[str, object]]:
    from tersor.engines import find, names

    found: list[dict[str, object]] = []
    for name in names():
        engine = find(name)
        version = engine.version()
        precisions = list(engine.precisions()) if version else []
        found.append(
            {"name": name, "version": version, "precisions": precisions, "fast": engine.fast}
        )
    return found


def _show_info(document: Mapping[str, Any], console: "Console") -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from tersor.report import units

    machine = document["machine"]
    cores = f"{machine['physical_cores']} cores, {machine['logical_cores']} logical"
    memory = units.bytes_text(machine["memory_bytes"])
    sections: dict[str, list[tuple[str, str]]] = {
        "Machine": [
            ("processor", machine["cpu"]),
            ("cores", f"{cores}, {machine['default_threads']} threads by default"),
            ("instructions", ", ".join(machine["isa"]) or "none that matter"),
            (
                "int8",
                _SATURATING if document["pairs_saturate"] else "sums of products are exact",
            ),
            ("kernels", "{name}: {why}".format(**document["kernels"])),
            ("memory", memory),
            ("system", f"{machine['system']}, Python {machine['python']}"),
        ],
        "Engines": [(each["name"], _engine_text(each)) for each in document["engines"]],
        "Recipes": list(document["recipes"].items()),
    }
    console.print(f"[bold]tersor {document['version']}[/bold]")
    for title, rows in sections.items():
        table = Table.grid(padding=(0, 2, 0, 0))
        for head, text in rows:
            table.add_row(Text(head), Text(text))
        console.print(f"\n[bold]{title}[/bold]")
        console.print(Padding(table, (0, 0, 0, 2)))


def _engine_text(engine: Mapping[str, Any]) -> str:
    if engine["version"] is None:
        return "not installed"
    slow = "" if engine["fast"] else "  (slow: for checks only)"
    return f"{engine['version']}  {', '.join(engine['precisions'])}{slow}"
