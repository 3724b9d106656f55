"""Imports point down. Parts of one kind (methods, codes, ...) never import each other."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "tersor"
FLOORS = [
    {"errors"},
    {"arrays", "kernels", "machine"},
    {"codecs", "codes", "data"},
    {"network"},
    {"train", "export", "store", "engines"},
    {"timing"},
    {"methods", "runtime"},
    {"metrics", "measure", "report"},
    {"verify"},
    {"plan"},
    {"reading", "choosing"},
    {"pipeline", "modelfile"},
    {"bench", "demo", "evaluation"},
    {"cli", "testing"},
]
CONTRACT = {  # folders of parts, and the one module that the parts may share
    "methods": "tersor.methods.method",
    "codes": "tersor.codes.code",
    "codecs": "tersor.codecs.codec",
    "engines": "tersor.engines.engine",
}
WITHOUT_TORCH = {  # rooms that must not load torch when they are imported
    *("errors", "arrays", "kernels", "machine", "codecs", "data", "store", "engines"),
    "runtime",
    *("metrics", "verify", "measure", "report", "plan", "bench", "demo", "cli"),
    *("evaluation", "modelfile", "reading"),
}
FILES = sorted(set(ROOT.rglob("*.py")) - {ROOT / "__init__.py"})


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("tersor", *(p for p in parts if p != "__init__")))


def top(module: str) -> str:
    return module.split(".")[1]


def floor(module: str) -> int:
    (found,) = [i for i, names in enumerate(FLOORS) if top(module) in names]
    return found


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level else list(ast.walk(tree))
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    return names


def imported_by(path: Path) -> set[str]:
    return {n for n in imports(path) if n == "tersor" or n.startswith((".", "tersor."))}


def is_allowed(name: str, by: str) -> bool:
    if name.startswith(".") or name == "tersor":
        return False  # import from the owner, by its full name
    if top(name) == top(by):
        is_folder = by == f"tersor.{top(by)}"  # the folder's own __init__ finds the parts
        return top(by) not in CONTRACT or name == CONTRACT[top(by)] or is_folder
    return floor(name) < floor(by)


def test_there_are_files():
    assert len(FILES) > 20


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    module = name_of(path)
    refused = [name for name in sorted(imported_by(path)) if not is_allowed(name, by=module)]
    assert not refused, f"{module} on floor {floor(module)} must not import {refused}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms_without_torch_do_not_import_it_at_the_top(path):
    if top(name_of(path)) in WITHOUT_TORCH:
        roots = {name.split(".")[0] for name in imports(path, top_level=True)}
        assert not roots & {"torch", "onnxruntime", "openvino", "sklearn", "pickle"}


@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("tersor", "tersor.network.network"),
        (".method", "tersor.methods.quantize.static"),
        ("tersor.methods.quantize.weights", "tersor.methods.quantize.static"),
        ("tersor.codecs.raw", "tersor.codecs.zstd"),
        ("tersor.store.container", "tersor.codecs.raw"),
        ("tersor.engines.engine", "tersor.store.container"),
        ("tersor.cli", "tersor.pipeline"),
    ],
)
def test_the_rule_refuses(name, by):
    assert not is_allowed(name, by)


def test_pickle_is_used_nowhere():
    users = [p for p in FILES if {n.split(".")[0] for n in imports(p)} & {"pickle", "dill"}]
    assert users == []
