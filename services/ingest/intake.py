"""The one door through which sightings reach Postgres: batches of logs as they arrive, listings as they are polled."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from libs.common.domain.errors import Rejected, Unavailable
from libs.common.domain.kinds import Source
from libs.common.observability import metrics
from libs.common.upstream.data_api import ActivityListing
from libs.common.upstream.samples import note_ignored, show_sample
from services.ingest.core.listings import Place, ShownTransactions
from services.ingest.core.sightings import FactSighting, LogSighting, RowSighting
from services.ingest.reading import Follow, read_listing
from services.ingest.store import Recorded

LOGS_WAITING_MAX: Final = 20_000
BATCH_MAX: Final = 500
GATHER_SECONDS: Final = 0.003
"""Logs of one block arrive together; this long is waited for the first one's companions."""
OUTAGE_RETRY_SECONDS: Final = 0.5

_METRICS: Final = metrics.UpstreamMetrics()
_log = structlog.get_logger()


class Taken(NamedTuple):
    """What a listing brought: rows not shown like this before, and events not recorded before."""

    rows: int
    events: int


class Events(Protocol):
    """The part of the store that records sightings."""

    async def record(
        self, logs: Sequence[LogSighting], rows: Sequence[RowSighting] = (), facts: Sequence[FactSighting] = ()
    ) -> Recorded:
        """Match and store sightings in one transaction."""


class Intake:
    """Records sightings and passes on what they turned out to be."""

    def __init__(
        self,
        store: Events,
        committed: Callable[[Recorded], None],
        now: Callable[[], datetime],
        hint: Callable[[Iterable[tuple[str, str]]], None] = lambda conditions: None,
        log_store: Events | None = None,
    ) -> None:
        self._store = store
        self._log_store = log_store or store
        """Logs have a connection of their own: a long listing must not keep them waiting."""
        self._hint = hint
        self._committed = committed
        self._now = now
        self._logs: asyncio.Queue[LogSighting] = asyncio.Queue(LOGS_WAITING_MAX)
        self._shown = ShownTransactions()
        self.block_committed = 0
        """Highest block of which a log was committed."""

    async def put(self, log: LogSighting) -> None:
        """Queue a log; waits while the queue is full."""
        await self._logs.put(log)

    async def settle(self) -> None:
        """Wait until every queued log is committed."""
        await self._logs.join()

    async def run(self) -> None:
        """Commit logs as they come, in batches, for ever."""
        while True:
            batch = [await self._logs.get()]
            if self._logs.qsize() < BATCH_MAX:
                await asyncio.sleep(GATHER_SECONDS)
            while len(batch) < BATCH_MAX and not self._logs.empty():
                batch.append(self._logs.get_nowait())
            await self._commit_logs(batch)
            self.block_committed = max(self.block_committed, *(log.block_number for log in batch))
            for _ in batch:
                self._logs.task_done()

    async def _commit_logs(self, batch: Sequence[LogSighting]) -> None:
        """Commit a batch; an outage is waited out, a batch that is refused is tried one transaction at a time."""
        try:
            await self._record_through_outages(batch)
        except (SQLAlchemyError, Rejected) as error:
            _log.warning("batch_refused", logs=len(batch), error=str(error)[:300])
            by_tx: defaultdict[str, list[LogSighting]] = defaultdict(list)
            for log in batch:
                by_tx[log.key.tx_hash].append(log)
            for tx_hash, logs in by_tx.items():
                try:
                    await self._record_through_outages(logs)
                except (SQLAlchemyError, Rejected) as refusal:
                    metrics.ROWS_IGNORED.labels("refused").inc(len(logs))
                    show_sample("refused", str(refusal), logs[0].wire)
                    _log.error("logs_refused", tx_hash=tx_hash, error=str(refusal)[:500])

    async def _record_through_outages(self, logs: Sequence[LogSighting]) -> None:
        while True:
            try:
                recorded = await self._log_store.record(logs)
            except Unavailable as error:
                _log.warning("logs_wait", logs=len(logs), error=str(error)[:200])
                await asyncio.sleep(OUTAGE_RETRY_SECONDS)
            else:
                # Also what another replica took back: its rows are to be looked at again here, too.
                for log in logs:
                    if log.removed:
                        self._shown.forget((log.key.wallet, log.key.tx_hash))
                self._take_in(recorded)
                return

    async def record_listing(self, listing: ActivityListing, follow: Follow) -> Taken:
        """Record what a complete listing shows; raises Unavailable."""
        events = 0
        self._hint((row.asset_id, row.condition_id) for row in listing.rows if row.type == "TRADE" and not row.is_combo)
        rows, facts = read_listing(listing.rows, listing.unreadable, follow, self._now())
        signatures = self._shown.signatures(rows, facts)
        news = self._shown.news(signatures)
        fresh_rows = [row for row in rows if (row.key.wallet, row.key.tx_hash) in news]
        fresh_facts = [fact for fact in facts if (fact.key.wallet, fact.key.tx_hash) in news]
        for part_rows, part_facts in parts(fresh_rows, fresh_facts, BATCH_MAX):
            try:
                recorded = await self._store.record((), part_rows, part_facts)
            except (SQLAlchemyError, Rejected) as error:
                _log.warning("listing_refused", wallet=follow.wallet, error=str(error)[:300])
                recorded = await self._record_one_by_one(part_rows, part_facts)
            places: set[Place] = {(row.key.wallet, row.key.tx_hash) for row in part_rows}
            for place in places | {(fact.key.wallet, fact.key.tx_hash) for fact in part_facts}:
                if place[1] not in recorded.waiting:
                    self._shown.keep(place, signatures[place])
            self._take_in(recorded)
            events += len(recorded.created) + len(recorded.facts)
        return Taken(len(fresh_rows) + len(fresh_facts), events)

    async def _record_one_by_one(self, rows: Sequence[RowSighting], facts: Sequence[FactSighting]) -> Recorded:
        """Record each transaction on its own; one that is refused waits for the next listing, and keeps none out."""
        total = Recorded()
        for tx_rows, tx_facts in parts(rows, facts, 1):
            try:
                total.add(await self._store.record((), tx_rows, tx_facts))
            except (SQLAlchemyError, Rejected) as refusal:
                refused = {row.key.tx_hash for row in tx_rows} | {fact.key.tx_hash for fact in tx_facts}
                total.waiting |= refused
                metrics.ROWS_IGNORED.labels("refused").inc(len(tx_rows) + len(tx_facts))
                show_sample("refused", str(refusal), (tx_rows or tx_facts)[0].wire)
                _log.error("rows_refused", tx_hashes=sorted(refused), error=str(refusal)[:500])
        return total

    def _take_in(self, recorded: Recorded) -> None:
        for fill in recorded.reversed:
            self._shown.forget((fill.key.wallet, fill.key.tx_hash))
        _count(recorded)
        self._committed(recorded)


