"""The engine against an independent reference in rationals, on random groups, portfolios, configurations and books."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common.domain.kinds import GroupKind, Scope, Side
from tests.core import reference_decision as reference
from tests.support.decisions import CONDITION, MARKET, NOW, YES, Scene, book, levels

SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def micros(low: str, high: str, step: str = "0.000001") -> st.SearchStrategy[int]:
    low_n, high_n, step_n = (int(Decimal(each) * 10**6) for each in (low, high, step))
    return st.integers(low_n // step_n, high_n // step_n).map(lambda count: count * step_n)


def amount(value: int) -> Fraction:
    return Fraction(value, 10**6)


@st.composite
def sides(draw: st.DrawFn, middle: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Books of one market: empty, one-sided, crossed, huge, one tick wide."""
    tick = draw(st.sampled_from([1_000, 10_000]))
    sizes = st.one_of(
        micros("0.01", "40", "0.01"), micros("0.000001", "20"), micros("20", "400", "0.01"), st.just(10**12)
    )

    def side(sign: int) -> list[tuple[int, int]]:
        start = middle + sign * tick * draw(st.sampled_from([0, 1, 1, 2, -1]))
        count = draw(st.sampled_from([0, 1, 2, 3, 4, 6]))
        return [(start + sign * tick * place, draw(sizes)) for place in range(count)]

    return side(-1), side(1)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Scene, reference.Case, reference.Config]:
    kind = draw(st.sampled_from(["TRADE", "TRADE", "TRADE", "TRADE", "SPLIT", "MERGE"]))
    side = draw(st.sampled_from(["BUY", "SELL"])) if kind == "TRADE" else None
    middle = draw(st.integers(45, 55)) * 10_000
    price = middle + draw(st.one_of(st.sampled_from([-10_000, 0, 10_000]), micros("0", "0.02")))
    shares = draw(micros("1", "3000", "0.01"))
    notional = max(1, price * shares // 10**6 + draw(st.integers(-2, 2)))
    bids, asks = draw(sides(middle))
    equity = draw(st.one_of(micros("600", "800"), st.just(10_000 * 10**6), micros("2000", "20000")))
    near = st.integers(-2, 2)
    cash = draw(st.one_of(micros("4", "20"), st.just(10_000 * 10**6), st.just(10_000 * 10**6)))
    caps = {"max_total_exposure_pct": 70, "max_exposure_per_market_pct": 5, "max_exposure_per_user_pct": 20}
    exposures = [
        draw(st.sampled_from([0, 0, 0, 0, equity * pct // 100 - 5 * 10**6 + draw(near), equity * pct // 100 - 10**6]))
        for pct in caps.values()
    ]
    exposures = [max(0, each) for each in exposures]
    config = draw(configs())
    left = draw(st.one_of(st.none(), st.sampled_from([90_000] * 5 + [-5, 1799, 1800, 1801])))
    age = draw(st.sampled_from([3] * 9 + [119, 120, 121]))
    held = draw(st.one_of(st.just(0), micros("0.000001", "30"), micros("0.01", "30", "0.01")))
    shadow = draw(st.one_of(st.none(), micros("1", "6000")))
    taken = [(level[0], draw(micros("0.01", "20", "0.01"))) for level in (asks if side == "BUY" else bids)[:2]]
    taken = taken if draw(st.booleans()) else []
    starts = [
        draw(st.one_of(st.none(), st.just(equity), st.just(equity * 103 // 100), micros("400", "25000")))
        for _ in range(2)
    ]
    scene = Scene(
        market=replace(
            MARKET,
            close_time=None if left is None else NOW + timedelta(seconds=left),
            closed=draw(st.sampled_from([False] * 39 + [True])),
            resolved=draw(st.sampled_from([False] * 39 + [True])),
            accepting_orders=draw(st.sampled_from([True] * 39 + [False])),
            fee_rate=Decimal(draw(st.sampled_from(["0", "0.07", "0.0625"]))),
            fee_exponent=Decimal(draw(st.sampled_from([1, 1, 2]))),
        ),
        book=None
        if kind != "TRADE" or draw(st.sampled_from([False] * 39 + [True]))
        else book(
            levels(*((str(Decimal(p) / 10**6), str(Decimal(s) / 10**6)) for p, s in bids)),
            levels(*((str(Decimal(p) / 10**6), str(Decimal(s) / 10**6)) for p, s in asks)),
        ),
        config=config,
    ).with_(
        scope=draw(st.sampled_from([Scope.EXEC_USER, Scope.EXEC_GLOBAL])),
        engine_paused=draw(st.sampled_from([False] * 39 + [True])),
        user_enabled=draw(st.sampled_from([True] * 39 + [False])),
        kind=GroupKind(kind),
        side=None if side is None else Side(side),
        asset_id=YES if kind == "TRADE" else None,
        share_micros=shares,
        notional_micros=notional,
        first_event_time=NOW - timedelta(seconds=age),
        cash_micros=cash,
        equity_micros=equity,
        exposure_total_micros=exposures[0],
        exposure_market_micros=exposures[1],
        exposure_user_micros=exposures[2],
        held_share_micros=held,
        day_start_equity_micros=starts[0],
        week_start_equity_micros=starts[1],
        day_flows_micros=draw(st.sampled_from([0, 0, 100 * 10**6])),
        week_flows_micros=draw(st.sampled_from([0, 0, -100 * 10**6])),
        peak_equity_micros=max(equity, draw(st.sampled_from([0, 0, 0, 11_000 * 10**6, 25_000 * 10**6]))),
        drawdown_tripped=draw(st.sampled_from([False] * 39 + [True])),
        taken=tuple(sorted(dict(taken).items())),
        shadow_held_micros=shadow,
    )
    if draw(st.sampled_from([False] * 39 + [True])):
        scene = scene.with_(market=None)
    return scene, case_of(scene), config_of(config)


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    changes: dict[str, Any] = {
        "copy_pct": draw(st.sampled_from(["1", "0.5", "2.5", "100"])),
        "below_min": draw(st.sampled_from(["CLAMP_UP", "SKIP"])),
        "sell_sizing": draw(st.sampled_from(["NOTIONAL", "PROPORTIONAL"])),
        "cap_policy": draw(st.sampled_from(["SKIP", "SHRINK"])),
        "depth_multiple": draw(st.sampled_from(["1.25", "0.5", "0", "3"])),
        "min_trade_notional_micros": draw(st.sampled_from([5_000_000, 500_000, 0])),
        "max_spread_micros": draw(st.sampled_from([20_000, 10_000, 100_000])),
        "max_worse_than_their_price_micros": draw(st.sampled_from([10_000, 0, 50_000])),
        "max_chase_mid_micros": draw(st.sampled_from([15_000, 5_000, 50_000])),
        "user_max_trade_notional_micros": draw(st.sampled_from([None, 8_000_000, 2_000_000])),
        "market_blacklist": draw(st.sampled_from([[], [], [], [CONDITION]])),
    }
    return {name: value for name, value in changes.items() if draw(st.booleans())}


def case_of(scene: Scene) -> reference.Case:
    group, view, market, given_book = scene.group, scene.view, scene.market, scene.book
    case = reference.Case(
        scope=scene.clock.scope,
        kind=group.kind,
        side=group.side,
        their_notional=amount(group.notional_micros),
        their_shares=amount(group.share_micros),
        age_s=Fraction(int((NOW - group.first_event_time).total_seconds())),
        paused=scene.clock.engine_paused,
        user_enabled=scene.clock.user_enabled,
        market_known=market is not None,
        has_book=given_book is not None,
        cash=amount(view.cash_micros),
        equity=amount(view.equity_micros),
        exposure_total=amount(view.exposure_total_micros),
        exposure_market=amount(view.exposure_market_micros),
        exposure_user=amount(view.exposure_user_micros),
        held=amount(view.held_share_micros),
        day_start=None if view.day_start_equity_micros is None else amount(view.day_start_equity_micros),
        day_flows=amount(view.day_flows_micros),
        week_start=None if view.week_start_equity_micros is None else amount(view.week_start_equity_micros),
        week_flows=amount(view.week_flows_micros),
        peak=amount(view.peak_equity_micros),
        tripped=view.drawdown_tripped,
        taken={amount(price): amount(shares) for price, shares in view.taken},
        shadow_held=None if view.shadow_held_micros is None else amount(view.shadow_held_micros),
    )
    if given_book is not None:
        case.bids = [(amount(each.price_micros), amount(each.share_micros)) for each in given_book.bids]
        case.asks = [(amount(each.price_micros), amount(each.share_micros)) for each in given_book.asks]
    if market is not None:
        case.closed, case.resolved, case.accepting = market.closed, market.resolved, market.accepting_orders
        case.fee_rate, case.fee_exponent = Fraction(market.fee_rate), int(market.fee_exponent)
        if market.close_time is not None:
            case.seconds_to_close = Fraction(int((market.close_time - NOW).total_seconds()))
    return case


def config_of(changes: dict[str, Any]) -> reference.Config:
    config = reference.Config()
    if "copy_pct" in changes:
        config.copy_pct = Fraction(changes["copy_pct"])
    if "depth_multiple" in changes:
        config.depth_multiple = Fraction(changes["depth_multiple"])
    config.below_min = changes.get("below_min", config.below_min)
    config.sell_sizing = changes.get("sell_sizing", config.sell_sizing)
    config.cap_policy = changes.get("cap_policy", config.cap_policy)
    config.blacklisted = bool(changes.get("market_blacklist"))
    for name, mine in (
        ("min_trade_notional_micros", "min_trade"),
        ("max_spread_micros", "spread"),
        ("max_worse_than_their_price_micros", "worse"),
        ("max_chase_mid_micros", "chase"),
        ("user_max_trade_notional_micros", "own_maximum"),
    ):
        if changes.get(name) is not None:
            setattr(config, mine, amount(changes[name]))
    return config


@SETTINGS
@given(scenes())
def test_the_engine_decides_as_the_reference_does(drawn: tuple[Scene, reference.Case, reference.Config]) -> None:
    scene, case, config = drawn
    answer, outcome = reference.decide(case, config), scene.decide()
    assert {reason.value for reason in outcome.reasons} == answer.reasons
    assert amount(outcome.target_notional_micros or 0) == answer.target
    filled = (outcome.filled_share_micros, outcome.filled_notional_micros, outcome.fee_micros)
    assert tuple(map(amount, filled)) == (answer.shares, answer.notional, answer.fee)
    assert [
        (fill.level, amount(fill.price_micros), amount(fill.share_micros), amount(fill.notional_micros))
        for fill in outcome.fills
    ] == answer.levels
    imagined = (outcome.counterfactual_share_micros, outcome.counterfactual_notional_micros)
    if answer.imagined is None:
        assert imagined == (None, None)
    else:
        assert (amount(imagined[0] or 0), amount(imagined[1] or 0)) == answer.imagined


@SETTINGS
@given(scenes())
def test_a_decision_never_oversteps(drawn: tuple[Scene, reference.Case, reference.Config]) -> None:
    scene, _, _ = drawn
    outcome, group, view = scene.decide(), scene.group, scene.view
    assert (outcome.decision == "SKIP") == bool(outcome.reasons)
    if group.kind is GroupKind.TRADE and outcome.fills:
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
