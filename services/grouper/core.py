"""Which group an event belongs to: a pure function of recorded values (SPEC section 4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from libs.common.domain.identity import group_id
from libs.common.domain.kinds import EventKind, GroupKind, Side
from libs.common.domain.money import price_ceil, price_floor
from libs.common.messages import EventDetected


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What may share a group: (user, asset, side) for trades, (user, condition, kind) for splits and merges."""

    kind: GroupKind
    user_id: UUID
    subject: str
    """Asset id of a TRADE, condition id of a SPLIT or MERGE."""
    side: str
    """Side of a TRADE, empty otherwise."""


def key_of(message: EventDetected) -> Key | None:
    """Return the key of an event that is grouped, or None for one that is not."""
    if not message.booked:
        return None
    if message.kind is EventKind.TRADE and message.asset_id and message.side:
        return Key(GroupKind.TRADE, message.user_id, message.asset_id, message.side)
    if message.kind in {EventKind.SPLIT, EventKind.MERGE} and message.condition_id:
        return Key(GroupKind(message.kind), message.user_id, message.condition_id, "")
    return None


@dataclass(frozen=True, slots=True)
class Candidate:
    """An event that is in no group yet. `ordinal` is its log index, or its place among equal rows."""

    event_id: UUID
    detect_time: datetime
    event_time: datetime
    tx_hash: str
    ordinal: int
    share_micros: int
    usdc_notional_micros: int


@dataclass(frozen=True, slots=True)
class Group:
    """A group about to be closed; members are in group order."""

    id: UUID
    key: Key
    members: tuple[Candidate, ...]

    @property
    def first(self) -> Candidate:
        """Return the member that opened the group."""
        return self.members[0]

    @property
    def share_micros(self) -> int:
        """Return the members' shares, summed."""
        return sum(member.share_micros for member in self.members)

    @property
    def usdc_notional_micros(self) -> int:
        """Return the members' notional without fees, summed."""
        return sum(member.usdc_notional_micros for member in self.members)

    @property
    def reference_price_micros(self) -> int | None:
        """Return the members' VWAP, rounded up for BUY and down for SELL; None where there is no price."""
        if self.key.kind is not GroupKind.TRADE or not self.share_micros:
            return None
        price = price_ceil if self.key.side == Side.BUY else price_floor
        return price(self.usdc_notional_micros, self.share_micros)


def group_order(event: Candidate) -> tuple[datetime, datetime, str, int]:
    """Return the key by which events are taken in."""
    return (event.detect_time, event.event_time, event.tx_hash, event.ordinal)


def assign(key: Key, candidates: Sequence[Candidate], window: timedelta) -> list[Group]:
    """Return the groups that `candidates`, all of one key, form.

    An event joins the earliest group whose first member it follows by less than `window` in event time and by at most
    `window` in detection; else it opens one.
    """
    opened: list[list[Candidate]] = []
    for event in sorted(candidates, key=group_order):
        for members in opened:
            first = members[0]
            follows = timedelta(0) <= event.event_time - first.event_time < window
            if follows and event.detect_time <= first.detect_time + window:
                members.append(event)
                break
        else:
            opened.append([event])
    return [Group(group_id(members[0].event_id), key, tuple(members)) for members in opened]


def due(groups: Sequence[Group], now: datetime, window: timedelta) -> list[Group]:
    """Return the groups whose time is up: `window` after their first detection."""
    return [group for group in groups if group.first.detect_time + window <= now]
