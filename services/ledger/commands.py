"""What an operator asks of the books."""

from services.ledger.store.verification import Check, Report, verify_books

__all__ = ["Check", "Report", "verify"]


async def verify(database_url: str) -> Report:
    """Check every invariant of the books over all rows of the database, in one consistent view; writes nothing."""
    return await verify_books(database_url)
