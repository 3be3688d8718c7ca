"""Columns of plain text, as wide as their longest cell; nothing is cut."""

from collections.abc import Collection, Iterator, Sequence


def columns(rows: Sequence[Sequence[str]], *, right: Collection[int]) -> Iterator[str]:
    """Yield `rows`, all of one length, as lines; the columns numbered in `right` are flush right, the others left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()
