"""The recomputation of portfolios against histories worked out by hand."""

from collections import Counter
from fractions import Fraction
from typing import Any

import pytest

from tests.oracle.portfolios import Held, Move, check_newest_snapshots, check_positions, ends, recomputed
from tests.oracle.run import Row, Run
from tests.oracle.tape import Tape, TapeMarket

LABEL, WALLET, CONDITION, YES, NO = "otter", "0xa1", "0xc0", "1", "2"
OWNER = ("SHADOW_USER", LABEL)
SECOND = 1_000_000


def history(*steps: tuple[int, int]) -> Held:
    """Return what (shares, paid) come to, one after the other."""
    (found,) = ends([Move((place, "", 0), YES, shares, paid) for place, (shares, paid) in enumerate(steps)])
    return found


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(3, 10), (-1, -5)], Held(2, 7, 2)),  # a third of 10 is 3
        ([(3, 10), (-1, -5), (-2, -5)], Held(0, 0, 0)),  # what rounding left goes with the last share
        ([(-3, -10), (1, 2)], Held(-2, -6, 2)),  # a short: a third of what it brought, 4, was bought back for 2
        ([(2, 10), (-5, -24)], Held(-3, -15, -1)),  # two of five close: 9 of 24 for what cost 10; 15 open a short
        ([(-2, -10), (5, 24)], Held(3, 15, 1)),  # and the mirror image
        ([(5, 0), (-5, -1)], Held(0, 0, 1)),
        ([(5, 2), (0, -1)], Held(5, 2, 1)),  # cash of a conversion without shares
    ],
)
def test_average_cost_is_as_worked_out(steps: list[tuple[int, int]], expected: Held) -> None:
    assert history(*steps) == expected


def test_only_what_has_no_order_may_end_in_more_than_one_way() -> None:
    before = Move((1, "0x1", 0), YES, 10, 10)
    sell, buy = Move((2, "0x2", 0), YES, -10, -30), Move((2, "0x2", 0), YES, 10, 20)
    assert ends([before, sell, buy]) == [Held(10, 20, 20), Held(10, 15, 15)]
    ordered = [before, Move((2, "0x2", 7), YES, -10, -30), Move((2, "0x2", 9), YES, 10, 20)]
    assert ends(ordered[::-1]) == [Held(10, 20, 20)], "whatever came first"


def event(name: str, kind: str, second: int, shares: int, **values: Any) -> Row:
    blank = {"asset_id": None, "side": None, "fee_micros": 0, "log_index": None, "ordinal": 0, "booked": True}
    place = {"condition_id": CONDITION, "event_time": second * SECOND, "tx_hash": f"0x{second}"}
    own = {"id": name, "kind": kind, "status": "CANONICAL", "user_label": LABEL, "wallet": WALLET}
    return {**own, **place, **blank, "share_micros": shares, **values}


def trade(name: str, second: int, side: str, shares: int, notional: int, **values: Any) -> Row:
    own = {"asset_id": YES, "side": side, "usdc_notional_micros": notional}
    return event(name, "TRADE", second, shares, **own | values)


def entry(seq: int, kind: str, ref: str, asset: str, shares: int, cash: int) -> Row:
    amounts = {"share_delta_micros": shares, "cash_delta_micros": cash}
    own = {"id": f"l{seq}", "seq": seq, "scope": OWNER[0], "user_label": LABEL, "reverses": None, "source_user": None}
    return {**own, "entry_type": kind, "ref_id": ref, "asset_id": asset, **amounts}


def tape(payouts: tuple[int, ...] = (), openings: dict[str, tuple[int, int]] | None = None) -> Tape:
    """Return a tape of one market; openings are (shares, cost) by token."""
    found = Tape("t", 0, {WALLET: LABEL}, {})
    found.markets[CONDITION] = TapeMarket(CONDITION, (YES, NO), Fraction(0), 1, [])
    if payouts:
        found.payouts[CONDITION] = (0, payouts)
    for asset, (shares, cost) in (openings or {}).items():
        found.openings[LABEL, asset], found.opening_costs[LABEL, asset] = shares, cost
    return found


def shadow(of: Tape, *rows: Row) -> tuple[int, int, dict[str, Held]]:
    """Return cash, fees and positions of the shadow that events and entries make."""
    run = Run({"events": [row for row in rows if "kind" in row], "ledger": [row for row in rows if "seq" in row]})
    found = recomputed(of, run)[OWNER]
    return found.cash, found.fees, {asset: ends(moves)[0] for asset, moves in found.moves.items()}


def test_an_odd_split_and_merge_give_the_odd_micro_to_outcome_0() -> None:
    split = event("s", "SPLIT", 1, 7, usdc_notional_micros=7)
    assert shadow(tape(), split) == (-7, 0, {YES: Held(7, 4), NO: Held(7, 3)})
    merge = event("m", "MERGE", 2, 5, usdc_notional_micros=5)
    # 4 * 5 / 7 = 2 is removed for 3; 3 * 5 / 7 = 2 for 2
    assert shadow(tape(), split, merge) == (-2, 0, {YES: Held(2, 2, 1), NO: Held(2, 1)})


