"""What torch.export.save writes (`.pt2`), read without unpickling or running any of it.

torch.export.load (2.13) would unpickle: example inputs with weights_only=True, but without it
where that fails, weights and constants marked "use_pickle", and custom objects; and it
hands the expressions of sizes to sympy, which evaluates them. So the archive is read here:

    <root>/models/model.json                      graph, as JSON
    <root>/data/weights/model_weights_config.json name -> record, sizes, strides
    <root>/data/weights/weight_<n>                raw elements
    <root>/data/constants/...                     the same for constants

Pickled tensors, objects, native code, compressed records, operations outside ATen and sizes
that are not plain arithmetic are refused. Then torch's own deserializer makes the graph of
the JSON.
"""

import ast
import json
import math
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch.export import ExportedProgram

from tersor.errors import FormatError
from tersor.network.zipped import archive_of

_MOST_JSON = 1 << 28  # bytes
_MOST_RECORDS = 1 << 20
_MOST_EXPRESSION = 10_000  # characters

_SYMBOLIC = (
    r"_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pos|getitem|eq|ne|lt|le|gt|ge|and_|or_)"
    r"|torch\.sym_(float|int|ite|max|min|not|sum)"
    r"|math\.(ceil|floor|trunc)"
)
_ATEN = re.compile(r"torch\.ops\.aten\.[A-Za-z]\w*\.\w+|torch\.ops\.aten\._\w*[A-Za-z]\.\w+")
_CONTAINERS = {
    None,
    "builtins.tuple",
    "builtins.list",
    "builtins.dict",
    "collections.OrderedDict",
}
_FUNCTIONS = (
    "Symbol Integer Add Mul Pow Max Min Mod PythonMod FloorDiv CleanDiv CeilDiv CeilToInt "
    "FloorToInt TruncToInt IntTrueDiv ToFloat Identity Rational"
)
_SYNTAX = (
    ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword, ast.BinOp,
    ast.UnaryOp, ast.operator, ast.unaryop, ast.Compare, ast.cmpop,
)  # fmt: skip


def read_program(path: Path) -> ExportedProgram:
    """The program in a file that torch.export.save wrote.

    Raises:
        FileError: The file cannot be read.
        FormatError: It is no such file, is damaged, or holds what could run.
    """
    with archive_of(path) as archive:
        return _Reader(archive, path.stat().st_size).program()


