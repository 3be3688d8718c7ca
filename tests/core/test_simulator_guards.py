"""Every guard at its bound, where it passes, and one micro beyond, where it fires; every reason code at least once."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from libs.common.domain.kinds import Scope, Side
from libs.common.domain.reasons import Reason
from services.simulator.core.outcome import Check
from tests.support.decisions import (
    BUY,
    CONDITION,
    GLOBAL,
    MERGE,
    NO,
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
    ("UNSUPPORTED_EVENT", BUY, BUY.with_(asset_id=None)),
    ("UNSUPPORTED_EVENT", BUY, BUY.with_(side=None)),
    ("UNSUPPORTED_EVENT", SPLIT.with_(share_micros=100), SPLIT.with_(share_micros=0)),
    ("UNSUPPORTED_EVENT", MERGE, MERGE.with_(condition_id=None)),
    ("UNSUPPORTED_EVENT", SPLIT, SPLIT.with_(asset_ids=(YES, NO, "1003"))),
    ("MARKET_UNKNOWN", SPLIT, SPLIT.with_(market=None)),
    (
        "MARKET_CLOSING_SOON",
        BUY.with_(close_time=NOW + timedelta(minutes=30)),
        BUY.with_(close_time=NOW + timedelta(minutes=30) - timedelta(microseconds=1)),
    ),
    (
        "MARKET_CLOSING_SOON",
        SPLIT.with_(close_time=NOW + timedelta(minutes=30)),
        SPLIT.with_(close_time=NOW + timedelta(minutes=30) - timedelta(microseconds=1)),
    ),
    (
        "MARKET_CLOSING_SOON",  # an end that is past, even just now, is not the end while orders are accepted
        BUY.with_(close_time=NOW),
        BUY.with_(close_time=NOW + timedelta(microseconds=1)),
    ),
    ("MARKET_BLACKLISTED", BUY.with_(market_blacklist=["0xother"]), BUY.with_(market_blacklist=[CONDITION])),
    ("MARKET_BLACKLISTED", BUY, BUY.with_(market_blacklist=[YES])),
    ("MARKET_BLACKLISTED", SPLIT, SPLIT.with_(market_blacklist=[CONDITION])),
    ("MARKET_BLACKLISTED", BUY, BUY.with_(condition_id=None, market_blacklist=[CONDITION])),
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
        "BREAKER_DAILY_LOSS",  # 3 % of 10,000.000033 is 300.00000099: a loss of 300.000001 is more
        BUY.with_(day_start_equity_micros=usdc("10000.000033"), equity_micros=usdc("9700.000033")),
        BUY.with_(day_start_equity_micros=usdc("10000.000033"), equity_micros=usdc("9700.000032")),
    ),
    (
        "BREAKER_DAILY_LOSS",
        SPLIT.with_(equity_micros=usdc(9_700)),
        SPLIT.with_(equity_micros=usdc(9_700) - 1),
    ),
    (
        "BREAKER_WEEKLY_LOSS",  # 8 % of 10,000.000012 is 800.00000096; a withdrawal lowered the start to that
        BUY.with_(week_start_equity_micros=usdc("10500.000012"), week_flows_micros=usdc(-500),
                  equity_micros=usdc("9200.000012"), day_start_equity_micros=None),
        BUY.with_(week_start_equity_micros=usdc("10500.000012"), week_flows_micros=usdc(-500),
                  equity_micros=usdc("9200.000011"), day_start_equity_micros=None),
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
    (
        "BREAKER_DRAWDOWN",  # 12 % of 12,500.000008 is 1,500.00000096: a fall of 1,500.000001 is more
        BUY.with_(peak_equity_micros=usdc("12500.000008"), equity_micros=usdc("11000.000008")),
        BUY.with_(peak_equity_micros=usdc("12500.000008"), equity_micros=usdc("11000.000007")),
    ),
    ("BREAKER_DRAWDOWN", BUY, BUY.with_(drawdown_tripped=True)),
    ("BREAKER_DRAWDOWN", SPLIT, SPLIT.with_(drawdown_tripped=True)),
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
    (
        "BELOW_MIN_NOTIONAL",  # the exchange's minimum is of BUYs: a SELL of 0.50 is fine, with a minimum it is not
        SELL.with_(min_trade_notional_micros=usdc("0.5"), notional_micros=usdc(50), below_min="SKIP"),
        SELL.with_(min_trade_notional_micros=usdc("0.5") + 1, notional_micros=usdc(50), below_min="SKIP"),
    ),
    (
        "BELOW_MIN_NOTIONAL",  # 1 % of 100 micros is one micro, of 99 none
        SELL.with_(min_trade_notional_micros=0, notional_micros=usdc(1), share_micros=usdc(2)),
        SELL.with_(min_trade_notional_micros=0, notional_micros=99, share_micros=198),
    ),
    ("BELOW_MIN_NOTIONAL", SPLIT.with_(share_micros=100), SPLIT.with_(share_micros=99)),
    ("BELOW_MIN_NOTIONAL", MERGE.with_(share_micros=100), MERGE.with_(share_micros=99)),
    ("NO_POSITION", SELL.with_(held_share_micros=usdc("0.01")), SELL.with_(held_share_micros=0)),
    (
        "NO_POSITION",
        SELL.with_(held_share_micros=usdc("0.01"), sell_sizing="PROPORTIONAL"),
        SELL.with_(held_share_micros=0, sell_sizing="PROPORTIONAL"),
    ),
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
        "RISK_CAP_MARKET",  # 5 % of 10,000.000019 is 500.00000095: 490.000001 + 10 is more
        BUY.with_(equity_micros=usdc("10000.000019"), exposure_market_micros=usdc(490)),
        BUY.with_(equity_micros=usdc("10000.000019"), exposure_market_micros=usdc(490) + 1),
    ),
    (
        "RISK_CAP_TOTAL",
        SPLIT.with_(exposure_total_micros=usdc(6_990)),
        SPLIT.with_(exposure_total_micros=usdc(6_990) + 1),
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
        "SPREAD_TOO_WIDE",
        SELL.with_(book=book_with_spread("0.49", "0.51")),
        SELL.with_(book=book_with_spread("0.49", "0.510001")),
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
        BUY.with_(book=book_with_spread("0.469999", "0.50"), max_spread_micros=50_000),
    ),  # the mid of 0.4849995 is rounded down, so that 0.50 is 0.015001 above it
    (
        "CHASING_MID",
        SELL.with_(book=book_with_spread("0.49", "0.520001"), max_spread_micros=50_000),
        SELL.with_(book=book_with_spread("0.49", "0.520002"), max_spread_micros=50_000),
    ),
    (
        "INSUFFICIENT_DEPTH",
        BUY.with_(book=book(DEEP_BIDS, levels(("0.50", "25")))),
        BUY.with_(book=book(DEEP_BIDS, levels(("0.50", "24.999999")))),
    ),
    (
        "INSUFFICIENT_DEPTH",  # 1.25 times 10.000001 is 12.50000125
        BUY.with_(notional_micros=usdc("1000.0001"), book=book(DEEP_BIDS, levels(("0.50", "25.000004")))),
        BUY.with_(notional_micros=usdc("1000.0001"), book=book(DEEP_BIDS, levels(("0.50", "25.000002")))),
    ),
    (
        "INSUFFICIENT_DEPTH",  # one lot is worth 0.005
        BUY.with_(depth_multiple="0.0005", book=book(DEEP_BIDS, levels(("0.50", "0.01")))),
        BUY.with_(depth_multiple="0.000500001", book=book(DEEP_BIDS, levels(("0.50", "0.01")))),
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
    (
        "NO_LIQUIDITY_WITHIN_BOUNDS",  # one lot is left of it, or less
        BUY.with_(book=book(DEEP_BIDS, levels(("0.50", "100"))), taken=((usdc("0.50"), usdc("99.99")),),
                  depth_multiple=0),
        BUY.with_(book=book(DEEP_BIDS, levels(("0.50", "100"))), taken=((usdc("0.50"), usdc("99.990001")),),
                  depth_multiple=0),
    ),
    (
        "NO_LIQUIDITY_WITHIN_BOUNDS",  # there would be some, but what is held is not one lot
        SELL.with_(held_share_micros=usdc("0.01")),
        SELL.with_(held_share_micros=1),
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
    assert {check[4].value for check in failed_checks(beyond) if check[4]} == beyond.reasons()


def failed_checks(scene: Scene) -> list[Check]:
    return [check for check in scene.decide().checks if check[1] is False]


def test_in_the_global_portfolio_a_cap_carries_risk_cap_global_beside_its_own_code() -> None:
    assert GLOBAL.with_(exposure_user_micros=usdc(1_990)).reasons() == set()
    assert GLOBAL.with_(exposure_user_micros=usdc(1_990) + 1).reasons() == {"RISK_CAP_USER", "RISK_CAP_GLOBAL"}
    assert GLOBAL.with_(exposure_total_micros=usdc(6_990) + 1).reasons() == {"RISK_CAP_TOTAL", "RISK_CAP_GLOBAL"}
    # 20 % of 10,000.000004 is 2,000.0000008: 1,990.000001 + 10 is more
    odd = GLOBAL.with_(equity_micros=usdc("10000.000004"))
    assert odd.with_(exposure_user_micros=usdc(1_990)).reasons() == set()
    assert odd.with_(exposure_user_micros=usdc(1_990) + 1).reasons() == {"RISK_CAP_USER", "RISK_CAP_GLOBAL"}


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


def verdict(scene: Scene, name: str) -> tuple[bool | None, Any]:
    """Return verdict and value of a check."""
    ((passed, value),) = [(check[1], check[2]) for check in scene.decide().checks if check[0] == name]
    return passed, value


def test_a_market_without_an_end_is_never_closing() -> None:
    assert verdict(BUY.with_(close_time=None), "market.time_to_close") == (None, "unknown")


def test_an_unknown_market_is_named_by_what_the_group_knows_of_it() -> None:
    assert verdict(BUY.with_(market=None), "market.known") == (False, YES)
    assert verdict(SPLIT.with_(market=None), "market.known") == (False, CONDITION)


def test_a_loss_of_nothing_is_no_loss() -> None:
    # what was there at the start and came in since must be more than nothing
    for start, flows in ((None, usdc(100)), (0, 0), (usdc(100), -usdc(100)), (usdc(100), -usdc(101))):
        scene = BUY.with_(
            day_start_equity_micros=start, day_flows_micros=flows,
            week_start_equity_micros=start, week_flows_micros=flows, equity_micros=-1,
        )  # fmt: skip
        assert verdict(scene, "breakers.daily_loss") == (None, "no start")
        assert verdict(scene, "breakers.weekly_loss") == (None, "no start")
    one = {"day_start_equity_micros": usdc(100), "day_flows_micros": -usdc(100) + 1, "equity_micros": 0}
    assert verdict(BUY.with_(**one), "breakers.daily_loss") == (False, {"equity": 0, "start": 1})
    assert verdict(BUY.with_(**{**one, "equity_micros": 1}), "breakers.daily_loss")[0] is True


def test_a_fall_needs_a_peak() -> None:
    assert not BUY.with_(peak_equity_micros=0, equity_micros=-1).decide().drawdown_tripped
    assert BUY.with_(peak_equity_micros=1, equity_micros=0).decide().drawdown_tripped


def test_a_reductions_breakers_are_shown_as_not_applicable() -> None:
    scene = SELL.with_(equity_micros=usdc(5_000), market_blacklist=[CONDITION], close_time=NOW + timedelta(minutes=1))
    names = ("breakers.daily_loss", "breakers.weekly_loss", "breakers.drawdown", "market.blacklist",
             "market.time_to_close")  # fmt: skip
    assert {verdict(scene, name)[0] for name in names} == {None}


def test_what_is_not_supported_is_neither_sized_nor_imagined() -> None:
    for change in ({"share_micros": 0}, {"side": None}, {"asset_id": None}, {"condition_id": "0x" + "c" * 62}):
        outcome = BUY.with_(**change).decide()
        assert [reason.value for reason in outcome.reasons] == ["UNSUPPORTED_EVENT"]
        assert (outcome.target_notional_micros, outcome.counterfactual_share_micros) == (None, None)
    assert SPLIT.with_(share_micros=1).reasons() == {"BELOW_MIN_NOTIONAL"}


def test_less_than_a_micro_of_depth_is_none_and_one_micro_is_too_little() -> None:
    dust = BUY.with_(book=book(DEEP_BIDS, levels(("0.50", "0.000001"))))  # half a micro, so none
    assert dust.reasons() == {"NO_LIQUIDITY_WITHIN_BOUNDS"}
    speck = BUY.with_(book=book(DEEP_BIDS, levels(("0.50", "0.000002"))))
    assert speck.reasons() == {"INSUFFICIENT_DEPTH", "NO_LIQUIDITY_WITHIN_BOUNDS"}


def test_liquidity_is_counted_in_lots() -> None:
    for shares, lots in (("0.009999", 0), ("0.01", 1), ("0.019999", 1), ("100", 10_000)):
        scene = BUY.with_(book=book(DEEP_BIDS, levels(("0.50", shares))), depth_multiple=0)
        assert verdict(scene, "book.liquidity") == (lots > 0, lots)


def test_what_the_last_lot_was_taken_of_is_told_from_what_never_held_a_lot() -> None:
    taken = BUY.with_(book=book(DEEP_BIDS, DEEP_ASKS), taken=((usdc("0.50"), usdc(10_000)),))
    assert [check[0] for check in failed_checks(taken)] == ["book.liquidity"]
    assert [check[0] for check in failed_checks(SELL.with_(held_share_micros=1))] == ["book.filled"]


def test_what_cannot_shrink_is_refused_by_every_cap_the_whole_target_is_beyond() -> None:
    scene = BUY.with_(cap_policy="SHRINK", exposure_total_micros=usdc(6_993), exposure_market_micros=usdc(496))
    assert scene.reasons() == {"RISK_CAP_MARKET", "RISK_CAP_TOTAL"}  # 7 are left, 4 in the market, 10 were wanted
    assert scene.with_(cap_policy="SKIP").reasons() == {"RISK_CAP_MARKET", "RISK_CAP_TOTAL"}


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


def test_scopes_share_all_other_rules() -> None:
    for scene in (BUY, SELL, SPLIT, MERGE):
        here, there = scene.decide(), scene.with_(scope=Scope.EXEC_GLOBAL).decide()
        assert (here.decision, here.filled_share_micros, here.fills) == (
            there.decision, there.filled_share_micros, there.fills,
        )  # fmt: skip
    assert SELL.group.side is Side.SELL
