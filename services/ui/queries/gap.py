"""Why a copy is behind the wallet it follows, for the API and the user's page; `shadowbook gap` reads the same."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.tracking_gap import read_gaps
from libs.common.domain.errors import Unavailable
from services.ui.queries.portfolio import Frozen

READ_SECONDS_MAX: Final = 8.0


class TrackingGap(Frozen):
    """The gap of one user: `gap_micros` = `ours_micros` - `theirs_micros` = the sum of all parts, residual included.

    `theirs_micros` is the shadow's PnL at `copy_pct`; `size_micros` is by cause. `since` is null for the whole time.
    """

    user: str
    since: datetime | None
    until: datetime
    copy_pct: str
    shadow_pnl_micros: int
    theirs_micros: int
    ours_micros: int
    gap_micros: int
    size_micros: dict[str, int]
    drift_micros: int
    spread_and_depth_micros: int
    fees_micros: int
    openings_micros: int
    residual_micros: int


async def find_gaps(engine: AsyncEngine, hours: int | None, user: str | None) -> list[TrackingGap]:
    """Return the gaps; raises UnknownUserError, or Unavailable without an answer in time."""
    now = datetime.now(UTC)
    since = None if hours is None else now - timedelta(hours=hours)
    try:
        async with asyncio.timeout(READ_SECONDS_MAX):
            found = await read_gaps(engine, now, since, user)
    except TimeoutError as error:
        raise Unavailable(f"no answer within {READ_SECONDS_MAX:.0f} s: ask for one user") from error
    return [TrackingGap.model_validate(each.document()) for each in found]
