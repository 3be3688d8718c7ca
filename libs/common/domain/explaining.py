"""Take one recorded attempt apart: a pure function of its rows, which makes the document everybody shows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from libs.common.domain import statistics
from libs.common.domain.check_words import in_words
from libs.common.domain.config import CopyConfig, document
from libs.common.domain.explained_book import book_seen
from libs.common.domain.explanation import (
    CheckMade,
    Configuration,
    Explanation,
    Fee,
    FillMade,
    Member,
    PortfolioBefore,
    Result,
    Setting,
    Theirs,
    Times,
)
from libs.common.domain.kinds import Side
from libs.common.domain.skips import Counterfactual
from libs.common.domain.wording import percent, usdc

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Recorded:
    """The rows an attempt is explained from, by column names; `members` as fields of Member, configs with `values`."""

    attempt: Row
    group: Row
    user: str
    question: str | None
    outcome: str | None
    members: Sequence[Row]
    fills: Sequence[Row]
    book: Row | None
    config: Row | None
    global_config: Row | None
    counterfactual: Counterfactual | None


def explain(recorded: Recorded) -> Explanation:
    """Return the explanation of an attempt."""
    attempt = recorded.attempt
    inputs = attempt["inputs"] or {}
    checks = tuple(in_words(check, attempt["side"]) for check in attempt["checks"])
    theirs, result = _theirs(recorded), _result(recorded)
    return Explanation(
        attempt_id=attempt["id"],
        group_id=attempt["group_id"],
        scope=attempt["scope"],
        seq=attempt["seq"],
        inputs_version=inputs.get("version"),
        summary=_summary(theirs, result, checks),
        theirs=theirs,
        times=_times(recorded),
        portfolio=_portfolio(attempt),
        configuration=_configuration(recorded),
        checks=checks,
        book=book_seen(attempt, recorded.fills, recorded.book) if attempt["kind"] == "TRADE" else None,
        result=result,
        counterfactual=recorded.counterfactual,
    )


def _theirs(recorded: Recorded) -> Theirs:
    attempt, group = recorded.attempt, recorded.group
    return Theirs(
        user=recorded.user,
        kind=group["kind"],
        side=group["side"],
        condition_id=attempt["condition_id"] or group["condition_id"],
        asset_id=group["asset_id"],
        question=recorded.question,
        outcome=recorded.outcome,
        share_micros=group["share_micros"],
        notional_micros=group["usdc_notional_micros"],
        price_micros=group["reference_price_micros"],
        members=tuple(Member.model_validate(each) for each in recorded.members),
    )


def _times(recorded: Recorded) -> Times:
    attempt, group = recorded.attempt, recorded.group
    due = (attempt["inputs"] or {}).get("clock", {}).get("effective_due_at")
    effective = None if due is None else datetime.fromisoformat(due)
    return Times(
        event=group["first_event_time"],
        detected=group["first_detect_time"],
        closed=group["closed_at"],
        due=attempt["due_at"],
        effective_due=effective,
        book_fetched=attempt["book_fetched_at"],
        decided=attempt["decided_at"],
        detection_lag_ms=max(0, _ms(group["first_detect_time"] - group["first_event_time"])),
        lateness_ms=None if effective is None else _ms(attempt["decided_at"] - effective),
        out_of_order=attempt["out_of_order"],
    )


def _ms(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)


def _portfolio(attempt: Row) -> PortfolioBefore:
    view = (attempt["inputs"] or {}).get("portfolio", {})

    def start(name: str) -> int | None:
        equity = view.get(f"{name}_start_equity_micros")
        return None if equity is None else equity + view.get(f"{name}_flows_micros", 0)

    return PortfolioBefore(
        cash_micros=attempt["cash_micros"],
        equity_micros=attempt["equity_micros"],
        exposure_total_micros=attempt["exposure_total_micros"],
        exposure_market_micros=attempt["exposure_market_micros"],
        exposure_user_micros=attempt["exposure_user_micros"],
        held_share_micros=attempt["held_share_micros"],
        leg_share_micros=tuple(view.get("leg_share_micros", ())),
        their_held_share_micros=view.get("shadow_held_micros"),
        day_start_micros=start("day"),
        week_start_micros=start("week"),
        peak_micros=attempt["peak_equity_micros"],
        drawdown_tripped=bool(view.get("drawdown_tripped", False)),
    )


def _configuration(recorded: Recorded) -> Configuration:
    config, shared = recorded.config, recorded.global_config
    clock = (recorded.attempt["inputs"] or {}).get("clock", {})
    return Configuration(
        version=recorded.attempt["config_version"],
        scope=config["scope"] if config else None,
        effective_at=config["effective_at"] if config else None,
        global_version=shared["version"] if shared else None,
        engine_paused=bool(clock.get("engine_paused", False)),
        user_enabled=bool(clock.get("user_enabled", True)),
        settings=tuple(_settings(config, shared)) if config else (),
    )


def _settings(config: Row, shared: Row | None) -> Iterator[Setting]:
    defaults, values = document(CopyConfig()), config["values"]
    all_users = shared["values"] if shared else {}
    for name, value in values.items():
        default = defaults.get(name)
        common = all_users.get(name, default)
        source = (
            "USER" if config["scope"] == "USER" and value != common else "DEFAULT" if value == default else "GLOBAL"
        )
        yield Setting(name=name, value=value, source=source, default=default, global_value=common)


def _result(recorded: Recorded) -> Result:
    attempt = recorded.attempt
    vwap, reference = attempt["vwap_price_micros"], attempt["their_reference_price_micros"]
    executed, slippage = attempt["decision"] == "EXECUTE", None
    if executed and vwap is not None and reference is not None:
        slippage = statistics.slippage(Side(attempt["side"]), vwap, reference)
    bps = None if slippage is None else statistics.slippage_bps(slippage, reference)
    target, filled = attempt["target_notional_micros"], attempt["filled_notional_micros"]
    walked = next((check["value"] for check in attempt["checks"] if check.get("check") == "filled"), None)
    return Result(
        decision=attempt["decision"],
        reasons=tuple(attempt["reason_codes"]),
        partial=executed and isinstance(walked, Mapping) and bool(walked.get("partial")),
        target_notional_micros=target,
        share_micros=attempt["filled_share_micros"],
        notional_micros=filled,
        vwap_micros=vwap,
        slippage_micros=slippage,
        slippage_bps=None if bps is None else _tenths(bps),
        fill_ratio_pct=percent(filled, target).removesuffix(" %") if executed and target else None,
        fee=_fee(recorded),
        fills=tuple(FillMade.model_validate(fill) for fill in recorded.fills),
        posted_at=attempt["posted_at"],
    )


def _tenths(value: Fraction) -> str:
    tenths = round(value * 10)
    whole, rest = divmod(abs(tenths), 10)
    return f"{'-' if tenths < 0 else ''}{whole}.{rest}"


def _fee(recorded: Recorded) -> Fee:
    attempt = recorded.attempt
    market = (attempt["inputs"] or {}).get("market") or {}
    rate, exponent = market.get("fee_rate"), market.get("fee_exponent")
    fee, n, s = attempt["fee_micros"], attempt["filled_notional_micros"], attempt["filled_share_micros"]
    words = ""
    if attempt["decision"] == "EXECUTE" and attempt["kind"] != "TRADE":
        words = "splits and merges are free"
    elif attempt["decision"] == "EXECUTE" and rate is not None and not Decimal(rate):
        words = "fees are off in this market"
    elif attempt["decision"] == "EXECUTE" and rate is not None:
        if exponent is None or Decimal(exponent) == 1:
            formula = f"{rate} x {usdc(n)} x ({usdc(s)} - {usdc(n)}) / {usdc(s)}"
        else:
            formula = f"{rate} x {usdc(s)} x (p x (1 - p))^{exponent} with p = {usdc(n)} / {usdc(s)}"
        words = f"{formula} = {usdc(fee)}, floored to 0.00001"
    return Fee(rate=rate, exponent=exponent, fee_micros=fee, words=words)


_DONE: Final = {"BUY": "Bought", "SELL": "Sold", "SPLIT": "Split", "MERGE": "Merged"}


def _summary(theirs: Theirs, result: Result, checks: Sequence[CheckMade]) -> str:
    if result.decision == "EXECUTE":
        done = _DONE.get(theirs.side or theirs.kind, theirs.kind)
        if result.vwap_micros is None:
            return f"{done} {usdc(result.share_micros)} of each outcome for {usdc(result.notional_micros)} USDC."
        part = " (a partial fill)" if result.partial else ""
        return (
            f"{done} {usdc(result.share_micros)} shares for {usdc(result.notional_micros)} USDC at "
            f"{usdc(result.vwap_micros)}{part}; theirs was {usdc(theirs.price_micros or 0)}."
        )
    failed = [check for check in checks if check.verdict == "fail" and check.check != "global"]
    why = "; ".join(f"{each.title}: {each.found}, {each.limit}".rstrip(", ") for each in failed)
    return f"Not copied: {why or ', '.join(result.reasons)}."
