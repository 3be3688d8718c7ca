"""What a finished run exported: the rows of each KIND of SPEC 14, times as integer microseconds."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

Row = dict[str, Any]

KINDS = (
    "events", "sightings", "groups", "attempts", "fills", "ledger", "positions", "snapshots",
    "marks", "books", "config", "markets", "deadletters", "audit",
)  # fmt: skip
TIMES = {
    "event_time", "detect_time", "first_event_time", "first_detect_time", "closed_at", "due_at", "decided_at",
    "book_fetched_at", "created_at", "at", "seen_at", "fetched_at", "effective_at", "close_time",
}  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Violation:
    """Something a finished run got wrong: which check says so, about what, and why."""

    check: str
    subject: str
    message: str

    def __str__(self) -> str:
        return f"[{self.check}] {self.subject}: {self.message}"


@dataclass
class Run:
    """The exports of one run, one list of rows per KIND."""

    rows: dict[str, list[Row]] = field(default_factory=dict)

    def __getitem__(self, kind: str) -> list[Row]:
        return self.rows.get(kind, [])


def microseconds(text: str) -> int:
    """Return a time as microseconds since the epoch; only `YYYY-MM-DDTHH:MM:SS.ffffffZ` is accepted."""
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    if len(text) != 27:
        raise ValueError(f"time {text!r}: expected six digits of a second")
    return (moment - _EPOCH) // _MICROSECOND


def _timed(row: Row) -> Row:
    return {name: microseconds(value) if name in TIMES and value is not None else value for name, value in row.items()}


def read_run(folder: Path) -> Run:
    """Read `KIND.jsonl` of every KIND from a folder."""
    run = Run()
    for kind in KINDS:
        path = folder / f"{kind}.jsonl"
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            run.rows[kind] = [_timed(json.loads(line)) for line in lines if line]
    return run
