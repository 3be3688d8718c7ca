"""The checks that need no book: control, market, breakers and risk (SPEC section 5, "Checks").

Each returns its checks with numbers and verdict; a failed check carries its reason. All bounds are inclusive. What
stops opens only is recorded as not applicable, with its numbers, for a reduction.
"""

from datetime import timedelta
from typing import Final, NamedTuple

from libs.common.domain.kinds import GroupKind, Scope
from libs.common.domain.reasons import Reason
from libs.common.domain.statistics import drawdown, loss_since
from services.simulator.core.facts import Clock, Group, MarketView, PortfolioView
from services.simulator.core.fees import fee_at_price
from services.simulator.core.outcome import Check
from services.simulator.core.rules import Ratio, Rules

LEGS: Final = 2
"""Outcomes of a condition that can be split and merged."""
COMBO_HEX_DIGITS: Final = 62
"""Length of a combo's id; a market's has 64 digits."""
_NOW: Final = timedelta(0)


def _check(name: str, passed: bool | None, value: object, bound: object, reason: Reason) -> Check:
    return (name, passed, value, bound, reason if passed is False else None)


def control(group: Group, market: MarketView | None, clock: Clock) -> list[Check]:
    """Pause, disabled user, and what cannot be copied at all."""
    supported = _is_supported(group, market)
    return [
        _check("control.engine", not clock.engine_paused, clock.engine_paused, False, Reason.ENGINE_PAUSED),
        _check("control.user", clock.user_enabled, clock.user_enabled, True, Reason.USER_DISABLED),
        _check("control.event", supported, group.kind.value, None, Reason.UNSUPPORTED_EVENT),
    ]


def _is_supported(group: Group, market: MarketView | None) -> bool:
    if group.share_micros <= 0:
        return False
    if group.condition_id is not None and len(group.condition_id.removeprefix("0x")) == COMBO_HEX_DIGITS:
        return False
    if group.kind is GroupKind.TRADE:
        return bool(group.asset_id) and group.side is not None
    return bool(group.condition_id) and (market is None or len(market.asset_ids) == LEGS)


def market_state(group: Group, market: MarketView | None, rules: Rules, clock: Clock) -> list[Check]:
    """Known, open, not closing, not blacklisted, not stale."""
    age = clock.decided_at - group.first_event_time
    fresh = _check(
        "market.age", age <= rules.event_age, age.total_seconds(), rules.event_age.total_seconds(), Reason.STALE_EVENT
    )
    opens = group.is_open
    names = (group.condition_id, group.asset_id) if market is None else (market.condition_id, *market.asset_ids)
    listed = not rules.blacklist.isdisjoint(names)
    blacklist = _check("market.blacklist", not listed if opens else None, listed, False, Reason.MARKET_BLACKLISTED)
    if market is None:
        unknown = group.asset_id or group.condition_id
        return [_check("market.known", False, unknown, None, Reason.MARKET_UNKNOWN), blacklist, fresh]
    closed = market.closed or market.resolved or not market.accepting_orders
    state = {"closed": market.closed, "resolved": market.resolved, "accepting_orders": market.accepting_orders}
    return [
        ("market.known", True, market.condition_id, None, None),
        _check("market.open", not closed, state, None, Reason.MARKET_CLOSED),
        _closing(market, rules, clock, opens),
        blacklist,
        fresh,
    ]


def _closing(market: MarketView, rules: Rules, clock: Clock, opens: bool) -> Check:
    """Check the time left; an end in the past with orders still accepted means that the close is not known."""
    bound = rules.time_to_close.total_seconds()
    if market.close_time is None:
        return ("market.time_to_close", None, "unknown", bound, None)
    left = market.close_time - clock.decided_at
    if left <= _NOW:
        return ("market.time_to_close", None, "unknown: past its end, yet open", bound, None)
    return _check(
        "market.time_to_close",
        left >= rules.time_to_close if opens else None,
        left.total_seconds(),
        bound,
        Reason.MARKET_CLOSING_SOON,
    )


