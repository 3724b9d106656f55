"""Lines of text as samples: token ids and masks.

A file .jsonl (one object per line), .tsv, .csv or .txt (one text per line) lies beside a
table, text.toml, here with the defaults of all keys but `tokenizer` and `length`:

    tokenizer = "tokenizer.json"   or a vocab.txt of WordPiece; relative to the folder
    length = 128                   tokens of every sample: longer ones are cut, shorter padded
    text = "text"                  column or key of the text; a number counts columns from 0,
                                   and then the file has no line of names
    pair = "sentence2"             of a second text; by default there is none
    label = "label"                of the label; by default there is none
    classes = ["no", "yes"]        words that stand for labels 0, 1, ...; by default numbers
    ids = "input_ids"              the names of the model's inputs; "" leaves one out
    mask = "attention_mask"
    types = ""                     as in "token_type_ids"
    lowercase = true               of vocab.txt: whether texts become lower case
    file = "dev.tsv"               which file, where a folder holds several

Texts stay in memory; tokens are made when a batch asks for them. Needs the package
tokenizers.
"""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tersor.data.folder import is_file, settings_of
from tersor.data.samples import Samples
from tersor.data.stream import Stream
from tersor.errors import DataError, FileError, InputError

Array = NDArray[np.generic]
Column = str | int
Encode = Callable[[str, str | None], Any]

TABLE = "text.toml"
SUFFIXES = (".jsonl", ".tsv", ".csv", ".txt")

