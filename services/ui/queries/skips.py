"""What was not copied, why, and what each reason saved or cost; the figures of `shadowbook skips`."""

import asyncio
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.engine import transaction
from libs.common.db.skips import read_skips
from libs.common.domain.errors import Unavailable
from libs.common.domain.kinds import Scope
from libs.common.domain.skips import Skips

READ_SECONDS_MAX: Final = 8.0


async def find_skips(engine: AsyncEngine, user: str | None, since: datetime | None, scope: Scope | None) -> Skips:
    """Return skips by reason; raises Rejected for a user who is not followed, Unavailable without an answer in time."""
    try:
        async with asyncio.timeout(READ_SECONDS_MAX), transaction(engine) as connection:
            return await read_skips(connection, user=user, since=since, scope=scope)
    except TimeoutError as error:
        raise Unavailable(
            f"no answer within {READ_SECONDS_MAX:.0f} s: ask for a later since, or for one user"
        ) from error