def parts(
    rows: Sequence[RowSighting], facts: Sequence[FactSighting], size: int
) -> Iterator[tuple[list[RowSighting], list[FactSighting]]]:
    """Yield a listing in parts of about `size` that never cut a transaction."""
    by_tx: defaultdict[str, tuple[list[Any], list[Any]]] = defaultdict(lambda: ([], []))
    for row in rows:
        by_tx[row.key.tx_hash][0].append(row)
    for fact in facts:
        by_tx[fact.key.tx_hash][1].append(fact)
    part: tuple[list[RowSighting], list[FactSighting]] = ([], [])
    for tx_rows, tx_facts in by_tx.values():
        part[0].extend(tx_rows)
        part[1].extend(tx_facts)
        if len(part[0]) + len(part[1]) >= size:
            yield part
            part = ([], [])
    if part[0] or part[1]:
        yield part


def _count(recorded: Recorded) -> None:
    for fill in recorded.created:
        metrics.EVENTS_DETECTED.labels("TRADE", fill.first_source.value).inc()
        lag = (fill.detect_time - fill.event_time).total_seconds()
        metrics.DETECTION_LAG.labels(fill.first_source.value).observe(max(0.0, lag))
    for fact in recorded.facts:
        metrics.EVENTS_DETECTED.labels(fact.sighting.kind.value, Source.DATA_API.value).inc()
        if fact.sighting.ignored is not None:
            note_ignored(_METRICS, *fact.sighting.ignored, fact.sighting.wire)
    for source, count in recorded.sightings.items():
        metrics.EVENT_SIGHTINGS.labels(source.value).inc(count)
    metrics.EVENTS_REVERSED.inc(len(recorded.reversed))
    for fill in recorded.mismatched:
        metrics.EVENT_MISMATCHES.inc()
        _log.warning("fill_mismatched", event_id=str(fill.id), tx_hash=fill.key.tx_hash, **(fill.mismatch or {}))
    for fill in recorded.reversed:
        _log.info("fill_reversed", event_id=str(fill.id), tx_hash=fill.key.tx_hash, block_hash=fill.block_hash)
    if recorded.created or recorded.facts:
        _log.info("events_recorded", fills=len(recorded.created), other=len(recorded.facts))