_LARGEST = 1 << 30  # bytes of a file
_VOCABULARY = "vocab.txt"
_PADDING = ("[PAD]", "<pad>", "<|pad|>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a line becomes arrays; see the module.

    Raises:
        InputError: A value is of the wrong type or out of range.
    """

    tokenizer: str
    length: int
    text: Column = "text"
    pair: Column = ""
    label: Column = ""
    classes: tuple[str, ...] = ()
    ids: str = "input_ids"
    mask: str = "attention_mask"
    types: str = ""
    lowercase: bool = True
    file: str = ""

    def __post_init__(self) -> None:
        words = isinstance(self.classes, tuple) and all(type(c) is str for c in self.classes)
        checks = [
            ("tokenizer", type(self.tokenizer) is str and bool(self.tokenizer), "a file name"),
            (
                "length",
                type(self.length) is int and 1 <= self.length <= 1 << 20,
                "from 1 to 1048576",
            ),
            *((name, _is_column(getattr(self, name)), _COLUMN) for name in _COLUMNS),
            ("classes", words, "a list of words"),
            *((name, type(getattr(self, name)) is str, "a name") for name in _NAMES),
            ("ids", bool(self.ids), "a name"),
            ("lowercase", type(self.lowercase) is bool, "true or false"),
        ]
        for name, fits, allowed in checks:
            if not fits:
                raise InputError(f"{TABLE}: {name}", got=getattr(self, name), allowed=allowed)


_COLUMN = "the name of a column, or its number from 0"
_COLUMNS = ("text", "pair", "label")
_NAMES = ("ids", "mask", "types", "file")


def _is_column(value: Any) -> bool:
    return type(value) is str or (type(value) is int and value >= 0)


def read_text(source: Path) -> Samples:
    """The texts of a file, or of the only such file in a folder; see the module.

    Raises:
        FileError: A file is missing, unreadable or damaged.
        InputError: A key of the table is unknown, or a value is wrong.
        DataError: A line does not hold what the table says.
    """
    folder = source if source.is_dir() else source.parent
    how: Reading = settings_of(folder / TABLE, Reading, ("tokenizer", "length"))
    path = source if source.is_file() else _file_in(folder, how)
    texts, pairs, labels = [], [], []
    for where, row in _rows(path, how):
        texts.append(_cell(where, row, how.text))
        if how.pair != "":
            pairs.append(_cell(where, row, how.pair))
        if how.label != "":
            labels.append(_label(where, _cell(where, row, how.label), how.classes))
    if not texts:
        raise DataError(str(path), "holds no text", "Give at least one.")
    encode, padding = _tokenizer(folder / how.tokenizer, how)

    def make(number: int) -> dict[str, Array]:
        found = encode(texts[number], pairs[number] if pairs else None)
        columns = (
            (how.ids, found.ids, padding),
            (how.mask, found.attention_mask, 0),
            (how.types, found.type_ids, 0),
        )
        return {name: _padded(v, how.length, fill) for name, v, fill in columns if name}

    names = [name for name in (how.ids, how.mask, how.types) if name]
    layout = {name: ((how.length,), np.dtype(np.int64)) for name in names}
    stream = Stream(make, len(texts), layout)
    inputs = {name: cast(Array, stream.column(name)) for name in names}
    return Samples(inputs, np.asarray(labels) if labels else None)


def _padded(values: list[int], length: int, fill: int) -> Array:
    found = np.full(length, fill, np.int64)
    found[: len(values)] = values
    return found


def _file_in(folder: Path, how: Reading) -> Path:
    if how.file:
        path = folder / how.file
        if not is_file(path) or path.suffix.lower() not in SUFFIXES:
            problem = "is no file of texts" if is_file(path) else "is not there"
            raise FileError(path, problem, f"Name one that ends with {', '.join(SUFFIXES)}.")
        return path
    known = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES]
    found = [p for p in known if p.name not in {_VOCABULARY, Path(how.tokenizer).name}]
    if len(found) != 1:
        problem = f"holds {len(found)} files that end with {', '.join(SUFFIXES)}"
        raise FileError(folder, problem, f"Say which one in {TABLE}: file.")
    return found[0]


def _rows(path: Path, how: Reading) -> Iterator[tuple[str, Any]]:
    """Each line's place, and its cells by name or number.

    Raises:
        FileError: The file is too large, or no text in UTF-8.
        DataError: A line is no JSON.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise FileError(path, f"has more than {_LARGEST} bytes", "Split it.")
        with path.open(encoding="utf-8", newline="") as file:
            kind = path.suffix.lower()
            for number, row in enumerate(_READERS[kind](file, how), start=1):
                yield f"{path}, row {number},", row
    except UnicodeDecodeError as error:
        raise FileError(path, f"is no text in UTF-8 ({error})", "Convert it.") from None
    except (OSError, csv.Error, ValueError, RecursionError) as error:
        told = " ".join(str(error).split())[:200]
        raise FileError(path, f"cannot be read ({told})", "Correct it.") from None


def _json_rows(file: Any, _how: Reading) -> Iterator[Any]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None


def _plain_rows(file: Any, how: Reading) -> Iterator[Any]:
    for line in file:
        if line.strip():
            yield {how.text: line.strip()}


def _table_rows(file: Any, how: Reading) -> Iterator[Any]:
    """Cells by name, if the table names columns, else by number; tabs know no quotes."""
    tabs = Path(file.name).suffix.lower() == ".tsv"
    if tabs:
        lines: Iterator[list[str]] = (line.rstrip("\r\n").split("\t") for line in file)
    else:
        lines = csv.reader(file)
    names = None if type(how.text) is int else next(lines, [])
    for cells in lines:
        if any(cells):
            keys = range(len(cells)) if names is None else names
            yield dict(zip(keys, cells, strict=False))


_READERS: dict[str, Callable[[Any, Reading], Iterator[Any]]] = {
    ".jsonl": _json_rows,
    ".txt": _plain_rows,
    ".tsv": _table_rows,
    ".csv": _table_rows,
}


def _cell(where: str, row: Any, column: Column) -> Any:
    if not isinstance(row, dict) or column not in row:
        has = (
            ", ".join(str(key) for key in list(row)[:20]) if isinstance(row, dict) else "none"
        )
        raise DataError(where, f"has no column {column!r}, but {has}", f"Correct {TABLE}.")
    return row[column]


def _label(where: str, value: Any, classes: tuple[str, ...]) -> float | int:
    if classes:
        if value not in classes:
            problem = f"has label {value!r}, which is none of {', '.join(classes)}"
            raise DataError(where, problem, f"Correct `classes` in {TABLE}.")
        return classes.index(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        problem = f"has label {value!r}, which is no number"
        raise DataError(where, problem, f"Name `classes` in {TABLE}.") from None
    return int(number) if number.is_integer() and "." not in str(value) else number


def _tokenizer(path: Path, how: Reading) -> tuple[Encode, int]:
    """What makes tokens, cut to the length, and the id of padding.

    Raises:
        FileError: The package or the file is missing, or the file is damaged.
    """
    try:
        import tokenizers
    except ImportError:
        remedy = "Run: pip install tokenizers."
        raise FileError(path, "needs the package tokenizers", remedy) from None
    if not is_file(path):
        raise FileError(path, "is not there", f"Name it in {TABLE}: tokenizer.")
    try:
        if path.suffix.lower() == ".txt":
            made = tokenizers.BertWordPieceTokenizer(str(path), lowercase=how.lowercase)
        else:
            made = tokenizers.Tokenizer.from_file(str(path))
        padding = made.padding
        known = [made.token_to_id(word) for word in _PADDING]
        made.no_padding()
        made.enable_truncation(how.length)
    except Exception as error:  # noqa: BLE001 - the package raises no other
        told = " ".join(str(error).split())[:200]
        raise FileError(path, f"is no tokenizer ({told})", "Correct it.") from None
    fill = padding["pad_id"] if padding else next((i for i in known if i is not None), 0)

    def encode(text: str, pair: str | None) -> Any:
        try:
            return made.encode(str(text), None if pair is None else str(pair))
        except Exception as error:  # noqa: BLE001 - the package raises no other
            told = " ".join(str(error).split())[:200]
            remedy = "Use the tokenizer that the model was trained with."
            raise FileError(
                path, f"makes no tokens of {text[:80]!r} ({told})", remedy
            ) from None

    return encode, int(fill)
