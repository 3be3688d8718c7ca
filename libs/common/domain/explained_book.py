"""The book of an attempt level by level: what was there, what we took or would have taken, and why the walk ended.

Everything follows from what was stored. A skip stores only what its walk would have filled in total; since a walk takes
every whole lot of a level before it goes on, the total says what each level would have given. Where that does not add
up to the stored amount, no level is said to have given anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from libs.common.domain.explanation import BookLevel, BookSeen
from libs.common.domain.money import LOT_SHARE_MICROS, MICROS
from libs.common.domain.wording import usdc

_LIFTING = frozenset({"WORSE_THAN_THEIR_PRICE", "CHASING_MID"})


@dataclass(frozen=True, slots=True)
class _Walk:
    """A walk, real or not: target, the shares it could use at most, shares and notional by level."""

    buying: bool
    target_micros: int | None
    share_cap_micros: int | None
    limit_micros: int | None
    cash_micros: int | None
    by_level: Mapping[int, tuple[int, int]]
    is_known: bool

    def lot(self, price: int) -> int:
        """Return what one lot costs or brings, rounded against us."""
        return _notional(price, LOT_SHARE_MICROS, self.buying)

    def is_beyond(self, price: int) -> bool:
        """Tell whether a price is beyond the limit."""
        return self.limit_micros is not None and (
            price > self.limit_micros if self.buying else price < self.limit_micros
        )


def book_seen(
    attempt: Mapping[str, Any], fills: Sequence[Mapping[str, Any]], book: Mapping[str, Any] | None
) -> BookSeen:
    """Return the book of a TRADE attempt; `book` is its row of book_snapshot, None where it is not kept."""
    buying = attempt["side"] == "BUY"
    inputs = attempt["inputs"] or {}
    taken = dict(inputs.get("portfolio", {}).get("taken") or ())
    sides = (book["asks"] if buying else book["bids"]) if book else []
    resting = [(price, shares, taken.get(price, 0)) for price, shares in sides]
    executed = attempt["decision"] == "EXECUTE"
    walk = _walk(attempt, fills, resting, buying=buying)
    ended, words = _ended(walk, resting, executed=executed) if book else (None, "")
    bid, ask = attempt["best_bid_micros"], attempt["best_ask_micros"]
    return BookSeen(
        hash=attempt["book_hash"],
        error=inputs.get("book_error"),
        kept=book is not None,
        fetched_at=attempt["book_fetched_at"],
        timestamp_ms=book["timestamp_ms"] if book else None,
        side="asks" if buying else "bids",
        best_bid_micros=bid,
        best_ask_micros=ask,
        mid_micros=attempt["mid_price_micros"],
        spread_micros=None if bid is None or ask is None else ask - bid,
        limit_micros=attempt["limit_price_micros"],
        their_price_micros=attempt["their_reference_price_micros"],
        depth_micros=attempt["depth_micros"],
        levels=_levels(walk, resting),
        is_hypothetical=not executed,
        limit_lifted=not executed and not _LIFTING.isdisjoint(attempt["reason_codes"]),
        ended=ended,
        ended_words=words,
    )


def _walk(
    attempt: Mapping[str, Any],
    fills: Sequence[Mapping[str, Any]],
    resting: Sequence[tuple[int, int, int]],
    *,
    buying: bool,
) -> _Walk:
    if attempt["decision"] == "EXECUTE":
        by_level, is_known = {fill["level"]: (fill["share_micros"], fill["notional_micros"]) for fill in fills}, True
    else:
        by_level, is_known = _imagined(attempt, resting, buying=buying)
    return _Walk(
        buying=buying,
        target_micros=attempt["target_notional_micros"],
        share_cap_micros=None if buying else _share_cap(attempt),
        limit_micros=attempt["limit_price_micros"],
        cash_micros=attempt["cash_micros"],
        by_level=by_level,
        is_known=is_known,
    )


def _imagined(
    attempt: Mapping[str, Any], resting: Sequence[tuple[int, int, int]], *, buying: bool
) -> tuple[dict[int, tuple[int, int]], bool]:
    left = attempt["counterfactual_share_micros"]
    if left is None:
        return {}, False
    found: dict[int, tuple[int, int]] = {}
    for level, (price, shares, before) in enumerate(resting):
        size = min(left, _lots(shares, before))
        if size:
            found[level] = (size, _notional(price, size, buying))
            left -= size
    adds_up = not left and sum(each[1] for each in found.values()) == attempt["counterfactual_notional_micros"]
    return (found, True) if adds_up else ({}, False)


def _share_cap(attempt: Mapping[str, Any]) -> int | None:
    """Return the shares a SELL could use: those held, or the part of them that they sold of theirs."""
    held: int | None = attempt["held_share_micros"]
    for check in attempt["checks"]:
        if held is not None and (check.get("phase"), check.get("check")) == ("size", "proportion") and check["bound"]:
            return held * int(check["value"]) // int(check["bound"])
    return held


def _lots(shares: int, before: int) -> int:
    return max(0, shares - before) // LOT_SHARE_MICROS * LOT_SHARE_MICROS


def _notional(price: int, shares: int, buying: bool) -> int:
    return -(-price * shares // MICROS) if buying else price * shares // MICROS


def _levels(walk: _Walk, resting: Sequence[tuple[int, int, int]]) -> tuple[BookLevel, ...]:
    found, cumulative = [], 0
    for level, (price, shares, before) in enumerate(resting):
        took, notional = walk.by_level.get(level, (0, 0))
        cumulative += notional
        found.append(
            BookLevel(
                level=level,
                price_micros=price,
                share_micros=shares,
                before_micros=before,
                within_limit=not walk.is_beyond(price),
                took_share_micros=took,
                took_notional_micros=notional,
                cumulative_notional_micros=cumulative,
            )
        )
    return tuple(found)


def _ended(walk: _Walk, resting: Sequence[tuple[int, int, int]], *, executed: bool) -> tuple[str | None, str]:
    """Return why the walk ended, as a code and in words."""
    if not walk.is_known or walk.target_micros is None:
        return None, "what the walk would have taken cannot be told level by level"
    shares = sum(each[0] for each in walk.by_level.values())
    spent = sum(each[1] for each in walk.by_level.values())
    if walk.share_cap_micros is not None and walk.share_cap_micros - shares < LOT_SHARE_MICROS:
        words = "we hold no whole lot" if not shares else "all the shares it could use are sold"
        return "HOLDING", words
    last = max(walk.by_level, default=None)
    for level, (price, size, before) in enumerate(resting):
        took, notional = walk.by_level.get(level, (0, 0))
        if _lots(size, before) <= took:
            continue
        if executed and walk.is_beyond(price) and last is not None:
            at, more = resting[last][0], walk.lot(resting[last][0])  # as the engine tells a partial fill
        else:
            at, more = price, _notional(price, took + LOT_SHARE_MICROS, walk.buying) - notional
        if spent + more > walk.target_micros:
            return "TARGET", f"one more lot, at {usdc(at)}, would go beyond the target {usdc(walk.target_micros)}"
        if walk.is_beyond(price):
            return "LIMIT", f"the next level, {usdc(price)}, is beyond the limit"
        if executed and walk.buying:
            return "CASH", f"cash {usdc(walk.cash_micros or 0)} does not pay for more and its fee"
        return None, ""
    if resting and spent + walk.lot(resting[-1][0]) > walk.target_micros:
        return "TARGET", f"one more lot would go beyond the target {usdc(walk.target_micros)}"
    return "LIQUIDITY", "the book has no more to take"
