"""Every guard at its bound, where it passes, and one micro beyond, where it fires; every reason code at least once."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from libs.common.domain.kinds import GroupKind, Scope, Side
from libs.common.domain.reasons import Reason
from tests.support.decisions import (
    BUY,
    CONDITION,
    GLOBAL,
    MERGE,
    NOW,
    SELL,
    SPLIT,
    YES,
    Scene,
    book,
    levels,
    usdc,
)

DEEP_BIDS = levels(("0.49", "10000"))
DEEP_ASKS = levels(("0.50", "10000"))


def book_with_spread(bid: str, ask: str) -> Any:
    return book(levels((bid, "10000")), levels((ask, "10000")))


EDGES: list[tuple[str, Scene, Scene]] = [
    # reason, scene at the bound (executes), scene just beyond it (skips for that reason alone)
    ("ENGINE_PAUSED", BUY, BUY.with_(engine_paused=True)),
    ("USER_DISABLED", BUY, BUY.with_(user_enabled=False)),
    ("UNSUPPORTED_EVENT", BUY, BUY.with_(condition_id="0x" + "c" * 62)),
    ("MARKET_UNKNOWN", BUY, BUY.with_(market=None)),
    ("MARKET_CLOSED", BUY, BUY.with_(closed=True)),
    ("MARKET_CLOSED", BUY, BUY.with_(resolved=True)),
    ("MARKET_CLOSED", BUY, BUY.with_(accepting_orders=False)),
    ("MARKET_CLOSED", SELL, SELL.with_(closed=True)),
    (
        "MARKET_CLOSING_SOON",
        BUY.with_(close_time=NOW + timedelta(minutes=30)),
        BUY.with_(close_time=NOW + timedelta(minutes=30) - timedelta(microseconds=1)),
    ),
    ("MARKET_BLACKLISTED", BUY.with_(market_blacklist=["0xother"]), BUY.with_(market_blacklist=[CONDITION])),
    ("MARKET_BLACKLISTED", BUY, BUY.with_(market_blacklist=[YES])),
    (
        "STALE_EVENT",
        BUY.with_(first_event_time=NOW - timedelta(seconds=120)),
        BUY.with_(first_event_time=NOW - timedelta(seconds=120, microseconds=1)),
    ),
    (
        "STALE_EVENT",
        SELL.with_(first_event_time=NOW - timedelta(seconds=120)),
        SELL.with_(first_event_time=NOW - timedelta(seconds=120, microseconds=1)),
    ),
    (
        "BREAKER_DAILY_LOSS",
        BUY.with_(equity_micros=usdc(9_700)),
        BUY.with_(equity_micros=usdc(9_700) - 1),
    ),
    (
        "BREAKER_DAILY_LOSS",  # deposits since raise the start
        BUY.with_(day_flows_micros=usdc(309) - 1, day_start_equity_micros=usdc(10_000)),
        BUY.with_(day_flows_micros=usdc(310), day_start_equity_micros=usdc(10_000)),
    ),
    (
        "BREAKER_WEEKLY_LOSS",
        BUY.with_(equity_micros=usdc(9_200), day_start_equity_micros=usdc(9_200)),
        BUY.with_(equity_micros=usdc(9_200) - 1, day_start_equity_micros=usdc(9_200)),
    ),
    (
        "BREAKER_DRAWDOWN",
        BUY.with_(peak_equity_micros=usdc(12_500), equity_micros=usdc(11_000)),
        BUY.with_(peak_equity_micros=usdc(12_500), equity_micros=usdc(11_000) - 1),
    ),
    ("BREAKER_DRAWDOWN", BUY, BUY.with_(drawdown_tripped=True)),
    (
        "BELOW_MIN_NOTIONAL",  # a maximum of 0.75 % of equity below the minimum
        BUY.with_(equity_micros=usdc("666.666667"), day_start_equity_micros=None, week_start_equity_micros=None,
                  peak_equity_micros=usdc("666.666667"), max_exposure_per_market_pct="100"),
        BUY.with_(equity_micros=usdc("666.666666"), day_start_equity_micros=None, week_start_equity_micros=None,
                  peak_equity_micros=usdc("666.666666"), max_exposure_per_market_pct="100"),
    ),
    (
        "BELOW_MIN_NOTIONAL",
        BUY.with_(below_min="SKIP", notional_micros=usdc(500), share_micros=usdc(1000)),
        BUY.with_(below_min="SKIP", notional_micros=usdc(500) - 1, share_micros=usdc(1000)),
    ),
    (
        "BELOW_MIN_NOTIONAL",
        BUY.with_(user_max_trade_notional_micros=usdc(5)),
        BUY.with_(user_max_trade_notional_micros=usdc(5) - 1),
    ),
    (
        "BELOW_MIN_NOTIONAL",  # the exchange's own minimum of a marketable BUY
        BUY.with_(min_trade_notional_micros=0, notional_micros=usdc(100), share_micros=usdc(200)),
        BUY.with_(min_trade_notional_micros=0, notional_micros=usdc(100) - 1, share_micros=usdc(200)),
    ),
    ("BELOW_MIN_NOTIONAL", SPLIT.with_(share_micros=100), SPLIT.with_(share_micros=99)),
    ("NO_POSITION", SELL.with_(held_share_micros=usdc("0.05")), SELL.with_(held_share_micros=0)),
    ("NO_POSITION_TO_MERGE", MERGE.with_(held_share_micros=1), MERGE.with_(held_share_micros=0)),
    (
        "INSUFFICIENT_CASH",
        BUY.with_(cash_micros=usdc(10)),
        BUY.with_(cash_micros=usdc(10) - 1),
    ),
    (
        "INSUFFICIENT_CASH",  # 0.07 * 10 * (1 - 0.505) at the limit of mid + 0.01
        BUY.with_(cash_micros=usdc("10.3465"), fee_rate=Decimal("0.07"), max_chase_mid_micros=10_000),
        BUY.with_(cash_micros=usdc("10.3465") - 1, fee_rate=Decimal("0.07"), max_chase_mid_micros=10_000),
    ),
    ("INSUFFICIENT_CASH", SPLIT.with_(cash_micros=1), SPLIT.with_(cash_micros=0)),
    (
        "RISK_CAP_TOTAL",
        BUY.with_(exposure_total_micros=usdc(6_990)),
        BUY.with_(exposure_total_micros=usdc(6_990) + 1),
    ),
    (
        "RISK_CAP_MARKET",
        BUY.with_(exposure_market_micros=usdc(490)),
        BUY.with_(exposure_market_micros=usdc(490) + 1),
    ),
    (
        "RISK_CAP_MARKET",
        SPLIT.with_(exposure_market_micros=usdc(490)),
        SPLIT.with_(exposure_market_micros=usdc(490) + 1),
    ),
    ("BOOK_UNAVAILABLE", BUY, BUY.with_(book=None)),
    ("BOOK_UNAVAILABLE", SELL, SELL.with_(book=None)),
    (
        "SPREAD_TOO_WIDE",
        BUY.with_(book=book_with_spread("0.48", "0.50")),
        BUY.with_(book=book_with_spread("0.479999", "0.50")),
    ),
    (
        "WORSE_THAN_THEIR_PRICE",
        BUY.with_(book=book_with_spread("0.50", "0.51")),
        BUY.with_(book=book_with_spread("0.50", "0.510001")),
    ),
    (
        "WORSE_THAN_THEIR_PRICE",
        SELL.with_(book=book_with_spread("0.49", "0.50")),
        SELL.with_(book=book_with_spread("0.489999", "0.50")),
    ),
    (
        "CHASING_MID",
        BUY.with_(book=book_with_spread("0.47", "0.50"), max_spread_micros=50_000),
        BUY.with_(book=book_with_spread("0.469997", "0.50"), max_spread_micros=50_000),
    ),
    (
        "INSUFFICIENT_DEPTH",
        BUY.with_(book=book(DEEP_BIDS, levels(("0.50", "25")))),
        BUY.with_(book=book(DEEP_BIDS, levels(("0.50", "24.999999")))),
    ),
    (
        "INSUFFICIENT_DEPTH",
        SELL.with_(book=book(levels(("0.50", "25")), levels(("0.51", "25")))),
        SELL.with_(book=book(levels(("0.50", "24.999998")), levels(("0.51", "25")))),
    ),
    (
        "NO_LIQUIDITY_WITHIN_BOUNDS",  # all that is there was taken before
        BUY.with_(book=book(DEEP_BIDS, levels(("0.50", "100"))), taken=((usdc("0.50"), usdc(75)),)),
        BUY.with_(book=book(DEEP_BIDS, levels(("0.50", "100"))), taken=((usdc("0.50"), usdc(100)),)),
    ),
]  # fmt: skip
ALONGSIDE = {
    "WORSE_THAN_THEIR_PRICE": {"NO_LIQUIDITY_WITHIN_BOUNDS"},
    "CHASING_MID": {"NO_LIQUIDITY_WITHIN_BOUNDS"},
}
"""Nothing lies within a bound that even the best level is beyond."""


@pytest.mark.parametrize(("reason", "at", "beyond"), EDGES, ids=[f"{n}-{edge[0]}" for n, edge in enumerate(EDGES)])
def test_a_guard_passes_at_its_bound_and_fires_one_micro_beyond(reason: str, at: Scene, beyond: Scene) -> None:
    assert at.reasons() == set()
    assert beyond.reasons() == {reason} | ALONGSIDE.get(reason, set())


def test_in_the_global_portfolio_a_cap_carries_risk_cap_global_beside_its_own_code() -> None:
    assert GLOBAL.with_(exposure_user_micros=usdc(1_990)).reasons() == set()
    assert GLOBAL.with_(exposure_user_micros=usdc(1_990) + 1).reasons() == {"RISK_CAP_USER", "RISK_CAP_GLOBAL"}
    assert GLOBAL.with_(exposure_total_micros=usdc(6_990) + 1).reasons() == {"RISK_CAP_TOTAL", "RISK_CAP_GLOBAL"}


def test_the_user_cap_does_not_exist_in_a_users_own_portfolio() -> None:
    assert BUY.with_(exposure_user_micros=usdc(9_000)).reasons() == set()


def test_every_reason_code_is_produced() -> None:
    produced = {reason for _, _, beyond in EDGES for reason in beyond.reasons()}
    produced |= GLOBAL.with_(exposure_user_micros=usdc(2_000)).reasons()
    assert produced == {reason.value for reason in Reason}


@pytest.mark.parametrize(
    "change",
    [
        {"drawdown_tripped": True},
        {"equity_micros": usdc(5_000)},
        {"exposure_total_micros": usdc(20_000), "exposure_market_micros": usdc(20_000)},
        {"market_blacklist": [CONDITION]},
        {"close_time": NOW + timedelta(minutes=1)},
        {"cash_micros": 0},
    ],
)
@pytest.mark.parametrize("scene", [SELL, MERGE])
def test_breakers_caps_blacklist_and_a_closing_market_never_stop_a_reduction(
    scene: Scene, change: dict[str, Any]
) -> None:
    assert scene.with_(**change).reasons() == set()


@pytest.mark.parametrize("scene", [SELL, MERGE, SPLIT])
def test_pause_a_disabled_user_staleness_and_a_closed_market_stop_everything(scene: Scene) -> None:
    assert scene.with_(engine_paused=True, user_enabled=False).reasons() == {"ENGINE_PAUSED", "USER_DISABLED"}
    assert scene.with_(first_event_time=NOW - timedelta(hours=1)).reasons() == {"STALE_EVENT"}
    assert scene.with_(closed=True).reasons() == {"MARKET_CLOSED"}


def test_only_the_first_phase_with_a_failure_is_reported_but_all_its_failures_are() -> None:
    scene = BUY.with_(
        closed=True,
        first_event_time=NOW - timedelta(hours=1),
        market_blacklist=[CONDITION],
        close_time=NOW + timedelta(seconds=1),
        drawdown_tripped=True,
    )
    outcome = scene.decide()
    assert [reason.value for reason in outcome.reasons] == [
        "MARKET_CLOSED", "MARKET_CLOSING_SOON", "MARKET_BLACKLISTED", "STALE_EVENT",
    ]  # fmt: skip
    assert {check[0].split(".")[0] for check in outcome.checks} == {"control", "market"}
    assert scene.with_(engine_paused=True).reasons() == {"ENGINE_PAUSED"}


def test_an_end_in_the_past_with_orders_still_accepted_passes_flagged() -> None:
    outcome = BUY.with_(close_time=NOW - timedelta(days=1)).decide()
    assert outcome.decision == "EXECUTE"
    (check,) = [check for check in outcome.checks if check[0] == "market.time_to_close"]
    assert check[1] is None
    assert "unknown" in check[2]


def test_an_empty_side_is_too_wide_and_without_liquidity() -> None:
    assert BUY.with_(book=book(DEEP_BIDS, ())).reasons() == {"SPREAD_TOO_WIDE", "NO_LIQUIDITY_WITHIN_BOUNDS"}
    assert BUY.with_(book=book((), DEEP_ASKS)).reasons() == {"SPREAD_TOO_WIDE"}


def test_the_reference_is_the_exact_average_not_its_rounded_form() -> None:
    # 100 / 300 = 0.333333...: the bound is 0.343333...; 0.343333 passes, 0.343334 does not
    group = {"notional_micros": usdc(1000), "share_micros": usdc(3000)}
    narrow = {"max_spread_micros": 1_000_000, "max_chase_mid_micros": 1_000_000}
    assert BUY.with_(book=book_with_spread("0.33", "0.343333"), **group, **narrow).reasons() == set()
    beyond = BUY.with_(book=book_with_spread("0.33", "0.343334"), **group, **narrow).reasons()
    assert beyond == {"WORSE_THAN_THEIR_PRICE", "NO_LIQUIDITY_WITHIN_BOUNDS"}
    sell = SELL.with_(book=book_with_spread("0.323334", "0.33"), **group, **narrow)
    assert sell.reasons() == set()
    assert sell.with_(book=book_with_spread("0.323333", "0.33")).reasons() == beyond


def test_a_tripped_drawdown_is_reported_even_by_a_reduction() -> None:
    assert SELL.with_(equity_micros=usdc(8_000)).decide().drawdown_tripped
    assert not SELL.with_(equity_micros=usdc(8_800)).decide().drawdown_tripped


def test_a_split_of_a_market_with_three_outcomes_is_unsupported() -> None:
    assert SPLIT.with_(asset_ids=("1", "2", "3")).reasons() == {"UNSUPPORTED_EVENT"}


def test_a_group_without_a_side_is_unsupported() -> None:
    assert BUY.with_(side=None).reasons() == {"UNSUPPORTED_EVENT"}
    assert BUY.with_(kind=GroupKind.MERGE, condition_id=None).reasons() == {"UNSUPPORTED_EVENT"}


def test_scopes_share_all_other_rules() -> None:
    for scene in (BUY, SELL, SPLIT, MERGE):
        here, there = scene.decide(), scene.with_(scope=Scope.EXEC_GLOBAL).decide()
        assert (here.decision, here.filled_share_micros, here.fills) == (
            there.decision, there.filled_share_micros, there.fills,
        )  # fmt: skip
    assert SELL.group.side is Side.SELL
