"""How commands print tables: colours at a terminal only, readable at 100 columns, nothing cut where it is piped."""

import sys
from collections.abc import Iterable
from io import StringIO
from typing import Final

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table

PIPED_WIDTH: Final = 100
WIDTH_MAX: Final = 120


def show(blocks: Iterable[RenderableType]) -> None:
    """Print blocks one below the other; piped, as plain text of a fixed width without trailing spaces."""
    if sys.stdout.isatty():
        console = Console(highlight=False, markup=False, emoji=False)
        console.width = min(console.width, WIDTH_MAX)
        console.print(*blocks, sep="\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in plain_lines(blocks))


def plain_lines(blocks: Iterable[RenderableType]) -> list[str]:
    """Return blocks as lines of plain text."""
    sink = StringIO()
    console = Console(file=sink, width=PIPED_WIDTH, highlight=False, markup=False, emoji=False, color_system=None)
    console.print(*blocks, sep="\n")
    return [line.rstrip() for line in sink.getvalue().splitlines()]


def plain_table(*heads: str) -> Table:
    """Return a table without frame; a head that starts with > is of numbers, one with ~ of text that may wrap."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False, header_style="dim")
    for head in heads:
        name = head.removeprefix(">").removeprefix("~")
        table.add_column(name, justify="right" if head.startswith(">") else "left", no_wrap=not head.startswith("~"))
    return table
