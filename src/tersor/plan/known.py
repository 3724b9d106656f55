"""What to tell somebody who wrote a name that is not known."""

from collections.abc import Iterable
from difflib import get_close_matches


def among(got: str, known: Iterable[str]) -> str:
    """The known names in words; one that looks like `got` comes first.

    >>> among("rangs", ["keep", "ranges", "samples"])
    'ranges (did you mean that?) or one of keep, samples'
    >>> among("x", ["keep", "ranges"])
    'one of keep, ranges'
    """
    names = list(known)
    near = get_close_matches(got, names, n=1)
    if not near:
        return "one of " + ", ".join(names)
    others = [name for name in names if name != near[0]]
    tail = " or one of " + ", ".join(others) if others else ""
    return f"{near[0]} (did you mean that?){tail}"
