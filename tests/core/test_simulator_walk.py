"""The walk, its bounds and its fee to the micro: lots, limits, holdings, rounding, and what is a partial fill."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.book import Level
from services.simulator.core.fees import fee_at_price, order_fee, share_fee
from services.simulator.core.rules import Ratio
from services.simulator.core.walk import bounds
from tests.support.decisions import BUY, SELL, Scene, book, levels, usdc

BIDS, ASKS = levels(("0.49", "1000")), levels(("0.50", "12.345"), ("0.51", "1000"))
ANY_SIZE = {"min_trade_notional_micros": 0, "min_marketable_micros": 0, "depth_multiple": 0}


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
        book=book(levels(("0.52", "0.01"), ("0.50", "0.01"), ("0.45", "10")), levels(("0.53", "1"))),
    ).decide()
    assert [(each.level, each.share_micros) for each in outcome.fills] == [(0, 10_000)]


def test_a_target_that_fits_exactly_is_spent_exactly() -> None:
    outcome = BUY.decide()
    assert (outcome.filled_share_micros, outcome.filled_notional_micros) == (usdc(20), usdc(10))


def test_no_level_beyond_the_tighter_bound_is_touched() -> None:
    # their price lets 0.51; without bids there is no mid
    one_sided = BUY.with_(book=book((), levels(("0.50", "10"), ("0.51", "10"), ("0.510001", "10")))).decide()
    assert (one_sided.limit_price_micros, one_sided.depth_micros) == (usdc("0.51"), usdc("10.1"))
    # the mid of 0.515 asks for 0.50, their price for 0.49
    sell = SELL.with_(
        book=book(levels(("0.51", "10"), ("0.50", "10"), ("0.499999", "10")), levels(("0.52", "1000"))),
        depth_multiple="0.5",
    ).decide()
    assert (sell.limit_price_micros, sell.depth_micros) == (usdc("0.50"), usdc("10.1"))
    # the mid of 0.495 lets 0.51, their price of 0.495 only 0.505
    buy = BUY.with_(
        notional_micros=usdc(990), book=book(BIDS, levels(("0.50", "10"), ("0.505", "10"), ("0.505001", "10")))
    ).decide()
    assert (buy.limit_price_micros, buy.depth_micros) == (usdc("0.505"), usdc("10.05"))


def test_the_average_of_a_sell_is_shown_rounded_down() -> None:
    outcome = SELL.with_(book=book(levels(("0.50", "10"), ("0.49", "100")), levels(("0.51", "1")))).decide()
    # 10 at 0.50 and 10.20 at 0.49 bring 9.998, 0.4949504... a share
    assert (outcome.filled_share_micros, outcome.filled_notional_micros) == (usdc("20.20"), usdc("9.998"))
    assert outcome.vwap_price_micros == 494_950


def test_a_level_gives_whole_lots_of_what_it_has() -> None:
    cheap = BUY.with_(
        share_micros=usdc(20_000), book=book(levels(("0.04", "1000")), levels(("0.05", "99.99"))), depth_multiple="0.25"
    ).decide()
    assert (cheap.filled_share_micros, cheap.partial) == (usdc("99.99"), True)


def test_what_was_taken_beyond_a_levels_size_does_not_count_against_the_next() -> None:
    # somebody else took some in the same version: the level is empty, not below empty
    outcome = BUY.with_(
        book=book(BIDS, levels(("0.50", "10"), ("0.51", "100"))), taken=((usdc("0.50"), usdc(30)),)
    ).decide()
    assert outcome.depth_micros == usdc(51)
    assert [each.level for each in outcome.fills] == [1]


def test_a_sell_takes_no_more_of_all_levels_together_than_is_held() -> None:
    # 15 shares are worth 7.50; 10 bring 5.00, and 2.50 would be 5.05 more at 0.495
    outcome = SELL.with_(
        held_share_micros=usdc(15), book=book(levels(("0.50", "10"), ("0.495", "1000")), levels(("0.51", "1")))
    ).decide()
    assert [each.share_micros for each in outcome.fills] == [usdc(10), usdc(5)]


@pytest.mark.parametrize(
    ("scene", "target", "filled"),
    [
        (BUY, 3_333, None),  # a lot at 0.333333 costs 3,333.33 micros: 3,334
        (BUY, 3_334, 3_334),
        (BUY, 6_667, 6_667),
        (SELL, 3_332, None),  # and brings 3,333
        (SELL, 3_333, 3_333),
        (SELL, 6_665, 3_333),
        (SELL, 6_666, 6_666),
    ],
)
def test_the_cost_is_rounded_up_and_the_proceeds_down(scene: Scene, target: int, filled: int | None) -> None:
    tiny = scene.with_(
        notional_micros=target * 100,
        share_micros=target * 300,
        book=book(levels(("0.333333", "1")), levels(("0.333333", "1"))),
        **ANY_SIZE,
    ).decide()
    assert tiny.target_notional_micros == target
    assert tiny.filled_notional_micros == (filled or 0)
    assert (tiny.decision == "EXECUTE") == (filled is not None)


def test_proceeds_that_are_whole_micros_must_not_exceed_the_target() -> None:
    # a lot at 0.3333 brings 3,333 micros exactly
    scene = SELL.with_(share_micros=1_000_000, book=book(levels(("0.3333", "1")), levels(("0.34", "1"))), **ANY_SIZE)
    assert scene.with_(notional_micros=333_300).decide().filled_notional_micros == 3_333
    assert scene.with_(notional_micros=333_299).reasons() == {"NO_LIQUIDITY_WITHIN_BOUNDS"}


@pytest.mark.parametrize(
    ("notional", "shares", "partial"),
    [
        ("1000", "20.00", False),  # 10 of 10
        ("1000", "19.99", True),  # 9.995: one lot more would have made exactly 10
        ("999.9999", "19.99", False),  # 9.995 of 9.999999: one lot more is one micro too much
        ("1000", "1", True),
    ],
)
def test_a_fill_is_partial_when_another_lot_was_wanted_and_not_there(notional: str, shares: str, partial: bool) -> None:
    outcome = BUY.with_(notional_micros=usdc(notional), depth_multiple=0, book=book(BIDS, levels(("0.50", shares))))
    assert outcome.decide().filled_share_micros == usdc(shares)
    assert outcome.decide().partial is partial


@pytest.mark.parametrize(
    ("held", "partial"), [("10.009999", False), ("10.01", True), ("10", False), ("20", True)]
)  # fmt: skip
def test_a_sell_is_not_partial_when_less_than_a_lot_is_left_of_the_position(held: str, partial: bool) -> None:
    # 10 shares at 0.495 bring 4.95, less than they are worth at their price
    scene = SELL.with_(
        held_share_micros=usdc(held), depth_multiple=0, book=book(levels(("0.495", "10")), levels(("0.505", "1")))
    )
    assert (scene.decide().filled_share_micros, scene.decide().partial) == (usdc(10), partial)


@pytest.mark.parametrize(
    ("scene", "target", "partial"),
    [(BUY, 6_667, False), (BUY, 6_668, True), (SELL, 6_665, False), (SELL, 6_666, True)],
)
def test_whether_another_lot_fits_is_asked_of_its_rounded_amount(scene: Scene, target: int, partial: bool) -> None:
    # one lot at 0.333333 costs 3,334 micros and brings 3,333
    tiny = scene.with_(
        notional_micros=target * 100,
        share_micros=target * 300,
        book=book(levels(("0.333333", "0.01")), levels(("0.333333", "0.01"))),
        **ANY_SIZE,
    ).decide()
    assert (tiny.filled_share_micros, tiny.partial) == (10_000, partial)


def test_without_shares_of_theirs_only_the_mid_binds() -> None:
    assert bounds(5, 0, 500_000, 10_000, 15_000, buying=True) == (None, 515_000)
    assert bounds(5, -1, 500_000, 10_000, 15_000, buying=False) == (None, 485_000)
    assert bounds(1, 3, None, 10_000, 15_000, buying=True) == (343_333, None)
    assert bounds(1, 3, None, 10_000, 15_000, buying=False) == (323_334, None)
    assert bounds(1, 1, None, 0, 0, buying=True) == (1_000_000, None)


def test_a_share_of_an_amount_is_exact() -> None:
    third = Ratio(1, 3)
    assert third.floor_of(5) == 1
    assert not third.is_exceeded(1, 3)
    assert third.is_exceeded(1, 2)  # 1 is more than two thirds
    assert not third.is_exceeded(1, 4)
    assert Ratio.of(Decimal("0.75"), 100).floor_of(10_000) == 75


def test_the_fee_of_an_order_is_floored_to_ten_micros() -> None:
    # 0.05 * 11.8768 * (22.84 - 11.8768) / 22.84 = 0.285043...
    assert order_fee(Decimal("0.05"), Decimal(1), usdc("11.8768"), usdc("22.84")) == 285_040
    assert order_fee(Decimal(0), Decimal(1), usdc(1), usdc(2)) == 0
    assert order_fee(Decimal("0.05"), Decimal(1), 0, 0) == 0
    # 0.5 * 38 * 38 / 76 = 9.5 micros are not ten yet
    assert order_fee(Decimal("0.5"), Decimal(1), 38, 76) == 0
    assert order_fee(Decimal("0.5"), Decimal(1), 40, 80) == 10


def test_an_average_outside_0_to_1_pays_no_fee() -> None:
    # with exponent 0 the fee is rate * shares, at any price
    rate, one = Decimal("0.07"), usdc(1)
    assert [order_fee(rate, Decimal(0), notional, one) for notional in (0, 1, one - 1, one)] == [0, 70_000, 70_000, 0]
    assert order_fee(rate, Decimal(1), 11, 10) == 0
    assert order_fee(rate, Decimal(2), usdc(11), usdc(10)) == 0
    # 7 % of 857 micros are 59.99
    assert order_fee(rate, Decimal(0), 100, 857) == 50
    # at one price, 1 USDC buys 2 shares at 0.50
    assert [fee_at_price(rate, Decimal(0), one, price) for price in (0, 500_000, one)] == [0, 140_000, 0]
    assert fee_at_price(rate, Decimal(0), 1, 1) == 70_000
    assert fee_at_price(rate, Decimal(0), one, one - 1) == 70_000
    assert fee_at_price(rate, Decimal(1), -usdc(1), 500_000) == 0
    assert fee_at_price(rate, Decimal(0), -usdc(1), 500_000) == 0


def test_the_fee_at_one_price_is_floored_to_ten_micros_too() -> None:
    # 0.07 * 10 * 0.495 = 0.3465; with exponent 2, 0.07 * 20 * 0.0625 = 0.0875
    assert fee_at_price(Decimal("0.07"), Decimal(1), usdc(10), usdc("0.505")) == 346_500
    assert fee_at_price(Decimal("0.07"), Decimal(2), usdc(10), usdc("0.50")) == 87_500
    assert [fee_at_price(Decimal("0.5"), Decimal(1), notional, 500_000) for notional in (38, 39, 40)] == [0, 0, 10]
    assert fee_at_price(Decimal(0), Decimal(2), usdc(10), usdc("0.50")) == 0


def test_an_estimate_that_came_out_low_is_corrected() -> None:
    # p = 1/3: 0.25 * 8100 * (2/9) ** 2 is 100 exactly, in decimals 99.99...
    assert order_fee(Decimal("0.25"), Decimal(2), 2_700, 8_100) == 100


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


def test_no_fee_and_no_notional_are_shared_out_as_nothing() -> None:
    assert share_fee(0, []) == []
    assert share_fee(10, [0, 0]) == [0, 0]
    assert share_fee(0, [5, 6]) == [0, 0]


def test_a_book_deeper_than_a_row_has_room_for_is_as_deep_as_a_row_can_say() -> None:
    absurd = book(levels(("0.49", "1")), tuple(Level(500_000, 10**18 - place) for place in range(20)))
    outcome = BUY.with_(book=absurd).decide()
    assert (outcome.decision, outcome.depth_micros) == ("EXECUTE", 2**63 - 1)
