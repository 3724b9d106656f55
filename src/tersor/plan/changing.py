"""A recipe with other settings, as they are given on the command line."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, cast

from tersor.errors import InputError
from tersor.plan.known import among
from tersor.plan.recipe import Recipe, Step
from tersor.plan.settings import fields_of, plain

_METHOD = "method"


def with_settings(recipe: Recipe, settings: Mapping[str, str]) -> Recipe:
    """A copy with other settings, as `tersor compress --set key=value` gives them.

    Args:
        recipe: Stays as it is.
        settings: Values are TOML, or plain text where they are not. "ranges" sets all
            steps whose method has that field, and all tables within steps;
            "quantize.static.ranges" those of that method only, and before the other;
            "max_drop_pp" is the recipe's own.

    Raises:
        InputError: The recipe has no such key, or the value cannot be used.
    """
    steps = [step for candidate in recipe.candidates for step in candidate.steps]
    owned = [pair for step in steps for pair in _fields(step)]
    bare = sorted({name for _, name in owned})
    dotted = sorted({f"{owner}.{name}" for owner, name in owned})
    for key in settings:
        if key not in {"max_drop_pp", *bare, *dotted}:
            known = among(key, ["max_drop_pp", *bare, *dotted])
            raise InputError(f"setting of recipe {recipe.name}", got=key, allowed=known)
    values = {key: _value(text) for key, text in settings.items()}
    candidates = tuple(
        replace(c, steps=tuple(_changed(step, values) for step in c.steps))
        for c in recipe.candidates
    )
    limit: Any = values.get("max_drop_pp", recipe.max_drop_pp)
    return replace(recipe, candidates=candidates, max_drop_pp=limit)


def _tables(step: Step) -> dict[str, list[Any]]:
    """The tables within a step's settings, by the setting that holds them; see `settings`."""
    found = {}
    for name, value in step.settings.items():
        tables = [
            v for v in (value if isinstance(value, tuple) else (value,)) if is_dataclass(v)
        ]
        if tables:
            found[name] = tables
    return found


def _owner(step: Step, name: str, table: Any) -> str:
    """What a table's settings are called after: its method, or where it is."""
    return str(_as_table(table).get(_METHOD, f"{step.method}.{name}"))


def _as_table(value: Any) -> dict[str, Any]:
    """A table within settings as plain values."""
    return cast("dict[str, Any]", plain(value))


def _fields(step: Step) -> list[tuple[str, str]]:
    """Every setting of a step that has a value of its own, with what owns it."""
    tables = _tables(step)
    found = [(step.method, name) for name in fields_of(step.method) if name not in tables]
    for name, inner in tables.items():
        for table in inner:
            owner = _owner(step, name, table)
            found += [(owner, field.name) for field in fields(table)]
    return found


def _changed(step: Step, values: Mapping[str, object]) -> Step:
    def own(owner: str, names: Iterable[str]) -> dict[str, object]:
        names = list(names)
        found = {name: values[name] for name in names if name in values}
        return found | {n: values[k] for n in names if (k := f"{owner}.{n}") in values}

    tables = _tables(step)
    settings = {**step.settings}
    settings |= own(step.method, (n for n in fields_of(step.method) if n not in tables))
    for name, inner in tables.items():
        new: Any = tuple(
            _as_table(t) | own(_owner(step, name, t), (f.name for f in fields(t)))
            for t in inner
        )
        settings[name] = new if isinstance(step.settings[name], tuple) else new[0]
    return Step(step.method, settings)


def _value(text: str) -> object:
    """A value of the command line: TOML, or else text."""
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return table["value"] if len(table) == 1 else text
