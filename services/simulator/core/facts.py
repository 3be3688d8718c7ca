"""What a decision is made from: the group, the market, what the portfolio is worth, switches and times."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from libs.common.domain.kinds import GroupKind, Scope, Side


@dataclass(frozen=True, slots=True)
class Group:
    """A closed group as the grouper committed it."""

    id: UUID
    kind: GroupKind
    user_id: UUID
    condition_id: str | None
    asset_id: str | None
    side: Side | None
    share_micros: int
    notional_micros: int
    reference_micros: int | None
    """Their average price as shown: up for BUY, down for SELL; comparisons use notional and shares."""
    first_event_time: datetime
    first_detect_time: datetime
    first_ordinal: int
    closed_at: datetime

    @property
    def order(self) -> "Order":
        """Return the group's place in its portfolio's order of decisions."""
        return (self.first_detect_time, self.first_event_time, self.first_ordinal, self.id)

    @property
    def is_open(self) -> bool:
        """Tell whether copying adds risk: BUY and SPLIT do, SELL and MERGE reduce."""
        return self.kind is GroupKind.SPLIT or self.side is Side.BUY


Order = tuple[datetime, datetime, int, UUID]
"""First detect time, first event time, first log index or ordinal, id."""


@dataclass(frozen=True, slots=True)
class MarketView:
    """A market as known in the decision's transaction. `asset_ids` are in outcome order."""

    condition_id: str
    asset_ids: tuple[str, ...]
    close_time: datetime | None
    closed: bool
    resolved: bool
    accepting_orders: bool
    fee_rate: Decimal
    fee_exponent: Decimal


@dataclass(frozen=True, slots=True)
class PortfolioView:
    """What a portfolio is worth and has at stake before the decision, fills decided but not yet posted included.

    Market and user exposure are those of the group's condition and source user; `held_share_micros` is of the group's
    token, of the smaller leg for SPLIT and MERGE. A start is None where there is neither snapshot nor deposit; its
    flows are deposits minus withdrawals since. `peak_equity_micros` is already moved by flows. `taken` is what this
    portfolio took of this version of the book from the side the group takes, as (price, shares). `shadow_held_micros`
    is their own position before the group, None where it is not needed or not known.
    """

    cash_micros: int
    equity_micros: int
    exposure_total_micros: int
    exposure_market_micros: int
    exposure_user_micros: int
    held_share_micros: int
    leg_share_micros: tuple[int, ...]
    leg_cost_micros: tuple[int, ...]
    day_start_equity_micros: int | None
    day_flows_micros: int
    week_start_equity_micros: int | None
    week_flows_micros: int
    peak_equity_micros: int
    drawdown_tripped: bool
    net_flows_micros: int
    taken: tuple[tuple[int, int], ...] = ()
    shadow_held_micros: int | None = None


@dataclass(frozen=True, slots=True)
class Clock:
    """The times and switches of one decision, read in its own transaction."""

    scope: Scope
    decided_at: datetime
    engine_paused: bool
    user_enabled: bool
