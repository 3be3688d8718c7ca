"""One decision taken apart: the document that `shadowbook explain --json` prints and a page can render.

Amounts are integer micros, times UTC, durations in ms. Values are those before the decision, as it saw them; what came
later (mark, worth now) says so in its name. Texts are for people, codes for programs.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from libs.common.domain.skips import Counterfactual, Frozen


class Member(Frozen):
    """One fill or activity row of theirs in the group."""

    event_id: UUID
    tx_hash: str | None
    share_micros: int | None
    notional_micros: int | None
    event_time: datetime | None
    detect_time: datetime | None
    first_source: str | None


class Theirs(Frozen):
    """The group: what the followed user did. `price_micros` is their VWAP, up for BUY, down for SELL."""

    user: str
    kind: str
    side: str | None
    condition_id: str | None
    asset_id: str | None
    question: str | None
    outcome: str | None
    share_micros: int
    notional_micros: int
    price_micros: int | None
    members: tuple[Member, ...]


class Times(Frozen):
    """`due` is the group's own, `effective_due` when the order of the portfolio let it be decided at the earliest."""

    event: datetime
    detected: datetime
    closed: datetime
    due: datetime
    effective_due: datetime | None
    book_fetched: datetime | None
    decided: datetime
    detection_lag_ms: int
    lateness_ms: int | None
    out_of_order: bool


class PortfolioBefore(Frozen):
    """The portfolio before the decision, fills decided but not yet posted included."""

    cash_micros: int | None
    equity_micros: int | None
    exposure_total_micros: int | None
    exposure_market_micros: int | None
    exposure_user_micros: int | None
    held_share_micros: int | None
    leg_share_micros: tuple[int, ...]
    their_held_share_micros: int | None
    day_start_micros: int | None
    week_start_micros: int | None
    peak_micros: int | None
    drawdown_tripped: bool


class Setting(Frozen):
    """One setting in force. `source` is DEFAULT, GLOBAL (set for all) or USER (set for this user)."""

    name: str
    value: Any
    source: str
    default: Any
    global_value: Any


class Configuration(Frozen):
    """The version that decided; `global_version` is the global one in force then, None where it cannot be told."""

    version: int | None
    scope: str | None
    effective_at: datetime | None
    global_version: int | None
    engine_paused: bool
    user_enabled: bool
    settings: tuple[Setting, ...]


class CheckMade(Frozen):
    """One check. `verdict` is pass, fail or n/a (did not apply); `value` and `bound` are raw, the others in words."""

    phase: str
    check: str
    verdict: str
    reason: str | None
    value: Any
    bound: Any
    title: str
    found: str
    limit: str


class BookLevel(Frozen):
    """One level of the side our order takes from, best first.

    `before_micros`: shares this portfolio had taken of this version already. `took_share_micros`: what our walk took,
    or, for a skip, would have; `cumulative_notional_micros` sums that up to here.
    """

    level: int
    price_micros: int
    share_micros: int
    before_micros: int
    within_limit: bool
    took_share_micros: int
    took_notional_micros: int
    cumulative_notional_micros: int


class BookSeen(Frozen):
    """The book the decision saw. `kept` is false once its levels are gone (30 days); `ended` says why the walk ended.

    `ended` is TARGET, LIMIT, LIQUIDITY, HOLDING, CASH or None (no walk, or not to be told); `is_hypothetical` says that
    the walk is the one a skip did not make, `limit_lifted` that it went beyond the limit since that check had failed.
    """

    hash: str | None
    error: str | None
    kept: bool
    fetched_at: datetime | None
    timestamp_ms: int | None
    side: str | None
    best_bid_micros: int | None
    best_ask_micros: int | None
    mid_micros: int | None
    spread_micros: int | None
    limit_micros: int | None
    their_price_micros: int | None
    depth_micros: int | None
    levels: tuple[BookLevel, ...]
    is_hypothetical: bool
    limit_lifted: bool
    ended: str | None
    ended_words: str


class Fee(Frozen):
    """rate * notional * (shares - notional) / shares, or with an exponent e rate * shares * (p(1-p))^e, floored."""

    rate: str | None
    exponent: str | None
    fee_micros: int
    words: str


class FillMade(Frozen):
    """One executable fill."""

    level: int
    price_micros: int
    share_micros: int
    notional_micros: int
    fee_micros: int


class Result(Frozen):
    """What came of it. Slippage is our VWAP against theirs, above 0 worse for us; bps and ratio are decimal text."""

    decision: str
    reasons: tuple[str, ...]
    partial: bool
    target_notional_micros: int | None
    share_micros: int
    notional_micros: int
    vwap_micros: int | None
    slippage_micros: int | None
    slippage_bps: str | None
    fill_ratio_pct: str | None
    fee: Fee
    fills: tuple[FillMade, ...]
    posted_at: datetime | None


class Explanation(Frozen):
    """One attempt, taken apart. `counterfactual` is None for an EXECUTE and for a skip without a book."""

    attempt_id: UUID
    group_id: UUID
    scope: str
    seq: int
    inputs_version: int | None
    summary: str
    theirs: Theirs
    times: Times
    portfolio: PortfolioBefore
    configuration: Configuration
    checks: tuple[CheckMade, ...]
    book: BookSeen | None
    result: Result
    counterfactual: Counterfactual | None
