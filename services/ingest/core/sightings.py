"""What a source tells of a followed wallet, normalised: a fill's log, a fill's row, any other row."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from libs.common.domain.kinds import EventKind, Role, Side

ACCOUNT_TYPES: Final = frozenset(
    {
        "REWARD",
        "MAKER_REBATE",
        "TAKER_REBATE",
        "REFERRAL_REWARD",
        "DEPOSIT",
        "WITHDRAWAL",
        "YIELD",
        "TIP",
        "MIGRATION",
    }
)
"""Types that move money but are no trading: recorded, never booked into PnL."""
POSITION_TYPES: Final = frozenset({EventKind.SPLIT, EventKind.MERGE, EventKind.REDEEM, EventKind.CONVERSION})
"""Types that change positions without a fill."""


class FillKey(NamedTuple):
    """All that an API row says to tell fills of one transaction apart."""

    tx_hash: str
    wallet: str
    asset_id: str
    side: Side
    share_micros: int


class FactKey(NamedTuple):
    """All that an API row says to tell other rows of one transaction apart."""

    tx_hash: str
    wallet: str
    type: str
    condition_id: str
    asset_id: str
    side: str
    share_micros: int
    usdc_micros: int


@dataclass(frozen=True, slots=True)
class LogSighting:
    """A fill as its log tells it; `removed` takes it back."""

    key: FillKey
    user_id: UUID
    booked: bool
    notional_micros: int
    fee_micros: int
    price_micros: int
    role: Role
    log_index: int
    block_number: int
    block_hash: str
    event_time: datetime
    seen_at: datetime
    removed: bool
    wire: Any

    @property
    def cash_micros(self) -> int:
        """Return the cash it reports, fee included."""
        return cash_of(self.key.side, self.notional_micros, self.fee_micros)


@dataclass(frozen=True, slots=True)
class RowSighting:
    """A fill as a row of one complete listing tells it."""

    key: FillKey
    user_id: UUID
    booked: bool
    notional_micros: int
    fee_micros: int
    price_micros: int
    event_time: datetime
    seen_at: datetime
    wire: Any

    @property
    def cash_micros(self) -> int:
        """Return the cash it reports, fee included."""
        return cash_of(self.key.side, self.notional_micros, self.fee_micros)


@dataclass(frozen=True, slots=True)
class FactSighting:
    """Any other row of one complete listing."""

    key: FactKey
    user_id: UUID
    kind: EventKind
    booked: bool
    event_time: datetime
    seen_at: datetime
    wire: Any
    ignored: tuple[str, str] | None = None
    """Why nothing is made of it: the reason it is counted under, and what exactly is the matter."""


def cash_of(side: str, notional_micros: int, fee_micros: int) -> int:
    """Return the cash of a fill, fee included."""
    return notional_micros + (fee_micros if side == Side.BUY else -fee_micros)


def kind_of(type_: str, *, is_combo: bool, is_odd: bool) -> EventKind:
    """Return what we make of a row's type; an odd TRADE is kept as OTHER, since it cannot be one of our fills."""
    if is_combo:
        return EventKind.COMBO
    if is_odd:
        return EventKind.OTHER
    if type_ == "TRADE" or type_ in POSITION_TYPES:
        return EventKind(type_)
    return EventKind.ACCOUNT if type_ in ACCOUNT_TYPES else EventKind.OTHER
