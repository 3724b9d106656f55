"""The pieces of terminal output: text that suits the screen, tables, footnotes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD, Box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tersor.report.plain import ascii_only

_BLANK, _RULE = "    \n", " -- \n"
_ASCII = Box(_BLANK * 2 + _RULE + _BLANK * 5, ascii=True)
WIDE = 120  # columns from which a table has room for reasons


@dataclass(frozen=True, slots=True)
class Screen:
    """What the terminal can show.

    Attributes:
        wide: True if there is room for reasons beside the figures.
        ascii_only: True if it shows nothing but ASCII.
    """

    wide: bool
    ascii_only: bool

    def text(self, *parts: str | tuple[str, str]) -> Text:
        """Words, each with or without a style; markup in them means nothing."""
        result = Text()
        for part in parts:
            words, style = (part, "") if isinstance(part, str) else part
            result.append(ascii_only(words) if self.ascii_only else words, style)
        return result

    @property
    def mark(self) -> str:
        """What stands beside the winner."""
        return ">" if self.ascii_only else "▶"


class Laid:
    """Parts that are laid out when the terminal they are printed on is known."""

    def __init__(self, parts: Callable[[Screen], Iterable[RenderableType]]) -> None:
        self.parts = parts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.parts(Screen(options.max_width >= WIDE, options.ascii_only))


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        head: Its heading.
        right: True for figures, which keep one line.
        fold: True for sentences.
    """

    head: str
    right: bool = False
    fold: bool = False


class Rows:
    """A table under a title, filled row by row. Figures are never cut; names fold."""

    def __init__(self, screen: Screen, title: str, columns: Sequence[Column]) -> None:
        self.screen, self.title, self.columns = screen, title, columns
        self.rows: list[tuple[list[Text], str, bool]] = []

    def add(self, *cells: str, style: str = "", section: bool = False) -> None:
        """One row, a cell per column; `section` draws a line below it."""
        self.rows.append(([self.screen.text(cell) for cell in cells], style, section))

    def done(self) -> Padding:
        """The table with room above it."""
        table = Table(
            title=self.screen.text((self.title, "bold")),
            title_justify="left",
            title_style="not italic",
            box=_ASCII if self.screen.ascii_only else SIMPLE_HEAD,
            header_style="dim",
            padding=(0, 1, 0, 0),
            pad_edge=False,
            show_edge=False,
        )
        for column in self.columns:
            table.add_column(
                self.screen.text(column.head),
                justify="right" if column.right else "left",
                no_wrap=column.right or not (column.head or column.fold),
                overflow="fold",
            )
        for cells, style, section in self.rows:
            table.add_row(*cells, style=style, end_section=section)
        return Padding(table, (1, 0, 0, 0))


class Footnotes:
    """Reasons by number, each said once, in the order in which they came up."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, reason: str) -> str:
        """As in "(2)"; nothing for no reason."""
        if not reason:
            return ""
        return f"({self._numbers.setdefault(reason, len(self._numbers) + 1)})"

    def below(self, screen: Screen) -> Iterator[Padding]:
        """The lines for below the table, as in "(2) slower than the winner"."""
        for reason, number in self._numbers.items():
            yield Padding(screen.text((f"({number}) {reason}", "dim")), (0, 0, 0, 2))
