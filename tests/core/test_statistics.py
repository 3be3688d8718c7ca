"""Each figure a second time, from its words: worked by hand, and against sums over everything that happened."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain import statistics
from libs.common.domain.episodes import Episodes, win_rate
from libs.common.domain.kinds import GroupKind, Scope, Side
from libs.common.domain.statistics import Held, Loss, Start
from services.ledger.core import entries
from services.ledger.core.entries import Entry, Owner, Posting
from services.ledger.core.fold import refold
from services.ledger.core.settle import Payout, settle

GLOBAL = Owner(Scope.EXEC_GLOBAL, None)
MIDNIGHT = datetime(2026, 11, 24, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ANN, BEN, CAT = (UUID(int=number) for number in (1, 2, 3))
USD = 1_000_000
money = st.integers(-(10**12), 10**12)


# worked by hand


def test_a_position_is_worth_its_mark_rounded_down_or_its_cost() -> None:
    assert statistics.position_value(3, 2, 500_000) == 1
    assert statistics.position_value(-3, -2, 500_000) == -2
    assert statistics.position_value(3, 2, None) == 2
    assert statistics.position_value(3, 2, 0) == 0
    assert statistics.part_value(1, 3, 10, None) == 3
    assert statistics.part_value(5, 0, 10, None) == 0
    assert statistics.part_value(1, 3, 10, 999_999) == 0


def test_both_outcomes_of_a_market_add_and_users_get_what_came_from_them() -> None:
    assert statistics.exposure_by_market([("0xa", 5), ("0xb", 2), ("0xa", 4)]) == {"0xa": 9, "0xb": 2}
    held = [
        Held(30 * USD, 18 * USD, 500_000, {ANN: 10 * USD, BEN: 20 * USD}),
        Held(3 * USD, 900_000, None, {BEN: 1 * USD, CAT: 2 * USD}),  # never marked: the cost, pro rata
    ]
    assert statistics.exposure_by_user(held) == {ANN: 5 * USD, BEN: 10 * USD + 300_000, CAT: 600_000}
    assert statistics.exposure(each.value_micros for each in held) == 15 * USD + 900_000


def test_profit_leaves_out_flows_and_its_return_is_on_deposits() -> None:
    assert statistics.pnl(10_600, 12_000, 2_000) == 600
    assert statistics.net_flows(12_000, 2_000) == 10_000
    assert statistics.return_on_deposits(600, 12_000) == Fraction(1, 20)
    assert statistics.return_on_deposits(600, 0) is None
    assert statistics.realised_pnl([50, -20], 7) == 23
    assert statistics.unrealised_pnl(40, 45) == -5


def test_a_day_begins_at_midnight_and_a_week_on_monday() -> None:
    tuesday = MIDNIGHT + timedelta(hours=13, minutes=7, microseconds=5)
    assert statistics.start_of_day(tuesday) == MIDNIGHT
    assert statistics.start_of_week(tuesday) == MIDNIGHT - timedelta(days=1)
    assert statistics.start_of_week(MIDNIGHT - timedelta(days=1)) == MIDNIGHT - timedelta(days=1)
    assert statistics.start_of_week(MIDNIGHT - timedelta(days=1, microseconds=1)) == MIDNIGHT - timedelta(days=8)


def test_the_row_of_midnight_is_a_start_and_known_a_minute_later() -> None:
    assert statistics.counts_at(MIDNIGHT, MIDNIGHT)
    assert not statistics.counts_at(MIDNIGHT + MINUTE, MIDNIGHT)
    assert statistics.known_at(MIDNIGHT) == MIDNIGHT + MINUTE


def test_a_loss_counts_from_a_start_moved_by_flows() -> None:
    day = statistics.start_of(10_000, 9_000, None, 8_500)  # 500 were taken out since
    assert day == Start(10_000, -500)
    assert statistics.pnl_since(day, 9_405) == -95
    assert statistics.loss_since(10_000, -500, 9_405) == Loss(95, 9_500)
    assert statistics.loss_since(10_000, -500, 9_600) == Loss(-100, 9_500)
    assert statistics.loss_since(10_000, -10_000, 5) is None
    assert statistics.loss_since(None, 0, 5) is None


def test_without_a_snapshot_the_first_deposit_is_the_start() -> None:
    start = statistics.start_of(None, None, 10_000, 12_000)
    assert (start, start.moved_micros) == (Start(10_000, 2_000), 12_000)
    nothing = statistics.start_of(None, None, None, 12_000)
    assert (nothing, nothing.moved_micros, statistics.pnl_since(nothing, 9)) == (Start(None, 0), None, None)
    assert statistics.start_of(0, 0, 10_000, 0) == Start(0, 0)  # a snapshot of nothing is one


def test_a_withdrawal_moves_the_peak_and_is_no_drawdown() -> None:
    peak = statistics.peak_before((12_000, 10_000), None, 6_000)
    assert peak == 8_000
    assert statistics.drawdown(statistics.peak_with(peak, 7_040), 7_040) == Loss(960, 8_000)  # 12 per cent
    assert statistics.peak_before((12_000, 10_000), 2_500, 6_000) == 8_500
    assert statistics.peak_before(None, None, 6_000) is None
    assert statistics.peak_with(None, -5) == -5
    assert statistics.peak_with(0, -5) == 0
    assert statistics.drawdown(0, -5) is None


@pytest.mark.parametrize(("side", "worse"), [(Side.BUY, 2_000), (Side.SELL, -2_000)])
def test_slippage_is_signed_against_us(side: Side, worse: int) -> None:
    assert statistics.slippage(side, 402_000, 400_000) == worse
    assert statistics.slippage_bps(worse, 400_000) == Fraction(worse, 40)
    assert statistics.slippage_bps(worse, 0) is None


# against everything that happened


@st.composite
def lives(draw: st.DrawFn) -> list[tuple[str, int]]:
    """Return what happens to a portfolio: its profit moves, money comes or goes, a snapshot or a decision is made."""
    what = st.sampled_from(["profit", "flow", "snapshot", "decision"])
    return draw(st.lists(st.tuples(what, st.integers(-3_000, 3_000)), max_size=40))


@given(lives())
def test_the_peak_carried_from_decision_to_decision_is_the_most_ever_made_plus_flows(
    life: list[tuple[str, int]],
) -> None:
    made = flows = 0
    seen: list[int] = []
    kept: tuple[int, int] | None = None
    since: list[int] = []
    for what, amount in life:
        made += amount * (what == "profit")
        flows += amount * (what == "flow")
        equity = made + flows
        if what == "snapshot":
            since.append(statistics.pnl(equity, max(flows, 0), max(-flows, 0)))
            seen.append(made)
        elif what == "decision":
            seen.append(made)
            peak = statistics.peak_with(statistics.peak_before(kept, max(since, default=None), flows), equity)
            assert peak == max(seen) + flows
            fall = statistics.drawdown(peak, equity)
            assert fall is None if peak <= 0 else fall == Loss(max(seen) - made, max(seen) + flows)
            kept, since = (peak, flows), []


minutes = st.lists(st.integers(-12_000, 0), unique=True, max_size=20)


@given(minutes, st.integers(-11_000, 0), st.data())
def test_profit_since_a_moment_is_the_difference_of_profits_whatever_rows_are_missing(
    kept: list[int], ago: int, data: st.DataObject
) -> None:
    """Rows at `kept` minutes before now; the others were never written, or thinned out."""
    now, moment = MIDNIGHT, MIDNIGHT + ago * MINUTE
    rows = {now + at * MINUTE: (data.draw(money), data.draw(money)) for at in sorted(kept)}
    equity, flows, first = data.draw(money), data.draw(money), data.draw(money)
    counted = [row for at, row in rows.items() if statistics.counts_at(at, moment)]
    equity_then, flows_then = counted[-1] if counted else (None, None)
    start = statistics.start_of(equity_then, flows_then, first, flows)
    before = [worth - paid_in for at, (worth, paid_in) in rows.items() if at <= moment]
    assert statistics.pnl_since(start, equity) == (equity - flows) - (before[-1] if before else 0)


# episodes

ASSETS = ("1001", "1002")


def at(second: int, ref: str) -> Posting:
    return Posting(GLOBAL, ref, MIDNIGHT + timedelta(seconds=second), condition_id="0xc", source_user_id=ANN)


def trade(number: int, side: Side, shares: int, notional: int, fee: int = 0) -> tuple[Entry, ...]:
    return entries.trade(
        at(number, f"a{number}"), ASSETS[0], side, share_micros=shares, notional_micros=notional, fee_micros=fee
    )


def record(*posted: tuple[Entry, ...], asset: str = ASSETS[0]) -> Episodes:
    return refold(entry for group in posted for entry in group if entry.asset_id == asset).episodes


def test_an_episode_ends_when_all_is_sold_and_not_before() -> None:
    bought, part, rest = trade(1, Side.BUY, 10, 500), trade(2, Side.SELL, 4, 400), trade(3, Side.SELL, 6, 99)
    assert record(bought, part) == Episodes(0, 0, 200)
    assert record(bought, part, rest) == Episodes(1, 0, -1)  # 499 for 500


def test_the_fee_of_the_last_sale_belongs_to_what_it_closed() -> None:
    bought = trade(1, Side.BUY, 10, 500)
    assert record(bought, trade(2, Side.SELL, 10, 510)) == Episodes(1, 1, 10)
    assert record(bought, trade(2, Side.SELL, 10, 510, fee=10)) == Episodes(1, 0, 0)
    again = (trade(3, Side.BUY, 5, 100, fee=1), trade(4, Side.SELL, 5, 102))
    assert record(bought, trade(2, Side.SELL, 10, 510, fee=10), *again) == Episodes(2, 1, 1)


def test_a_settlement_closes_and_what_comes_late_is_another_episode() -> None:
    bought, late = trade(1, Side.BUY, 10, 4), trade(3, Side.BUY, 10, 9)
    payout = Payout("0xc", 500_000, MIDNIGHT)
    (one, two) = (
        settle(GLOBAL, ASSETS[0], 10, payout, last_event_time=None, reopened_by=after) for after in (None, late[0].id)
    )
    assert record(bought, (one,), late, (two,)) == Episodes(2, 1, -4)
    assert win_rate(1, 2) == Fraction(1, 2)
    assert win_rate(0, 0) is None


@pytest.mark.parametrize("sold", [4, 10])
@pytest.mark.parametrize("price", [500_000, 300_000])
def test_a_sale_that_comes_after_its_settlement_leaves_the_episode_it_would_have_left_before(
    sold: int, price: int
) -> None:
    bought, sale = trade(1, Side.BUY, 10, 4), trade(2, Side.SELL, sold, sold // 2)
    payout = Payout("0xc", price, MIDNIGHT)

    def settled(shares: int, after: Entry | None) -> tuple[Entry, ...]:
        reopened_by = after.id if after else None
        return (settle(GLOBAL, ASSETS[0], shares, payout, last_event_time=None, reopened_by=reopened_by),)

    in_time = record(bought, sale, *([settled(10 - sold, None)] if sold < 10 else []))
    late = record(bought, sale, settled(10, None), settled(-sold, sale[0]))
    assert (late.closed, late.won) == (in_time.closed, in_time.won) == (1, in_time.won)
    assert abs(late.result_micros - in_time.result_micros) <= 1  # two payouts are rounded where it is one in time


def test_a_purchase_taken_back_after_its_settlement_leaves_no_episode() -> None:
    bought = trade(1, Side.BUY, 10, 4)
    payout = Payout("0xc", 500_000, MIDNIGHT)
    (one, two) = (
        settle(GLOBAL, ASSETS[0], shares, payout, last_event_time=None, reopened_by=after)
        for shares, after in ((10, None), (-10, bought[0].id))
    )
    back = tuple(entries.reversal(entry, 0) for entry in bought)
    short = record(bought, (one,), back)
    assert (short.closed, win_rate(short.won, short.closed)) == (-1, None)
    assert record(bought, (one,), back, (two,)) == Episodes()


def test_the_legs_of_a_split_are_episodes_of_their_own() -> None:
    split = entries.pair(at(1, "s"), GroupKind.SPLIT, ASSETS, share_micros=7)
    merge = entries.pair(at(3, "m"), GroupKind.MERGE, ASSETS, share_micros=3)
    sold = trade(2, Side.SELL, 4, 3)  # cost floor(4 * 4 / 7) = 2; then a merge brings 2 for the remaining 2
    assert record(split, sold, merge) == Episodes(1, 1, 1)
    assert record(split, sold, merge, asset=ASSETS[1]) == Episodes(0, 0, 0)  # 3 of 7 at their cost of 1


def test_selling_through_zero_ends_one_episode_and_begins_another() -> None:
    crossed = record(trade(1, Side.BUY, 30, 9), trade(2, Side.SELL, 50, 20))
    assert crossed == Episodes(1, 1, 0)  # 12 of the 20 for the 30 that cost 9
    covered = trade(3, Side.BUY, 20, 9)
    assert record(trade(1, Side.BUY, 30, 9), trade(2, Side.SELL, 50, 20), covered) == Episodes(2, 1, -1)


def test_a_fee_of_nothing_held_and_what_was_taken_back_belong_to_no_episode() -> None:
    fill, fee = trade(1, Side.BUY, 10, 500, fee=3)
    assert record((fee,)) == Episodes()
    back = tuple(entries.reversal(entry, 0) for entry in (fill, fee))
    assert record((fill, fee), back) == Episodes()


steps = st.lists(
    st.tuples(st.sampled_from(["BUY", "SELL", "ALL", "SPLIT", "MERGE"]), st.integers(1, 90), st.integers(0, 90),
              st.integers(0, 9)), max_size=40)  # fmt: skip


def happened(life: list[tuple[str, int, int, int]]) -> list[Entry]:
    """Return the entries of a life of an executable: it never sells what it has not."""
    held: defaultdict[str, int] = defaultdict(int)
    found: list[Entry] = []
    for number, (what, shares, notional, fee) in enumerate(life):
        if what in {"SPLIT", "MERGE"}:
            size = shares if what == "SPLIT" else min(shares, *(held[asset] for asset in ASSETS))
            posted = entries.pair(at(number, f"p{number}"), GroupKind(what), ASSETS, share_micros=size)
        else:
            side = Side.BUY if what == "BUY" else Side.SELL
            size = shares if what == "BUY" else min(shares, held[ASSETS[0]]) if what == "SELL" else held[ASSETS[0]]
            posted = trade(number, side, size, notional, fee)
        for entry in posted:
            held[entry.asset_id or ""] += entry.share_delta_micros
        found += posted
    return found


def results(rows: list[Entry]) -> list[int]:
    """Return the results of one asset's closed episodes: from flat to flat, the sum of cash with the leg's half."""
    by_ref: dict[str, list[Entry]] = defaultdict(list)
    for row in rows:
        by_ref[row.ref_id].append(row)
    held, cash, found = 0, 0, []
    for posted in by_ref.values():
        held += sum(row.share_delta_micros for row in posted)
        cash += sum(row.cash_delta_micros if row.cost_micros is None else -row.cost_micros for row in posted)
        if held == 0 and any(row.share_delta_micros for row in posted):
            found.append(cash)
            cash = 0
    return found


@given(steps)
def test_episodes_folded_entry_by_entry_are_the_sums_of_cash_from_flat_to_flat(
    life: list[tuple[str, int, int, int]],
) -> None:
    all_rows = happened(life)
    for asset in ASSETS:
        rows = [row for row in all_rows if row.asset_id == asset]
        expected = results(rows)
        found = refold(rows).episodes
        assert (found.closed, found.won) == (len(expected), sum(result > 0 for result in expected))
        ends = [refold(rows[:count]).episodes.closed for count in range(len(rows) + 1)]
        assert all(0 <= after - before <= 1 for before, after in pairwise(ends))


@given(st.lists(st.tuples(st.dictionaries(st.sampled_from([ANN, BEN, CAT]), st.integers(1, 10**9), min_size=1),
                          st.integers(0, 10**9), st.none() | st.integers(0, USD)), max_size=6))  # fmt: skip
def test_exposure_by_user_is_all_of_it_but_for_less_than_a_micro_a_part(
    positions: list[tuple[dict[UUID, int], int, int | None]],
) -> None:
    held = [Held(sum(sources.values()), cost, mark, sources) for sources, cost, mark in positions]
    by_user = statistics.exposure_by_user(held)
    total = statistics.exposure(each.value_micros for each in held)
    parts = sum(len(each.sources) for each in held)
    assert total - parts <= sum(by_user.values()) <= total
    for user in by_user:
        exact = sum(
            (Fraction(each.sources.get(user, 0) * each.mark_micros, USD) if each.mark_micros is not None
             else Fraction(each.cost_micros * each.sources.get(user, 0), each.share_micros))
            for each in held
        )  # fmt: skip
        assert exact - len(held) < by_user[user] <= exact
