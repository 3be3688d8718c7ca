"""What a wallet holds that no booked event explains: its openings at the follow, and what a conversion changed.

A row of `/v2/positions` says what is held of a token after an event at `last_event_at`. What of it the booked events up
to that instant do not explain was there before them, whatever came since. Nothing is inferred from a token without a
row, nothing is taken away from a condition that is over, and no price is invented. Readings are in ADR 0011.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol, Self
from uuid import UUID

from libs.common.domain.identity import identify
from libs.common.domain.kinds import EntryType
from libs.common.domain.money import MICROS

READINGS_MAX: Final = 3
"""What still contradicts itself after so many readings is what the exchange says."""
COMBO_CONDITION_DIGITS: Final = 62
JUST_BEFORE: Final = timedelta(microseconds=1)
"""An opening comes before everything booked, also what happened in the second of the follow."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the exchange says of one token: shares after the event at `as_of`, price now (None: it has none)."""

    asset_id: str
    condition_id: str
    group: str
    """The event its question belongs to, or the condition where it belongs to none."""
    share_micros: int
    price_micros: int | None
    as_of: datetime

    @property
    def is_combo(self) -> bool:
        """Tell a multi-leg token, whose fills are not booked either."""
        return len(self.condition_id.removeprefix("0x")) == COMBO_CONDITION_DIGITS


@dataclass(frozen=True, slots=True)
class Known:
    """What our books have of a token and wallet up to a row's `as_of`.

    `share_micros` sums fills, splits, merges, redeems that name the token, and earlier openings and adjustments;
    `redeemed_micros` is the cash of redeems that name none.
    """

    share_micros: int = 0
    redeemed_micros: int = 0
    opened: bool = False
    """This follow's opening of the token is recorded."""
    over: bool = False
    """The condition is resolved, or was redeemed: what is gone of it was paid."""
    unsettled: bool = False
    """A fill of it was taken back lately and may come again."""
    mark_micros: int | None = None
    """Our own mark at the follow."""
    later_mark_micros: int | None = None
    """Our own first mark soon after the follow, else what the condition was resolved to."""
    left_out: bool = False
    """This follow's opening of the token was given up: nobody had a mark."""

    @property
    def is_beyond_conversions(self) -> bool:
        """Tell whether a re-sync leaves the token alone: what was not opened at a cost comes at none, neither."""
        return self.over or self.left_out


NOTHING: Final = Known()


@dataclass(frozen=True, slots=True)
class Owner:
    """A followed wallet; `first` says that nothing of its user was followed before it."""

    user_id: UUID
    wallet: str
    followed_at: datetime
    first: bool


@dataclass(frozen=True, slots=True)
class Conversion:
    """A CONVERSION of activity that is not re-synced yet."""

    event_id: UUID
    condition_id: str
    asset_id: str
    usdc_micros: int
    tx_hash: str
    event_time: datetime


class Holder(Protocol):
    """Whose shares a sync is of: an owner, or an event of a wallet."""

    @property
    def user_id(self) -> UUID:
        """Return the followed user."""

    @property
    def wallet(self) -> str:
        """Return the wallet."""


class Converted(Protocol):
    """The event that a re-sync follows: a conversion, or what is kept of one."""

    @property
    def event_id(self) -> UUID:
        """Return the activity event."""

    @property
    def event_time(self) -> datetime:
        """Return when it was."""

    @property
    def tx_hash(self) -> str:
        """Return its transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """A row of `position_sync`; `ref_id` is the ref of its entry."""

    id: UUID
    kind: EntryType
    user_id: UUID
    wallet: str
    condition_id: str
    asset_id: str
    share_delta_micros: int
    cash_delta_micros: int = 0
    price_micros: int | None = None
    event_id: UUID | None = None
    ref_id: str
    tx_hash: str | None = None
    as_of: datetime
    event_time: datetime

    @classmethod
    def opening(
        cls, identity: UUID, whose: Holder, row: Held, shares: int, mark: int, followed_at: datetime, ref: str = ""
    ) -> Self:
        """Return shares of a row's token that were there before the follow, at their mark then."""
        return cls(
            id=identity,
            kind=EntryType.OPENING,
            user_id=whose.user_id,
            wallet=whose.wallet,
            condition_id=row.condition_id,
            asset_id=row.asset_id,
            share_delta_micros=shares,
            price_micros=mark,
            ref_id=ref or str(identity),
            as_of=row.as_of,
            event_time=followed_at - JUST_BEFORE,
        )

    @classmethod
    def adjustment(
        cls,
        identity: UUID,
        whose: Holder,
        event: Converted,
        token: tuple[str, str],
        shares: int,
        as_of: datetime,
        *,
        cash: int = 0,
        ref: str = "",
    ) -> Self:
        """Return what a conversion changed of a token (condition, asset) by the row of `as_of`."""
        return cls(
            id=identity,
            kind=EntryType.ADJUSTMENT,
            user_id=whose.user_id,
            wallet=whose.wallet,
            condition_id=token[0],
            asset_id=token[1],
            share_delta_micros=shares,
            cash_delta_micros=cash,
            event_id=event.event_id,
            ref_id=ref or str(identity),
            tx_hash=event.tx_hash,
            as_of=as_of,
            event_time=event.event_time,
        )


