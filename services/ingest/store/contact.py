"""When we were looking: contact with the chain by process, with the Data API by wallet, and looks at the past."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import case, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.common.db.engine import transaction
from libs.common.db.tables.contact import SourceContact
from libs.common.domain.contact import LookBack, Way
from libs.common.domain.kinds import Source
from services.ingest.core.contact import Poll, continues

NO_WORD: Final = "ended without a word"
REASON_LENGTH_MAX: Final = 200
HEIRS_SPAN: Final = timedelta(minutes=10)
"""So long before what is fetched lies what a process may have claimed whose heir was killed while it fetched."""

_CONTACT: Final = SourceContact.__table__  # type: ignore[attr-defined]
_LIVE: Final = _CONTACT.c.way == Way.LIVE.value
_API: Final = _CONTACT.c.source == Source.DATA_API.value
_CHAIN: Final = (_CONTACT.c.source == Source.CHAIN.value, _CONTACT.c.wallet.is_(None), _LIVE)

# A process cannot take back its last word when it dies: the first log that only its heirs brought says how far it was
# true. What was fetched and what was pushed late to the heir are the same here, neither had been seen before.
_BELIE: Final = text("""
UPDATE source_contact c SET through = missed.at
FROM (
  SELECT r.id, min(e.event_time) AS at
  FROM source_contact r
  JOIN LATERAL (
    SELECT min(n.since) AS since FROM source_contact n
    WHERE n.source = 'CHAIN' AND n.wallet IS NULL AND n.way = 'LIVE' AND n.instance = r.instance AND n.id > r.id
  ) heir ON true
  JOIN event_sighting s ON s.source = 'CHAIN' AND s.payload IS NOT NULL AND s.seen_at >= heir.since
  JOIN trade_event e ON e.id = s.event_id AND e.booked AND e.event_time >= r.since AND e.event_time < r.through
  WHERE r.source = 'CHAIN' AND r.wallet IS NULL AND r.way = 'LIVE' AND r.instance = :instance
    AND r.id < :first AND r.through > :recent
  GROUP BY r.id
) missed
WHERE c.id = missed.id
""")


@dataclass(slots=True)
class ChainRow:
    """Contact of this process with the chain, as it is to be written; `id` is None until it was."""

    since: datetime
    through: datetime
    patience: timedelta
    ended_by: str | None = None
    id: int | None = None


class ContactStore:
    """Writes SourceContact."""

    def __init__(self, engine: AsyncEngine, instance: str) -> None:
        self._engine = engine
        self._instance = instance
        self._first: int | None = None
        """Our first contact with the chain: those before it in our name are of processes that are gone."""

    async def polled(self, wallet: str, poll: Poll) -> None:
        """Note a complete poll: contact goes on, or begins anew behind a gap that the poll looked back into."""
        async with transaction(self._engine) as connection:
            last = (await connection.execute(_latest(wallet).with_for_update())).one_or_none()
            patience = max(poll.patience, timedelta(seconds=last.patience_seconds if last else 0))
            if last is not None and continues(poll, last.through, patience):
                await connection.execute(
                    update(_CONTACT)
                    .where(_CONTACT.c.id == last.id)
                    .values(
                        through=func.greatest(_CONTACT.c.through, poll.began),
                        known_at=poll.done,
                        patience_seconds=_seconds(poll.patience),
                        ended_by=None,
                    )
                )
                return
            if last is not None:
                await connection.execute(
                    update(_CONTACT)
                    .where(_CONTACT.c.id == last.id)
                    .values(patience_seconds=0, ended_by=func.coalesce(_CONTACT.c.ended_by, NO_WORD))
                )
            live = {"since": poll.began, "through": poll.began, "known_at": poll.done}
            patience_seconds = _seconds(poll.patience)
            await self._insert(connection, Source.DATA_API, wallet, Way.LIVE, live, patience_seconds=patience_seconds)
            await self._look_back(connection, Source.DATA_API, wallet, poll.look)

    async def looked_back(self, wallet: str, look: LookBack) -> None:
        """Note a complete listing of the past."""
        async with transaction(self._engine) as connection:
            await self._look_back(connection, Source.DATA_API, wallet, look)

    async def poll_failed(self, wallet: str, reason: str) -> None:
        """Count a failed poll, and keep why the first of them failed: contact is about to end, or has not begun."""
        why = func.coalesce(_CONTACT.c.ended_by, reason[:REASON_LENGTH_MAX])
        counted = {"failed": _CONTACT.c.failed + 1, "ended_by": why}
        async with transaction(self._engine) as connection:
            for way in (Way.LIVE, Way.FAILED):
                latest = _latest(wallet, way).with_only_columns(_CONTACT.c.id).scalar_subquery()
                if (await connection.execute(update(_CONTACT).where(_CONTACT.c.id == latest).values(counted))).rowcount:
                    return
            now = datetime.now(UTC)
            times = {"since": now, "through": now, "known_at": now}
            await self._insert(
                connection, Source.DATA_API, wallet, Way.FAILED, times, failed=1, ended_by=reason[:REASON_LENGTH_MAX]
            )

    async def polls_stop(self, wallets: Collection[str]) -> None:
        """Keep why polling of these wallets is about to end; whoever else polls them takes it back."""
        async with transaction(self._engine) as connection:
            await connection.execute(
                update(_CONTACT)
                .where(_API, _LIVE, _CONTACT.c.wallet.in_(wallets), _CONTACT.c.patience_seconds > 0)
                .values(ended_by="stopped")
            )

    async def keep_chain(self, rows: Sequence[ChainRow], looks: Sequence[LookBack]) -> None:
        """Write contact of this process with the chain, and what it fetched of the past.

        What turns out by that to have been missed ends the contact that a former process of our name claimed for it.
        """
        opened: list[tuple[ChainRow, int]] = []
        async with transaction(self._engine) as connection:
            for row in rows:
                if row.id is None:
                    opened.append((row, await self._open_chain(connection, row)))
                else:
                    values = {"through": row.through, "known_at": row.through, "ended_by": row.ended_by}
                    await connection.execute(
                        update(_CONTACT)
                        .where(_CONTACT.c.id == row.id)
                        .values(patience_seconds=_seconds(row.patience), **values)
                    )
            first = self._first or next((written for _, written in opened), None)
            for look in looks:
                await self._look_back(connection, Source.CHAIN, None, look)
                claims = {"instance": self._instance, "first": first, "recent": look.span.start - HEIRS_SPAN}
                await connection.execute(_BELIE, claims)
        self._first = first
        for row, written in opened:
            row.id = written

    async def _open_chain(self, connection: AsyncConnection, row: ChainRow) -> int:
        """Write a new contact; what this process's name held before is over."""
        await connection.execute(
            update(_CONTACT)
            .where(*_CHAIN, _CONTACT.c.instance == self._instance, _CONTACT.c.patience_seconds > 0)
            .where(_CONTACT.c.since < row.since)
            .values(
                patience_seconds=0,
                ended_by=case((_CONTACT.c.ended_by.is_(None), NO_WORD), else_=_CONTACT.c.ended_by),
            )
        )
        times = {"since": row.since, "through": row.through, "known_at": row.through}
        return await self._insert(
            connection,
            Source.CHAIN,
            None,
            Way.LIVE,
            times,
            patience_seconds=_seconds(row.patience),
            ended_by=row.ended_by,
        )

    async def _look_back(self, connection: AsyncConnection, source: Source, wallet: str | None, look: LookBack) -> None:
        times = {"since": look.span.start, "through": look.span.end, "known_at": look.known_at}
        await self._insert(connection, source, wallet, look.way, times)

    async def _insert(
        self,
        connection: AsyncConnection,
        source: Source,
        wallet: str | None,
        way: Way,
        times: dict[str, datetime],
        *,
        patience_seconds: int = 0,
        failed: int = 0,
        ended_by: str | None = None,
    ) -> int:
        row: dict[str, Any] = {
            "source": source.value,
            "wallet": wallet,
            "way": way.value,
            "instance": self._instance,
            "patience_seconds": patience_seconds,
            "failed": failed,
            "ended_by": ended_by,
            **times,
        }
        written: int = (await connection.execute(insert(_CONTACT).values(row).returning(_CONTACT.c.id))).scalar_one()
        return written


def _latest(wallet: str, way: Way = Way.LIVE) -> Any:
    return (
        select(_CONTACT.c.id, _CONTACT.c.through, _CONTACT.c.patience_seconds)
        .where(_API, _CONTACT.c.way == way.value, _CONTACT.c.wallet == wallet)
        .order_by(_CONTACT.c.through.desc())
        .limit(1)
    )


def _seconds(span: timedelta) -> int:
    return -(-span // timedelta(seconds=1))
