"""What a disturbed play must share with an undisturbed one, and what it must have done by itself."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from services.cli.stack import session
from services.ingest import commands as ingest
from services.ledger import commands as ledger
from services.simulator.commands import replay_attempts
from tests.chaos.account import REPORT, Account, read_account
from tests.chaos.cases import Case
from tests.chaos.truth import FAILING, untruths
from tests.oracle import Run, Violation, audit, read_run
from tests.oracle.grouping import left_out, open_for
from tests.support.playing import export_all

Facts = dict[str, Counter[tuple[Any, ...]]]

SHADOW: Final = "SHADOW_USER"
EXIT_DRAINED: Final = 0
HOURS: Final = 24
_MONEY: Final = ("equity_micros", "cash_micros", "unrealized_pnl_micros", "realized_pnl_micros", "deposits_micros")


@dataclass(frozen=True)
class Judged:
    """A finished play: how `up` ended, its exports, and what is wrong with it by itself."""

    code: int
    exports: Path
    wrong: list[str]


UNKNOWN_MARKET: Final = "['MARKET_UNKNOWN'] is given but does not hold"
"""The oracle knows every market from its first second; who was not answered about one rightly skips it."""
UNKNOWN_TO_BE_CLOSED: Final = "['MARKET_CLOSED'] holds but is not given (['MARKET_UNKNOWN'"
"""Nor can one who was not answered about a market know that it closed."""
ANSWERED_SECONDS: Final = 20
"""Gamma is asked again within this once it answers, and what waited for it is decided."""
COMMITTED_SECONDS: Final = 10
"""What was seen this long after a process came back may still have waited for it to be committed."""


def judge(tape: Path, data_dir: Path, exports: Path, code: int, speed: int, case: Case) -> Judged:
    """Export everything from a stack that is down, and look for what the disturbance of the case does not excuse."""
    with session(data_dir, command="export") as visit:
        export_all(visit.database_url, exports)
        report = asyncio.run(ledger.verify(visit.database_url))
        replayed = asyncio.run(replay_attempts(visit.database_url))
    write_report(data_dir, exports)
    wrong = [] if code == EXIT_DRAINED else [f"up ended with {code}"]
    wrong += [f"verify: {violation}" for violation in report]
    wrong += [f"replay: {each}" for each in replayed]
    account = read_account(exports, data_dir, case)
    wrong += [f"oracle: {each}" for each in unexcused(audit(tape, exports, Fraction(speed)), account)]
    letters = [row for row in account.run["deadletters"] if row["status"] == "OPEN"]
    wrong += [f"dead letter: {row['stream']} {row['error'][:200]}" for row in letters]
    wrong += untruths(account)
    return Judged(code, exports, wrong)


def write_report(data_dir: Path, exports: Path) -> None:
    """Put the coverage report of a stack that is down beside its exports."""
    with session(data_dir, command="coverage") as visit:
        report = asyncio.run(ingest.coverage(visit.database_url, HOURS, watching=visit.stack_is_up))
    (exports / REPORT).write_text(json.dumps(ingest.coverage_document(report), indent=1))


def unexcused(found: Sequence[Violation], account: Account) -> list[str]:
    """Return what the oracle found and the disturbance does not explain, by what was away when."""
    excused = {str(each) for each in (*_unanswered(found, account), *_committed_late(account))}
    return [text for text in map(str, found) if text not in excused]


def _unanswered(found: Sequence[Violation], account: Account) -> Iterator[Violation]:
    """Yield markets told unknown by who was deciding while Gamma failed, or while who asks it was away."""
    decided = {f"attempt {row['id']}": row["decided_at"] for row in account.run["attempts"]}
    spans = (*account.struck("gamma", {*FAILING, "slow"}), *account.away)
    for each in found:
        at = decided.get(each.subject, 0)
        unknown = each.message.endswith(UNKNOWN_MARKET) or UNKNOWN_TO_BE_CLOSED in each.message
        if unknown and any(span.holds(at, 1, ANSWERED_SECONDS) for span in spans):
            yield each


def _committed_late(account: Account) -> Iterator[Violation]:
    """Yield fills that were not in Postgres when the group that was open for them closed (SPEC 4 then opens another).

    They were seen while a process was away, or about then, and the ledger, which posts what is committed, had not
    posted them yet.
    """
    posted = {row["ref_id"]: row["created_at"] for row in account.run["ledger"] if row["scope"] == SHADOW}
    for member, group, earlier in left_out(account.run):
        was_away = any(span.holds(member["detect_time"], 1, COMMITTED_SECONDS) for span in account.away)
        if was_away and posted.get(member["id"], earlier["closed_at"]) >= earlier["closed_at"]:
            yield open_for(member, group, earlier)


def facts(folder: Path) -> Facts:
    """Return what must not depend on how a run went: standing events, and each user's shadow to the micro."""
    run = read_run(folder)
    shadow: dict[str, Counter[tuple[Any, ...]]] = {"shadow shares": Counter(), "shadow cash": Counter()}
    for row in run["positions"]:
        if row["scope"] == SHADOW:
            shadow["shadow shares"][row["user_label"], row["asset_id"]] += row["share_micros"]
    for row in run["ledger"]:
        if row["scope"] == SHADOW:
            shadow["shadow cash"][(row["user_label"],)] += row["cash_delta_micros"]
    return {"events": _standing(run), "shadow PnL": _pnl(run), **shadow}


def difference(expected: Facts, found: Facts) -> str | None:
    """Return the first thing in which two runs differ, or None."""
    for what, counts in expected.items():
        missing, extra = counts - found[what], found[what] - counts
        if missing or extra or counts != found[what]:
            sample = " ".join(f"{sign}{next(iter(each))}" for sign, each in (("-", missing), ("+", extra)) if each)
            return f"{what}: {missing.total()} missing, {extra.total()} too many: {sample}"
    return None


def _standing(run: Run) -> Counter[tuple[Any, ...]]:
    names = ("kind", "wallet", "tx_hash", "condition_id", "asset_id", "side", "share_micros")
    counted: Counter[tuple[Any, ...]] = Counter()
    for row in run["events"]:
        if row["status"] == "CANONICAL":
            fee = row["fee_micros"] or 0
            cash = (row["usdc_notional_micros"] or 0) + (-fee if row["side"] == "SELL" else fee)
            counted[(*(row[name] for name in names), cash)] += 1
    return counted


def _pnl(run: Run) -> Counter[tuple[Any, ...]]:
    """Return the last snapshot of each shadow, and what each of its positions has realised."""
    latest: dict[str, dict[str, Any]] = {}
    for row in run["snapshots"]:
        if row["scope"] == SHADOW and row["at"] >= latest.get(row["user_label"], row)["at"]:
            latest[row["user_label"]] = row
    money = Counter({("user", label, *(row[name] for name in _MONEY)): 1 for label, row in latest.items()})
    for row in run["positions"]:
        if row["scope"] == SHADOW:
            money["position", row["user_label"], row["asset_id"], row["cost_micros"], row["realized_pnl_micros"]] += 1
    return money