def unexplained(row: Held, known: Known) -> int:
    """Return the shares of a row that our books do not explain; negative where they have more than it."""
    redeemed = known.redeemed_micros if row.price_micros == MICROS else 0
    delta = row.share_micros - known.share_micros + redeemed
    return max(0, delta) if known.over else delta


def mark_of(row: Held, known: Known) -> int | None:
    """Return the mark of a token at the follow: our own, else the row's, else a later one; None: nobody has one."""
    marks = (known.mark_micros, row.price_micros, known.later_mark_micros)
    return next((mark for mark in marks if mark is not None), None)


def unmarkable(unclear: Sequence[str], held: Mapping[str, Held], known: Mapping[str, Known]) -> list[str]:
    """Return those of the unclear tokens that wait for nothing but a mark."""
    return [
        asset
        for asset in unclear
        if not (books := known.get(asset, NOTHING)).unsettled and mark_of(held[asset], books) is None
    ]


def openings(
    owner: Owner, held: Mapping[str, Held], known: Mapping[str, Known], *, readings: int
) -> tuple[list[Sync], list[str]]:
    """Return the openings of these rows, and the tokens that cannot be told yet.

    `readings` is how often the positions were read so far: a negative opening is believed at the third.
    """
    made: list[Sync] = []
    unclear: list[str] = []
    for asset, row in sorted(held.items()):
        books = known.get(asset, NOTHING)
        delta = unexplained(row, books)
        price = mark_of(row, books)
        if delta == 0 or books.opened or row.is_combo:
            continue
        if books.unsettled or price is None or (delta < 0 and readings < READINGS_MAX):
            unclear.append(asset)
            continue
        identity = identify("opening", owner.user_id, owner.wallet, asset, owner.followed_at.isoformat())
        ref = f"{owner.user_id}:{asset}" if owner.first else ""
        made.append(Sync.opening(identity, owner, row, delta, price, owner.followed_at, ref))
    return made, unclear


def is_absorbed(conversion: Conversion, held: Mapping[str, Held], latest: Mapping[str, datetime]) -> bool:
    """Tell whether openings count a conversion, cash included: a token of its event was read at or after it.

    `latest` is, by group, the last event that the rows count from which openings were made; `held` are rows of now.
    """
    read_to = latest.get(group_of(conversion, held))
    return read_to is not None and read_to >= conversion.event_time


def group_of(conversion: Conversion, held: Mapping[str, Held]) -> str:
    """Return the event a conversion belongs to, told by the rows of its condition."""
    found = (row.group for row in held.values() if row.condition_id == conversion.condition_id)
    return next(found, conversion.condition_id)


def adjustments(
    owner: Owner,
    conversion: Conversion,
    held: Mapping[str, Held],
    known: Mapping[str, Known],
    legs: Sequence[str],
    *,
    counted: bool,
) -> list[Sync]:
    """Return the adjustments of one conversion: every token of its event to what the rows say, and its cash once.

    There is always at least one, on the conversion's own token if nothing else moved (`legs` are its condition's, by
    outcome): it says that the conversion is dealt with. None: no token is known to bear the cash yet. `counted` says
    that openings have it in them: its cash is part of what was deposited, and shares move only where a row was older.
    """
    group = group_of(conversion, held)
    deltas = {
        asset: delta
        for asset, row in sorted(held.items())
        if row.group == group and not known.get(asset, NOTHING).is_beyond_conversions
        if (delta := unexplained(row, known.get(asset, NOTHING)))
    }
    bearer = next(iter(deltas), conversion.asset_id or next(iter(legs), ""))
    if not bearer:
        return []
    conditions = {asset: row.condition_id for asset, row in held.items()}
    return [
        Sync.adjustment(
            identify("adjustment", conversion.event_id, asset),
            owner,
            conversion,
            (conditions.get(asset, conversion.condition_id), asset),
            deltas.get(asset, 0),
            held[asset].as_of if asset in held else conversion.event_time,
            cash=conversion.usdc_micros if asset == bearer and not counted else 0,
            ref=str(conversion.event_id),
        )
        for asset in (deltas or {bearer: 0})
    ]


def unsettled_in(conversion: Conversion, held: Mapping[str, Held], known: Mapping[str, Known]) -> Collection[str]:
    """Return the tokens of a conversion's event whose fills were taken back lately."""
    group = group_of(conversion, held)
    return [asset for asset, row in held.items() if row.group == group and known.get(asset, NOTHING).unsettled]
