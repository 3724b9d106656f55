"""Text from users' files, made safe to show: names of layers, reasons, recipes."""

LIMIT = 160  # characters of one name or reason


def plain(text: object, limit: int = LIMIT) -> str:
    r"""`text` on one line, without control or invisible characters, cut at `limit`.

    Escape sequences would act on a terminal, and marks of direction would turn text round.

    >>> plain("conv1\x1b[2J"), plain("a\nb"), plain("x" * 200, limit=8)
    ('conv1?[2J', 'a b', 'xxxxx...')
    """
    line = " ".join(str(text)[: 8 * limit].split())
    shown = printable(line)
    return shown if len(shown) <= limit else shown[: max(limit - 3, 0)] + "..."


def printable(text: str) -> str:
    r"""`text` with "?" for every character that cannot be seen.

    >>> printable("a\tb")
    'a?b'
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def ascii_only(text: str) -> str:
    """`text` for a terminal that knows nothing else: "?" for every other character.

    >>> ascii_only("größe")
    'gr??e'
    """
    return text.encode("ascii", "replace").decode("ascii")
