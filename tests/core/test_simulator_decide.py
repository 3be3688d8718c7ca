"""Worked examples of the decision to the micro: sizing, walk, fee, partial fills, shrinking, counterfactuals."""

from decimal import Decimal

import pytest

from libs.common.domain.kinds import Side
from services.simulator.core.fees import fee_at_price
from services.simulator.core.outcome import check_document
from tests.support.decisions import BUY, GLOBAL, MERGE, SELL, SPLIT, book, levels, usdc

BIDS, ASKS = levels(("0.49", "1000")), levels(("0.50", "12.345"), ("0.51", "1000"))


def test_a_buy_walks_whole_lots_best_first_and_shares_its_fee_to_levels() -> None:
    outcome = BUY.with_(book=book(BIDS, ASKS), fee_rate=Decimal("0.07")).decide()
    # target 1 % of 1000; 12.34 shares at 0.50 = 6.17, then floor(3.83 / 0.51) = 7.50 shares at 0.51 = 3.825
    assert outcome.target_notional_micros == usdc(10)
    assert [(each.level, each.price_micros, each.share_micros, each.notional_micros) for each in outcome.fills] == [
        (0, usdc("0.50"), usdc("12.34"), usdc("6.17")),
        (1, usdc("0.51"), usdc("7.50"), usdc("3.825")),
    ]
    assert (outcome.filled_share_micros, outcome.filled_notional_micros) == (usdc("19.84"), usdc("9.995"))
    assert outcome.vwap_price_micros == 503_781  # 9.995 / 19.84 = 0.5037802..., up
    # 0.07 * 9.995 * (19.84 - 9.995) / 19.84 = 0.347180...
    assert outcome.fee_micros == 347_180
    assert [each.fee_micros for each in outcome.fills] == [214_317, 132_863]
    assert not outcome.partial
    assert (outcome.limit_price_micros, outcome.mid_price_micros, outcome.depth_micros) == (
        usdc("0.51"), usdc("0.495"), usdc("6.1725") + usdc(510),
    )  # fmt: skip


def test_a_sell_is_capped_by_the_worth_of_the_shares_held_and_shown_rounded_down() -> None:
    outcome = SELL.with_(
        held_share_micros=usdc("7.777"), book=book(levels(("0.493", "1000")), levels(("0.50", "1")))
    ).decide()
    # worth 7.777 * 0.50 = 3.8885 at their price; 7.77 shares at 0.493 bring 3.83061
    assert outcome.target_notional_micros == usdc("3.8885")
    assert (outcome.filled_share_micros, outcome.filled_notional_micros) == (usdc("7.77"), usdc("3.83061"))
    assert outcome.vwap_price_micros == usdc("0.493")


def test_a_sell_below_the_minimum_is_fine_when_the_position_caps_it() -> None:
    outcome = SELL.with_(held_share_micros=usdc(1)).decide()
    assert (outcome.decision, outcome.target_notional_micros) == ("EXECUTE", usdc("0.5"))


def test_a_position_smaller_than_a_lot_cannot_be_sold() -> None:
    assert SELL.with_(held_share_micros=9_999).reasons() == {"NO_LIQUIDITY_WITHIN_BOUNDS"}


def test_a_small_copy_is_clamped_up_and_a_large_one_down() -> None:
    assert BUY.with_(notional_micros=usdc(10), share_micros=usdc(20)).decide().target_notional_micros == usdc(5)
    large = BUY.with_(notional_micros=usdc(50_000), share_micros=usdc(100_000), max_exposure_per_market_pct=100)
    assert large.decide().target_notional_micros == usdc(75)  # 0.75 % of 10,000
    rich = large.with_(equity_micros=usdc(100_000), peak_equity_micros=usdc(100_000))
    assert rich.decide().target_notional_micros == usdc(250)
    assert rich.with_(user_max_trade_notional_micros=usdc(40)).decide().target_notional_micros == usdc(40)
    assert large.with_(user_max_trade_notional_micros=usdc(100)).decide().target_notional_micros == usdc(75)