def test_a_late_fill_of_a_half_paid_market_is_rounded_by_itself() -> None:
    halves = tape((500_000, 500_000))
    fills = trade("a", 1, "BUY", 3, 2, fee_micros=1), trade("b", 2, "BUY", 3, 1)
    at_once = entry(1, "SETTLEMENT", CONDITION, YES, -6, 3)
    assert shadow(halves, *fills, at_once) == (-4 + 3, 1, {YES: Held(0, 0, 0)})
    apart = entry(1, "SETTLEMENT", CONDITION, YES, -3, 1), entry(2, "SETTLEMENT", f"{CONDITION}:x", YES, -3, 1)
    assert shadow(halves, *fills, *apart) == (-4 + 2, 1, {YES: Held(0, 0, -1)})
    taken_back = {**entry(3, "REVERSAL", "l1:0", YES, 6, -3), "reverses": "l1"}
    assert shadow(halves, *fills, at_once, taken_back)[2] == {YES: Held(6, 3)}


def test_a_short_pays_the_ceiling() -> None:
    thirds = tape((333_333, 666_667))
    sold = trade("a", 1, "SELL", 10, 5)
    settled = entry(1, "SETTLEMENT", CONDITION, YES, 10, -3)  # the ceiling of -3.33333
    assert shadow(thirds, sold, settled) == (2, 0, {YES: Held(0, 0, 2)})


def test_what_was_taken_back_or_never_booked_is_not_there() -> None:
    gone = trade("a", 1, "BUY", 9, 9, status="REVERSED"), trade("b", 2, "BUY", 9, 9, booked=False)
    assert shadow(tape(), *gone, trade("c", 3, "BUY", 1, 1)) == (-1, 0, {YES: Held(1, 1)})


def test_an_opening_costs_what_it_was_worth_and_comes_first() -> None:
    cash, _, held = shadow(tape(openings={YES: (10, 6)}), trade("a", 1, "SELL", 5, 4))
    assert (cash, held) == (4, {YES: Held(5, 3, 1)})


def test_a_conversion_stands_where_it_happened() -> None:
    rows = (
        trade("a", 1, "BUY", 4, 8, asset_id=NO),
        event("v", "CONVERSION", 2, 4),
        trade("b", 3, "BUY", 4, 4, asset_id=NO),
        entry(1, "ADJUSTMENT", "v", NO, -4, 1),
        entry(2, "ADJUSTMENT", "v", YES, 4, 0),
    )
    assert shadow(tape(), *rows) == (-8 + 1 - 4, 0, {NO: Held(4, 4, -7), YES: Held(4, 0)})


def snapshot(scope: str, user: str | None, **values: int) -> Row:
    names = ("cash", "exposure", "equity", "unrealized_pnl", "realized_pnl", "deposits", "withdrawals", "fees")
    amounts = {f"{name}_micros": values.get(name, 0) for name in names}
    return {"scope": scope, "user_label": user, "at": 1, **amounts}


def test_a_held_position_is_worth_its_latest_mark_and_its_cost_before_there_is_one() -> None:
    position = {"scope": OWNER[0], "user_label": LABEL, "asset_id": YES}
    kept = {**position, "share_micros": 3, "cost_micros": 2, "realized_pnl_micros": 0}
    rich = {"cash": 10_000_000_000, "equity": 10_000_000_000, "deposits": 10_000_000_000}
    others = [snapshot("EXEC_USER", LABEL, **rich), snapshot("EXEC_GLOBAL", None, **rich)]
    run = Run({"events": [trade("a", 1, "BUY", 3, 2, fee_micros=1)], "positions": [kept]})
    unmarked = snapshot(*OWNER, cash=-3, exposure=2, equity=-1, realized_pnl=-1, fees=1)
    run.rows["snapshots"] = [*others, unmarked]
    assert [*check_positions(tape(), run), *check_newest_snapshots(tape(), run)] == []
    run.rows["marks"] = [{"asset_id": YES, "at": at, "price_micros": price} for at, price in ((2, 500_000), (1, 0))]
    marked = snapshot(*OWNER, cash=-3, exposure=1, equity=-2, unrealized_pnl=-1, realized_pnl=-1, fees=1)
    run.rows["snapshots"] = [*others, marked]
    assert list(check_newest_snapshots(tape(), run)) == []
    run.rows["snapshots"] = [*others, unmarked]
    wrong = Counter(str(each).split(" has ")[1].split()[0] for each in check_newest_snapshots(tape(), run))
    assert wrong.keys() == {"exposure_micros", "equity_micros", "unrealized_pnl_micros"}


def test_flows_are_those_of_the_audit() -> None:
    def audited(action: str, amount: int) -> Row:
        return {"action": action, "detail": {"amount_micros": amount, "scope": "EXEC_GLOBAL", "user": None}}

    run = Run({"audit": [audited("deposit", 5), audited("withdrawal", 2), audited("deposit", 1)]})
    found = recomputed(tape(), run)
    assert [found["EXEC_GLOBAL", None].deposits, found["EXEC_USER", LABEL].deposits] == [10_000_000_006, 10_000_000_000]
    assert (found["EXEC_GLOBAL", None].withdrawals, found["EXEC_GLOBAL", None].cash) == (2, 10_000_000_004)
