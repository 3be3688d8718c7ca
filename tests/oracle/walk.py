"""The order-book arithmetic of SPEC 5 in rationals: bounds, band, walk in whole lots, fee."""

from dataclasses import dataclass
from fractions import Fraction

from tests.oracle.rules import Rules
from tests.oracle.tape import TapeBook, TapeMarket

LOT = 10_000
UNIT = 1_000_000
Levels = tuple[tuple[int, int], ...]


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


def quote(book: TapeBook | None, buying: bool, reference: Fraction, taken: dict[int, int], rules: Rules) -> Quote:
    """Return the quote of one side of a book for a portfolio that already took `taken` shares per price of it."""
    bids, asks = (book.bids, book.asks) if book else ((), ())
    bid, ask = bids[0][0] if bids else None, asks[0][0] if asks else None
    mid = (bid + ask) // 2 if bid is not None and ask is not None else None
    sign = 1 if buying else -1
    bounds = [reference + sign * rules.price_worse_than_theirs]
    if mid is not None:
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


def walk(within: Levels, buying: bool, target: int, held: int) -> list[tuple[int, int, int]]:
    """Return (price, shares, notional) per level taken: whole lots while notional <= target, and a SELL <= held."""
    filled: list[tuple[int, int, int]] = []
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
