"""What an operator asks of the books."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from libs.common.db.engine import IDLE_SECONDS, make_engine
from libs.common.db.tracking_gap import UserGap, read_gaps
from libs.common.domain.kinds import EntryType, Scope
from services.ledger.store.flows import Flow, post_flow
from services.ledger.store.rebuilding import Change, Rebuilt, rebuild_books
from services.ledger.store.verification import Check, Report, verify_books

__all__ = ["Change", "Check", "Flow", "Rebuilt", "Report", "UserGap", "flow", "rebuild", "tracking_gaps", "verify"]

OPERATOR = "operator"


async def verify(database_url: str) -> Report:
    """Check every invariant of the books over all rows of the database, in one consistent view; writes nothing."""
    return await verify_books(database_url)


async def tracking_gaps(database_url: str, user: str | None = None, hours: int | None = None) -> list[UserGap]:
    """Return why each copy is behind its user: since the follow, or in the last `hours`.

    Raises Rejected for a user who was never followed.
    """
    now = datetime.now(UTC)
    engine = make_engine(database_url, application="shadowbook-gap", pool_size=1)
    try:
        return await read_gaps(engine, now, None if hours is None else now - timedelta(hours=hours), user)
    finally:
        await engine.dispose()


async def flow(
    database_url: str,
    amount_micros: int,
    *,
    withdraw: bool,
    user: str | None,
    command_id: UUID | None = None,
    actor: str = OPERATOR,
) -> Flow:
    """Deposit into, or withdraw from, the executable portfolio of `user` (label or id) or the global one; audited.

    The same `command_id` posts once. Raises Rejected, and changes nothing, when it cannot be done.
    """
    entry_type = EntryType.WITHDRAWAL if withdraw else EntryType.DEPOSIT
    engine = make_engine(database_url, application="shadowbook-flow", pool_size=1, idle_seconds=IDLE_SECONDS)
    try:
        return await post_flow(
            engine, entry_type, amount_micros, user=user, command_id=command_id or uuid4(), actor=actor
        )
    finally:
        await engine.dispose()


async def rebuild(database_url: str, scope: Scope | None = None, *, dry_run: bool = False) -> Rebuilt:
    """Compare the projection of a scope (None: all) with its entries and put right what differs; writes nothing else.

    Safe while the services run: only portfolios that differ are locked, for as long as they are written.
    """
    engine = make_engine(database_url, application="shadowbook-rebuild", pool_size=1)
    try:
        return await rebuild_books(database_url, engine, scope, dry_run=dry_run)
    finally:
        await engine.dispose()
