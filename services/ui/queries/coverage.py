"""Is a fill missing: who showed which, how late, and when nobody was looking; the report of `shadowbook coverage`."""

import asyncio
from datetime import UTC, date, datetime
from typing import Final

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.coverage import read_coverage
from libs.common.domain.coverage_document import document
from libs.common.domain.errors import Unavailable
from services.ui.queries.portfolio import Frozen

__all__ = ["CoverageReport", "find_coverage"]

READ_SECONDS_MAX: Final = 8.0


class LagPercentiles(Frozen):
    """Detection lag of one source."""

    median_ms: int
    p95_ms: int


class CoverageSource(Frozen):
    """How contact with one source goes; a chain that is not `configured` was never in contact."""

    source: str
    configured: bool
    in_contact: bool
    last_contact_at: datetime | None
    failed_polls: int


class CoverageDay(Frozen):
    """One user's UTC day. `fills` = both + only_chain + awaiting_api + only_api; `answer` is the day in words."""

    user: str
    day: date
    answer: str
    complete: bool
    fills: int
    both: int
    only_chain: int
    awaiting_api: int
    only_api: int
    missed_by_chain: int
    mismatched: int
    reversed: int
    others: int
    chain_lag: LagPercentiles | None
    api_lag: LagPercentiles | None
    followed_seconds: float
    chain_gap_seconds: float
    api_gap_seconds: float
    blind_seconds: float
    unhealed_seconds: float


class CoverageGap(Frozen):
    """A stretch without contact with a source; the chain's names no wallet. `status` HEALED, BRIDGED or UNHEALED."""

    source: str
    user: str | None
    wallet: str | None
    from_: datetime = Field(alias="from")
    to: datetime
    seconds: float
    open: bool
    ended_by: str | None
    status: str
    healed_at: datetime | None
    healed_by: str | None
    late_seconds: float | None
    unhealed_seconds: float


class CoverageSuspect(Frozen):
    """A fill to look at."""

    event_id: str
    user: str
    tx_hash: str
    event_time: datetime
    problem: str


class CoverageReport(Frozen):
    """The report on [since, until], newest first."""

    complete: bool
    verdict: str
    since: datetime
    until: datetime
    watching: bool
    users: int
    wallets: int
    sources: tuple[CoverageSource, ...]
    days: tuple[CoverageDay, ...]
    gaps: tuple[CoverageGap, ...]
    gaps_omitted: int
    suspects: tuple[CoverageSuspect, ...]


async def find_coverage(engine: AsyncEngine, hours: int, user: str | None) -> CoverageReport:
    """Return the report on the last `hours`; raises UnknownUserError, or Unavailable without an answer in time."""
    try:
        async with asyncio.timeout(READ_SECONDS_MAX):
            report = await read_coverage(engine, datetime.now(UTC), hours, user)
    except TimeoutError as error:
        raise Unavailable(f"no answer within {READ_SECONDS_MAX:.0f} s: ask for fewer hours, or for one user") from error
    return CoverageReport.model_validate(document(report))
