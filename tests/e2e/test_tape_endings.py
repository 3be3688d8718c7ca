"""Markets that end in every way, through the whole stack: positions, cash and profit as worked out by hand."""

import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.oracle import Run, audit, read_run
from tests.support import endings_tape as tape
from tests.support.playing import command, environment
from tests.support.plays import Played
from tests.support.tapes import MarketPlan

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

Row = dict[str, Any]

# (user, market, outcome): shares, cost, realised. What is over holds nothing and cost nothing.
SHADOW = {
    ("ann", tape.WON, 0): (0, 0, 500_000_000),  # 1000 at 0.50, paid 1
    ("ben", tape.HALVED, 0): (0, 0, 0),  # 300 of a split at 0.50, paid 0.50
    ("ben", tape.HALVED, 1): (0, 0, 80_100_000),  # 300 at 0.50 and 801 at 0.40 are 470.40; 1101 at 0.50 are 550.50
    ("ann", tape.THIRDS, 0): (0, 0, 33_333_333),  # 1000.01 at 0.30 are 300.003; floor(1000.01 * 0.333333) 333.336333
    ("ann", tape.DISPUTED, 0): (0, 0, -300_000_000),  # 500 at 0.60, worth nothing
    ("ben", tape.DISPUTED, 1): (0, 0, 300_000_000),  # 500 at 0.40, paid 1
    ("ann", tape.ABANDONED, 0): (700_000_000, 140_000_000, 0),  # closed, never resolved: held
    ("ben", tape.LATE, 0): (0, 0, -200_000_000),  # 400 at 0.50, resolved after the tape's end
    # 500 of a split and 200 bought, all at 0.50, 200 merged at 0.50: 500 paid 1; then 30 at 0.97 paid 1
    ("ann", tape.REOPENED, 0): (0, 0, 250_900_000),
    # 500 of a split, 200 merged, 300 worth nothing; then 10.01 at 0.50, shown late, worth nothing
    ("ann", tape.REOPENED, 1): (0, 0, -155_005_000),
    ("ann", tape.VOIDED, 0): (0, 0, 0),
    ("ann", tape.VOIDED, 1): (0, 0, 0),
    ("ben", tape.LEARNED, 0): (0, 0, 0),  # 50 of a split, posted when the market was told, paid 0.50
    ("ben", tape.LEARNED, 1): (0, 0, 0),
}
# Paid: 500 + 300.003 + 300 + 140 + 500 + 100 + 100 + 5.005 + 29.1; got: 1000 + 333.336333 + 0 + 200 + 500 + 30 + 100
ANN_CASH = -1_974_108_000 + 2_163_336_333
# Paid: 300 + 320.4 + 200 + 200 + 50; got: 150 + 550.5 + 500 + 50
BEN_CASH = -1_070_400_000 + 1_250_500_000
# One percent is below the minimum of 5 USDC everywhere, so each copy buys whole lots for 5. What was split is left out:
# a poll brings it, before its market closes or after.
COPIED = {
    ("ann", tape.WON, 0): (0, 0, 5_000_000),  # 10 at 0.50
    ("ann", tape.THIRDS, 0): (0, 0, 555_327),  # 16.66 at 0.30 are 4.998; floor(16.66 * 0.333333) is 5.553327
    ("ann", tape.DISPUTED, 0): (0, 0, -4_998_000),  # 8.33 at 0.60
    ("ben", tape.DISPUTED, 1): (0, 0, 7_500_000),  # 12.5 at 0.40
    ("ann", tape.ABANDONED, 0): (25_000_000, 5_000_000, 0),  # 25 at 0.20
    ("ben", tape.LATE, 0): (0, 0, -5_000_000),
}


@pytest.fixture(scope="module")
def run(endings: Played) -> Run:
    return read_run(endings.exports)


def positions(run: Run, scope: str) -> dict[tuple[str | None, str], tuple[int, int, int]]:
    return {
        (row["user_label"], row["asset_id"]): (row["share_micros"], row["cost_micros"], row["realized_pnl_micros"])
        for row in run["positions"]
        if row["scope"] == scope
    }


def by_token(expected: dict[tuple[str, MarketPlan, int], tuple[int, int, int]]) -> dict[tuple[str, str], Any]:
    return {(user, market.tokens[outcome]): amounts for (user, market, outcome), amounts in expected.items()}


def settlements(run: Run, market: MarketPlan) -> list[Row]:
    return [row for row in run["ledger"] if row["entry_type"] == "SETTLEMENT" and row["asset_id"] in market.tokens]


