"""Recipes: which methods with which settings, in TOML.

    name = "w8a8"                          and, where several candidates compete and the
    description = "..."                    fastest that keeps the limit wins, instead:
    max_drop_pp = 1.0
                                           [[candidate]]
    [[step]]                               name = "int8"
    method = "quantize.static"
    ranges = "mse"                         [[candidate.step]]
                                           method = "quantize.static"

`name` defaults to the file's, `description` to nothing, `max_drop_pp` to 1; the settings of a
step are the fields of the method's dataclass. Steps alone are one candidate of the
recipe's name. A candidate with `kinds = ["convolutional", "other"]` is tried for these kinds
of networks only: see `network.kind`. Of a candidate that begins with

    search = "sensitivity"

so many layers stay float, those that make the most noise first, as the limit asks for: see
`choosing.mixing`. With `search = "rate"` the setting `rate` of a step is found, so that the
file is as small as the limit allows, or as a budget asks for: see `choosing.rating`. A
resolved recipe, as it is written beside a result, holds every setting and what won, so that
the same comes again:

    [run]
    engine = "openvino"
    precision = "f32"
    expand = "all"                         or "weights"; left out: runs as stored
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tersor.errors import InputError
from tersor.plan.known import among
from tersor.plan.settings import build, check_unicode, plain, resolve
from tersor.report import recipe_text

_ORIGINAL = "original"  # the untouched model's name in reports
_SEARCHED = {"sensitivity": "keep", "rate": "rate"}  # the setting that a search finds


@dataclass(frozen=True, slots=True)
class Step:
    """One method.

    Attributes:
        method: Its name, as in "quantize.static".
        settings: By field; what is not given takes its default at construction.

    Raises:
        InputError: The method or a key is unknown, or a value cannot be used.
    """

    method: str
    settings: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", resolve(self.method, self.settings))

    @property
    def trains(self) -> bool:
        """Whether the method trains, and so wants all samples that may be trained on."""
        from tersor.methods import trains

        return trains(self.method)

    def build(self) -> Any:
        """The method, ready to be applied."""
        return build(self.method, self.settings)

    def to_dict(self) -> dict[str, object]:
        """As a recipe file holds it; a setting of None has no form there and is left out."""
        given = {k: plain(v) for k, v in self.settings.items() if v is not None}
        return {"method": self.method, **given}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to compress: steps, one after the other.

    Attributes:
        name: As reports show it; "original" is taken.
        steps: At least one.
        search: "sensitivity" if layers that make much noise may go back to float until the
            limit is kept: the setting `keep` of the first step that has it is found; "rate" if
            the file is to get as small as the limit allows: the setting `rate` of the first
            step that has it is found; None to take all settings as they are.
        kinds: Kinds of networks that it is for, see `network.kind`; () for all.
    """

    name: str
    steps: tuple[Step, ...]
    search: str | None = None
    kinds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_text("name of candidate", self.name)
        _check_kinds(self.kinds)
        if self.name == _ORIGINAL:
            allowed = "another name: this one means the untouched model"
            raise InputError("name of candidate", got=self.name, allowed=allowed)
        if not self.steps:
            raise InputError(f"candidate {self.name}", got=[], allowed="at least one step")
        if self.search is not None:
            self._check_search()

    def _check_search(self) -> None:
        if self.search not in _SEARCHED:
            allowed = ", ".join(f'"{name}"' for name in _SEARCHED) + ", or left out"
            raise InputError("search", got=self.search, allowed=allowed)
        setting = _SEARCHED[self.search]
        if not any(setting in step.settings for step in self.steps):
            allowed = f"given where a step has the setting {setting}"
            raise InputError("search", got=[s.method for s in self.steps], allowed=allowed)

    @property
    def searched(self) -> int:
        """Of a candidate with a search: the index of the step whose setting is found."""
        setting = _SEARCHED[str(self.search)]
        return next(i for i, step in enumerate(self.steps) if setting in step.settings)

    def keeping(self, names: Iterable[str]) -> "Candidate":
        """What a search found: the same, with these layers in float, and no search."""
        return self._found(tuple(names))

    def at_rate(self, rate: float) -> "Candidate":
        """What a search found: the same, with this rate, and no search."""
        return self._found(rate)

    def _found(self, value: object) -> "Candidate":
        steps, index = list(self.steps), self.searched
        settings = {**steps[index].settings, _SEARCHED[str(self.search)]: value}
        steps[index] = Step(steps[index].method, settings)
        return Candidate(self.name, tuple(steps))

    def to_dict(self) -> dict[str, object]:
        """As a recipe file holds it."""
        head: dict[str, object] = {"name": self.name}
        if self.kinds:
            head["kinds"] = list(self.kinds)
        if self.search is not None:
            head["search"] = self.search
        return {**head, "step": [step.to_dict() for step in self.steps]}


