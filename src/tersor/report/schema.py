"""Check plain JSON values against the types that describe them."""

import math
import types
from typing import Any, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

from tersor.errors import InputError


def check(value: object, wanted: Any, path: str = "") -> None:
    """Check that `value` is of the type `wanted`: a TypedDict, list, dict, union or scalar.

    `object` stands for any JSON value. A number that is not finite counts as null.

    Raises:
        InputError: Names the first key that is missing or of another type.
    """
    if is_typeddict(wanted):
        _check_keys(value, wanted, path)
    elif get_origin(wanted) in {Union, types.UnionType}:
        _check_union(value, get_args(wanted), path)
    elif get_origin(wanted) is list:
        _require(isinstance(value, list), value, "a list", path)
        for i, item in enumerate(cast("list[object]", value)):
            check(item, get_args(wanted)[0], f"{path}[{i}]")
    elif get_origin(wanted) is dict:
        _require(_has_text_keys(value), value, "a table", path)
        for key, item in cast("dict[str, object]", value).items():
            check(item, get_args(wanted)[1], _join(path, key))
    elif wanted is object:
        _check_json(value, path)
    else:
        _require(_is_scalar(value, wanted), value, _NAMES[wanted], path)


def ordered(value: object, kind: Any) -> object:
    """A copy of a valid `value`: keys of TypedDicts in their order, null for non-finite."""
    if _is_null(value):
        return None
    if get_origin(kind) in {Union, types.UnionType}:
        kind = next(k for k in get_args(kind) if k is not type(None))
    if isinstance(value, dict):
        hints = get_type_hints(kind) if is_typeddict(kind) else {}
        rest = get_args(kind)[1] if get_origin(kind) is dict else object
        keys = [key for key in hints if key in value]
        keys += [key for key in value if key not in hints]
        return {key: ordered(value[key], hints.get(key, rest)) for key in keys}
    if isinstance(value, list):
        item = get_args(kind)[0] if get_origin(kind) is list else object
        return [ordered(x, item) for x in value]
    return value


def _check_keys(value: object, wanted: Any, path: str) -> None:
    _require(_has_text_keys(value), value, "a table", path)
    table, hints = cast("dict[str, object]", value), get_type_hints(wanted)
    for key, kind in hints.items():
        if key in table:
            check(table[key], kind, _join(path, key))
        elif key in wanted.__required_keys__:
            raise InputError(f"{_join(path, key)} in the report", got=None, allowed="given")
    for key in table:
        if key not in hints:
            _check_json(table[key], _join(path, key))


def _check_union(value: object, kinds: tuple[Any, ...], path: str) -> None:
    if type(None) in kinds and _is_null(value):
        return
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if len(kinds) == 1:
        check(value, kinds[0], path)
        return
    allowed = " or ".join(_NAMES[kind] for kind in kinds)
    _require(any(_is_scalar(value, kind) for kind in kinds), value, allowed, path)


def _check_json(value: object, path: str) -> None:
    """Raise unless `value` can be written as JSON."""
    if isinstance(value, list):
        for i, item in enumerate(value):
            _check_json(item, f"{path}[{i}]")
    elif isinstance(value, dict):
        _require(_has_text_keys(value), value, "a table with text keys", path)
        for key, item in value.items():
            _check_json(item, _join(path, key))
    else:
        ok = value is None or isinstance(value, bool | int | float | str)
        _require(ok, value, "text, a number, true, false, null, a list or a table", path)


_NAMES: dict[Any, str] = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
}


def _is_scalar(value: object, wanted: Any) -> bool:
    if isinstance(value, bool):
        return wanted is bool
    if wanted is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, wanted)


def _is_null(value: object) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _has_text_keys(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _require(ok: bool, value: object, allowed: str, path: str) -> None:  # noqa: FBT001
    if not ok:
        raise InputError(f"{path or 'All'} in the report", got=value, allowed=allowed)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