def breakers(view: PortfolioView, rules: Rules, opens: bool) -> tuple[list[Check], bool]:
    """Losses since day and week start, and drawdown; also returns whether the drawdown breaker is tripped now."""
    checks = [
        _loss("breakers.daily_loss", view.day_start_equity_micros, view.day_flows_micros, view, rules.daily_loss, opens,
              Reason.BREAKER_DAILY_LOSS),
        _loss("breakers.weekly_loss", view.week_start_equity_micros, view.week_flows_micros, view, rules.weekly_loss,
              opens, Reason.BREAKER_WEEKLY_LOSS),
    ]  # fmt: skip
    fall = drawdown(view.peak_equity_micros, view.equity_micros)
    beyond = fall is not None and rules.drawdown.is_exceeded(fall.lost_micros, fall.base_micros)
    tripped = view.drawdown_tripped or beyond
    numbers = {
        "equity": view.equity_micros, "peak": view.peak_equity_micros, "tripped_before": view.drawdown_tripped,
    }  # fmt: skip
    checks.append(
        _check(
            "breakers.drawdown",
            not tripped if opens else None,
            numbers,
            rules.drawdown.shown,
            Reason.BREAKER_DRAWDOWN,
        )
    )
    return checks, tripped


def _loss(
    name: str, start: int | None, flows: int, view: PortfolioView, limit: Ratio, opens: bool, reason: Reason
) -> Check:
    loss = loss_since(start, flows, view.equity_micros)
    if loss is None:
        return (name, None, "no start", limit.shown, None)
    passed = not limit.is_exceeded(loss.lost_micros, loss.base_micros)
    numbers = {"equity": view.equity_micros, "start": loss.base_micros}
    return _check(name, passed if opens else None, numbers, limit.shown, reason)


class Risk(NamedTuple):
    """What the risk phase leaves of the target."""

    target_micros: int
    checks: list[Check]


def risk(
    group: Group,
    view: PortfolioView,
    rules: Rules,
    scope: Scope,
    target: int,
    limit_micros: int | None,
    market: MarketView,
) -> Risk:
    """Exposure caps and cash, for opens; with `cap_policy` SHRINK the target goes down to the headroom."""
    if not group.is_open:
        return Risk(target, [("risk.caps", None, "reduction", None, None)])
    equity = view.equity_micros
    caps = [
        ("risk.total", view.exposure_total_micros, rules.cap_total, Reason.RISK_CAP_TOTAL),
        ("risk.market", view.exposure_market_micros, rules.cap_market, Reason.RISK_CAP_MARKET),
    ]
    if scope is Scope.EXEC_GLOBAL:
        caps.append(("risk.user", view.exposure_user_micros, rules.cap_user, Reason.RISK_CAP_USER))
    wanted = target
    if rules.shrinks:
        minimum = max(rules.min_trade, rules.min_marketable) if group.kind is GroupKind.TRADE else 1
        headroom = min(ratio.floor_of(equity) - exposure for _, exposure, ratio, _ in caps)
        target = min(target, headroom) if headroom >= min(target, minimum) else target
    checks: list[Check] = []
    within = True
    for name, exposure, ratio, reason in caps:
        passed = not ratio.is_exceeded(exposure + target, equity)
        within = within and passed
        numbers = {"exposure": exposure, "target": target, "wanted": wanted, "equity": equity}
        checks.append(_check(name, passed, numbers, ratio.shown, reason))
    if scope is Scope.EXEC_GLOBAL:
        checks.append(_check("risk.global", within, None, None, Reason.RISK_CAP_GLOBAL))
    fee = 0
    if group.kind is GroupKind.TRADE and limit_micros is not None:
        fee = fee_at_price(market.fee_rate, market.fee_exponent, target, limit_micros)
    numbers = {"target": target, "fee_at_limit": fee}
    checks.append(
        _check("risk.cash", view.cash_micros >= target + fee, numbers, view.cash_micros, Reason.INSUFFICIENT_CASH)
    )
    return Risk(target, checks)