@dataclass(frozen=True, slots=True)
class Pin:
    """How the result ran when it won.

    Attributes:
        engine: Name of the engine.
        precision: As the engine calls it.
        expand: "all" or "weights" if the model was expanded to float; None if it was not.
    """

    engine: str
    precision: str
    expand: str | None = None

    def __post_init__(self) -> None:
        from tersor.engines import names

        if self.engine not in names():
            raise InputError(
                "run engine", got=self.engine, allowed=among(str(self.engine), names())
            )
        check_text("run precision", self.precision)
        if self.expand not in (None, "all", "weights"):
            allowed = '"all", "weights", or left out'
            raise InputError("run expand", got=self.expand, allowed=allowed)

    def to_dict(self) -> dict[str, object]:
        """As a recipe file holds it."""
        pin: dict[str, object] = {"engine": self.engine, "precision": self.precision}
        return pin if self.expand is None else {**pin, "expand": self.expand}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is tried.

    Attributes:
        name: As reports show it.
        description: One or two sentences on what it is for.
        max_drop_pp: How much a metric may drop, in percentage points, in [0, 100].
        candidates: The fastest that keeps the limit wins.
        run: What to prefer; None to choose freely.
    """

    name: str
    description: str
    max_drop_pp: float
    candidates: tuple[Candidate, ...]
    run: Pin | None = None

    def __post_init__(self) -> None:
        check_text("recipe name", self.name)
        check_text("recipe description", self.description, empty=True)
        limit = self.max_drop_pp
        if type(limit) not in {int, float} or not (math.isfinite(limit) and 0 <= limit <= 100):
            allowed = "a number in [0, 100], in percentage points"
            raise InputError("max_drop_pp", got=limit, allowed=allowed)
        object.__setattr__(self, "max_drop_pp", float(limit))
        called = [candidate.name for candidate in self.candidates]
        if not called:
            raise InputError(
                "recipe", got=[], allowed="at least one [[step]] or [[candidate]]"
            )
        if len(set(called)) < len(called):
            raise InputError("names of candidates", got=called, allowed="different")

    def to_dict(self) -> dict[str, object]:
        """Plain dicts, lists and values, with every setting."""
        head: dict[str, object] = {
            "name": self.name,
            "description": self.description,
            "max_drop_pp": self.max_drop_pp,
        }
        if self.run is not None:
            head["run"] = self.run.to_dict()
        first, *others = self.candidates
        plain_steps = first.search is None and not first.kinds
        if first.name == self.name and plain_steps and not others:
            return {**head, "step": first.to_dict()["step"]}
        return {**head, "candidate": [candidate.to_dict() for candidate in self.candidates]}

    def to_toml(self) -> str:
        """The text of a recipe file; reading it gives an equal recipe."""
        return recipe_text.to_toml(self.to_dict()) + "\n"

    def resolved(self, candidate: str, run: Pin | None = None) -> "Recipe":
        """The recipe of one candidate alone, called by its name.

        Raises:
            InputError: There is no such candidate.
        """
        by_name = {c.name: c for c in self.candidates}
        if candidate not in by_name:
            raise InputError("candidate", got=candidate, allowed=among(candidate, by_name))
        chosen = (replace(by_name[candidate], kinds=()),)
        if candidate == self.name:
            return replace(self, candidates=chosen, run=run)
        description = f"What won of the recipe {self.name}. {self.description}".strip()
        return Recipe(candidate, description, self.max_drop_pp, chosen, run)

    @property
    def trains(self) -> bool:
        """Whether a step of it trains."""
        return any(step.trains for c in self.candidates for step in c.steps)

    @property
    def asks_kind(self) -> bool:
        """Whether the kind of the network decides on what is tried."""
        return any(candidate.kinds for candidate in self.candidates)

    def fitting(self, kind: str) -> "Recipe":
        """The recipe with the candidates for one kind of network, which ask no more.

        Raises:
            InputError: There is no candidate for it.
        """
        fit = [c for c in self.candidates if not c.kinds or kind in c.kinds]
        if not fit:
            known = sorted({each for c in self.candidates for each in c.kinds})
            allowed = f"{among(kind, known)}: recipe {self.name} has no candidate for others"
            raise InputError("kind of network", got=kind, allowed=allowed)
        return replace(self, candidates=tuple(replace(c, kinds=()) for c in fit))


def _check_kinds(kinds: tuple[object, ...]) -> None:
    if not kinds:
        return
    from tersor.network.kind import KINDS

    for kind in kinds:
        if kind not in KINDS:
            raise InputError("kind of network", got=kind, allowed=among(str(kind), KINDS))


def check_text(what: str, value: object, *, empty: bool = False) -> None:
    """Refuse what is no text that a file can hold.

    Args:
        what: Named in the error.
        value: Of a recipe.
        empty: Whether it may be empty.

    Raises:
        InputError: Names `what`.
    """
    if not isinstance(value, str) or not (value or empty):
        raise InputError(what, got=value, allowed="text" if empty else "text, not empty")
    check_unicode(what, value)
