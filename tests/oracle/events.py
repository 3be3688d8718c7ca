"""SPEC 3: every fill of every followed wallet exactly once, every other row recorded, nothing twice."""

from collections import Counter
from collections.abc import Iterator

from tests.oracle.run import Row, Run, Violation
from tests.oracle.tape import FillKey, Tape, TapeFill

CHECK = "events"
HIDDEN_BY_DEFAULT = {"TIP"}
"""Types the Data API leaves out of a listing unless they are asked for by name."""


def fill_rows(run: Run) -> list[Row]:
    """Return the exported fills that stand."""
    return [row for row in run["events"] if row["kind"] == "TRADE" and row["status"] == "CANONICAL"]


def _key(row: Row) -> FillKey:
    return (row["tx_hash"], row["wallet"], row["asset_id"], row["side"], row["share_micros"])


def row_cash(row: Row) -> int:
    """Return the cash of an exported fill, fee included."""
    fee = int(row["fee_micros"])
    return int(row["usdc_notional_micros"]) + (fee if row["side"] == "BUY" else -fee)


def check_fills_exactly_once(tape: Tape, run: Run) -> Iterator[Violation]:
    """Compare fills as multisets: identical twins in one transaction are two."""
    expected = Counter(fill.key for fill in tape.fills)
    found = Counter(_key(row) for row in fill_rows(run))
    for key in sorted(expected.keys() | found.keys()):
        if expected[key] != found[key]:
            yield Violation(CHECK, f"fill {key}", f"the tape has {expected[key]}, the run {found[key]}")


def check_amounts(tape: Tape, run: Run) -> Iterator[Violation]:
    """Compare cash exactly, the fee to the exchange's tolerance, role, user and condition."""
    expected: dict[FillKey, list[TapeFill]] = {}
    for fill in tape.fills:
        expected.setdefault(fill.key, []).append(fill)
    found: dict[FillKey, list[Row]] = {}
    for row in fill_rows(run):
        found.setdefault(_key(row), []).append(row)
    for key in expected.keys() & found.keys():
        pairs = zip(
            sorted(expected[key], key=lambda fill: (fill.cash_micros, fill.fee_micros)),
            sorted(found[key], key=lambda row: (row_cash(row), row["fee_micros"])),
            strict=False,
        )
        for fill, row in pairs:
            yield from _compare(fill, row)


def _compare(fill: TapeFill, row: Row) -> Iterator[Violation]:
    subject = f"event {row['id']}"
    if row_cash(row) != fill.cash_micros:
        yield Violation(CHECK, subject, f"cash {row_cash(row)}, the tape says {fill.cash_micros}")
    tolerance = 10 + fill.key[4] // 10**10
    if abs(row["fee_micros"] - fill.fee_micros) > tolerance:
        yield Violation(CHECK, subject, f"fee {row['fee_micros']}, the tape says {fill.fee_micros}")
    if row["user_label"] != fill.label:
        yield Violation(CHECK, subject, f"user {row['user_label']}, the tape says {fill.label}")
    if row["condition_id"] and fill.condition_id and row["condition_id"] != fill.condition_id:
        yield Violation(CHECK, subject, f"condition {row['condition_id']}, the tape says {fill.condition_id}")
    expected_role = None if fill.maker is None else ("MAKER" if fill.maker else "TAKER")
    if row["role"] and expected_role and row["role"] != expected_role:
        yield Violation(CHECK, subject, f"role {row['role']}, the tape says {expected_role}")
    if row["mismatch"]:
        yield Violation(CHECK, subject, f"flagged as a mismatch: {row['mismatch']}")


def check_other_rows_recorded(tape: Tape, run: Run) -> Iterator[Violation]:
    """Find each split and merge exactly once and every further row, odd ones included, at least recorded."""
    for kind in ("SPLIT", "MERGE"):
        expected = Counter(
            (row.tx_hash, row.wallet, row.condition_id, row.share_micros)
            for row in tape.rows
            if row.type == kind and row.share_micros
        )
        found = Counter(
            (row["tx_hash"], row["wallet"], row["condition_id"], row["share_micros"])
            for row in run["events"]
            if row["kind"] == kind and row["status"] == "CANONICAL" and row["share_micros"]
        )
        for key in sorted(expected.keys() | found.keys()):
            if expected[key] != found[key]:
                yield Violation(CHECK, f"{kind} {key}", f"the tape has {expected[key]}, the run {found[key]}")
    rest = [row for row in (*tape.rows, *tape.combos) if row.type not in {"SPLIT", "MERGE", *HIDDEN_BY_DEFAULT}]
    wanted = Counter((row.tx_hash, row.wallet, row.share_micros) for row in rest)
    kept = Counter(
        (row["tx_hash"], row["wallet"], row["share_micros"])
        for row in run["events"]
        if row["kind"] not in {"TRADE", "SPLIT", "MERGE"}
    )
    for place in sorted(wanted.keys() | kept.keys()):
        if wanted[place] != kept[place]:
            yield Violation(CHECK, f"row {place}", f"the tape has {wanted[place]}, the run recorded {kept[place]}")


def check_ids_unique(_tape: Tape, run: Run) -> Iterator[Violation]:
    """Find no id and no log twice."""
    for identity, count in Counter(row["id"] for row in run["events"]).items():
        if count > 1:
            yield Violation(CHECK, f"event {identity}", f"exported {count} times")
    logs = Counter((row["tx_hash"], row["log_index"]) for row in fill_rows(run) if row["log_index"] is not None)
    for log, count in logs.items():
        if count > 1:
            yield Violation(CHECK, f"log {log}", f"{count} events stand for one log")


CHECKS = (check_fills_exactly_once, check_amounts, check_other_rows_recorded, check_ids_unique)
