"""A recipe with other settings, as they are given on the command line."""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tersor.errors import InputError
from tersor.plan.known import among
from tersor.plan.recipe import Recipe, Step
from tersor.plan.settings import fields_of


def with_settings(recipe: Recipe, settings: Mapping[str, str]) -> Recipe:
    """A copy with other settings, as `tersor compress --set key=value` gives them.

    Args:
        recipe: Stays as it is.
        settings: Values are TOML, or plain text where they are not. "ranges" sets all
            steps whose method has that field, "quantize.static.ranges" those of that method
            only, and before the other; "max_drop_pp" is the recipe's own.

    Raises:
        InputError: The recipe has no such key, or the value cannot be used.
    """
    steps = [step for candidate in recipe.candidates for step in candidate.steps]
    fields = {step.method: fields_of(step.method) for step in steps}
    bare = sorted({name for known in fields.values() for name in known})
    dotted = sorted(f"{m}.{name}" for m, known in fields.items() for name in known)
    for key in settings:
        if key not in {"max_drop_pp", *bare, *dotted}:
            known = among(key, ["max_drop_pp", *bare, *dotted])
            raise InputError(f"setting of recipe {recipe.name}", got=key, allowed=known)
    values = {key: _value(text) for key, text in settings.items()}

    def changed(step: Step) -> Step:
        known = fields[step.method]
        own = {n: values[n] for n in known if n in values}
        own |= {n: values[k] for n in known if (k := f"{step.method}.{n}") in values}
        return Step(step.method, {**step.settings, **own})

    candidates = tuple(
        replace(c, steps=tuple(changed(step) for step in c.steps)) for c in recipe.candidates
    )
    limit: Any = values.get("max_drop_pp", recipe.max_drop_pp)
    return replace(recipe, candidates=candidates, max_drop_pp=limit)


def _value(text: str) -> object:
    """A value of the command line: TOML, or else text."""
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return table["value"] if len(table) == 1 else text
