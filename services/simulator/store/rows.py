"""Rows of a decision transaction as values of the core."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from libs.common.domain.book import Book, Level
from libs.common.domain.kinds import Decision, GroupKind, Scope, Side
from libs.common.domain.statistics import net_flows, peak_before, start_of
from services.simulator.core.facts import Group, MarketView, Order
from services.simulator.core.portfolio import PortfolioState, Trade

BookKey = tuple[str, str]
"""Asset and hash: one version of one book."""


@dataclass(frozen=True, slots=True)
class LockedPortfolio:
    """A portfolio's row, as it stands under our lock."""

    id: UUID
    scope: Scope
    user_id: UUID | None
    cash_micros: int
    net_flows_micros: int
    seq: int
    decided_through: datetime | None
    last_order: Order | None
    peak_equity_micros: int | None
    drawdown_tripped: bool


@dataclass(frozen=True, slots=True)
class Attempted:
    """An attempt that exists already, as far as it is announced."""

    id: UUID
    decision: Decision
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class Candidate:
    """A group with the state of its book and, once decided in this scope, its attempt."""

    group: Group
    book_hash: str | None
    book_fetched_at: datetime | None
    book_error: str | None
    attempted: Attempted | None = None

    @property
    def book_is_settled(self) -> bool:
        """Tell whether the book was fetched or given up."""
        return self.book_fetched_at is not None or self.book_error is not None


@dataclass(frozen=True, slots=True)
class Switches:
    """Control flags, who may be copied, and which configuration is in force, read in one statement."""

    engine_paused: bool
    enabled: frozenset[UUID]
    follow_order: tuple[UUID, ...]
    global_version: int | None
    user_versions: dict[UUID, int]

    def version_for(self, user_id: UUID) -> int | None:
        """Return the configuration of a user: their own, else the global one."""
        return self.user_versions.get(user_id, self.global_version)


@dataclass(slots=True)
class Market:
    """Markets of a chunk, found by condition or by token."""

    by_condition: dict[str, MarketView] = field(default_factory=dict)
    by_asset: dict[str, MarketView] = field(default_factory=dict)

    def of(self, group: Group) -> MarketView | None:
        """Return the market of a group; a TRADE is placed by its token alone."""
        if group.kind is GroupKind.TRADE:
            return self.by_asset.get(group.asset_id or "")
        return self.by_condition.get(group.condition_id or "")


def group_of(row: Any) -> Group:
    """Return the group of a row."""
    return Group(
        row["id"],
        GroupKind(row["kind"]),
        row["user_id"],
        row["condition_id"],
        row["asset_id"],
        None if row["side"] is None else Side(row["side"]),
        row["share_micros"],
        row["usdc_notional_micros"],
        row["reference_price_micros"],
        row["first_event_time"],
        row["first_detect_time"],
        row["first_ordinal"],
        row["closed_at"],
    )


def candidate_of(row: Any) -> Candidate:
    """Return the candidate of a row of UNDECIDED."""
    return Candidate(group_of(row), row["book_hash"], row["fetched_at"], row["error"])


def attempted_of(row: Any) -> Candidate:
    """Return the candidate of a row of GROUPS."""
    attempted = None
    if row["attempt_id"] is not None:
        attempted = Attempted(row["attempt_id"], Decision(row["decision"]), row["decided_at"])
    return Candidate(group_of(row), row["book_hash"], row["fetched_at"], row["error"], attempted)


def portfolio_of(row: Any) -> LockedPortfolio:
    """Return the portfolio of a row of LOCK_PORTFOLIOS."""
    last: Order | None = None
    if row["last_group_id"] is not None:
        last = (
            row["last_first_detect_time"],
            row["last_first_event_time"],
            row["last_first_ordinal"],
            row["last_group_id"],
        )
    return LockedPortfolio(
        row["id"],
        Scope(row["scope"]),
        row["user_id"],
        row["cash_micros"],
        net_flows(row["deposits_micros"], row["withdrawals_micros"]),
        row["decision_seq"],
        row["decided_through"],
        last,
        row["peak_equity_micros"],
        row["drawdown_tripped"],
    )


def market_of(row: Any) -> MarketView:
    """Return the market of a row of MARKETS."""
    return MarketView(
        row["condition_id"],
        tuple(row["asset_ids"]),
        row["close_time"],
        row["closed"],
        row["resolved"],
        row["accepting_orders"],
        row["fee_rate"],
        row["fee_exponent"],
    )


def trade_of(row: Any) -> Trade:
    """Return the executed attempt of a row of IN_FLIGHT."""
    return Trade(
        GroupKind(row["kind"]),
        None if row["side"] is None else Side(row["side"]),
        row["condition_id"],
        row["asset_id"],
        tuple(row["legs"] or ()),
        row["user_id"],
        row["filled_share_micros"],
        row["filled_notional_micros"],
        row["fee_micros"],
    )


def state_of(portfolio: LockedPortfolio, start: Any, follow_order: tuple[UUID, ...]) -> PortfolioState:
    """Return a portfolio's state from its row and its row of STARTS; positions are still to be loaded.

    The stored peak is moved by the flows since the last decision, then raised to what snapshots saw since; a reset by
    the admin puts the equity at that moment in its place.
    """
    flows = portfolio.net_flows_micros
    kept: tuple[int, int] | None = None
    if start["is_reset"]:
        kept = _reset(start["reset_value"])
    elif portfolio.peak_equity_micros is not None:
        then = start["last_flows_micros"]
        kept = (portfolio.peak_equity_micros, flows if then is None else then)
    first = start["first_deposit_micros"]
    state = PortfolioState(
        portfolio.id,
        portfolio.scope,
        portfolio.cash_micros,
        flows,
        start_of(start["day_equity_micros"], start["day_flows_micros"], first, flows),
        start_of(start["week_equity_micros"], start["week_flows_micros"], first, flows),
        peak_before(kept, start["peak_pnl_micros"], flows),
        portfolio.drawdown_tripped and not start["is_reset"],
        portfolio.seq,
        portfolio.last_order,
        follow_order,
    )
    state.drawdown_reset_at = start["reset_at"]
    return state


def _reset(value: Any) -> tuple[int, int] | None:
    """Return equity and net flows at a reset; None where a row written by hand does not say."""
    equity, then = value.get("equity_micros"), value.get("net_flows_micros")
    return (equity, then) if isinstance(equity, int) and isinstance(then, int) else None


def book_of(row: Any) -> Book:
    """Return the book of a row of book_snapshot."""
    return Book(row["asset_id"], row["hash"], row["timestamp_ms"], _levels(row["bids"]), _levels(row["asks"]))


def _levels(value: Any) -> tuple[Level, ...]:
    return tuple(Level(price, shares) for price, shares in value)
