"""A portfolio carried from decision to decision: exposure, cost, sources, order, starts and peak."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.kinds import GroupKind, Scope, Side
from libs.common.domain.statistics import Start, attribute
from services.simulator.core.portfolio import Holding, PortfolioState, Trade
from tests.support.decisions import CONDITION, GROUP, MARKET, NO, YES, usdc

OTTER, HERON, CRANE = UUID(int=1), UUID(int=2), UUID(int=3)


def state(scope: Scope = Scope.EXEC_USER, cash: str = "1000") -> PortfolioState:
    start = Start(usdc(cash), 0)
    return PortfolioState(
        UUID(int=9), scope, usdc(cash), usdc(cash), start, start, None, False, 0, None, (OTTER, HERON, CRANE)
    )


def trade(side: Side | None, shares: str, notional: str, *, fee: str = "0", source: UUID = OTTER) -> Trade:
    kind = GroupKind.TRADE if side else GroupKind.SPLIT
    legs = () if side else (YES, NO)
    return Trade(kind, side, CONDITION, YES if side else None, legs, source, usdc(shares), usdc(notional), usdc(fee))


def test_a_position_is_worth_its_mark_or_else_its_cost() -> None:
    marked, unmarked = state(), state()
    marked.load({}, {YES: usdc("0.6")})
    unmarked.load({}, {})
    for each in (marked, unmarked):
        each.apply(trade(Side.BUY, "10", "5", fee="0.1"))
    assert marked.equity_micros == usdc("994.9") + usdc(6)
    assert unmarked.equity_micros == usdc("994.9") + usdc(5)
    view = marked.view(GROUP, MARKET, None, None)
    assert (view.exposure_total_micros, view.exposure_market_micros) == (usdc(6), usdc(6))
    assert (view.leg_share_micros, view.leg_cost_micros) == ((usdc(10), 0), (usdc(5), 0))


def test_a_sell_removes_cost_rounded_down_and_all_of_it_at_the_end() -> None:
    found = state()
    found.load({YES: Holding(CONDITION, 3, 10)}, {})
    found.apply(Trade(GroupKind.TRADE, Side.SELL, CONDITION, YES, (), OTTER, 1, 5, 0))
    assert found.view(GROUP, MARKET, None, None).leg_cost_micros == (7, 0)
    found.apply(Trade(GroupKind.TRADE, Side.SELL, CONDITION, YES, (), OTTER, 2, 5, 0))
    view = found.view(GROUP, MARKET, None, None)
    assert (view.leg_cost_micros, view.exposure_total_micros, view.held_share_micros) == ((0, 0), 0, 0)


def test_a_split_gives_the_odd_micro_of_cost_to_outcome_zero() -> None:
    found = state()
    found.load({}, {})
    found.apply(Trade(GroupKind.SPLIT, None, CONDITION, None, (YES, NO), OTTER, 7, 7, 0))
    view = found.view(GROUP, MARKET, None, None)
    assert (view.leg_share_micros, view.leg_cost_micros, view.cash_micros) == ((7, 7), (4, 3), usdc(1000) - 7)
    found.apply(Trade(GroupKind.MERGE, None, CONDITION, None, (YES, NO), OTTER, 7, 7, 0))
    view = found.view(GROUP, MARKET, None, None)
    assert (view.leg_share_micros, view.cash_micros, view.exposure_total_micros) == ((0, 0), usdc(1000), 0)


def test_global_exposure_belongs_to_the_users_it_was_copied_from() -> None:
    found = state(Scope.EXEC_GLOBAL)
    found.load({}, {YES: usdc("0.5")})
    found.apply(trade(Side.BUY, "30", "15", source=OTTER))
    found.apply(trade(Side.BUY, "10", "5", source=HERON))
    found.apply(trade(Side.SELL, "20", "10", source=HERON))
    view = found.view(GROUP, MARKET, None, None)  # the group is OTTER's
    assert (view.exposure_total_micros, view.exposure_user_micros) == (usdc(10), usdc("7.5"))


def test_what_rounding_leaves_over_goes_by_largest_remainder_then_by_follow_time() -> None:
    rank = {OTTER: 0, HERON: 1, CRANE: 2}
    assert attribute({CRANE: 1, HERON: 1, OTTER: 1}, -1, OTTER, rank) == {CRANE: 1, HERON: 1}
    assert attribute({OTTER: 5, HERON: 3}, -2, OTTER, rank) == {OTTER: 4, HERON: 2}
    assert attribute({OTTER: 5}, -5, HERON, rank) == {}
    assert attribute({}, 4, HERON, rank) == {HERON: 4}


@given(st.lists(st.integers(0, 1000), min_size=3, max_size=3), st.integers(0, 3000))
def test_attribution_conserves_shares_and_never_goes_below_zero(shares: Sequence[int], lost: int) -> None:
    before = dict(zip((OTTER, HERON, CRANE), shares, strict=True))
    after = attribute(before, -lost, OTTER, {OTTER: 0, HERON: 1, CRANE: 2})
    assert sum(after.values()) == sum(shares) - min(lost, sum(shares))
    assert all(0 <= after.get(user, 0) <= held for user, held in before.items())


@given(st.lists(st.tuples(st.sampled_from(["BUY", "SELL", "SPLIT"]), st.integers(1, 10**7), st.integers(1, 99))))
def test_running_totals_equal_a_fresh_sum(steps: list[tuple[str, int, int]]) -> None:
    found = state(Scope.EXEC_GLOBAL)
    found.load({}, {YES: usdc("0.37")})
    for number, (what, wanted, cents) in enumerate(steps):
        side = None if what == "SPLIT" else Side(what)
        held = found.held(YES)
        shares = min(wanted, held) if side is Side.SELL else wanted
        kind = GroupKind.SPLIT if side is None else GroupKind.TRADE
        source = (OTTER, HERON)[number % 2]
        notional = shares if side is None else shares * cents // 100
        found.apply(Trade(kind, side, CONDITION, YES if side else None, (YES, NO), source, shares, notional, 0))
    holdings = found._holdings.values()
    view = found.view(GROUP, MARKET, None, None)
    assert view.exposure_total_micros == sum(holding.value_micros for holding in holdings)
    assert view.equity_micros == view.cash_micros + view.exposure_total_micros
    assert view.exposure_user_micros == sum(holding.value_of(holding.sources.get(OTTER, 0)) for holding in holdings)
    assert all(holding.share_micros == sum(holding.sources.values()) for holding in holdings)


def test_decisions_are_numbered_and_an_older_group_after_a_younger_one_is_late() -> None:
    found = state()
    found.load({}, {})
    view = found.view(GROUP, MARKET, None, None)
    younger = replace(GROUP, id=UUID(int=8))
    assert found.decided(younger, view, drawdown_tripped=False) == (1, False)
    assert found.decided(GROUP, view, drawdown_tripped=True) == (2, True)
    assert (found.last_order, found.drawdown_tripped) == (younger.order, True)
    assert found.peak_equity_micros == usdc(1000)


def test_liquidity_taken_adds_up_by_price_and_side() -> None:
    found = state()
    found.load({}, {})
    found.take((YES, "h1", Side.BUY), [(5, 10)])
    found.take((YES, "h1", Side.BUY), [(5, 1), (6, 2)])
    found.take((YES, "h1", Side.SELL), [(4, 9)])
    assert found.view(GROUP, MARKET, "h1", None).taken == ((5, 11), (6, 2))
    assert found.view(GROUP, MARKET, "h2", None).taken == ()


def test_a_sell_brings_its_proceeds_less_the_fee() -> None:
    found = state()
    found.load({YES: Holding(CONDITION, usdc(10), usdc(4))}, {})
    found.apply(trade(Side.SELL, "4", "3", fee="0.2"))
    assert (found.cash_micros, found.held(YES)) == (usdc("1002.8"), usdc(6))


def test_a_trade_names_its_token() -> None:
    with pytest.raises(ValueError, match="expected a TRADE with an asset"):
        state().apply(replace(trade(Side.BUY, "1", "1"), asset_id=None))


def test_a_trade_sees_its_token_and_a_merge_the_smaller_leg() -> None:
    found = state()
    found.load({YES: Holding(CONDITION, usdc(5), usdc(2)), NO: Holding(CONDITION, usdc(3), usdc(1))}, {})
    merge = replace(GROUP, kind=GroupKind.MERGE, side=None, asset_id=None)
    assert found.view(GROUP, MARKET, None, None).held_share_micros == usdc(5)
    assert found.view(merge, MARKET, None, None).held_share_micros == usdc(3)


def test_of_an_unknown_market_the_groups_own_token_and_condition_are_seen() -> None:
    found = state()
    found.load({YES: Holding(CONDITION, usdc(5), usdc(2)), NO: Holding("0xother", usdc(3), usdc(1))}, {})
    view = found.view(GROUP, None, None, None)
    assert (view.leg_share_micros, view.held_share_micros) == ((usdc(5),), usdc(5))
    assert (view.exposure_market_micros, view.exposure_total_micros) == (usdc(2), usdc(3))
    merge = replace(GROUP, kind=GroupKind.MERGE, side=None, asset_id=None)
    assert found.view(merge, None, None, None).leg_share_micros == ()


def test_a_group_that_does_not_know_its_condition_has_its_markets_exposure() -> None:
    found = state()
    found.load({YES: Holding(CONDITION, usdc(5), usdc(2))}, {})
    view = found.view(replace(GROUP, condition_id=None), MARKET, None, None)
    assert view.exposure_market_micros == usdc(2)


def test_in_a_users_own_portfolio_all_exposure_is_theirs() -> None:
    found = state()
    found.load({YES: Holding(CONDITION, usdc(5), usdc(2))}, {})
    assert found.view(GROUP, MARKET, None, None).exposure_user_micros == usdc(2)


def test_the_peak_is_the_highest_equity_known() -> None:
    found = state()
    found.load({}, {})
    for known, seen in ((None, 1000), (usdc(900), 1000), (usdc(1100), 1100)):
        found.peak_equity_micros = known
        assert found.view(GROUP, MARKET, None, None).peak_equity_micros == usdc(seen)


def test_groups_in_their_order_are_not_late() -> None:
    found = state()
    found.load({}, {})
    view = found.view(GROUP, MARKET, None, None)
    younger = replace(GROUP, id=UUID(int=8))
    assert [found.decided(each, view, drawdown_tripped=False)[1] for each in (GROUP, younger, younger, GROUP)] == [
        False, False, False, True,
    ]  # fmt: skip