def test_it_drains_the_oracle_finds_nothing_and_the_books_add_up(endings_tape: Path, endings: Played) -> None:
    assert endings.code == 0, endings.output
    assert endings.failures == []
    assert [str(each) for each in audit(endings_tape, endings.exports, Fraction(tape.SPEED))] == []
    line = command("verify", "--data-dir", endings.exports.parent / "data")
    done = subprocess.run(line, capture_output=True, text=True, env=environment(), timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    assert "not in the books yet: 4 splits and merges" in done.stdout


def test_a_market_that_is_never_told_holds_up_nothing(run: Run) -> None:
    strange = {row["id"]: row for row in run["events"] if row["condition_id"] == tape.UNKNOWN.condition_id}
    assert sorted(row["kind"] for row in strange.values()) == ["MERGE", "SPLIT", "SPLIT", "SPLIT"]
    assert not strange.keys() & {row["ref_id"] for row in run["ledger"]}
    skipped = [row for row in run["attempts"] if row["condition_id"] == tape.UNKNOWN.condition_id]
    assert {row["scope"] for row in skipped} == {"EXEC_USER", "EXEC_GLOBAL"}
    assert all("MARKET_UNKNOWN" in row["reason_codes"] for row in skipped)


def test_what_was_split_before_its_market_was_told_is_posted_and_settled(run: Run) -> None:
    ours = [row for row in run["ledger"] if row["scope"] == "SHADOW_USER" and row["asset_id"] in tape.LEARNED.tokens]
    assert [
        (row["entry_type"], row["share_delta_micros"]) for row in sorted(ours, key=lambda row: int(row["seq"]))
    ] == [
        *[("SPLIT", 50_000_000)] * 2,
        *[("SETTLEMENT", -50_000_000)] * 2,
    ]


def test_shadows_are_what_the_tape_makes_them(run: Run) -> None:
    assert positions(run, "SHADOW_USER") == by_token(SHADOW)
    cash = {"ann": 0, "ben": 0}
    for row in run["ledger"]:
        if row["scope"] == "SHADOW_USER":
            cash[row["user_label"]] += row["cash_delta_micros"]
    assert cash == {"ann": ANN_CASH, "ben": BEN_CASH}


def test_copies_end_as_their_originals_do_alone_and_together(run: Run) -> None:
    wanted = by_token(COPIED)
    alone, together = positions(run, "EXEC_USER"), positions(run, "EXEC_GLOBAL")
    assert {place: alone[place] for place in wanted} == wanted
    assert {token: together[None, token] for _, token in wanted} == {token: each for (_, token), each in wanted.items()}
    assert [place for place, (shares, _, _) in (alone | together).items() if shares and place not in wanted] == [
        (None, tape.ABANDONED.tokens[0])
    ]


def test_nothing_is_settled_while_it_is_disputed(run: Run) -> None:
    start = min(row["event_time"] for row in run["events"]) - 4_000_000 // tape.SPEED
    found = settlements(run, tape.DISPUTED)
    assert len(found) == 6  # two shadows, two alone, and both tokens together
    assert all(row["created_at"] >= start + tape.DISPUTE_ENDS_S * 1_000_000 // tape.SPEED for row in found)


def test_redeems_post_nothing_and_no_position_is_settled_twice(run: Run) -> None:
    redeems = {row["id"] for row in run["events"] if row["kind"] == "REDEEM"}
    assert len(redeems) == 7
    assert not redeems & {row["ref_id"] for row in run["ledger"]}
    for market in tape.MARKETS:
        found = settlements(run, market)
        assert len(found) == len({(row["scope"], row["user_label"], row["asset_id"], row["ref_id"]) for row in found})
    moved = sorted(row["share_delta_micros"] for row in settlements(run, tape.WON))
    assert moved == [-1_000_000_000, -10_000_000, -10_000_000]
    late = [row for row in settlements(run, tape.REOPENED) if row["asset_id"] == tape.REOPENED.tokens[0]][-1]
    assert (late["share_delta_micros"], late["cash_delta_micros"]) == (-30_000_000, 30_000_000)
    assert late["ref_id"].startswith(f"{tape.REOPENED.condition_id}:")
    assert settlements(run, tape.UNHELD) == []


def test_every_ending_leaves_its_mark(run: Run) -> None:
    last = {row["asset_id"]: row for row in sorted(run["marks"], key=lambda row: int(row["at"]))}
    for market, told in tape.RESOLUTIONS.items():
        for outcome, token in enumerate(market.tokens):
            if market is not tape.UNHELD:
                payouts = told[-1][2]
                assert payouts is not None
                assert (last[token]["source"], last[token]["price_micros"]) == ("PAYOUT", payouts[outcome])
    kept = last[tape.ABANDONED.tokens[0]]
    assert (kept["source"], kept["price_micros"]) == ("MIDPOINT", 195_000)


def test_a_market_that_never_ends_is_held_at_its_last_mark_and_flagged(run: Run) -> None:
    flags = {(row["scope"], row["asset_id"]): row["flags"] for row in run["positions"] if row["share_micros"]}
    assert flags == {
        (scope, tape.ABANDONED.tokens[0]): ["stale_mark"] for scope in ("SHADOW_USER", "EXEC_USER", "EXEC_GLOBAL")
    }
    newest = {
        (row["scope"], row["user_label"]): row for row in sorted(run["snapshots"], key=lambda row: int(row["at"]))
    }
    assert newest["SHADOW_USER", "ann"]["exposure_micros"] == 700 * 195_000
    assert newest["EXEC_USER", "ann"]["exposure_micros"] == 25 * 195_000
