"""What an operator asks of the books."""

from datetime import UTC, datetime, timedelta

from libs.common.db.engine import make_engine
from libs.common.db.tracking_gap import UserGap, read_gaps
from services.ledger.store.verification import Check, Report, verify_books

__all__ = ["Check", "Report", "UserGap", "tracking_gaps", "verify"]


async def verify(database_url: str) -> Report:
    """Check every invariant of the books over all rows of the database, in one consistent view; writes nothing."""
    return await verify_books(database_url)


async def tracking_gaps(database_url: str, user: str | None = None, hours: int | None = None) -> list[UserGap]:
    """Return why each copy is behind its user: since the follow, or in the last `hours`.

    Raises ValueError for a label nobody is followed under.
    """
    now = datetime.now(UTC)
    engine = make_engine(database_url, application="shadowbook-gap", pool_size=1)
    try:
        return await read_gaps(engine, now, None if hours is None else now - timedelta(hours=hours), user)
    finally:
        await engine.dispose()