def test_what_is_below_the_minimum_says_what_would_have_been_tried() -> None:
    small = BUY.with_(below_min="SKIP", notional_micros=usdc(400), share_micros=usdc(800)).decide()
    assert (small.target_notional_micros, small.counterfactual_share_micros) == (usdc(4), usdc(8))
    poor = BUY.with_(equity_micros=usdc(600), peak_equity_micros=usdc(600), day_start_equity_micros=None,
                     week_start_equity_micros=None).decide()  # fmt: skip
    assert (poor.target_notional_micros, poor.counterfactual_share_micros) == (usdc("4.5"), usdc(9))
    ruined = BUY.with_(equity_micros=-usdc(600), engine_paused=True).decide()
    assert (ruined.target_notional_micros, ruined.counterfactual_share_micros) == (0, 0)


def test_a_target_of_nothing_is_below_any_minimum() -> None:
    scene = SELL.with_(min_trade_notional_micros=0, notional_micros=99, share_micros=198)
    assert scene.decide().target_notional_micros == 0
    assert scene.with_(notional_micros=100, share_micros=200).reasons() == {"NO_LIQUIDITY_WITHIN_BOUNDS"}


def test_the_target_is_rounded_down() -> None:
    outcome = BUY.with_(notional_micros=usdc("1000.000199"), share_micros=usdc("2000.000398")).decide()
    assert outcome.target_notional_micros == 10_000_001


def test_a_proportional_sell_sells_the_fraction_they_sold() -> None:
    scene = SELL.with_(sell_sizing="PROPORTIONAL", shadow_held_micros=usdc(8_000))
    outcome = scene.decide()  # 2000 of their 8000, so 25 of our 100, worth 12.50 at their price
    assert outcome.target_notional_micros == usdc("12.5")
    assert outcome.filled_share_micros == usdc(25)
    assert scene.with_(shadow_held_micros=None).decide().filled_share_micros == usdc(100)
    assert scene.with_(shadow_held_micros=usdc(1)).decide().filled_share_micros == usdc(100)
    # a third of our 100 is 33.333333 shares, worth 16.6666665
    assert scene.with_(shadow_held_micros=usdc(6_000)).decide().target_notional_micros == usdc("16.666666")


def test_the_worth_of_what_is_held_is_rounded_down() -> None:
    assert SELL.with_(held_share_micros=usdc("7.777777")).decide().target_notional_micros == usdc("3.888888")


def test_shrink_goes_down_to_the_headroom_but_not_below_the_minimum() -> None:
    scene = GLOBAL.with_(cap_policy="SHRINK", exposure_market_micros=usdc(494))
    assert scene.decide().target_notional_micros == usdc(6)
    assert scene.with_(exposure_market_micros=usdc(495)).decide().target_notional_micros == usdc(5)
    assert scene.with_(exposure_market_micros=usdc(495) + 1).reasons() == {"RISK_CAP_MARKET", "RISK_CAP_GLOBAL"}
    assert scene.with_(exposure_market_micros=0).decide().target_notional_micros == usdc(10)
    # 5 % of 10,000.000019 is 500.00000095, of which 494 are used
    odd = scene.with_(equity_micros=usdc("10000.000019"), peak_equity_micros=usdc("10000.000019"))
    assert odd.decide().target_notional_micros == usdc(6)


def test_shrink_knows_the_exchanges_minimum_too_and_none_for_a_split() -> None:
    scene = BUY.with_(cap_policy="SHRINK", min_trade_notional_micros=0, exposure_market_micros=usdc(499))
    assert scene.decide().target_notional_micros == usdc(1)
    assert scene.with_(exposure_market_micros=usdc(499) + 1).reasons() == {"RISK_CAP_MARKET"}
    split = SPLIT.with_(cap_policy="SHRINK", exposure_market_micros=usdc(500) - 1)
    assert split.decide().filled_share_micros == 1
    assert split.with_(exposure_market_micros=usdc(500)).reasons() == {"RISK_CAP_MARKET"}


