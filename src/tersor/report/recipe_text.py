"""A recipe as TOML: what `tersor compress --recipe` reads.

Only what recipes hold: text, numbers, true and false, lists of these, tables, lists of
tables. Null has no form in TOML: such keys are left out.
"""

import json
import re
from collections.abc import Mapping

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")


def to_toml(table: Mapping[str, object], path: str = "") -> str:
    """The text of `table`, a dict of plain values.

    >>> print(to_toml({"name": "w8", "step": [{"method": "quantize.weights", "bits": 8}]}))
    name = "w8"
    <BLANKLINE>
    [[step]]
    method = "quantize.weights"
    bits = 8
    """
    lines: list[str] = []
    sections: list[str] = []
    for key, value in table.items():
        name = _key(key)
        full = f"{path}.{name}" if path else name
        if isinstance(value, dict):
            sections.append(f"[{full}]\n{to_toml(value, full)}".rstrip())
        elif isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
            sections += [f"[[{full}]]\n{to_toml(item, full)}".rstrip() for item in value]
        elif value is not None:
            lines.append(f"{name} = {_value(value)}")
    return "\n\n".join(part for part in ["\n".join(lines), *sections] if part)


def _key(key: str) -> str:
    return key if _BARE.match(key) else _text(key)


def _value(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value if item is not None) + "]"
    if isinstance(value, dict):
        inside = (f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None)
        return "{" + ", ".join(inside) + "}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _text(value) if isinstance(value, str) else repr(value)


def _text(text: str) -> str:
    """A basic string: JSON's escapes are TOML's, but for the delete character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
