"""The arithmetic of the books: worked examples to the micro, and properties against a toy ledger."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.episodes import Episodes
from libs.common.domain.kinds import EntryType, GroupKind, Scope, Side
from libs.common.domain.statistics import attribute, pnl
from services.ledger.core import entries
from services.ledger.core.entries import Entry, Owner, Posting
from services.ledger.core.fold import Holding, apply, in_order, refold
from services.ledger.core.settle import Payout, settle
from services.ledger.core.snapshot import Valued, value
from tests.support.toy_ledger import ToyLedger, ToyPosition, toy_payout

START = datetime(2026, 9, 28, 9, 0, tzinfo=UTC)
USER = UUID(int=1)
SHADOW = Owner(Scope.SHADOW_USER, USER)
GLOBAL = Owner(Scope.EXEC_GLOBAL, None)
LEGS = ("1001", "1002")


def place(ref: str = "ref", *, owner: Owner = SHADOW, second: int = 0, log_index: int = 0) -> Posting:
    return Posting(
        owner, ref, START + timedelta(seconds=second), condition_id="0xc", tx_hash="0xt", log_index=log_index
    )


def buy(shares: int, notional: int, *, fee: int = 0, ref: str = "ref", second: int = 0) -> tuple[Entry, ...]:
    return entries.trade(
        place(ref, second=second), "1001", Side.BUY, share_micros=shares, notional_micros=notional, fee_micros=fee
    )


def sell(shares: int, notional: int, *, fee: int = 0, ref: str = "ref", second: int = 0) -> tuple[Entry, ...]:
    return entries.trade(
        place(ref, second=second), "1001", Side.SELL, share_micros=shares, notional_micros=notional, fee_micros=fee
    )


def fold(*groups: tuple[Entry, ...]) -> Holding:
    return refold(entry for group in groups for entry in group)


def test_a_buy_with_a_fee_posts_shares_cash_and_a_fee_of_the_same_ref_and_asset() -> None:
    fill, fee = buy(3_000_000, 1_000_000, fee=12_340)
    assert (fill.entry_type, fill.share_delta_micros, fill.cash_delta_micros) == ("TRADE_FILL", 3_000_000, -1_000_000)
    assert fill.price_micros == 333_334  # a bought average is shown rounded up
    assert (fee.entry_type, fee.share_delta_micros, fee.cash_delta_micros) == ("FEE", 0, -12_340)
    assert (fee.ref_id, fee.asset_id) == (fill.ref_id, fill.asset_id)
    assert fee.id != fill.id


def test_a_sell_without_a_fee_posts_one_entry_priced_down() -> None:
    (fill,) = sell(3_000_000, 2_000_000)
    assert (fill.share_delta_micros, fill.cash_delta_micros, fill.price_micros) == (-3_000_000, 2_000_000, 666_666)


def test_nothing_is_posted_for_zero_shares() -> None:
    assert buy(0, 0) == ()
    assert entries.pair(place(), GroupKind.SPLIT, LEGS, share_micros=0) == ()


def test_a_split_of_an_odd_amount_costs_outcome_0_the_odd_micro() -> None:
    yes, no = entries.pair(place(), GroupKind.SPLIT, LEGS, share_micros=5)
    assert (yes.share_delta_micros, yes.cash_delta_micros, yes.basis_micros) == (5, -5, 3)
    assert (no.share_delta_micros, no.cash_delta_micros, no.basis_micros) == (5, 0, 2)


def test_a_merge_is_the_mirror_image_of_a_split() -> None:
    split = entries.pair(place("s"), GroupKind.SPLIT, LEGS, share_micros=7)
    merge = entries.pair(place("m"), GroupKind.MERGE, LEGS, share_micros=7)
    for bought, sold in zip(split, merge, strict=True):
        assert refold([bought, sold]) == Holding(episodes=Episodes(closed=1))
    assert sum(entry.cash_delta_micros for entry in (*split, *merge)) == 0


def test_a_condition_of_three_outcomes_costs_a_third_a_leg_and_the_rest_on_the_first() -> None:
    posted = entries.pair(place(), GroupKind.SPLIT, (*LEGS, "1003"), share_micros=8)
    assert [(entry.share_delta_micros, entry.cash_delta_micros, entry.cost_micros) for entry in posted] == [
        (8, -8, 4),
        (8, 0, 2),
        (8, 0, 2),
    ]


def test_a_pair_needs_two_legs() -> None:
    with pytest.raises(ValueError, match="expected 2 legs or more, got 1"):
        entries.pair(place(), GroupKind.SPLIT, LEGS[:1], share_micros=5)


def test_an_opening_costs_its_mark_and_moves_no_cash() -> None:
    opened = entries.opening(place(f"{USER}:1001"), "1001", share_micros=1_500_000, mark_micros=333_333)
    assert (opened.cash_delta_micros, opened.basis_micros) == (0, 499_999)
    assert refold([opened]) == Holding(1_500_000, 499_999, 0)


def test_flows_are_cash_alone() -> None:
    assert entries.deposit(place("bankroll"), 10_000_000_000).cash_delta_micros == 10_000_000_000
    assert entries.withdrawal(place("w1"), 5).cash_delta_micros == -5


def test_ids_are_functions_of_the_key_alone() -> None:
    early, late = buy(1, 1, second=0), buy(2, 2, second=9)
    assert early[0].id == late[0].id
    assert buy(1, 1, ref="other")[0].id != early[0].id


def test_selling_part_removes_its_share_of_cost_rounded_down_and_selling_all_removes_all() -> None:
    after_buys = fold(buy(2_000_000, 1_000_001), buy(1_000_000, 499_999))
    assert after_buys == Holding(3_000_000, 1_500_000, 0)
    # floor(1_500_000 * 1_000_001 / 3_000_000) = 500_000
    after_part = fold(buy(3_000_000, 1_500_000), sell(1_000_001, 700_000))
    assert after_part == Holding(1_999_999, 1_000_000, 200_000, Episodes(result_micros=200_000))
    after_all = fold(buy(3_000_000, 1_500_000), sell(1_000_001, 700_000), sell(1_999_999, 900_000))
    assert after_all == Holding(0, 0, 200_000 - 100_000, Episodes(1, 1, 100_000))


def test_buying_back_a_short_realises_and_selling_through_zero_is_two_trades() -> None:
    short = fold(sell(4_000_000, 2_000_000))
    assert short == Holding(-4_000_000, -2_000_000, 0)
    covered = fold(sell(4_000_000, 2_000_000), buy(1_000_000, 400_000))
    assert covered == Holding(-3_000_000, -1_500_000, 100_000, Episodes(result_micros=100_000))
    # 3 of the 5 shares close the long for floor(2_000_000 * 3 / 5); 2 open a short for the rest
    crossed = fold(buy(3_000_000, 900_000), sell(5_000_000, 2_000_000))
    assert crossed == Holding(-2_000_000, -800_000, 1_200_000 - 900_000, Episodes(1, 1))


def test_fees_are_not_in_cost_but_in_the_result_of_the_episode() -> None:
    assert fold(buy(1_000_000, 500_000, fee=9_000)) == Holding(1_000_000, 500_000, 0, Episodes(result_micros=-9_000))


def test_an_adjustment_without_shares_realises_its_cash() -> None:
    adjusted = entries.adjustment(place("a"), "1001", share_delta_micros=0, cash_delta_micros=700)
    assert refold([*buy(10, 5), adjusted]) == Holding(10, 5, 700, Episodes(result_micros=700))


def test_reversals_restore_the_exact_prior_state() -> None:
    before = buy(3_000_000, 1_000_000, ref="one")
    later = sell(1_000_000, 500_000, fee=30, ref="two", second=1)
    undone = tuple(entries.reversal(entry, 0) for entry in later)
    assert [entry.ref_id for entry in undone] == [f"{entry.id}:0" for entry in later]
    assert sum(entry.cash_delta_micros for entry in (*later, *undone)) == 0
    assert fold(before, later, undone) == fold(before)


def test_shadow_entries_fold_in_chain_order_and_executables_as_posted() -> None:
    late, early = sell(1_000_000, 700_000, second=5), buy(1_000_000, 300_000, second=1)
    assert in_order(Scope.SHADOW_USER, [*late, *early]) == [*early, *late]
    assert in_order(Scope.EXEC_USER, [*late, *early]) == [*late, *early]


def test_entries_without_a_transaction_come_last_among_equals() -> None:
    (fill,) = buy(2, 1)
    payout = Payout("0xc", 1_000_000, START)
    settlement = settle(SHADOW, "1001", 2, payout, last_event_time=START, reopened_by=None)
    assert in_order(Scope.SHADOW_USER, [settlement, fill]) == [fill, settlement]


@pytest.mark.parametrize(
    ("shares", "payout", "cash"),
    [(3, 500_000, 1), (-3, 500_000, -1), (3_000_001, 1_000_000, 3_000_001), (7, 0, 0), (-7, 333_333, -2)],
)
def test_a_settlement_pays_longs_rounded_down_and_charges_shorts_rounded_up(
    shares: int, payout: int, cash: int
) -> None:
    entry = settle(SHADOW, "1001", shares, Payout("0xc", payout, START), last_event_time=None, reopened_by=None)
    assert (entry.share_delta_micros, entry.cash_delta_micros, entry.ref_id) == (-shares, cash, "0xc")
    assert cash == toy_payout(shares, payout)


def test_a_reopened_position_settles_under_the_condition_and_the_entry_that_reopened_it() -> None:
    (fill,) = buy(2, 1, second=90)
    payout = Payout("0xc", 1_000_000, START)
    entry = settle(SHADOW, "1001", 2, payout, last_event_time=fill.event_time, reopened_by=fill.id)
    assert entry.ref_id == f"0xc:{fill.id}"
    assert entry.event_time == fill.event_time  # never before what it settles


def test_global_shares_leave_their_sources_pro_rata_and_the_first_followed_takes_the_odd_micro() -> None:
    first, second, third = UUID(int=30), UUID(int=20), UUID(int=10)
    followed = {first: 0, second: 1, third: 2}
    held = attribute({}, 10, first, followed)
    held = attribute(held, 10, second, followed)
    held = attribute(held, 10, third, followed)
    assert attribute(held, -1, third, followed) == {first: 9, second: 10, third: 10}
    assert attribute(held, -2, third, followed) == {first: 9, second: 9, third: 10}
    assert attribute({first: 1, second: 2}, -2, None, followed) == {second: 1}  # 2/3 and 4/3: the larger remainder
    assert attribute(held, -30, None, followed) == {}


def test_a_portfolio_is_worth_its_cash_and_its_positions_at_their_marks() -> None:
    worth = value(
        1_000,
        [
            Valued(3, 2, 500_000),  # floor(1.5)
            Valued(-3, -2, 500_000),  # floor(-1.5)
            Valued(10, 7, None),  # never marked: its own cost
        ],
    )
    assert (worth.exposure_micros, worth.equity_micros, worth.unrealized_pnl_micros) == (6, 1_006, -1)
    assert pnl(worth.equity_micros, 900, 50) == 156


amounts = st.integers(1, 5_000_000)
moves = st.lists(st.tuples(st.sampled_from([1, -1]), amounts, st.integers(0, 5_000_000)), max_size=30)


@given(moves)
def test_fold_agrees_with_the_toy_whatever_is_bought_and_sold(trades: list[tuple[int, int, int]]) -> None:
    holding, toy = Holding(), ToyPosition()
    for sign, shares, notional in trades:
        holding = apply(holding, sign * shares, sign * notional)
        toy.take(sign * shares, sign * notional)
        assert (holding.share_micros, holding.cost_micros, holding.realized_pnl_micros) == (
            toy.shares,
            toy.cost,
            toy.realized,
        )


@given(moves)
def test_profit_is_cash_plus_cost_at_every_step(trades: list[tuple[int, int, int]]) -> None:
    holding, cash = Holding(), 0
    for sign, shares, notional in trades:
        holding = apply(holding, sign * shares, sign * notional)
        cash -= sign * notional
        assert holding.realized_pnl_micros == cash + holding.cost_micros
        assert holding.share_micros != 0 or holding.cost_micros == 0


@given(st.dictionaries(st.uuids(), st.integers(1, 10**12), min_size=1, max_size=6), st.data())
def test_attribution_loses_exactly_what_was_lost_and_no_source_more_than_it_has(
    sources: dict[UUID, int], data: st.DataObject
) -> None:
    total = sum(sources.values())
    lost = data.draw(st.integers(1, total))
    after = attribute(sources, -lost, None, {user: place for place, user in enumerate(sorted(sources))})
    assert sum(after.values()) == total - lost
    for user, shares in sources.items():
        left = after.get(user, 0)
        assert 0 <= left <= shares
        assert abs(Fraction(shares * lost, total) - (shares - left)) < 1


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, int, int, int, int, int]]:
    kinds = st.sampled_from(["BUY", "SELL", "SPLIT", "MERGE"])
    fact = st.tuples(
        kinds, st.integers(0, 1), amounts, st.integers(0, 3_000_000), st.integers(0, 50), st.integers(0, 9)
    )
    return draw(st.lists(fact, max_size=20))


@given(histories(), st.randoms(use_true_random=False), st.data())
def test_books_agree_with_the_toy_in_any_order_with_duplicates_and_reversals(
    facts: list[tuple[str, int, int, int, int, int]], random: object, data: st.DataObject
) -> None:
    toy, told = ToyLedger(), []
    for number, (kind, leg, shares, notional, fee, second) in enumerate(facts):
        ref = str(uuid4())
        at = place(ref, second=second, log_index=number)
        when = (at.event_time, number)
        if kind in {"BUY", "SELL"}:
            sign = 1 if kind == "BUY" else -1
            toy.trade(ref, when, LEGS[leg], sign * shares, sign * notional, fee)
            posted = entries.trade(
                at, LEGS[leg], Side(kind), share_micros=shares, notional_micros=notional, fee_micros=fee
            )
        else:
            toy.pair(ref, when, LEGS, shares if kind == "SPLIT" else -shares)
            posted = entries.pair(at, GroupKind(kind), LEGS, share_micros=shares)
        told.append(posted)
        if data.draw(st.booleans()) and data.draw(st.booleans()):
            toy.reverse(ref)
            told.append(tuple(entries.reversal(entry, 0) for entry in posted))
    random.shuffle(told)  # type: ignore[attr-defined]
    ledger = {entry.id: entry for posted in told + told for entry in posted}
    assert sum(entry.cash_delta_micros for entry in ledger.values()) == toy.cash()
    expected = toy.positions()
    for asset in LEGS:
        own = [entry for entry in ledger.values() if entry.asset_id == asset]
        want = expected.get(asset, ToyPosition())
        found = refold(in_order(Scope.SHADOW_USER, own))
        assert (found.share_micros, found.cost_micros, found.realized_pnl_micros) == (
            want.shares,
            want.cost,
            want.realized,
        )


def test_every_entry_type_has_a_maker() -> None:
    (fill, fee) = buy(1, 1, fee=1)
    made = {
        fill.entry_type,
        fee.entry_type,
        entries.deposit(place(), 1).entry_type,
        entries.withdrawal(place(), 1).entry_type,
        entries.opening(place(), "1001", share_micros=1, mark_micros=1).entry_type,
        entries.adjustment(place(), "1001", share_delta_micros=1, cash_delta_micros=0).entry_type,
        entries.settlement(place(), "1001", share_micros=1, payout_micros=1).entry_type,
        entries.reversal(fill, 0).entry_type,
        *(entry.entry_type for kind in GroupKind if kind is not GroupKind.TRADE
          for entry in entries.pair(place(), kind, LEGS, share_micros=2)),
    }  # fmt: skip
    assert made == set(EntryType)