def test_where_it_cannot_shrink_every_cap_the_target_is_beyond_is_named() -> None:
    # 6 are left of the total and nothing of the market: the target stays 10, which both caps stop
    scene = BUY.with_(cap_policy="SHRINK", exposure_total_micros=usdc(6_994), exposure_market_micros=usdc(500))
    assert scene.reasons() == {"RISK_CAP_TOTAL", "RISK_CAP_MARKET"}
    assert scene.decide().target_notional_micros == usdc(10)


def test_a_buy_never_spends_more_than_the_cash_even_when_its_fee_is_higher_than_at_the_limit() -> None:
    # 10 and 2.475 are reserved at the limit of 0.505, but at 0.495 the same notional buys more shares:
    # 20.20 cost 9.999 and 0.5 * 9.999 * 0.505 = 2.52474, one lot less 9.99405 and 2.52349
    scene = BUY.with_(fee_rate=Decimal("0.5"), book=book(levels(("0.485", "1000")), levels(("0.495", "1000"))))
    reserved = fee_at_price(Decimal("0.5"), Decimal(1), usdc(10), usdc("0.505"))
    assert reserved == usdc("2.475")
    for cash, shares in (
        ("12.52374", "20.20"), ("12.523739", "20.19"), ("12.51754", "20.19"), ("12.517539", "20.18"),
        ("12.475", "20.12"),
    ):  # fmt: skip
        outcome = scene.with_(cash_micros=usdc(cash)).decide()
        assert outcome.filled_share_micros == usdc(shares)
        assert outcome.filled_notional_micros + outcome.fee_micros <= usdc(cash)
    assert scene.with_(cash_micros=usdc("12.475") - 1).reasons() == {"INSUFFICIENT_CASH"}


def test_the_cash_that_is_left_buys_at_least_one_lot_or_it_is_a_skip() -> None:
    # a lot at 0.995 costs 9,950 micros and a fee of 24, floored to 20; at the limit of 0.996 it is 19, floored to 10
    scene = BUY.with_(
        min_trade_notional_micros=0, min_marketable_micros=0, notional_micros=995_000, share_micros=1_000_000,
        fee_rate=Decimal("0.5"), book=book(levels(("0.994", "1000")), levels(("0.995", "1000"))),
        max_worse_than_their_price_micros=1_000,
    )  # fmt: skip
    assert scene.with_(cash_micros=9_970).decide().fee_micros == 20
    assert scene.with_(cash_micros=9_969).reasons() == {"NO_LIQUIDITY_WITHIN_BOUNDS"}
    assert scene.with_(cash_micros=9_959).reasons() == {"INSUFFICIENT_CASH"}


def test_split_copies_a_share_as_far_as_cash_allows() -> None:
    outcome = SPLIT.decide()
    assert (outcome.filled_share_micros, outcome.filled_notional_micros, outcome.fee_micros) == (usdc(10), usdc(10), 0)
    assert SPLIT.with_(cash_micros=usdc(3)).decide().filled_share_micros == usdc(3)
    for split in (outcome, SPLIT.with_(book=BUY.book, engine_paused=True).decide()):
        assert split.limit_price_micros is split.mid_price_micros is split.counterfactual_share_micros is None
    assert SPLIT.with_(fee_rate=Decimal("0.07"), cash_micros=usdc(3)).decide().fee_micros == 0


def test_merge_copies_a_share_as_far_as_the_smaller_leg_goes() -> None:
    assert MERGE.decide().filled_share_micros == usdc(10)
    assert MERGE.with_(held_share_micros=usdc("0.333333")).decide().filled_share_micros == 333_333
    assert MERGE.with_(held_share_micros=-1).decide().target_notional_micros == 0


def test_a_skip_with_a_book_says_what_the_walk_would_have_filled() -> None:
    outcome = BUY.with_(engine_paused=True).decide()
    assert (outcome.counterfactual_share_micros, outcome.counterfactual_notional_micros) == (usdc(20), usdc(10))
    assert BUY.with_(engine_paused=True, book=None).decide().counterfactual_share_micros is None
    assert BUY.decide().counterfactual_share_micros is None


