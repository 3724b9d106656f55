"""Settings of a method, as a recipe gives them: names and types are those of its fields.

TOML knows text, numbers, true and false, and lists of these; so a field is one of

    bool, int, float, str, Literal["a", "b"], tuple[X, ...] of these, X | None
    a dataclass of such fields: a table, as in [step.optimizer]
    tuple[During, ...]: tables with a key `method`, as in [[step.during]]

An int will do for a float, and so will per cents, as in "50%", and a list for a tuple; a bool
is no number. Numbers are finite. None has no form in TOML: it is what a field has that is
left out.
"""

import dataclasses
import math
import re
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from tersor.errors import InputError
from tersor.plan.known import among

_METHODS = "tersor.methods."
_PER_CENT = re.compile(r"\d{1,9}(\.\d{1,9})?%")
_METHOD = "method"  # the key of a part that names it
_DURING = "During"
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_PLURALS = {bool: "true or false", int: "whole numbers", float: "numbers", str: "texts"}


def fields_of(method: str) -> list[str]:
    """Names of the settings of a method, in its order.

    Raises:
        InputError: There is no such method.
    """
    return [field.name for field in dataclasses.fields(_step_class(method))]


def resolve(method: str, given: Mapping[str, object]) -> dict[str, object]:
    """All settings of a method: those given, checked, and defaults for the others.

    Raises:
        InputError: The method or a key is unknown, a value is of another type or outside its
            range, or a setting without default is missing.
    """
    return _resolve(method, _step_class(method), given)


def build(method: str, settings: Mapping[str, object]) -> Any:
    """An instance of the method; errors as `resolve`."""
    return _construct(method, _step_class(method), settings)


def plain(value: object) -> object:
    """A setting as TOML and JSON hold it: lists and tables, no tuples.

    >>> plain(("conv1", "fc"))
    ['conv1', 'fc']
    """
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    given = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    table = {name: item for name, item in given.items() if item is not None}
    module = type(value).__module__
    if module.startswith(_METHODS):
        return {_METHOD: module.removeprefix(_METHODS), **table}
    return table


def check_unicode(what: str, text: str) -> None:
    """Refuse text that no file can hold, as it comes from names that are not UTF-8.

    Raises:
        InputError: Names `what`.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InputError(what, got=text, allowed="text in valid Unicode")


def _step_class(method: str) -> Any:
    from tersor.methods import class_of, is_during, names

    if method not in names():
        raise InputError("Method", got=method, allowed=among(method, names()))
    if is_during(method):
        allowed = f"a step. {method} happens during one: [[step.during]] of train.fine_tune"
        raise InputError("Method", got=method, allowed=allowed)
    return class_of(method)


def _resolve(what: str, kind: Any, given: Mapping[str, object]) -> dict[str, object]:
    """All settings of a class: those given, checked, and defaults for the others."""
    known = [field.name for field in dataclasses.fields(kind)]
    for key in given:
        if key not in known:
            raise InputError(f"Setting of {what}", got=key, allowed=among(key, known))
    hints = get_type_hints(kind)
    settings = {}
    for field in dataclasses.fields(kind):
        name = f"{what} {field.name}"
        if field.name in given:
            settings[field.name] = _checked(name, given[field.name], hints[field.name])
        else:
            settings[field.name] = _default(name, field)
    _construct(what, kind, settings)
    return settings


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
        return _items(what, value, inner[0])
    if hint in _WORDS:
        return _scalar(what, value, hint)
    return _part(what, value) if hint.__name__ == _DURING else _table(what, value, hint)


def _items(what: str, value: object, hint: Any) -> object:
    if not isinstance(value, list | tuple):
        allowed = f"a list of {_PLURALS.get(hint, 'tables')}"
        raise InputError(what, got=value, allowed=allowed)
    return tuple(_checked(f"{what}, item {i}", item, hint) for i, item in enumerate(value, 1))


def _table(what: str, value: object, kind: Any) -> object:
    """An instance of a dataclass: from its fields, or made already."""
    if isinstance(value, Mapping):
        return _construct(what, kind, _resolve(what, kind, value))
    if type(value) is not kind:
        raise InputError(what, got=value, allowed="a table of settings")
    return value


def _part(what: str, value: object) -> object:
    """What happens during training: a table that names its method, or made already."""
    from tersor.methods import class_of, is_during, names

    if dataclasses.is_dataclass(value):
        return value
    if not isinstance(value, Mapping) or not isinstance(value.get(_METHOD), str):
        raise InputError(what, got=value, allowed=f"a table with the key {_METHOD}")
    name = value[_METHOD]
    if name not in names() or not is_during(name):
        known = [each for each in names() if is_during(each)]
        raise InputError(f"{what}: method", got=name, allowed=among(name, known))
    given = {key: item for key, item in value.items() if key != _METHOD}
    kind = class_of(name)
    return _construct(name, kind, _resolve(name, kind, given))


def _scalar(what: str, value: object, kind: type) -> object:
    if kind is float and isinstance(value, str) and _PER_CENT.fullmatch(value):
        value = float(value[:-1]) / 100
    if kind is float and type(value) is int:
        value = float(value) if abs(value) < 2**1023 else math.inf
    if type(value) is not kind:
        raise InputError(what, got=value, allowed=_WORDS[kind])
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(what, got=value, allowed="finite")
    if isinstance(value, str):
        check_unicode(what, value)
    return value
