"""The order-book arithmetic of SPEC 5 in rationals: bounds, band, walk in whole lots, fee."""

from dataclasses import dataclass
from fractions import Fraction

from tests.oracle.rules import Rules
from tests.oracle.tape import TapeBook, TapeMarket

LOT = 10_000
UNIT = 1_000_000
Levels = tuple[tuple[int, int], ...]
Taken = dict[int, int]
"""Shares a portfolio took of one side of one book version, by price."""
Fills = list[tuple[int, int, int]]
"""(price, shares, notional) by level."""


@dataclass(frozen=True)
class Quote:
    """What a decision can see of a book: the side we take, net of what we took before, and the bounds."""

    best: int | None
    bid: int | None
    ask: int | None
    mid: int | None
    limit: Fraction
    within: Levels
    band: int
    lots: int


def quote(
    book: TapeBook | None,
    buying: bool,
    reference: Fraction,
    taken: Taken,
    rules: Rules,
    *,
    no_reference: bool = False,
    no_mid: bool = False,
) -> Quote:
    """Return the quote of one side of a book for a portfolio that already took `taken` shares per price of it.

    `no_reference` and `no_mid` lift a bound; with neither left any price is good.
    """
    bids, asks = (book.bids, book.asks) if book else ((), ())
    bid, ask = bids[0][0] if bids else None, asks[0][0] if asks else None
    mid = (bid + ask) // 2 if bid is not None and ask is not None else None
    sign = 1 if buying else -1
    bounds = [Fraction(10**12 if buying else -(10**12))]
    if not no_reference:
        bounds.append(reference + sign * rules.price_worse_than_theirs)
    if mid is not None and not no_mid:
        bounds.append(Fraction(mid + sign * rules.price_beyond_mid))
    limit = min(bounds) if buying else max(bounds)
    within = tuple(
        (price, max(0, size - taken.get(price, 0)))
        for price, size in (asks if buying else bids)
        if (price <= limit if buying else price >= limit)
    )
    band = sum(price * size // UNIT for price, size in within)
    lots = sum(size // LOT for _, size in within)
    return Quote(ask if buying else bid, bid, ask, mid, limit, within, band, lots)


def affordable(filled: Fills, market: TapeMarket, cash: int) -> Fills:
    """Return what of a BUY's walk can be paid with its fee: lots are given back, the last ones first.

    The fee at the limit was reserved, yet at better prices the same notional buys more shares, whose fee may be higher.
    """
    kept = list(filled)
    while kept and _owed(kept, market) > cash:
        price, shares, _ = kept.pop()
        if shares > LOT:
            kept.append((price, shares - LOT, _notional(price, shares - LOT, buying=True)))
    return kept


def _owed(filled: Fills, market: TapeMarket) -> int:
    notional, shares = sum(each[2] for each in filled), sum(each[1] for each in filled)
    return notional + order_fee(market, notional, shares)


def walk(within: Levels, buying: bool, target: int, held: int) -> Fills:
    """Return (price, shares, notional) per level taken: whole lots while notional <= target, and a SELL <= held."""
    filled: Fills = []
    spent, sold = 0, 0
    for price, size in within:
        lots = size // LOT
        while lots > 0 and spent + _notional(price, lots * LOT, buying) > target:
            affordable = (target - spent) * UNIT // (price * LOT)
            lots = affordable if affordable < lots else lots - 1
        if not buying:
            lots = min(lots, (held - sold) // LOT)
        if lots > 0:
            notional = _notional(price, lots * LOT, buying)
            filled.append((price, lots * LOT, notional))
            spent, sold = spent + notional, sold + lots * LOT
        if lots < size // LOT:
            break
    return filled


def _notional(price: int, shares: int, buying: bool) -> int:
    exact = price * shares
    return -(-exact // UNIT) if buying else exact // UNIT


def order_fee(market: TapeMarket, notional: int, shares: int) -> int:
    """Return the taker fee of one order at its average price, floored to 10 micros."""
    if not shares or market.fee_rate == 0:
        return 0
    price = Fraction(notional, shares)
    exact = market.fee_rate * shares * (price * (1 - price)) ** market.fee_exponent
    return int(exact // 10) * 10


def shared_fee(fee: int, notionals: list[int]) -> list[int]:
    """Share an order's fee to its levels by notional, the rest to the last."""
    total = sum(notionals)
    parts = [fee * each // total for each in notionals]
    if parts:
        parts[-1] += fee - sum(parts)
    return parts
