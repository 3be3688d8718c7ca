"""Corners of the decision that are easily got wrong, with their arithmetic; bounds are in the tests of the guards."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from libs.common.domain.kinds import Scope, Side
from tests.support.decisions import BUY, CONDITION, GLOBAL, MERGE, NOW, SELL, SPLIT, YES, Scene, book, levels, usdc

DEEP = "10000"
THIRDS: dict[str, Any] = {"notional_micros": usdc(1520), "share_micros": usdc(3000)}
"""Their average is 0.506666..., two thirds of a micro beyond what can be shown."""


def only_bids(*pairs: tuple[str, str]) -> Any:
    return book(levels(*pairs), levels(("0.52", DEEP)))


def only_asks(*pairs: tuple[str, str]) -> Any:
    return book(levels(("0.49", DEEP)), levels(*pairs))


@pytest.mark.parametrize(("bid", "passes"), [("0.496667", True), ("0.496666", False)])
def test_a_sells_bound_is_exact_where_their_average_is_no_whole_micro(bid: str, passes: bool) -> None:
    scene = SELL.with_(**THIRDS, book=book(levels((bid, DEEP)), levels(("0.50", DEEP))))
    assert ("WORSE_THAN_THEIR_PRICE" in scene.reasons()) is not passes


@pytest.mark.parametrize(
    ("ask", "their_notional", "lots", "notional"),
    [
        ("0.40", usdc(1000), 2500, usdc(10)),  # 25.00 * 0.40 is the target to the micro
        ("0.40", usdc(1000) - 100, 2499, usdc("9.996")),  # one micro less does not reach the last lot
        ("0.333333", usdc(1000), 3000, usdc("9.99999")),
        ("0.333334", usdc(1000), 2999, 9_996_687),  # 3000 lots cost 10.00002; 29.99 * 0.333334 = 9.99668666, rounded up
    ],
)
def test_a_buy_takes_the_last_lot_that_still_fits(ask: str, their_notional: int, lots: int, notional: int) -> None:
    shares = usdc(1000) * 1_000_000 // usdc(ask)
    outcome = BUY.with_(
        notional_micros=their_notional, share_micros=shares, max_spread_micros=usdc(1), max_chase_mid_micros=usdc(1),
        max_worse_than_their_price_micros=usdc(1), book=book(levels(("0.30", DEEP)), levels((ask, DEEP))),
    ).decide()  # fmt: skip
    assert (outcome.filled_share_micros, outcome.filled_notional_micros) == (lots * 10_000, notional)


def test_a_level_below_one_lot_is_passed_over_but_is_the_best_price_and_part_of_the_band() -> None:
    outcome = BUY.with_(book=only_asks(("0.50", "0.005"), ("0.51", DEEP))).decide()
    assert [(fill.level, fill.price_micros) for fill in outcome.fills] == [(1, usdc("0.51"))]
    assert outcome.best_ask_micros == usdc("0.50")
    assert outcome.depth_micros == 2_500 + usdc(5_100)


def test_what_own_consumption_leaves_below_a_lot_is_thin_and_no_liquidity() -> None:
    scene = BUY.with_(book=only_asks(("0.50", "100")), taken=((usdc("0.50"), usdc("99.995")),))
    assert scene.reasons() == {"INSUFFICIENT_DEPTH", "NO_LIQUIDITY_WITHIN_BOUNDS"}


def test_an_empty_band_is_no_thin_one() -> None:
    assert BUY.with_(
        book=only_asks(("0.50", "100")), taken=((usdc("0.50"), usdc(100)),), depth_multiple="0"
    ).reasons() == {"NO_LIQUIDITY_WITHIN_BOUNDS"}


@pytest.mark.parametrize(("held", "sold"), [(10_000, 10_000), (19_999, 10_000), (20_000, 20_000)])
def test_a_sell_takes_whole_lots_of_what_is_held(held: int, sold: int) -> None:
    scene = SELL.with_(held_share_micros=held, book=only_bids(("0.50", DEEP)))
    assert scene.decide().filled_share_micros == sold


def test_a_level_consumed_to_its_last_lot_is_filled_whole() -> None:
    outcome = BUY.with_(book=only_asks(("0.50", "10"), ("0.505", "15.5"))).decide()
    # 5 at 0.50, then 9.90 of 15.50 at 0.505: 4.9995; one lot more would make 10.00455
    assert [fill.share_micros for fill in outcome.fills] == [usdc(10), usdc("9.90")]
    assert outcome.filled_notional_micros == usdc("9.9995")


@pytest.mark.parametrize(
    ("rate", "exponent", "fee"),
    [
        ("0", 1, "0"),
        ("0.07", 1, "0.35"),  # 0.07 * 10 * 0.5
        ("0.25", 2, "0.3125"),  # 0.25 * 20 * 0.0625
        ("0.0000019", 1, "0"),  # 9.5 micros are floored to 0
        ("0.000002", 1, "0.00001"),
    ],
)
def test_fees_are_floored_to_ten_micros(rate: str, exponent: int, fee: str) -> None:
    outcome = BUY.with_(fee_rate=Decimal(rate), fee_exponent=Decimal(exponent)).decide()
    assert outcome.fee_micros == usdc(fee)


@pytest.mark.parametrize(("exposure", "passes"), [(usdc("6.666666"), True), (usdc("6.666667"), False)])
def test_a_cap_of_no_whole_micro_is_compared_exactly(exposure: int, passes: bool) -> None:
    # 5 % of 333.333333 is 16.66666665
    scene = GLOBAL.with_(
        equity_micros=usdc("333.333333"), day_start_equity_micros=None, week_start_equity_micros=None,
        peak_equity_micros=usdc("333.333333"), max_trade_equity_pct=100, exposure_market_micros=exposure,
    )  # fmt: skip
    assert scene.reasons() == (set() if passes else {"RISK_CAP_MARKET", "RISK_CAP_GLOBAL"})


@pytest.mark.parametrize(("left_us", "soon"), [(0, False), (1, True), (-1, False)])
def test_a_close_that_is_reached_is_not_known_any_more(left_us: int, soon: bool) -> None:
    scene = BUY.with_(close_time=NOW + timedelta(microseconds=left_us))
    assert scene.reasons() == ({"MARKET_CLOSING_SOON"} if soon else set())


def test_a_group_from_the_future_is_not_stale() -> None:
    assert BUY.with_(first_event_time=NOW + timedelta(seconds=3)).reasons() == set()


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        (BUY.with_(engine_paused=True, user_enabled=False, condition_id="0x" + "c" * 62),
         {"ENGINE_PAUSED", "USER_DISABLED", "UNSUPPORTED_EVENT"}),
        (BUY.with_(market=None, first_event_time=NOW - timedelta(seconds=121)), {"MARKET_UNKNOWN", "STALE_EVENT"}),
        (BUY.with_(market=None, market_blacklist=[YES]), {"MARKET_UNKNOWN", "MARKET_BLACKLISTED"}),
        (SPLIT.with_(market=None, market_blacklist=[CONDITION]), {"MARKET_UNKNOWN", "MARKET_BLACKLISTED"}),
        (SELL.with_(market=None, market_blacklist=[YES]), {"MARKET_UNKNOWN"}),
        (SELL.with_(held_share_micros=0, user_max_trade_notional_micros=usdc(1)),
         {"NO_POSITION", "BELOW_MIN_NOTIONAL"}),
        (GLOBAL.with_(exposure_total_micros=usdc(7_000), exposure_market_micros=usdc(500),
                      exposure_user_micros=usdc(2_000), cash_micros=0),
         {"RISK_CAP_TOTAL", "RISK_CAP_MARKET", "RISK_CAP_USER", "RISK_CAP_GLOBAL", "INSUFFICIENT_CASH"}),
        (BUY.with_(cash_micros=usdc(10) - 1, book=None), {"INSUFFICIENT_CASH"}),
        (SPLIT.with_(market_blacklist=[YES], close_time=NOW + timedelta(minutes=1)),
         {"MARKET_BLACKLISTED", "MARKET_CLOSING_SOON"}),
    ],
    ids=["control", "unknown", "listed token", "listed condition", "listed reduction", "sell", "risk",
         "risk before book", "split"],
)  # fmt: skip
def test_all_failures_of_the_first_failing_phase_and_no_others(scene: Scene, expected: set[str]) -> None:
    assert scene.reasons() == expected


def test_a_merge_passes_under_everything_that_stops_opens() -> None:
    scene = MERGE.with_(
        scope=Scope.EXEC_GLOBAL, drawdown_tripped=True, equity_micros=1, exposure_total_micros=usdc(9_000),
        cash_micros=0, market_blacklist=[CONDITION], close_time=NOW + timedelta(seconds=1),
        max_trade_notional_micros=usdc(5),
    )  # fmt: skip
    assert scene.decide().filled_share_micros == usdc(10)


def test_a_fill_at_no_price_at_all_is_decided() -> None:
    for scene in (BUY, SELL):
        free = scene.with_(notional_micros=0, reference_micros=0)
        assert free.decide().reasons or free.group.side is Side.SELL


@pytest.mark.parametrize("held", [0, usdc(1), usdc(4_000)])
def test_a_proportional_sell_of_more_than_they_had_is_one_of_everything(held: int) -> None:
    scene = SELL.with_(sell_sizing="PROPORTIONAL", shadow_held_micros=held - usdc(3_000), held_share_micros=usdc(7))
    assert scene.decide().filled_share_micros == usdc(7)


def test_a_split_shrinks_to_the_last_micro_of_headroom() -> None:
    scene = SPLIT.with_(cap_policy="SHRINK", exposure_market_micros=usdc(500) - 1)
    assert scene.decide().filled_share_micros == 1
    assert scene.with_(exposure_market_micros=usdc(500)).reasons() == {"RISK_CAP_MARKET"}


@pytest.mark.parametrize(("copied", "target"), [("0.333333333", 3_333_333), ("1.000000001", 10_000_000)])
def test_a_share_of_no_whole_micro_is_rounded_down(copied: str, target: int) -> None:
    assert BUY.with_(copy_pct=copied, min_trade_notional_micros=0).decide().target_notional_micros == target
