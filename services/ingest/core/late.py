"""What shows up after positions were told that count it already, and what that changes of them.

An opening is what a row holds beyond the booked events up to it. An event from before the row that nobody showed us
when the opening was made is in it, then, and booked once more when it comes; so the opening is corrected by as much.
The same holds for the rows a conversion was re-synced to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from libs.common.domain.identity import identify
from libs.common.domain.kinds import EntryType, EventKind, Side
from libs.common.domain.money import MICROS
from services.ingest.core.activity import Fact
from services.ingest.core.fills import Fill
from services.ingest.core.positions import NOTHING, Conversion, Held, Known, Sync, group_of

POSITION_KINDS: Final = frozenset({EventKind.SPLIT, EventKind.MERGE, EventKind.REDEEM})


@dataclass(frozen=True, slots=True)
class Told:
    """A row an opening was made from, or explained by what was booked; `mark_micros` is its price at the follow."""

    row: Held
    mark_micros: int | None


@dataclass(frozen=True, slots=True)
class Adjusted:
    """A conversion's token that was brought to a row of `as_of`."""

    condition_id: str
    as_of: datetime
    event_id: UUID
    event_time: datetime
    tx_hash: str


@dataclass(frozen=True, slots=True)
class Counted:
    """The rows one wallet's openings and adjustments were made from, by token, of its last follow."""

    followed_at: datetime
    told: Mapping[str, Told] = field(default_factory=dict)
    adjusted: Mapping[str, Adjusted] = field(default_factory=dict)

    def latest(self) -> datetime:
        """Return the time up to which an event may be counted by some row."""
        rows = (*(each.row.as_of for each in self.told.values()), *(each.as_of for each in self.adjusted.values()))
        return max(rows, default=self.followed_at)

    def groups(self) -> dict[str, datetime]:
        """Return, by group, the time up to which openings count its conversions."""
        latest: dict[str, datetime] = {}
        for each in self.told.values():
            latest[each.row.group] = max(each.row.as_of, latest.get(each.row.group, each.row.as_of))
        return latest


@dataclass(frozen=True, slots=True)
class Happened:
    """A new booked event that moves shares: of its token, or of every token of its condition."""

    event_id: UUID
    user_id: UUID
    wallet: str
    condition_id: str
    asset_id: str
    share_micros: int
    redeemed_micros: int
    """Cash of a redeem that names no token: as many shares of the outcome that pays 1."""
    price_micros: int | None
    event_time: datetime

    def moved(self, asset: str, condition_id: str, price_micros: int | None) -> int:
        """Return by how much it changed a token, of this condition and of this price lately."""
        if self.asset_id:
            return self.share_micros if asset == self.asset_id else 0
        if condition_id != self.condition_id:
            return 0
        return self.share_micros - (self.redeemed_micros if price_micros == MICROS else 0)


def happened(fills: Sequence[Fill], facts: Sequence[Fact]) -> list[Happened]:
    """Return the new events that move shares. A fill mined again is no news: the first of it was known or corrected."""
    made = [
        Happened(
            fill.id,
            fill.user_id,
            fill.key.wallet,
            "",
            fill.key.asset_id,
            fill.key.share_micros if fill.key.side is Side.BUY else -fill.key.share_micros,
            0,
            fill.price_micros,
            fill.event_time,
        )
        for fill in fills
        if fill.booked and fill.stands and fill.incarnation == 0
    ]
    for fact in facts:
        key, kind = fact.sighting.key, fact.sighting.kind
        if not fact.sighting.booked or kind not in POSITION_KINDS:
            continue
        named = key.asset_id if kind is EventKind.REDEEM else ""
        unnamed = kind is EventKind.REDEEM and not named
        shares = 0 if unnamed else key.share_micros if kind is EventKind.SPLIT else -key.share_micros
        cash = key.usdc_micros if unnamed else 0
        made.append(
            Happened(
                fact.id,
                fact.sighting.user_id,
                key.wallet,
                key.condition_id,
                named,
                shares,
                cash,
                None,
                fact.sighting.event_time,
            )
        )
    return made


def adjusted_by(conversion: Conversion, held: Mapping[str, Held], known: Mapping[str, Known]) -> dict[str, Adjusted]:
    """Return the rows that a conversion's re-sync brought its tokens to."""
    group = group_of(conversion, held)
    return {
        asset: Adjusted(row.condition_id, row.as_of, conversion.event_id, conversion.event_time, conversion.tx_hash)
        for asset, row in held.items()
        if row.group == group and not known.get(asset, NOTHING).is_beyond_conversions
    }


def corrections(event: Happened, counted: Counted) -> list[Sync]:
    """Return what takes an event out of the rows that count it: of the opening's row before that of an adjustment.

    A token that had no price at the follow is opened at the event's own; without one nothing is invented.
    """
    made: list[Sync] = []
    for asset in sorted({*counted.told, *counted.adjusted}):
        told, adjusted = counted.told.get(asset), counted.adjusted.get(asset)
        if told is not None and event.event_time <= told.row.as_of:
            mark = told.mark_micros if told.mark_micros is not None else event.price_micros
            shares = event.moved(asset, told.row.condition_id, told.row.price_micros)
            if shares and mark is not None:
                identity = identify("counted", EntryType.OPENING, event.event_id, asset)
                made.append(Sync.opening(identity, event, told.row, -shares, mark, counted.followed_at))
        elif adjusted is not None and event.event_time <= adjusted.as_of:
            shares = event.moved(asset, adjusted.condition_id, None)
            if shares:
                identity = identify("counted", EntryType.ADJUSTMENT, event.event_id, asset)
                token = (adjusted.condition_id, asset)
                made.append(Sync.adjustment(identity, event, adjusted, token, -shares, adjusted.as_of))
    return made
