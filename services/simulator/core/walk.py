"""One side of a book as an order meets it: the limit, the band within it, and the walk in whole lots."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from libs.common.domain.book import Level
from libs.common.domain.money import LOT_SHARE_MICROS, MICROS


class Bounds(NamedTuple):
    """Furthest acceptable price by each bound, whole micros inside the exact one; None where it does not exist."""

    by_reference: int | None
    by_mid: int | None

    def limit(self, buying: bool) -> int | None:
        """Return the tighter bound."""
        if self.by_reference is None or self.by_mid is None:
            return self.by_mid if self.by_reference is None else self.by_reference
        return min(self.by_reference, self.by_mid) if buying else max(self.by_reference, self.by_mid)


def bounds(notional: int, shares: int, mid: int | None, worse: int, chase: int, buying: bool) -> Bounds:
    """Return the bounds around their average price (`notional / shares`, exact) and around the book's midpoint."""
    by_mid = None if mid is None else mid + chase if buying else mid - chase
    if shares <= 0:
        return Bounds(None, by_mid)
    if buying:
        return Bounds(notional * MICROS // shares + worse, by_mid)
    return Bounds(-(-notional * MICROS // shares) - worse, by_mid)


class Band(NamedTuple):
    """The levels within the limit net of what the portfolio took, best first, their notional and their whole lots."""

    levels: list[tuple[int, int]]
    """(price, shares left); a level's place is its place in the book, for the limit only ends the list."""
    notional_micros: int
    lots: int


DEPTH_MICROS_MAX: Final = 2**63 - 1
"""What a row has room for; a book that offers more is deep enough for anything."""


def band(levels: tuple[Level, ...], limit: int | None, taken: Mapping[int, int], buying: bool) -> Band:
    """Return what `levels` offer up to `limit` (None: everything)."""
    found: list[tuple[int, int]] = []
    notional = lots = 0
    for price, size in levels:
        if limit is not None and (price > limit if buying else price < limit):
            break
        shares = max(0, size - taken.get(price, 0)) if taken else size
        notional += price * shares // MICROS
        lots += shares // LOT_SHARE_MICROS
        found.append((price, shares))
    return Band(found, min(notional, DEPTH_MICROS_MAX), lots)


Taken = tuple[int, int, int, int]
"""What an order takes from a level: its place, price, shares, notional."""


class Walked(NamedTuple):
    """What an order fills. `exhausted`: limit or liquidity ended it, not target, holding or lot rounding."""

    fills: list[Taken]
    share_micros: int
    notional_micros: int
    exhausted: bool


def walk(offered: Band, target: int, held: int | None, buying: bool) -> Walked:
    """Take whole lots best first while cumulative notional <= `target` and, where given, shares <= `held`.

    A level's notional is rounded against us: up for BUY, down for SELL.
    """
    fills: list[Taken] = []
    spent = taken = 0
    for index, (price, shares) in enumerate(offered.levels):
        available = shares // LOT_SHARE_MICROS
        lots = _payable(target - spent, price, buying)
        if held is not None:
            lots = min(lots, (held - taken) // LOT_SHARE_MICROS)
        if lots > available:
            lots = available
        if lots > 0:
            size = lots * LOT_SHARE_MICROS
            notional = -(-price * size // MICROS) if buying else price * size // MICROS
            fills.append((index, price, size, notional))
            spent += notional
            taken += size
        if lots < available:
            return Walked(fills, taken, spent, exhausted=False)
    return Walked(fills, taken, spent, exhausted=not _is_full(fills, spent, taken, target, held, buying))


def _payable(left: int, price: int, buying: bool) -> int:
    """Return how many lots at `price` come to at most `left`."""
    if left < 0:
        return 0
    return (left * MICROS if buying else (left + 1) * MICROS - 1) // (price * LOT_SHARE_MICROS)


def _is_full(fills: list[Taken], spent: int, taken: int, target: int, held: int | None, buying: bool) -> bool:
    """Tell whether not even one more lot at the last price would have fitted."""
    if held is not None and held - taken < LOT_SHARE_MICROS:
        return True
    if not fills:
        return target <= 0
    lot = fills[-1][1] * LOT_SHARE_MICROS
    return spent + (-(-lot // MICROS) if buying else lot // MICROS) > target
