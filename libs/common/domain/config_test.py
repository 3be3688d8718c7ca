"""What a test of a configuration answers: what really ran, what the draft would have done, and where they differ.

Amounts are integer micros of USDC. The document is stored as JSON in ConfigTestRun, written by the simulator, and read
by the dashboard and the command line.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from libs.common.domain.config import overrides
from libs.common.domain.config_file import read_config_file
from libs.common.domain.errors import Rejected
from libs.common.domain.kinds import Decision, GroupKind, Scope, Side

RunState = Literal["QUEUED", "RUNNING", "DONE", "FAILED", "CANCELLED"]
UNFINISHED: Final = ("QUEUED", "RUNNING")
HOURS_DEFAULT: Final = 24
HOURS_MAX: Final = 24 * 31
"""Books are kept for 30 days; nothing older can be decided again."""
WAITING_MAX: Final = 10
"""Unfinished runs; more are refused."""
BANKROLL: Final = "bankroll_micros"
CHANGED_MAX: Final = 25_000
"""Changed attempts that a result lists; it counts all."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Figures(_Document):
    """What one course of a portfolio came to.

    An attempt skipped for several reasons counts under each of them. `pnl_micros` is equity now minus equity at the
    start minus what was deposited (net) since: all that was bought in the range and not sold in it is held until now,
    through settlements, and marked now. A position never marked counts at cost; `unmarked` counts those.
    """

    attempts: int = 0
    executed: int = 0
    partial: int = 0
    skipped: int = 0
    skipped_by_reason: dict[str, int] = {}
    traded_notional_micros: int = 0
    fee_micros: int = 0
    start_equity_micros: int = 0
    net_flows_micros: int = 0
    end_equity_micros: int = 0
    pnl_micros: int = 0
    unmarked: int = 0

    def add(self, other: "Figures", sign: int = 1) -> None:
        """Add other figures, or with sign -1 take them off."""
        for name in Figures.model_fields:
            if name != "skipped_by_reason":
                setattr(self, name, getattr(self, name) + sign * getattr(other, name))
        for reason, count in other.skipped_by_reason.items():
            left = self.skipped_by_reason.get(reason, 0) + sign * count
            self.skipped_by_reason[reason] = left
        self.skipped_by_reason = {reason: count for reason, count in self.skipped_by_reason.items() if count}


class Compared(_Document):
    """The figures of what ran, of the draft, and draft minus ran. `changed` counts attempts that came out different."""

    scope: Scope
    user_label: str | None
    """Whose portfolio; null for EXEC_GLOBAL, and for the sum over a scope."""
    changed: int
    ran: Figures
    draft: Figures
    difference: Figures


class Verdict(_Document):
    """One outcome of one attempt."""

    decision: Decision
    reason_codes: list[str]
    filled_share_micros: int
    filled_notional_micros: int
    fee_micros: int


class ChangedAttempt(_Document):
    """An attempt that comes out different under the draft."""

    attempt_id: UUID
    group_id: UUID
    scope: Scope
    user_label: str
    decided_at: datetime
    kind: GroupKind
    condition_id: str | None
    asset_id: str | None
    side: Side | None
    ran: Verdict
    draft: Verdict


class ConfigTestResult(_Document):
    """The answer."""

    version: Literal[1] = 1
    since: datetime
    until: datetime
    marked_at: datetime
    groups: int
    scopes: list[Compared]
    """Summed over the portfolios of a scope."""
    portfolios: list[Compared]
    changed_total: int
    changed: list[ChangedAttempt]
    """In order of decision, at most CHANGED_MAX."""
    not_tested: list[str]
    """Settings in which the draft differs from what ran, but which only a book fetched at another time could show; and
    a bankroll, for portfolios keep what was deposited."""
    without_book: int
    """Attempts that the draft would have walked a book for, where none was fetched: counted as BOOK_UNAVAILABLE."""
    reconstruction_gaps: int
    """Decisions at which what we rebuilt of the real portfolio (cash, shares) differs from what it really was; expected
    0. Differences between draft and ran stay right in cash and shares, costs may be off."""


class RunView(_Document):
    """A run as a page, a script or the command line sees it; `done` of `total` attempts were decided again."""

    id: UUID
    requested_at: datetime
    requested_by: str
    user_label: str | None
    draft: dict[str, object]
    since: datetime
    until: datetime
    state: RunState
    total: int | None
    done: int
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    error: str | None
    result: ConfigTestResult | None


def read_draft(content: object, user_label: str | None, where: str = "draft") -> dict[str, Any]:
    """Return a draft as it is stored, `{"global": {...}, "users": {label: {...}}}`, validated.

    It is what a configuration file would hold; with a user, the settings of that user alone. An empty one is what is
    set now; a bankroll is kept as `bankroll_micros`, to be named as not tested. Raises Rejected, naming what is wrong.
    """
    if user_label is None:
        file = read_config_file(content, where)
        draft: dict[str, Any] = {"global": file.global_values, "users": file.user_values}
        if file.bankroll_micros is not None:
            draft[BANKROLL] = file.bankroll_micros
    elif isinstance(content, Mapping):
        draft = {"global": {}, "users": {user_label: overrides(content, over={}, where=f"{where}: {user_label}")}}
    else:
        raise Rejected(f"{where}: expected a JSON object, got {type(content).__name__}")
    return draft


def read_range(
    now: datetime, hours: int | None = None, since: datetime | None = None, until: datetime | None = None
) -> tuple[datetime, datetime]:
    """Return the range [since, until) that a test is asked for; without any the last HOURS_DEFAULT hours.

    Raises Rejected for a range that is empty, lies ahead or is longer than HOURS_MAX.
    """
    if since is not None and hours is not None:
        raise Rejected("expected either hours or since, got both")
    for name, value in (("since", since), ("until", until)):
        if value is not None and value.utcoffset() is None:
            raise Rejected(f"{name}: expected a time with its zone, such as 2026-09-28T12:00:00Z, got {value}")
    end = min(until or now, now)
    start = since or end - timedelta(hours=HOURS_DEFAULT if hours is None else hours)
    if start >= end:
        raise Rejected(f"expected a range in the past that begins before it ends, got {start} to {end}")
    if end - start > timedelta(hours=HOURS_MAX):
        raise Rejected(f"expected at most {HOURS_MAX} hours: books are kept for 30 days, got {end - start}")
    return start, end
