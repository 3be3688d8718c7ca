"""SPEC 5's order and times: one attempt per group and scope, FIFO by `seq`, due after closing, decided when due."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.oracle.holdings import attempts_in_order
from tests.oracle.rules import Rules
from tests.oracle.run import Row, Run, Violation
from tests.oracle.tape import Tape

CHECK = "order"
CLOCK_SLACK = 5_000
"""Microseconds by which two processes' readings of one clock may disagree."""


def check_one_attempt_per_group_and_scope(_tape: Tape, run: Run) -> Iterator[Violation]:
    """Each group is decided once for its user and once for the global portfolio."""
    counts = Counter((row["group_id"], row["scope"]) for row in run["attempts"])
    wanted = {(group["id"], scope) for group in run["groups"] for scope in ("EXEC_USER", "EXEC_GLOBAL")}
    for place in sorted(counts.keys() | wanted):
        if counts[place] != (place in wanted):
            yield Violation(CHECK, f"group {place[0]}", f"{counts[place]} attempts in {place[1]}")
    groups = {group["id"]: group for group in run["groups"]}
    for row in run["attempts"]:
        group = groups.get(row["group_id"])
        for name in ("user_label", "kind", "condition_id", "asset_id", "side"):
            if group and (row[name] or None) != (group[name] or None):
                yield Violation(CHECK, f"attempt {row['id']}", f"{name} {row[name]}, its group has {group[name]}")


def _first_log(group: Row, events: dict[str, Row]) -> int | None:
    """Return the group's first log index; None where it was not known at grouping: the API names none."""
    members = [events[event] for event in group["event_ids"] if event in events]
    first = [row for row in members if row["detect_time"] == group["first_detect_time"]]
    logs = [row["log_index"] if row["first_source"] == "CHAIN" else None for row in first]
    known = [log for log in logs if log is not None]
    return min(known) if known and len(known) == len(logs) and len({row["tx_hash"] for row in members}) == 1 else None


def _comes_before(one: Row, other: Row, logs: dict[str, int | None]) -> bool | None:
    """Tell whether group `one` is older than `other`; None where the exported columns cannot tell."""
    for name in ("first_detect_time", "first_event_time"):
        if one[name] != other[name]:
            return bool(one[name] < other[name])
    first, second = logs[one["id"]], logs[other["id"]]
    if first is None or second is None:
        return None
    return first < second if first != second else bool(one["id"] < other["id"])


def check_fifo(_tape: Tape, run: Run) -> Iterator[Violation]:
    """In each portfolio decisions follow the groups' order by `seq`, save those flagged out of order."""
    groups = {group["id"]: group for group in run["groups"]}
    events = {row["id"]: row for row in run["events"]}
    logs = {identity: _first_log(group, events) for identity, group in groups.items()}
    for owner, attempts in attempts_in_order(run).items():
        known = [row for row in attempts if row["group_id"] in groups]
        newest: Row | None = None
        for row in known:
            group = groups[row["group_id"]]
            older = newest is not None and _comes_before(group, newest, logs) is True
            if older and not row["out_of_order"]:
                yield Violation(CHECK, f"attempt {row['id']}", f"decided after a younger group in {owner}, not flagged")
            if row["out_of_order"] and newest is not None and _comes_before(newest, group, logs) is True:
                yield Violation(CHECK, f"attempt {row['id']}", "flagged out of order, yet in order")
            if not older:
                newest = group
        for name in ("seq", "decided_at"):
            values = [row[name] for row in attempts]
            if values != sorted(values):
                yield Violation(CHECK, f"portfolio {owner}", f"{name} falls along its decisions")


def check_due_times(_tape: Tape, run: Run, rules: dict[int, Rules]) -> Iterator[Violation]:
    """Due = closed + latency + jitter (or that of an older group, waited for), and nothing is decided before."""
    groups: dict[str, Any] = {group["id"]: group for group in run["groups"]}
    for attempts in attempts_in_order(run).values():
        latest = 0
        for row in attempts:
            group = groups.get(row["group_id"])
            if group is None:
                continue
            under = rules.get(row["config_version"], Rules())
            own = group["closed_at"] + under.decision_latency_microseconds
            latest = max(latest, own + under.jitter_microseconds)
            if not own <= row["due_at"] <= latest:
                yield Violation(CHECK, f"attempt {row['id']}", f"due {row['due_at']}, expected {own} to {latest}")
            if row["decided_at"] < row["due_at"] - CLOCK_SLACK and not row["out_of_order"]:
                yield Violation(CHECK, f"attempt {row['id']}", "decided before it was due")
            fetched = row["book_fetched_at"]
            if fetched is not None and not own - CLOCK_SLACK <= fetched <= row["decided_at"] + CLOCK_SLACK:
                yield Violation(
                    CHECK, f"attempt {row['id']}", f"book fetched at {fetched}, not between due and decision"
                )


def check_one_book_per_group(_tape: Tape, run: Run) -> Iterator[Violation]:
    """Both scopes decide a group on the same book, fetched once."""
    used: dict[str, set[tuple[Any, Any]]] = {}
    for row in run["attempts"]:
        if row["book_hash"] is not None:
            used.setdefault(row["group_id"], set()).add((row["book_hash"], row["book_fetched_at"]))
    for group, books in used.items():
        if len(books) > 1:
            yield Violation(CHECK, f"group {group}", f"decided on {len(books)} books: {sorted(books)}")


CHECKS = (check_one_attempt_per_group_and_scope, check_fifo, check_one_book_per_group)
