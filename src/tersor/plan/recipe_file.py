"""Recipe files: those that come with Tersor, and the users' own; see `plan.recipe`."""

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tersor.errors import InputError
from tersor.plan import toml_text
from tersor.plan.known import among
from tersor.plan.recipe import Candidate, Pin, Recipe, Step, check_text

_HERE = Path(__file__).parent / "recipes"


def names() -> list[str]:
    """Names of the recipes that come with Tersor, sorted."""
    return sorted(path.stem for path in _HERE.glob("*.toml"))


def describe() -> dict[str, str]:
    """Their descriptions, by name; no method is imported."""
    tables = {name: tomllib.loads((_HERE / f"{name}.toml").read_text()) for name in names()}
    return {name: str(table["description"]) for name, table in tables.items()}


def load_recipe(source: str | Path) -> Recipe:
    """A recipe that comes with Tersor, by name, or one from a file.

    Args:
        source: "w8a8", say, or the path of a .toml file.

    Raises:
        InputError: No such recipe; or a key, a type or a value in it is wrong.
        FileError: The file cannot be read, or is not TOML.
    """
    if isinstance(source, str) and source in names():
        return parse_recipe(toml_text.read(_HERE / f"{source}.toml"), source=f"{source}.toml")
    path = Path(source)
    if path.suffix != ".toml" and not path.is_file():
        allowed = f"{among(str(source), names())}, or the path of a .toml file"
        raise InputError("recipe", got=str(source), allowed=allowed)
    return parse_recipe(toml_text.read(path), source=path)


def parse_recipe(text: str, *, source: str | Path = "recipe.toml") -> Recipe:
    """The recipe of a TOML text.

    Args:
        text: Of the file.
        source: Of the text, for errors; its stem is the name of a recipe without one.

    Raises:
        InputError, FileError: See `load_recipe`.
    """
    table = toml_text.parse(text, source)
    with _inside(f"{source}:"):
        return _recipe(table, Path(source).stem)


@contextmanager
def _inside(where: str) -> Iterator[None]:
    """Say in errors where they happened."""
    try:
        yield
    except InputError as error:
        what = f"{where} {error.what}"
        raise InputError(what, got=error.got, allowed=error.allowed) from None


def _recipe(table: dict[str, Any], default_name: str) -> Recipe:
    known = ["name", "description", "max_drop_pp", "step", "candidate", "run"]
    _check_keys("key", table, known)
    if "step" in table and "candidate" in table:
        allowed = "either [[step]] or [[candidate]]"
        raise InputError("recipe", got=["step", "candidate"], allowed=allowed)
    name = table.get("name", default_name)
    check_text("recipe name", name)
    if "candidate" in table:
        candidates = tuple(
            _candidate(item, f"candidate {i}:")
            for i, item in enumerate(_tables("candidate", table["candidate"]), 1)
        )
    else:
        steps = _steps(table.get("step", []))
        candidates = (Candidate(name, steps),) if steps else ()
    return Recipe(
        name,
        table.get("description", ""),
        table.get("max_drop_pp", 1.0),
        candidates,
        _pin(table["run"]) if "run" in table else None,
    )


def _candidate(table: dict[str, Any], where: str) -> Candidate:
    with _inside(where):
        _check_keys("key", table, ["name", "kinds", "search", "step"])
        kinds = table.get("kinds", ())
        if "kinds" in table and not (isinstance(kinds, list) and kinds):
            raise InputError("kinds", got=kinds, allowed="a list of kinds of networks")
        steps = _steps(table.get("step", []))
        return Candidate(table.get("name", ""), steps, table.get("search"), tuple(kinds))


def _steps(given: object) -> tuple[Step, ...]:
    steps = []
    for i, table in enumerate(_tables("step", given), 1):
        with _inside(f"step {i}:"):
            method = table.pop("method", "")
            check_text("method", method)
            steps.append(Step(method, table))
    return tuple(steps)


def _pin(given: object) -> Pin:
    if not isinstance(given, dict):
        raise InputError("run", got=given, allowed="a table, written as [run]")
    _check_keys("key of [run]", given, ["engine", "precision", "expand"])
    return Pin(given.get("engine", ""), given.get("precision", ""), given.get("expand"))


def _tables(key: str, given: object) -> list[dict[str, Any]]:
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise InputError(key, got=given, allowed=f"a list of tables, written as [[{key}]]")
    return given


def _check_keys(what: str, table: Mapping[str, object], known: list[str]) -> None:
    for key in table:
        if key not in known:
            raise InputError(what, got=key, allowed=among(key, known))
