"""The book of an explanation at a terminal, and the small parts that its other sections share."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from libs.common.domain.explanation import BookLevel, BookSeen, Explanation
from libs.common.domain.wording import usdc
from services.cli.printing import plain_table

LEVELS_MAX: Final = 30
LEVELS_BEYOND: Final = 2
"""Levels shown behind the limit, or behind the last one taken from."""


def title(text: str) -> Text:
    """Return a section's heading."""
    return Text(f"\n{text}", style="bold")


def indented(block: RenderableType) -> Padding:
    """Return a block two columns in."""
    return Padding(block, (0, 0, 0, 2))


def amount(micros: int | None) -> str:
    """Return an amount, a dash where there is none."""
    return "-" if micros is None else usdc(micros)


def short(text: str) -> str:
    """Shorten ids and hashes."""
    return " ".join(f"{word[:12]}…{word[-4:]}" if len(word) > 30 else word for word in text.split(" "))


def book_blocks(found: Explanation, book: BookSeen) -> Iterator[RenderableType]:
    """Yield the book as the decision saw it, level by level, with the prices that bound it."""
    if book.hash is None:
        yield title("No book")
        why = book.error or "none was fetched: the group was too old by then to be copied"
        yield indented(Text(f"{why[0].upper()}{why[1:]}."))
        return
    yield title(f"The book, {book.side} best first (version {short(book.hash)})")
    yield indented(
        Text(
            f"best bid {amount(book.best_bid_micros)}, best ask {amount(book.best_ask_micros)}, "
            f"mid {amount(book.mid_micros)}, spread {amount(book.spread_micros)}; "
            f"{amount(book.depth_micros)} USDC within the limit"
        )
    )
    if not book.kept:
        yield indented(Text("Its levels are no longer kept (30 days); the numbers above are what the decision saw."))
        return
    yield indented(_levels(found, book))
    if book.ended_words:
        begin = "The walk would have ended" if book.is_hypothetical else "The walk ended"
        lifted = " (The failed price bound is lifted for it.)" if book.limit_lifted else ""
        yield indented(Text(f"{begin}: {book.ended_words}.{lifted}" if book.ended else f"{book.ended_words}."))


def _levels(found: Explanation, book: BookSeen) -> Table:
    ours = ">WOULD TAKE" if book.is_hypothetical else ">WE TOOK"
    table = plain_table(">LEVEL", ">PRICE", ">SHARES", ">TAKEN BEFORE", ours, ">USDC", ">SUM", "")
    fees = {fill.level: fill.fee_micros for fill in found.result.fills}
    marks = _marks(book)
    shown = _shown(book.levels)
    for level in book.levels[:shown]:
        for name, _ in _passed(marks, level, book.side == "asks"):
            table.add_row("", "", "", "", "", "", "", name, style="bold yellow")
        took = level.took_share_micros
        note = "" if level.within_limit else "beyond the limit"
        if took and fees.get(level.level):
            note = f"fee {usdc(fees[level.level])}"
        table.add_row(
            str(level.level),
            usdc(level.price_micros),
            usdc(level.share_micros),
            usdc(level.before_micros) if level.before_micros else "",
            usdc(took) if took else "",
            usdc(level.took_notional_micros) if took else "",
            usdc(level.cumulative_notional_micros) if took else "",
            note,
            style="bold" if took else "" if level.within_limit else "dim",
        )
    rest = book.levels[shown:]
    if rest:
        table.add_row("…", f"{len(rest):,} more", usdc(sum(each.share_micros for each in rest), 2), "", "", "", "", "")
    for name, _ in marks if not rest else ():
        table.add_row("", "", "", "", "", "", "", name, style="bold yellow")
    return table


def _marks(book: BookSeen) -> list[tuple[str, int]]:
    """Return the prices to be drawn between levels, in the order in which the walk would pass them."""
    known = (
        ("mid", book.mid_micros),
        ("their price", book.their_price_micros),
        ("LIMIT", book.limit_micros),
    )
    found = [(f"── {name} {usdc(price)}", price) for name, price in known if price is not None]
    return sorted(found, key=lambda each: each[1], reverse=book.side == "bids")


def _passed(marks: list[tuple[str, int]], level: BookLevel, rising: bool) -> Iterator[tuple[str, int]]:
    """Take the marks that lie before a level off the list."""
    while marks and (marks[0][1] < level.price_micros if rising else marks[0][1] > level.price_micros):
        yield marks.pop(0)


def _shown(levels: Sequence[BookLevel]) -> int:
    wanted = [place for place, each in enumerate(levels) if each.took_share_micros or each.within_limit]
    last = max(wanted, default=-1)
    taken = max((place for place, each in enumerate(levels) if each.took_share_micros), default=-1)
    return min(len(levels), max(taken + 1, min(last + 1, LEVELS_MAX)) + LEVELS_BEYOND)