class _Reader:
    """One archive."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        self.archive = archive
        entries = archive.infolist()
        self.offset = 0
        if len(entries) > _MOST_RECORDS:
            self.refuse(f"{len(entries)} records")
        self.records = {e.filename.partition("/")[2]: e for e in entries}
        if "models/model.json" not in self.records:
            self.refuse("no models/model.json: not written by torch.export.save")
        for name, entry in self.records.items():
            self.offset = entry.header_offset
            if "aotinductor" in name:
                self.refuse(f"native code {name!r}")
            if entry.compress_type != zipfile.ZIP_STORED:
                self.refuse(f"compressed record {name!r}")
        if sum(e.file_size for e in entries) > size:
            self.refuse("records larger than the file")

    def refuse(self, problem: str) -> NoReturn:
        """Refuse the archive.

        Raises:
            FormatError: Always.
        """
        raise FormatError(problem, offset=self.offset)

    def bytes_of(self, name: str) -> bytes:
        """A whole record; its checksum has been compared."""
        if name not in self.records:
            self.refuse(f"no record {name!r}")
        self.offset = self.records[name].header_offset
        try:
            return self.archive.read(self.records[name])
        except (ValueError, OverflowError):
            self.refuse(f"record {name!r} lies outside the file")

    def json_of(self, name: str) -> Any:
        """A record of JSON."""
        data = self.bytes_of(name)
        if len(data) > _MOST_JSON:
            self.refuse(f"{len(data)} bytes of {name}")
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            self.refuse(f"{name} is no JSON: {error}")

    def program(self) -> ExportedProgram:
        """The program, by torch's deserializer."""
        from torch._export.serde import schema, serialize

        weights, constants = self.tensors("weights"), self.tensors("constants")
        document = self.json_of("models/model.json")
        self.check(document)
        try:
            for node in document["graph_module"]["graph"]["nodes"]:
                node["metadata"] = {}
            document["guards_code"] = []
            parse = serialize._dict_to_dataclass
            parsed = parse(schema.ExportedProgram, document)  # type: ignore[no-untyped-call]
            made: ExportedProgram = serialize.ExportedProgramDeserializer(None).deserialize(
                parsed, weights, constants, ((), {})
            )
        except Exception as error:  # noqa: BLE001 - torch raises anything
            text = (str(error).splitlines() or [""])[0]
            self.refuse(f"torch cannot read it ({type(error).__name__}: {text})")
        return made

    def check(self, document: Any) -> None:
        """Refuse what torch would run, import or evaluate while reading."""
        for key, value in _pairs(document):
            if key == "target" and value is not None and not self.is_known(str(value)):
                self.refuse(f"operation {value!r} is not allowed")
            if key == "expr_str" and not _is_arithmetic(str(value)):
                self.refuse(f"size {str(value)[:80]!r} is no plain arithmetic")
            if key in {"in_spec", "out_spec"}:
                self.check_containers(str(value))
            if "custom_obj" in key and value:
                self.refuse("an object of its own class")

    def is_known(self, target: str) -> bool:
        """Whether that operation computes and does nothing else."""
        if re.fullmatch(_SYMBOLIC, target):
            return True
        if not _ATEN.fullmatch(target):
            return False
        name, overload = target.split(".")[3:]
        found = getattr(getattr(torch.ops.aten, name, None), overload, None)
        if not isinstance(found, torch._ops.OpOverload):
            return False
        return all(a.name != "filename" for a in found._schema.arguments)

    def check_containers(self, text: str) -> None:
        """Refuse nestings of inputs and outputs that need a class of their own."""
        try:
            found = json.loads(text) if text else []
        except ValueError as error:
            self.refuse(f"nesting is no JSON: {error}")
        for key, value in _pairs(found):
            if key == "type" and value not in _CONTAINERS:
                self.refuse(f"inputs or outputs in a {value!r}")
            if key == "context" and "__enum__" in str(value):
                self.refuse("an enumeration as a key")

    def tensors(self, kind: str) -> dict[str, torch.Tensor]:
        """All tensors of one kind, by dotted name; the same memory where it is shared."""
        config = self.json_of(f"data/{kind}/model_{kind}_config.json")
        storages: dict[str, torch.Tensor] = {}
        made: dict[str, torch.Tensor] = {}
        known: dict[str, torch.Tensor] = {}
        try:
            for name, entry in config["config"].items():
                key = json.dumps(entry, sort_keys=True)
                if key not in known:
                    known[key] = self.tensor(kind, name, entry, storages)
                made[name] = known[key]
        except (
            KeyError,
            TypeError,
            AttributeError,
            RuntimeError,
            ValueError,
            OverflowError,
        ) as error:
            if isinstance(error, FormatError):
                raise
            self.refuse(f"{kind} are described wrongly ({type(error).__name__}: {error})")
        return made

    def tensor(
        self, kind: str, name: str, entry: Any, storages: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """One tensor from its description."""
        from torch._export.serde.serialize import deserialize_scalar_type

        record, meta = str(entry["path_name"]), entry["tensor_meta"]
        if (
            entry["use_pickle"]
            or meta is None
            or not re.fullmatch(r"(weight|tensor)_\d+", record)
        ):
            self.refuse(f"{name} is a pickle or an object, not plain elements")
        dtype = deserialize_scalar_type(meta["dtype"])
        sizes, strides = (_ints(meta[k]) for k in ("sizes", "strides"))
        (start,) = _ints([meta["storage_offset"]])
        if record not in storages:
            data = bytearray(self.bytes_of(f"data/{kind}/{record}"))
            storages[record] = (
                torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            )
        storage = storages[record]
        last = start + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True))
        most = storage.numel()
        if math.prod(sizes) and (
            storage.dtype != dtype or max(last, math.prod(sizes) - 1) >= most
        ):
            self.refuse(f"{name} reaches past its record")
        if math.prod(sizes) == 0:
            return torch.empty(sizes, dtype=dtype)
        view = storage.as_strided(sizes, strides, start)
        grad = bool(meta["requires_grad"]) and dtype.is_floating_point
        return torch.nn.Parameter(view, requires_grad=grad) if entry["is_param"] else view


def _ints(items: Any) -> list[int]:
    """Sizes or strides that are fixed.

    Raises:
        ValueError: One is negative.
    """
    found = [int(item["as_int"]) for item in items]
    if any(n < 0 for n in found):
        raise ValueError(f"negative {found}")
    return found


def _pairs(tree: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of nested dicts and lists, without recursion."""
    waiting = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield from item.items()
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _is_arithmetic(text: str) -> bool:
    """Whether an expression only counts: symbols, numbers, and known functions of them."""
    if len(text) > _MOST_EXPRESSION:
        return False
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(isinstance(n, _SYNTAX) and _is_harmless(n) for n in ast.walk(tree))


def _is_harmless(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS.split()
    if isinstance(node, ast.Name):
        return node.id in _FUNCTIONS.split() or re.fullmatch(r"[a-z]+\d+", node.id) is not None
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.fullmatch(r"[a-z]+\d+", node.value) is not None
    return True