def test_the_counterfactual_lifts_the_price_bound_that_failed() -> None:
    outcome = BUY.with_(book=book(levels(("0.54", "1000")), levels(("0.55", "1000")))).decide()
    assert "WORSE_THAN_THEIR_PRICE" in outcome.reasons
    assert outcome.counterfactual_share_micros == usdc("18.18")
    none = SELL.with_(held_share_micros=0).decide()
    assert (none.counterfactual_share_micros, none.counterfactual_notional_micros) == (0, 0)


def test_the_counterfactual_keeps_the_price_bounds_that_did_not_fail() -> None:
    paused = BUY.with_(engine_paused=True, book=book(levels(("0.49", "1000")), levels(("0.50", "10"), ("0.52", "10"))))
    assert paused.decide().counterfactual_share_micros == usdc(10)
    # their price lets 0.51, the mid 0.51: either alone keeps 0.52 out
    assert paused.with_(max_chase_mid_micros=50_000).decide().counterfactual_share_micros == usdc(10)
    assert paused.with_(max_worse_than_their_price_micros=50_000).decide().counterfactual_share_micros == usdc(10)
    # 0.55 is beyond 0.51, but 0.57 beyond the mid's 0.56, too
    worse = BUY.with_(book=book(levels(("0.54", "1000")), levels(("0.55", "10"), ("0.57", "10")))).decide()
    assert [reason.value for reason in worse.reasons] == ["WORSE_THAN_THEIR_PRICE", "NO_LIQUIDITY_WITHIN_BOUNDS"]
    assert worse.counterfactual_share_micros == usdc(10)
    # 0.50 is beyond the mid's 0.499, but 0.52 beyond their 0.51, too
    chasing = BUY.with_(
        book=book(levels(("0.468", "1000")), levels(("0.50", "10"), ("0.52", "10"))), max_spread_micros=50_000
    ).decide()
    assert [reason.value for reason in chasing.reasons] == ["CHASING_MID", "NO_LIQUIDITY_WITHIN_BOUNDS"]
    assert chasing.counterfactual_share_micros == usdc(10)
    # both are lifted: 10 at 0.60 and what 4 buy at 0.70
    both = BUY.with_(
        book=book(levels(("0.50", "1000")), levels(("0.60", "10"), ("0.70", "10"))), max_spread_micros=200_000
    ).decide()
    assert {reason.value for reason in both.reasons} >= {"WORSE_THAN_THEIR_PRICE", "CHASING_MID"}
    assert both.counterfactual_share_micros == usdc(10) + usdc("5.71")


def test_the_counterfactual_walks_to_what_the_caps_left() -> None:
    shrunk = BUY.with_(
        cap_policy="SHRINK", exposure_market_micros=usdc(494), max_spread_micros=0,
        book=book(levels(("0.49", "1000")), levels(("0.50", "1000"))),
    ).decide()  # fmt: skip
    assert [reason.value for reason in shrunk.reasons] == ["SPREAD_TOO_WIDE"]
    assert (shrunk.target_notional_micros, shrunk.counterfactual_share_micros) == (usdc(6), usdc(12))


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_a_crossed_book_is_walked_like_any_other(side: Side) -> None:
    scene = BUY.with_(
        book=book(levels(("0.51", "100")), levels(("0.50", "100"))), side=side, held_share_micros=usdc(50)
    )
    assert scene.decide().decision == "EXECUTE"


def test_checks_carry_phase_verdict_numbers_and_reason() -> None:
    outcome = BUY.with_(book=book(levels(("0.47", "1000")), levels(("0.50", "1000")))).decide()
    documents = [check_document(check) for check in outcome.checks]
    spread = next(each for each in documents if each["check"] == "spread")
    assert spread == {
        "phase": "book", "check": "spread", "verdict": "fail", "value": 30_000, "bound": 20_000,
        "reason": "SPREAD_TOO_WIDE",
    }  # fmt: skip
    assert {each["verdict"] for each in documents} == {"pass", "fail"}
