"""Worked examples of the decision to the micro: sizing, walk, fee, partial fills, shrinking, counterfactuals."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.kinds import Side
from services.simulator.core.fees import fee_at_price, order_fee, share_fee
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


def test_a_sell_into_a_better_bid_sells_all_that_is_held() -> None:
    # at their 0.50 what is held is worth less than 0.55 brings; a single lot could not be sold at all
    better = book(levels(("0.55", "1000")), levels(("0.56", "1")))
    for held in ("10", "0.01"):
        outcome = SELL.with_(held_share_micros=usdc(held), book=better).decide()
        assert outcome.filled_share_micros == usdc(held)
        assert outcome.target_notional_micros == outcome.filled_notional_micros
    scene = SELL.with_(sell_sizing="PROPORTIONAL", held_share_micros=usdc(20), shadow_held_micros=usdc(4000))
    assert scene.with_(book=better).decide().filled_share_micros == usdc(10)


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


def test_a_multiple_below_one_permits_a_partial_fill() -> None:
    thin = BUY.with_(book=book(BIDS, levels(("0.50", "10"))))
    assert thin.reasons() == {"INSUFFICIENT_DEPTH"}
    outcome = thin.with_(depth_multiple="0.5").decide()
    assert (outcome.filled_notional_micros, outcome.partial) == (usdc(5), True)


def test_lot_rounding_is_no_partial_fill() -> None:
    outcome = BUY.with_(book=book(BIDS, levels(("0.33", "100"), ("0.333", "100"))), max_spread_micros=1_000_000,
                        max_chase_mid_micros=1_000_000).decide()  # fmt: skip
    assert outcome.filled_notional_micros < (outcome.target_notional_micros or 0)
    assert not outcome.partial


def test_what_was_taken_of_this_book_version_is_gone() -> None:
    scene = BUY.with_(book=book(BIDS, ASKS), taken=((usdc("0.50"), usdc("12.345")),))
    outcome = scene.decide()
    assert [each.level for each in outcome.fills] == [1]
    assert outcome.depth_micros == usdc(510)


def test_a_walk_stops_at_the_first_lot_that_does_not_fit() -> None:
    # target 0.01; a lot brings 0.0052 at 0.52, none at 0.50 fits then, and 0.45 is not tried
    outcome = SELL.with_(
        min_trade_notional_micros=0,
        notional_micros=usdc(1),
        share_micros=usdc(2),
        max_chase_mid_micros=100_000,
        max_worse_than_their_price_micros=100_000,
        book=book(levels(("0.52", "0.01"), ("0.50", "10"), ("0.45", "10")), levels(("0.53", "1"))),
    ).decide()
    assert [(each.level, each.share_micros) for each in outcome.fills] == [(0, 10_000)]


def test_shrink_goes_down_to_the_headroom_but_not_below_the_minimum() -> None:
    scene = GLOBAL.with_(cap_policy="SHRINK", exposure_market_micros=usdc(494))
    assert scene.decide().target_notional_micros == usdc(6)
    assert scene.with_(exposure_market_micros=usdc(495)).decide().target_notional_micros == usdc(5)
    assert scene.with_(exposure_market_micros=usdc(495) + 1).reasons() == {"RISK_CAP_MARKET", "RISK_CAP_GLOBAL"}


def test_where_it_cannot_shrink_every_cap_the_target_is_beyond_is_named() -> None:
    # 6 are left of the total and nothing of the market: the target stays 10, which both caps stop
    scene = BUY.with_(cap_policy="SHRINK", exposure_total_micros=usdc(6_994), exposure_market_micros=usdc(500))
    assert scene.reasons() == {"RISK_CAP_TOTAL", "RISK_CAP_MARKET"}
    assert scene.decide().target_notional_micros == usdc(10)


def test_a_buy_never_spends_more_than_the_cash_even_when_its_fee_is_higher_than_at_the_limit() -> None:
    # below the limit the same notional buys more shares, whose fee is higher than what the risk phase reserved
    scene = BUY.with_(fee_rate=Decimal("0.5"), book=book(levels(("0.485", "1000")), levels(("0.495", "1000"))))
    reserved = fee_at_price(Decimal("0.5"), Decimal(1), usdc(10), usdc("0.505"))
    outcome = scene.with_(cash_micros=usdc(10) + reserved).decide()
    assert outcome.decision == "EXECUTE"
    assert outcome.filled_notional_micros + outcome.fee_micros <= usdc(10) + reserved
    more = outcome.filled_notional_micros + usdc("0.00495")
    assert (
        more + order_fee(Decimal("0.5"), Decimal(1), more, outcome.filled_share_micros + 10_000) > usdc(10) + reserved
    )


def test_split_copies_a_share_as_far_as_cash_allows() -> None:
    outcome = SPLIT.decide()
    assert (outcome.filled_share_micros, outcome.filled_notional_micros, outcome.fee_micros) == (usdc(10), usdc(10), 0)
    assert SPLIT.with_(cash_micros=usdc(3)).decide().filled_share_micros == usdc(3)
    assert outcome.limit_price_micros is None
    assert outcome.counterfactual_share_micros is None


def test_merge_copies_a_share_as_far_as_the_smaller_leg_goes() -> None:
    assert MERGE.decide().filled_share_micros == usdc(10)
    assert MERGE.with_(held_share_micros=usdc("0.333333")).decide().filled_share_micros == 333_333


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


def test_the_fee_of_an_order_is_floored_to_ten_micros() -> None:
    # 0.05 * 11.8768 * (22.84 - 11.8768) / 22.84 = 0.285043...
    assert order_fee(Decimal("0.05"), Decimal(1), usdc("11.8768"), usdc("22.84")) == 285_040
    assert order_fee(Decimal(0), Decimal(1), usdc(1), usdc(2)) == 0
    assert order_fee(Decimal("0.05"), Decimal(1), 0, 0) == 0


@given(
    st.integers(1, 10**6), st.integers(1, 10**6), st.sampled_from(["0.07", "0.0625", "0.001"]), st.integers(1, 3),
)  # fmt: skip
def test_an_exponent_other_than_one_is_exact(part: int, rest: int, rate: str, exponent: int) -> None:
    notional, shares = part * 10, (part + rest) * 10
    price = Fraction(notional, shares)
    exact = Fraction(rate) * shares * (price * (1 - price)) ** exponent
    assert order_fee(Decimal(rate), Decimal(exponent), notional, shares) == int(exact // 10) * 10


def test_a_fractional_exponent_is_exact_too() -> None:
    # p = 0.5: (0.25) ** 0.5 = 0.5 exactly, so 0.02 * 100 * 0.5 = 1 USDC and not ten micros less
    assert order_fee(Decimal("0.02"), Decimal("0.5"), usdc(50), usdc(100)) == usdc(1)


@given(st.integers(0, 10**7), st.lists(st.integers(1, 10**8), min_size=1, max_size=10))
def test_shares_of_a_fee_sum_to_it_and_the_rest_is_the_lasts(fee: int, notionals: list[int]) -> None:
    parts = share_fee(fee, notionals)
    assert sum(parts) == fee
    assert parts[:-1] == [fee * each // sum(notionals) for each in notionals[:-1]]
