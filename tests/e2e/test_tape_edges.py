"""The edge tape through the whole stack at its own speed: every decision is the one worked out by hand."""

from pathlib import Path
from typing import Any

import pytest

from libs.common.domain.reasons import Reason
from tests.oracle import audit, read_run
from tests.support.edge_cases import STEPS, Expected, Step, micros
from tests.support.edge_play import EdgePlay
from tests.support.edge_tape import transaction_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

Row = dict[str, Any]
GLOBAL_ONLY = {"RISK_CAP_USER", "RISK_CAP_GLOBAL"}
"""A portfolio of one user has neither."""


@pytest.fixture(scope="module")
def decided(edges: EdgePlay) -> dict[tuple[str, str], list[Row]]:
    """Attempts by transaction and scope."""
    run = read_run(edges.exports)
    transactions = {row["id"]: row["tx_hash"] for row in run["events"]}
    groups = {row["id"]: transactions[row["event_ids"][0]] for row in run["groups"]}
    found: dict[tuple[str, str], list[Row]] = {}
    for row in run["attempts"]:
        found.setdefault((groups[row["group_id"]], row["scope"]), []).append(row)
    return found


def outcome(row: Row) -> tuple[Any, ...]:
    names = ("target_notional_micros", "filled_share_micros", "filled_notional_micros", "fee_micros")
    amounts = [row[name] for name in names] if row["decision"] == "EXECUTE" else []
    return sorted(row["reason_codes"]), *amounts


def wanted(expected: Expected) -> tuple[Any, ...]:
    texts = (expected.target, expected.shares, expected.notional, expected.fee)
    return sorted(expected.reasons), *(micros(text) for text in texts if text is not None and expected.target)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_a_group_is_decided_as_worked_out_by_hand(step: Step, decided: dict[tuple[str, str], list[Row]]) -> None:
    for scope, expected in (("EXEC_USER", step.alone), ("EXEC_GLOBAL", step.together)):
        (row,) = decided[transaction_of(step), scope]
        if expected is not None:
            assert (scope, *outcome(row)) == (scope, *wanted(expected))


@pytest.mark.parametrize("scope", ["EXEC_USER", "EXEC_GLOBAL"])
def test_every_reason_code_came_up(scope: str, decided: dict[tuple[str, str], list[Row]]) -> None:
    given = {reason for (_, found), rows in decided.items() if found == scope for reason in rows[0]["reason_codes"]}
    assert given == {reason.value for reason in Reason} - (GLOBAL_ONLY if scope == "EXEC_USER" else set())


SKIPPED_BEFORE_THE_BOOK = (
    "paused", "disabled", "unknown", "blacklisted-condition", "closing-soon", "daily-beyond", "skip-beyond",
    "cap-market-beyond", "cash-one-micro",
)  # fmt: skip


@pytest.mark.parametrize("name", SKIPPED_BEFORE_THE_BOOK)
def test_a_live_trade_has_its_book_whatever_the_decision(name: str, decided: dict[tuple[str, str], list[Row]]) -> None:
    step = next(each for each in STEPS if each.name == name)
    alone, together = (decided[transaction_of(step), scope][0] for scope in ("EXEC_USER", "EXEC_GLOBAL"))
    assert alone["book_hash"] is not None
    assert alone["counterfactual_share_micros"] is not None
    assert (alone["book_hash"], alone["book_fetched_at"]) == (together["book_hash"], together["book_fetched_at"])


def test_the_oracle_finds_nothing_wrong(edge_tape: Path, edges: EdgePlay) -> None:
    assert [str(each) for each in audit(edge_tape, edges.exports)] == []


def test_it_drains_and_the_books_add_up(edges: EdgePlay) -> None:
    assert edges.code == 0, edges.output
    assert edges.failures == []
    assert edges.wrong == []


def test_deciding_again_changes_nothing(edges: EdgePlay) -> None:
    assert edges.different == []
