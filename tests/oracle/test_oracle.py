"""The oracle accepts the worked example and notices each thing that is broken in it."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.oracle import audit
from tests.oracle.worked_example import Rows, run_rows
from tests.oracle.worked_tape import CONDITION, DOWN, START_MS, UP, at, tape_files, write_files


def judged(folder: Path, rows: Rows, tape: dict[str, Any] | None = None) -> list[str]:
    write_files(folder / "tape", tape or tape_files())
    write_files(folder / "run", {f"{kind}.jsonl": content for kind, content in rows.items()})
    return [str(violation) for violation in audit(folder / "tape", folder / "run")]


def find(rows: Rows, kind: str, /, **wanted: Any) -> dict[str, Any]:
    return next(row for row in rows[kind] if all(row[name] == value for name, value in wanted.items()))


def test_the_worked_example_has_no_violation(tmp_path: Path) -> None:
    assert judged(tmp_path, run_rows()) == []


Breakage = Callable[[Rows], object]


def changed(kind: str, wanted: dict[str, Any], /, **values: Any) -> Breakage:
    return lambda rows: find(rows, kind, **wanted).update(values)


def without(kind: str, /, **wanted: Any) -> Breakage:
    return lambda rows: rows[kind].remove(find(rows, kind, **wanted))


def doubled(kind: str, wanted: dict[str, Any], /, **values: Any) -> Breakage:
    return lambda rows: rows[kind].append({**find(rows, kind, **wanted), **values})


def closing(moment: str) -> Breakage:
    return lambda rows: rows.update(markets=[{"condition_id": CONDITION, "close_time": moment}])


def audited(moment: str, action: str, subject: str = "engine_paused") -> Breakage:
    return lambda rows: rows.update(audit=[{"at": moment, "action": action, "subject": subject, "detail": {}}])


def a_micro_off(kind: str, name: str, /, **wanted: Any) -> Breakage:
    def break_it(rows: Rows) -> None:
        find(rows, kind, **wanted)[name] += 1

    return break_it


def flow(action: str, amount: int, scope: str, user: str | None) -> dict[str, Any]:
    detail = {"amount_micros": amount, "scope": scope, "user": user}
    return {"at": at(1), "action": action, "subject": "a portfolio", "detail": detail}


MONEY = (
    "cash_micros", "exposure_micros", "equity_micros", "unrealized_pnl_micros", "realized_pnl_micros",
    "deposits_micros", "withdrawals_micros", "fees_micros",
)  # fmt: skip
BUY, SELL = {"id": "EXEC_USER-g1"}, {"id": "EXEC_USER-g3"}
SPLIT = {"id": "EXEC_USER-g2"}
BREAKAGES: dict[str, tuple[str, Breakage]] = {
    "a fill is missing": ("events", without("events", id="e1")),
    "a fill is doubled": ("events", doubled("events", {"id": "e1"}, id="e9", log_index=8)),
    "an event id is doubled": ("events", doubled("events", {"id": "e4"})),
    "a log makes two events": ("events", doubled("events", {"id": "e1"}, id="e9")),
    "cash is off by a micro": ("events", changed("events", {"id": "e1"}, usdc_notional_micros=1_020_000_001)),
    "the fee moved into the notional": (
        "events",
        changed("events", {"id": "e1"}, fee_micros=0, usdc_notional_micros=1_044_990_000),
    ),
    "a maker is called taker": ("events", changed("events", {"id": "e3"}, role="TAKER")),
    "a fill belongs to another user": ("events", changed("events", {"id": "e1"}, user_label="bob")),
    "a split is missing": ("events", without("events", id="e2")),
    "a reward is lost": ("events", without("events", id="e4")),
    "a combo is taken for a fill": (
        "events",
        changed("events", {"id": "e5"}, kind="TRADE", asset_id="999", side="BUY"),
    ),
    "an event is in no group": ("groups", without("groups", id="g1")),
    "an event is in two groups": ("groups", changed("groups", {"id": "g3"}, event_ids=["e3", "e1"])),
    "a group closed early": ("groups", changed("groups", {"id": "g1"}, closed_at=at(4.9))),
    "a group's reference is rounded the wrong way": (
        "groups",
        changed("groups", {"id": "g1"}, reference_price_micros=510_001),
    ),
    "a group lacks an attempt": ("order", without("attempts", **SPLIT)),
    "a group has two attempts": ("order", doubled("attempts", SPLIT, id="twin", seq=9)),
    "decisions are out of order": ("order", changed("attempts", BUY, seq=7)),
    "an ordered decision is flagged": ("order", changed("attempts", SELL, out_of_order=True)),
    "an attempt was due too early": ("order", changed("attempts", BUY, due_at=at(5.1))),
    "an attempt was decided before it was due": ("order", changed("attempts", BUY, decided_at=at(5.99))),
    "the scopes saw two books": ("order", changed("attempts", BUY, book_fetched_at=at(6.06))),
    "an unknown book": ("decision", changed("attempts", BUY, book_hash="h2")),
    "an exported book differs": ("decision", changed("books", {}, bids=[[500_000, 1_000_000_001]])),
    "a wrong target": ("decision", changed("attempts", BUY, target_notional_micros=10_200_001)),
    "a wrong limit": ("decision", changed("attempts", BUY, limit_price_micros=519_998)),
    "a wrong best bid": ("decision", changed("attempts", BUY, best_bid_micros=490_000)),
    "a wrong mid": ("decision", changed("attempts", BUY, mid_price_micros=505_001)),
    "a wrong depth": ("decision", changed("attempts", BUY, depth_micros=525_100_001)),
    "a wrong fee rate": ("decision", changed("attempts", BUY, fee_rate=0.07)),
    "a wrong reference": ("decision", changed("attempts", BUY, their_reference_price_micros=510_001)),
    "a level took a lot less": (
        "decision",
        changed("fills", {"attempt_id": "EXEC_USER-g1", "level": 1}, share_micros=9_790_000, notional_micros=5_090_800),
    ),
    "a wrong fee": ("decision", changed("attempts", BUY, fee_micros=247_280)),
    "a wrong VWAP": ("decision", changed("attempts", BUY, vwap_price_micros=514_949)),
    "a fee shared wrongly": (
        "decision",
        changed("fills", {"attempt_id": "EXEC_USER-g1", "level": 0}, fee_micros=123_684),
    ),
    "a skip without a reason": ("decision", changed("attempts", BUY, decision="SKIP")),
    "a false reason": ("decision", changed("attempts", BUY, decision="SKIP", reason_codes=["SPREAD_TOO_WIDE"])),
    "a cap that should have stopped": ("decision", changed("attempts", BUY, exposure_market_micros=495_000_000)),
    "a breaker that should have stopped": (
        "decision",
        changed("attempts", BUY, day_start_equity_micros=10_400_000_000),
    ),
    "a stale group": ("decision", changed("groups", {"id": "g1"}, first_event_time="2026-11-22T09:57:00.000000Z")),
    "no cash": ("decision", changed("attempts", BUY, cash_micros=10_444_000)),
    "cash before a decision is wrong": ("holdings", changed("attempts", SELL, cash_micros=9_984_556_731)),
    "held shares before a decision are wrong": ("holdings", changed("attempts", SELL, held_share_micros=24_800_001)),
    "a split of another size": ("decision", changed("attempts", SPLIT, filled_share_micros=5_010_000)),
    "a posting is doubled": (
        "ledger",
        doubled("ledger", {"ref_id": "EXEC_USER-g1", "entry_type": "FEE"}, id="l99", seq=99),
    ),
    "a fee is not posted": ("ledger", without("ledger", ref_id="EXEC_USER-g1", entry_type="FEE")),
    "a settlement pays too much": (
        "ledger",
        changed(
            "ledger", {"scope": "EXEC_USER", "entry_type": "SETTLEMENT", "asset_id": UP}, cash_delta_micros=14_700_001
        ),
    ),
    "a resolved position stays": (
        "ledger",
        without("ledger", scope="EXEC_USER", entry_type="SETTLEMENT", asset_id=DOWN),
    ),
    "shares go below zero": (
        "ledger",
        changed("ledger", {"ref_id": "EXEC_USER-g3", "entry_type": "TRADE_FILL"}, seq=0),
    ),
    "a snapshot's cash is off": (
        "ledger",
        changed("snapshots", {"scope": "EXEC_USER"}, cash_micros=1, equity_micros=1),
    ),
    "shadow cash is off": (
        "shadow",
        changed("ledger", {"ref_id": "e1", "entry_type": "TRADE_FILL"}, cash_delta_micros=-1_020_000_001),
    ),
    "a fill mined again is copied again": ("groups", changed("events", {"id": "e1"}, incarnation=1)),
    "a reversed fill stays posted": (
        "shadow",
        lambda rows: (
            doubled("events", {"id": "e1"}, id="e9", status="REVERSED")(rows),
            doubled("ledger", {"ref_id": "e1", "entry_type": "FEE"}, id="l9", ref_id="e9", cash_delta_micros=-1)(rows),
        ),
    ),
    "a shadow position is left over": (
        "shadow",
        changed("positions", {"scope": "SHADOW_USER", "asset_id": UP}, share_micros=1),
    ),
    "equity before a decision is wrong": ("valuation", changed("attempts", SELL, equity_micros=9_999_752_733)),
    "exposure before a decision is wrong": ("valuation", changed("attempts", SELL, exposure_market_micros=0)),
    "the week started elsewhere": ("valuation", changed("attempts", SELL, week_start_equity_micros=9_999_999_999)),
    "a peak falls": ("valuation", changed("attempts", SELL, peak_equity_micros=9_999_999_999)),
    "a peak below what was there": ("valuation", changed("attempts", BUY, peak_equity_micros=9_999_999_999)),
    "exposure is put down to another user": (
        "valuation",
        changed("attempts", {"id": "EXEC_GLOBAL-g3"}, exposure_user_micros=15_195_999),
    ),
    "a book from another time": ("clock", changed("events", {"id": "e1"}, event_time=at(8))),
    "a group is stale by a microsecond": (
        "decision",
        changed("groups", {"id": "g1"}, first_event_time="2026-11-22T09:58:06.099999Z"),
    ),
    "a market closes at another time than the tape's": ("clock", closing("2026-11-22T10:31:00.000000Z")),
    "a market closes a microsecond too soon": ("decision", closing("2026-11-22T10:30:06.099999Z")),
    "a pause was not heeded": ("decision", audited(at(1), "control.pause")),
    "a pause that nobody made": (
        "decision",
        changed("attempts", SPLIT, decision="SKIP", reason_codes=["ENGINE_PAUSED"]),
    ),
    "a disabled user was copied": ("decision", audited(at(1), "user.disable", "anna")),
    "an EXECUTE with a counterfactual": ("decision", changed("attempts", BUY, counterfactual_share_micros=1)),
    "a split that cost another amount": ("decision", changed("attempts", SPLIT, filled_notional_micros=4_999_999)),
    **{
        f"{scope} has {name} a micro off": (
            "portfolios",
            changed("positions", {"scope": scope, "asset_id": UP}, **{name: value}),
        )
        for scope, realized in (("SHADOW_USER", 735_000_000), ("EXEC_USER", 7_054_000), ("EXEC_GLOBAL", 7_054_000))
        for name, value in (("share_micros", 1), ("cost_micros", -1), ("realized_pnl_micros", realized + 1))
    },
    **{
        f"{scope}'s snapshot has {name} a micro off": ("portfolios", a_micro_off("snapshots", name, scope=scope))
        for scope in ("SHADOW_USER", "EXEC_USER", "EXEC_GLOBAL")
        for name in MONEY
    },
    "a position is missing": ("portfolios", without("positions", scope="SHADOW_USER", asset_id=DOWN)),
    "a position nobody took": (
        "portfolios",
        doubled("positions", {"scope": "EXEC_USER", "asset_id": UP}, asset_id="333", cost_micros=1),
    ),
    "a portfolio is missing": ("portfolios", without("snapshots", scope="EXEC_GLOBAL")),
    "an older snapshot does not add up": (
        "portfolios",
        doubled("snapshots", {"scope": "EXEC_USER"}, at=at(30), unrealized_pnl_micros=1),
    ),
    "a settlement in parts that do not add up": (
        "portfolios",
        changed("ledger", {"scope": "EXEC_USER", "entry_type": "SETTLEMENT", "asset_id": UP}, share_delta_micros=-1),
    ),
    "a copy is put down to nobody": (
        "portfolios",
        changed("ledger", {"scope": "EXEC_GLOBAL", "entry_type": "TRADE_FILL"}, source_user=None),
    ),
    "a user's own copy is put down to a user": (
        "portfolios",
        changed("ledger", {"scope": "EXEC_USER", "entry_type": "TRADE_FILL"}, source_user="anna"),
    ),
    "a deposit that nobody made": (
        "ledger",
        doubled("ledger", {"scope": "EXEC_USER", "entry_type": "DEPOSIT"}, id="l99", seq=99, ref_id="twice"),
    ),
    "a deposit that was not posted": (
        "portfolios",
        lambda rows: rows.update(audit=[flow("deposit", 5, "EXEC_USER", "anna")]),
    ),
    "a bankroll of another size": (
        "ledger",
        changed("ledger", {"scope": "EXEC_USER", "entry_type": "DEPOSIT"}, cash_delta_micros=10_000_000_001),
    ),
    "a configuration of later": ("config", changed("config", {}, effective_at=at(50))),
    "a configuration of before": ("config", doubled("config", {}, version=2, effective_at=at(1))),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_each_breakage_is_noticed(name: str, tmp_path: Path) -> None:
    check, break_it = BREAKAGES[name]
    rows = run_rows()
    break_it(rows)
    found = judged(tmp_path, rows)
    assert any(violation.startswith(f"[{check}]") for violation in found), f"{name}: {found}"


@pytest.mark.parametrize(
    "harmless",
    [
        audited(at(40), "control.pause"),
        changed("attempts", {"id": "EXEC_USER-g3"}, exposure_user_micros=0),
    ],
    ids=["a pause afterwards", "no user's exposure in a user's own portfolio"],
)
def test_what_is_fine_is_let_pass(harmless: Breakage, tmp_path: Path) -> None:
    rows = run_rows()
    harmless(rows)
    assert judged(tmp_path, rows) == []


def test_half_an_hour_to_the_microsecond_is_enough(tmp_path: Path) -> None:
    rows, tape = run_rows(), tape_files()
    closing("2026-11-22T10:30:24.100000Z")(rows)  # 1,800 s after the last decision; play starts at 10:00:00
    tape["markets.jsonl"][0]["endDate"] = datetime.fromtimestamp(START_MS / 1000 + 1824.1, UTC).isoformat()
    assert judged(tmp_path, rows, tape) == []
