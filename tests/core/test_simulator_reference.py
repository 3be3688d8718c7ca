"""The engine against an independent reference in rationals, on random groups, portfolios, configurations and books."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings

from libs.common.domain.kinds import Side
from libs.common.domain.reasons import Reason
from libs.common.domain.statistics import Start
from services.simulator.core.outcome import Outcome
from services.simulator.core.portfolio import PortfolioState, Trade
from tests.core import reference_decision as reference
from tests.core.decision_worlds import ONE, SPOILERS, Thrown, amount, case_of, config_of, plays, scene_of, scenes
from tests.support.decisions import CONDITION, YES, Scene

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
RANDOM = settings(max_examples=200, deadline=None, suppress_health_check=SLOW)
SWEPT_PER_SPOILER = 150


def shown(value: int | None) -> Fraction | None:
    return None if value is None else amount(value)


def agree(scene: Scene) -> tuple[reference.Answer, Outcome]:
    """Compare everything the engine says with the reference."""
    answer, outcome = reference.decide(case_of(scene), config_of(scene)), scene.decide()
    assert {reason.value for reason in outcome.reasons} == answer.reasons
    assert (outcome.decision == "EXECUTE") == (not answer.reasons)
    assert {name.partition(".")[0] for name, verdict, *_ in outcome.checks if verdict is False} == (
        {answer.phase} if answer.phase else set()
    )
    assert shown(outcome.target_notional_micros) == answer.target
    filled = (outcome.filled_share_micros, outcome.filled_notional_micros, outcome.fee_micros)
    assert tuple(map(amount, filled)) == (answer.shares, answer.notional, answer.fee)
    assert [(fill.level, *map(amount, fill[1:])) for fill in outcome.fills] == [
        (fill.level, fill.price, fill.shares, fill.notional, fill.fee) for fill in answer.fills
    ]
    assert (shown(outcome.vwap_price_micros), outcome.partial) == (answer.vwap, answer.partial)
    seen = (outcome.best_bid_micros, outcome.best_ask_micros, outcome.mid_price_micros, outcome.limit_price_micros)
    assert tuple(map(shown, seen)) == (answer.bid, answer.ask, answer.mid, answer.limit)
    assert shown(outcome.depth_micros) == answer.depth
    imagined = (shown(outcome.counterfactual_share_micros), shown(outcome.counterfactual_notional_micros))
    assert imagined == (answer.imagined or (None, None))
    assert outcome.drawdown_tripped == answer.tripped
    return answer, outcome


@RANDOM
@given(scenes())
def test_the_engine_decides_as_the_reference_does(scene: Scene) -> None:
    agree(scene)


@RANDOM
@given(scenes())
def test_a_decision_never_oversteps(scene: Scene) -> None:
    outcome, group, view = scene.decide(), scene.group, scene.view
    assert (outcome.decision == "SKIP") == bool(outcome.reasons)
    if not outcome.fills:
        return
    buying = group.side is Side.BUY
    assert outcome.filled_notional_micros <= (outcome.target_notional_micros or 0)
    assert sum(fill.fee_micros for fill in outcome.fills) == outcome.fee_micros
    assert sum(fill.share_micros for fill in outcome.fills) == outcome.filled_share_micros
    assert all(fill.share_micros % 10_000 == 0 for fill in outcome.fills)
    limit = outcome.limit_price_micros or 0
    assert all(fill.price_micros <= limit if buying else fill.price_micros >= limit for fill in outcome.fills)
    if buying:
        assert outcome.filled_notional_micros + outcome.fee_micros <= view.cash_micros
    else:
        assert outcome.filled_share_micros <= view.held_share_micros


@RANDOM
@given(plays())
def test_a_portfolio_carried_from_decision_to_decision_is_seen_as_kept_by_hand(scenes: list[Scene]) -> None:
    """What was decided before shows in cash, shares, exposure, equity, and in what is left of the book's version."""
    kept = reference.Kept(cash=Fraction(200), mark=None if scenes[0].group.share_micros % 3 else Fraction(1, 2))
    start = Start(200 * ONE, 0)
    scope = scenes[0].clock.scope
    state = PortfolioState(UUID(int=9), scope, 200 * ONE, 200 * ONE, start, start, 200 * ONE, False, 0, None)
    state.load({}, {} if kept.mark is None else {YES: 500_000})
    for given_scene in scenes:
        group, version = given_scene.group, given_scene.book.hash if given_scene.book else ""
        view = state.view(group, given_scene.market, version, None)
        scene = replace(given_scene, view=view)
        case = case_of(scene)
        assert case == replace(case, **kept.seen_by(version, case.side or ""))
        answer, outcome = agree(scene)
        state.decided(group, view, outcome.drawdown_tripped)
        if outcome.decision == "EXECUTE":
            state.apply(
                Trade(group.kind, group.side, CONDITION, YES, (), group.user_id, outcome.filled_share_micros,
                      outcome.filled_notional_micros, outcome.fee_micros)
            )  # fmt: skip
            state.take((YES, version, group.side), [(fill.price_micros, fill.share_micros) for fill in outcome.fills])
        kept.keep(version, case.side or "", answer)


