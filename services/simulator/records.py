"""A decision as the rows it is kept in, and its inputs as JSON; `replay` reads them back."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from libs.common.domain.identity import attempt_id
from libs.common.domain.kinds import Scope
from services.simulator.core.facts import Clock, Group, MarketView, PortfolioView
from services.simulator.core.outcome import Outcome, check_document
from services.simulator.core.portfolio import PortfolioState

INPUTS_VERSION: Final = 2
"""Raised by every release that stores other inputs or makes other decisions of the same (ADR 0018)."""


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision with all it was made from, before it is written."""

    group: Group
    view: PortfolioView
    market: MarketView | None
    clock: Clock
    outcome: Outcome
    config_version: int
    portfolio_id: UUID
    seq: int
    out_of_order: bool
    due_at: datetime
    effective_due_at: datetime
    book_hash: str | None
    book_fetched_at: datetime | None
    book_error: str | None

    @property
    def attempt_id(self) -> UUID:
        """Return the id of the attempt."""
        return attempt_id(self.clock.scope, self.group.id)


def attempt_row(decided: Decided) -> dict[str, Any]:
    """Return the row of copy_attempt."""
    group, view, outcome, market = decided.group, decided.view, decided.outcome, decided.market
    return {
        "id": decided.attempt_id,
        "portfolio_id": decided.portfolio_id,
        "seq": decided.seq,
        "scope": decided.clock.scope.value,
        "user_id": group.user_id,
        "group_id": group.id,
        "kind": group.kind.value,
        "condition_id": group.condition_id or (market.condition_id if market else None),
        "asset_id": group.asset_id,
        "side": group.side.value if group.side else None,
        "decision": outcome.decision.value,
        "reason_codes": [reason.value for reason in outcome.reasons],
        "out_of_order": decided.out_of_order,
        "due_at": decided.due_at,
        "decided_at": decided.clock.decided_at,
        "book_hash": decided.book_hash,
        "book_fetched_at": decided.book_fetched_at,
        "best_bid_micros": outcome.best_bid_micros,
        "best_ask_micros": outcome.best_ask_micros,
        "mid_price_micros": outcome.mid_price_micros,
        "their_reference_price_micros": group.reference_micros,
        "limit_price_micros": outcome.limit_price_micros,
        "depth_micros": outcome.depth_micros,
        "target_notional_micros": outcome.target_notional_micros,
        "filled_share_micros": outcome.filled_share_micros,
        "filled_notional_micros": outcome.filled_notional_micros,
        "vwap_price_micros": outcome.vwap_price_micros,
        "fee_micros": outcome.fee_micros,
        "fee_rate": str(market.fee_rate) if market else None,
        "cash_micros": view.cash_micros,
        "equity_micros": view.equity_micros,
        "held_share_micros": view.held_share_micros,
        "exposure_total_micros": view.exposure_total_micros,
        "exposure_market_micros": view.exposure_market_micros,
        "exposure_user_micros": view.exposure_user_micros,
        "day_start_equity_micros": view.day_start_equity_micros,
        "week_start_equity_micros": view.week_start_equity_micros,
        "peak_equity_micros": view.peak_equity_micros,
        "counterfactual_share_micros": outcome.counterfactual_share_micros,
        "counterfactual_notional_micros": outcome.counterfactual_notional_micros,
        "config_version": decided.config_version,
        "inputs": inputs_document(decided),
        "checks": [check_document(check) for check in outcome.checks],
    }


def fill_rows(decided: Decided) -> list[dict[str, Any]]:
    """Return the rows of executable_fill."""
    identity = decided.attempt_id
    return [
        {
            "attempt_id": identity,
            "level": fill.level,
            "share_micros": fill.share_micros,
            "price_micros": fill.price_micros,
            "notional_micros": fill.notional_micros,
            "fee_micros": fill.fee_micros,
        }
        for fill in decided.outcome.fills
    ]


def portfolio_row(state: PortfolioState, decided_through: datetime | None) -> dict[str, Any]:
    """Return the decision columns of a portfolio's row."""
    order = state.last_order
    return {
        "id": state.id,
        "decision_seq": state.seq,
        "decided_through": decided_through,
        "peak_equity_micros": state.peak_equity_micros,
        "drawdown_tripped": state.drawdown_tripped,
        "drawdown_reset_at": state.drawdown_reset_at,
        "last_first_detect_time": order[0] if order else None,
        "last_first_event_time": order[1] if order else None,
        "last_first_ordinal": order[2] if order else None,
        "last_group_id": order[3] if order else None,
    }


def inputs_document(decided: Decided) -> dict[str, Any]:
    """Return everything needed to decide again, except the group, the configuration and the book's levels."""
    view, market, clock = decided.view, decided.market, decided.clock
    return {
        "version": INPUTS_VERSION,
        "clock": {
            "decided_at": clock.decided_at,
            "effective_due_at": decided.effective_due_at,
            "engine_paused": clock.engine_paused,
            "user_enabled": clock.user_enabled,
        },
        "portfolio": {name: getattr(view, name) for name in _VIEW_FIELDS},
        "market": None
        if market is None
        else {
            "condition_id": market.condition_id,
            "asset_ids": market.asset_ids,
            "close_time": market.close_time,
            "closed": market.closed,
            "resolved": market.resolved,
            "accepting_orders": market.accepting_orders,
            "fee_rate": str(market.fee_rate),
            "fee_exponent": str(market.fee_exponent),
        },
        "book_error": decided.book_error,
    }


_VIEW_FIELDS: Final = tuple(PortfolioView.__dataclass_fields__)
_PAIRS: Final = frozenset({"taken"})
_TUPLES: Final = frozenset({"leg_share_micros", "leg_cost_micros"})


def view_from(document: Mapping[str, Any]) -> PortfolioView:
    """Return the portfolio view of stored inputs."""
    values = dict(document)
    for name in _TUPLES:
        values[name] = tuple(values[name])
    for name in _PAIRS:
        values[name] = tuple((price, shares) for price, shares in values[name])
    return PortfolioView(**values)


def market_from(document: Mapping[str, Any] | None) -> MarketView | None:
    """Return the market of stored inputs."""
    if document is None:
        return None
    close = document["close_time"]
    return MarketView(
        condition_id=document["condition_id"],
        asset_ids=tuple(document["asset_ids"]),
        close_time=None if close is None else datetime.fromisoformat(close),
        closed=document["closed"],
        resolved=document["resolved"],
        accepting_orders=document["accepting_orders"],
        fee_rate=Decimal(document["fee_rate"]),
        fee_exponent=Decimal(document["fee_exponent"]),
    )


def clock_from(document: Mapping[str, Any], scope: Scope) -> Clock:
    """Return the clock of stored inputs."""
    return Clock(
        scope=scope,
        decided_at=datetime.fromisoformat(document["decided_at"]),
        engine_paused=document["engine_paused"],
        user_enabled=document["user_enabled"],
    )
