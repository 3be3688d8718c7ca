"""Which mark an asset gets, and which conditions to ask about: pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from libs.common.domain.kinds import MarkSource

STALE_SECONDS: Final = 120
"""A mark is taken every 30 s; one that was not for this long is stale."""


@dataclass(frozen=True, slots=True)
class Held:
    """An asset that some portfolio holds. `payout_micros` is set once its market is resolved."""

    asset_id: str
    condition_id: str | None
    close_time: datetime | None
    closed: bool
    payout_micros: int | None


@dataclass(frozen=True, slots=True)
class Mark:
    """The price of one asset at one time, and what it was taken from."""

    asset_id: str
    price_micros: int
    source: MarkSource
    at: datetime


def choose_marks(
    held: Iterable[Held], midpoints: Mapping[str, int], last_trades: Mapping[str, int], now: datetime
) -> list[Mark]:
    """Return the mark of every asset that has one: payout once resolved, else midpoint, else last trade.

    An asset with none of them gets no mark: it keeps its last one, and its age shows.
    """
    marks = []
    for asset in held:
        choices = (
            (MarkSource.PAYOUT, asset.payout_micros),
            (MarkSource.MIDPOINT, midpoints.get(asset.asset_id)),
            (MarkSource.LAST_TRADE, last_trades.get(asset.asset_id)),
        )
        for source, price_micros in choices:
            if price_micros is not None:
                marks.append(Mark(asset.asset_id, price_micros, source, now))
                break
    return marks


def worth_writing(marks: Iterable[Mark], latest: Mapping[str, Mark], unchanged: timedelta) -> list[Mark]:
    """Return the marks that changed since `latest`, or were last written `unchanged` or longer ago."""
    return [
        mark
        for mark in marks
        if (last := latest.get(mark.asset_id)) is None
        or (last.price_micros, last.source) != (mark.price_micros, mark.source)
        or mark.at - last.at >= unchanged
    ]


def conditions_to_ask(held: Iterable[Held]) -> set[str]:
    """Return the held conditions whose payouts are not known."""
    return {asset.condition_id for asset in held if asset.condition_id and asset.payout_micros is None}


def due_at_once(held: Iterable[Held], redeemed: Collection[str], now: datetime) -> set[str]:
    """Return the unresolved held conditions that have a reason to be over: redeemed, closed, or past their end."""

    def over(asset: Held) -> bool:
        past_end = asset.close_time is not None and asset.close_time <= now
        return asset.condition_id in redeemed or asset.closed or past_end

    return {asset.condition_id for asset in held if asset.condition_id and asset.payout_micros is None and over(asset)}


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old the marks of held, unresolved assets are. `oldest_seconds` is None where none has a mark."""

    assets: int
    missing: int
    stale: int
    oldest_seconds: float | None
    overdue: int
    """Held conditions that have a reason to be over and no final payouts."""


def freshness(
    held: Iterable[Held], taken: Mapping[str, datetime], overdue: Collection[str], now: datetime
) -> Freshness:
    """Return how old marks are, `taken` being when each asset was last given one; missing ones are stale, too."""
    open_assets = {asset.asset_id for asset in held if asset.payout_micros is None}
    ages = [(now - taken[asset]).total_seconds() for asset in open_assets if asset in taken]
    missing = len(open_assets) - len(ages)
    return Freshness(
        assets=len(open_assets),
        missing=missing,
        stale=missing + sum(age > STALE_SECONDS for age in ages),
        oldest_seconds=max(ages, default=None),
        overdue=len(overdue),
    )


def misfit(condition_id: str, payouts: Sequence[int], outcome_indexes: Collection[int]) -> str | None:
    """Say why payouts cannot be those of a condition with these outcomes; None where they can."""
    expected = max(outcome_indexes, default=-1) + 1
    if not expected or expected == len(payouts):
        return None
    return f"condition {condition_id}: expected payouts of {expected} outcomes, got {len(payouts)}"