def seconds(left: float) -> int:
    return round(left * ONE)


def margin(scene: Scene, outcome: Outcome, name: str, value: Any, bound: Any) -> int | None:
    """Return by how many units a check is within its bound: 0 at the bound, -1 one unit beyond; None: has no bound."""
    config, view = config_of(scene), scene.view
    buying = scene.group.side is Side.BUY
    match name:
        case "market.age":
            return seconds(bound - value)
        case "market.time_to_close" if isinstance(value, float):
            return seconds(value - bound)
        case "breakers.daily_loss" | "breakers.weekly_loss" if isinstance(value, dict):
            limit = config.daily_pct if name == "breakers.daily_loss" else config.weekly_pct
            return int(value["equity"] + reference.percent(limit, Fraction(value["start"])) // 1 - value["start"])
        case "breakers.drawdown" if not view.drawdown_tripped:
            return int(
                value["equity"] + reference.percent(config.drawdown_pct, Fraction(value["peak"])) // 1 - value["peak"]
            )
        case "size.marketable":
            return int(value - bound)
        case "size.position" | "book.liquidity":
            return int(value - 1)
        case "risk.total" | "risk.market" | "risk.user":
            cap = getattr(config, f"{name.partition('.')[2]}_pct")
            return int(reference.percent(cap, Fraction(value["equity"])) // 1 - value["exposure"] - value["target"])
        case "risk.cash":
            return int(bound - value["target"] - value["fee_at_limit"])
        case "book.spread" if value is not None:
            return int(bound - value)
        case "book.their_price" | "book.mid" if value is not None and bound is not None:
            return int(bound - value) if buying else int(value - bound)
        case "book.depth" if value["band"]:
            return -int(config.depth_multiple * value["target"] - value["band"] // 1)
    return None


BOUNDED = [
    "market.age", "market.time_to_close", "breakers.daily_loss", "breakers.weekly_loss", "breakers.drawdown",
    "size.marketable", "size.position", "risk.total", "risk.market", "risk.user", "risk.cash", "book.spread",
    "book.their_price", "book.mid", "book.depth", "book.liquidity",
]  # fmt: skip


def features(scene: Scene, answer: reference.Answer, outcome: Outcome) -> set[str]:
    """Return what is worth having seen of this decision."""
    case, config = case_of(scene), config_of(scene)
    found = {reason.value for reason in outcome.reasons}
    for name, verdict, value, bound, _ in outcome.checks:
        units = None if verdict is None else margin(scene, outcome, name, value, bound)
        found |= {f"{name} at its bound"} if units == 0 and verdict else set()
        found |= {f"{name} one beyond"} if units == -1 and not verdict else set()
    if answer.reasons:
        walked = answer.imagined is not None and answer.imagined[0] > 0
        return found | {f"imagined despite {reason}" for reason in answer.reasons if walked}
    found.add(f"{case.side or case.kind} in {case.scope}")
    if not case.opens:
        found |= {f"a reduction despite {code}" for code in stopping_an_open(case, config)}
    elif config.cap_policy == "SHRINK" and (answer.target or 0) < reference.sized(case, config)[0]:
        found.add("shrunk")
    if case.trades:
        found |= of_a_trade(case, config, answer)
    return found


def stopping_an_open(case: reference.Case, config: reference.Config) -> set[str]:
    """Return what would stop a reduction if it were an open."""
    as_open = reference.Case(**{**vars(case), "side": "BUY"})
    _, stopped = reference.risk(as_open, config, answer_target(as_open, config), None)
    return reference.market(as_open, config) | reference.breakers(as_open, config) | stopped


def answer_target(case: reference.Case, config: reference.Config) -> Fraction:
    return reference.clamped(case, config)[0]


def of_a_trade(case: reference.Case, config: reference.Config, answer: reference.Answer) -> set[str]:
    quote, target = reference.Quote(case, config), answer.target or Fraction(0)
    copied = reference.down(reference.percent(config.copy_pct, case.their_notional))
    of_equity = reference.down(reference.percent(config.max_of_equity_pct, case.equity))
    whole = reference.ordered(case, quote, target, None)
    seen = {
        f"fee with exponent {case.fee_exponent}": answer.fee > 0,
        "partial": answer.partial,
        "three levels": len(answer.fills) > 2,
        "clamped up": copied < config.min_trade == target,
        "clamped to the maximum": copied > config.max_trade == target,
        "clamped to the share of equity": copied > of_equity == target,
        "clamped to the user's own": config.own_maximum is not None and copied > config.own_maximum == target,
        "a SELL of all that is held": case.side == "SELL" and answer.shares > case.held - reference.LOT,
        "a SELL below the minimum": case.side == "SELL"
        and config.sell_sizing == "NOTIONAL"
        and target < config.min_trade,
        "a SELL of a fraction": case.side == "SELL" and config.sell_sizing == "PROPORTIONAL",
        "walked again with less": case.side == "BUY" and whole[3] + whole[4] > case.cash,
        "spent to the last micro": case.side == "BUY" and answer.notional + answer.fee == case.cash,
        "after own consumption": any(fill.price in case.taken for fill in answer.fills),
        "past what was consumed": any(price in case.taken for _, price, _ in quote.within(quote.limit))
        and answer.fills[0].level > 0,
        "a crossed book": answer.bid is not None and answer.ask is not None and answer.bid > answer.ask,
        "a touching book": answer.bid == answer.ask,
        "one tick wide": answer.bid is not None and answer.ask == answer.bid + 1000 * reference.MICRO,
        "a huge level": any(size > 10**9 for _, size in quote.side),
        "with a past end": case.seconds_to_close is not None and case.seconds_to_close <= 0,
    }
    return {name for name, is_so in seen.items() if is_so}


SCOPES, KINDS = ("EXEC_USER", "EXEC_GLOBAL"), ("BUY", "SELL", "SPLIT", "MERGE")
WANTED = (
    {reason.value for reason in Reason}
    | {f"{name} {where}" for name in BOUNDED for where in ("at its bound", "one beyond")}
    | {f"{kind} in {scope}" for kind in KINDS for scope in SCOPES}
    | {f"fee with exponent {exponent}" for exponent in (0, 1, 2)}
    | {f"a reduction despite {code}" for code in (
        "MARKET_CLOSING_SOON", "MARKET_BLACKLISTED", "BREAKER_DAILY_LOSS", "BREAKER_WEEKLY_LOSS", "BREAKER_DRAWDOWN",
        "RISK_CAP_TOTAL", "RISK_CAP_MARKET", "RISK_CAP_USER", "INSUFFICIENT_CASH",
    )}
    | {f"imagined despite {reason}" for reason in Reason if reason not in {
        Reason.UNSUPPORTED_EVENT, Reason.BOOK_UNAVAILABLE, Reason.NO_POSITION, Reason.NO_POSITION_TO_MERGE,
    }}
    | {
        "partial", "three levels", "clamped up", "clamped to the maximum", "clamped to the share of equity",
        "clamped to the user's own", "a SELL of all that is held", "a SELL below the minimum", "a SELL of a fraction",
        "walked again with less", "spent to the last micro", "after own consumption", "past what was consumed",
        "a crossed book", "a touching book", "one tick wide", "a huge level", "with a past end", "shrunk",
    }
)  # fmt: skip


def test_a_fixed_sweep_reaches_every_outcome_and_both_sides_of_every_bound() -> None:
    seen: Counter[str] = Counter()

    for spoiler in SPOILERS:
        for number in range(SWEPT_PER_SPOILER):
            scene = scene_of(Thrown(f"{spoiler} {number}"), spoiler)
            seen.update(features(scene, *agree(scene)))
    assert WANTED - seen.keys() == set()
