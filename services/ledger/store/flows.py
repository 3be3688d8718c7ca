"""Deposits and withdrawals: money a person puts into an executable portfolio or takes out of it, audited."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.audit import write_audit
from libs.common.db.engine import transaction
from libs.common.db.settings import find_user
from libs.common.domain.errors import Rejected
from libs.common.domain.kinds import EntryType, Scope
from libs.common.domain.money import MICROS
from libs.common.domain.wording import usdc
from services.ledger.core.entries import Owner, Posting, deposit, withdrawal
from services.ledger.store.books import Books
from services.ledger.store.facts import attempt_facts
from services.ledger.store.session import Session

FLOW_MAX_MICROS: Final = 10**15
_BALANCE: Final = text("""
SELECT cash_micros, coalesce((
  SELECT sum(filled_notional_micros + fee_micros) FROM copy_attempt
  WHERE portfolio_id = p.id AND posted_at IS NULL AND decision = 'EXECUTE' AND (side = 'BUY' OR kind = 'SPLIT')), 0)
  AS spent_micros
FROM portfolio p WHERE id = :id
""")
"""Cash, and what attempts spend that could not be posted yet: the simulator counts it as gone."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow as posted. `is_new` is false for a command id that was posted before: nothing changed."""

    command_id: UUID
    entry_type: EntryType
    amount_micros: int
    cash_micros: int
    is_new: bool


async def post_flow(
    engine: AsyncEngine,
    entry_type: EntryType,
    amount_micros: int,
    *,
    user: str | None,
    command_id: UUID,
    actor: str,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Flow:
    """Post a DEPOSIT or WITHDRAWAL of the executable portfolio of `user` (by label or id), or of the global one (None).

    What was decided before is posted before, so a withdrawal takes only cash that is there; where that reopened a
    settled condition, it is settled after. Raises Rejected, and changes nothing, for an amount outside 1 to
    FLOW_MAX_MICROS, an unknown user, a portfolio not opened yet, or too little cash.
    """
    if not 0 < amount_micros <= FLOW_MAX_MICROS:
        raise Rejected(
            f"expected an amount from 0.000001 to {FLOW_MAX_MICROS // MICROS:,} USDC, got {usdc(amount_micros)}"
        )
    at = now()
    async with transaction(engine) as connection:
        owner = Owner(Scope.EXEC_GLOBAL, None)
        if user is not None:
            owner = Owner(Scope.EXEC_USER, await find_user(connection, user))
        session = Session(connection)
        locked = await session.lock([owner.portfolio_id])
        if not locked:
            raise Rejected("the portfolio is not open yet: it is opened when somebody is followed and the ledger runs")
        facts = await attempt_facts(connection, locked)
        await session.post(facts.entries)
        await session.mark_posted(facts.attempts)
        await session.apply()
        before = (await connection.execute(_BALANCE, {"id": owner.portfolio_id})).one()
        posting = Posting(owner, str(command_id), at)
        entry = (deposit if entry_type is EntryType.DEPOSIT else withdrawal)(posting, amount_micros)
        posted = session.posted[owner.scope, entry_type]
        await session.post([entry])
        await session.apply()
        is_new = session.posted[owner.scope, entry_type] > posted
        after = (await connection.execute(_BALANCE, {"id": owner.portfolio_id})).one()
        if is_new and entry_type is EntryType.WITHDRAWAL and after.cash_micros < after.spent_micros:
            free = max(0, before.cash_micros - int(before.spent_micros))
            raise Rejected(
                f"expected at most the {usdc(free)} USDC of cash the portfolio has, got {usdc(amount_micros)}; "
                "positions are not sold for a withdrawal, and what is decided but not posted yet is spent"
            )
        if is_new:
            detail = {"amount_micros": amount_micros, "scope": owner.scope, "user": user, "command_id": str(command_id)}
            await write_audit(connection, actor, entry_type.lower(), str(owner.portfolio_id), detail, at)
        await session.finish()
    if session.resolved:
        await Books(engine).settle(sorted(session.resolved))
    return Flow(command_id, entry_type, amount_micros, after.cash_micros, is_new)
