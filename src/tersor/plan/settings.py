"""Settings of a method, as a recipe gives them: names and types are those of its fields.

TOML knows text, numbers, true and false, and lists of these; so a field is one of

    bool, int, float, str, Literal["a", "b"], tuple[X, ...] of these, X | None

An int will do for a float, a list for a tuple; a bool is no number. Numbers are finite. None
has no form in TOML: it is what a field has that is left out.
"""

import dataclasses
import math
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from tersor.errors import InputError
from tersor.plan.known import among

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_PLURALS = {bool: "true or false", int: "whole numbers", float: "numbers", str: "texts"}


def fields_of(method: str) -> list[str]:
    """Names of the settings of a method, in its order.

    Raises:
        InputError: There is no such method.
    """
    return [field.name for field in dataclasses.fields(_class_of(method))]


def resolve(method: str, given: Mapping[str, object]) -> dict[str, object]:
    """All settings of a method: those given, checked, and defaults for the others.

    Raises:
        InputError: The method or a key is unknown, a value is of another type or outside its
            range, or a setting without default is missing.
    """
    kind = _class_of(method)
    known = [field.name for field in dataclasses.fields(kind)]
    for key in given:
        if key not in known:
            raise InputError(f"Setting of {method}", got=key, allowed=among(key, known))
    hints = get_type_hints(kind)
    settings = {}
    for field in dataclasses.fields(kind):
        what = f"{method} {field.name}"
        if field.name in given:
            settings[field.name] = _checked(what, given[field.name], hints[field.name])
        else:
            settings[field.name] = _default(what, field)
    _construct(method, kind, settings)
    return settings


def build(method: str, settings: Mapping[str, object]) -> Any:
    """An instance of the method; errors as `resolve`."""
    return _construct(method, _class_of(method), settings)


def plain(value: object) -> object:
    """A setting as TOML and JSON hold it: lists, no tuples.

    >>> plain(("conv1", "fc"))
    ['conv1', 'fc']
    """
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def check_unicode(what: str, text: str) -> None:
    """Refuse text that no file can hold, as it comes from names that are not UTF-8.

    Raises:
        InputError: Names `what`.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InputError(what, got=text, allowed="text in valid Unicode")


def _class_of(method: str) -> Any:
    from tersor.methods import find, names

    if method not in names():
        raise InputError("Method", got=method, allowed=among(method, names()))
    return find(method).METHOD


def _construct(method: str, kind: Any, settings: Mapping[str, object]) -> Any:
    try:
        return kind(**settings)
    except InputError as error:
        what = f"{method} {error.what}"
        raise InputError(what, got=error.got, allowed=error.allowed) from None


def _default(what: str, field: "dataclasses.Field[Any]") -> object:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    raise InputError(what, got=None, allowed="given: it has no default")


def _checked(what: str, value: object, hint: Any) -> object:
    """`value` as `hint` wants it."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None:  # settings that were resolved before
            return None
        (hint,) = (kind for kind in inner if kind is not type(None))
        return _checked(what, value, hint)
    if origin is Literal:
        if not isinstance(value, str) or value not in inner:
            raise InputError(what, got=value, allowed=among(str(value), inner))
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise InputError(what, got=value, allowed=f"a list of {_PLURALS[inner[0]]}")
        return tuple(
            _checked(f"{what}, item {i}", item, inner[0]) for i, item in enumerate(value, 1)
        )
    return _scalar(what, value, hint)


def _scalar(what: str, value: object, kind: type) -> object:
    if kind is float and type(value) is int:
        value = float(value) if abs(value) < 2**1023 else math.inf
    if type(value) is not kind:
        raise InputError(what, got=value, allowed=_WORDS[kind])
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(what, got=value, allowed="finite")
    if isinstance(value, str):
        check_unicode(what, value)
    return value
