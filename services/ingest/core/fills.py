"""One fill, one event: match logs and listings of one transaction with what is recorded of it (SPEC section 3).

Per key the number of standing fills is max(valid logs, the largest number of rows in any one complete listing). A log
names its fill exactly; a row names none, so rows are counted, and paired with fills by their cash. Nothing here
depends on the order in which the sources speak, except which of two equal fills is called the first.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from libs.common.domain.identity import fill_id
from libs.common.domain.kinds import EventStatus, Role, Source
from libs.common.domain.money import within_tolerance
from services.ingest.core.sightings import FillKey, LogSighting, RowSighting, cash_of

RESURRECTION_AFTER: Final = timedelta(seconds=60)
"""A row that still shows a reversed fill this long after its time means that it was mined again."""


@dataclass(slots=True)
class Fill:
    """A fill as recorded, or about to be."""

    id: UUID
    key: FillKey
    ordinal: int
    incarnation: int
    user_id: UUID
    booked: bool
    notional_micros: int
    fee_micros: int
    price_micros: int
    event_time: datetime
    detect_time: datetime
    first_source: Source
    status: EventStatus = EventStatus.CANONICAL
    role: Role | None = None
    log_index: int | None = None
    block_number: int | None = None
    block_hash: str | None = None
    mismatch: dict[str, Any] | None = None

    @property
    def cash_micros(self) -> int:
        """Cash of the fill, fee included."""
        return cash_of(self.key.side, self.notional_micros, self.fee_micros)

    @property
    def stands(self) -> bool:
        """Tell whether the fill is canonical."""
        return self.status is EventStatus.CANONICAL


@dataclass(frozen=True, slots=True)
class FillSight:
    """One source saw one fill; `cash_micros` is what it reported."""

    event_id: UUID
    source: Source
    seen_at: datetime
    share_micros: int
    cash_micros: int
    wire: Any


@dataclass(slots=True)
class FillChanges:
    """What one transaction's sightings change, and what they only confirm."""

    created: list[Fill] = field(default_factory=list)
    changed: dict[UUID, Fill] = field(default_factory=dict)
    reversed: list[Fill] = field(default_factory=list)
    restated: list[Fill] = field(default_factory=list)
    """Fills whose amounts were completed from the log, within the tolerance."""
    mismatched: list[Fill] = field(default_factory=list)
    confirmed: list[Fill] = field(default_factory=list)
    """Fills that were known and were seen again."""
    sights: list[FillSight] = field(default_factory=list)
    waiting: int = 0
    """Rows that show a fill just reversed: the chain is expected to say what became of it."""

    def add(self, other: "FillChanges") -> None:
        """Take over another transaction's changes."""
        self.created += other.created
        self.changed |= other.changed
        self.reversed += other.reversed
        self.restated += other.restated
        self.mismatched += other.mismatched
        self.confirmed += other.confirmed
        self.sights += other.sights
        self.waiting += other.waiting


class Transaction:
    """The fills of one transaction, taking in one sighting after the other."""

    def __init__(self, known: Iterable[Fill]) -> None:
        self.changes = FillChanges()
        self._fills: list[Fill] = []
        self._by_key: dict[FillKey, list[Fill]] = {}
        self._new: set[UUID] = set()
        for fill in sorted(known, key=lambda each: (each.ordinal, each.incarnation)):
            self._keep(fill)

    def see_log(self, log: LogSighting) -> None:
        """Take in a log: it names one fill, or takes it back."""
        fills = self._by_key.get(log.key, [])
        same = [fill for fill in fills if fill.log_index == log.log_index and fill.block_hash == log.block_hash]
        standing = next((fill for fill in same if fill.stands), None)
        if log.removed:
            if standing:
                self._reverse(standing)
            return
        if standing:
            self._sight_log(standing, log)
            self._confirm(standing)
            return
        elsewhere = [fill for fill in self._fills if fill.stands and fill.block_hash not in (None, log.block_hash)]
        if same and elsewhere:
            return  # a late echo of a block that was replaced
        for fill in elsewhere:
            self._reverse(fill)  # a transaction is in one block only: the older one was replaced while we were away
        fill = self._complete(log) or self._create_from_log(log)
        self._sight_log(fill, log)

    def see_rows(self, rows: Sequence[RowSighting]) -> None:
        """Take in all rows that one complete listing has for one key, oldest first."""
        fills = self._latest(rows[0].key)
        standing = [fill for fill in fills if fill.stands]
        pairs, left, unpaired = _pair(rows, standing)
        for row, fill in zip(left, unpaired, strict=False):
            if not within_tolerance(row.cash_micros, fill.cash_micros, row.key.share_micros):
                self._flag(fill, Source.DATA_API, row.cash_micros)
            pairs.append((row, fill))
        for row, fill in pairs:
            self._sight_row(fill, row)
            self._confirm(fill)
        gone = [fill for fill in fills if not fill.stands]
        for row in left[len(unpaired) :]:
            self._see_extra_row(row, gone)

    def _see_extra_row(self, row: RowSighting, gone: list[Fill]) -> None:
        """Take in a row for which no fill stands."""
        if not gone:
            self._sight_row(self._create_from_row(row, len(self._latest(row.key)), 0), row)
            return
        fill = gone.pop(0)
        if row.event_time != fill.event_time or row.seen_at - fill.event_time >= RESURRECTION_AFTER:
            self._sight_row(self._create_from_row(row, fill.ordinal, fill.incarnation + 1), row)
        else:
            self.changes.waiting += 1

    def _complete(self, log: LogSighting) -> Fill | None:
        """Give the log's facts to a fill first seen by the API; None where there is none."""
        open_fills = [fill for fill in self._by_key.get(log.key, []) if fill.stands and fill.log_index is None]
        if not open_fills:
            return None
        cash, shares = log.cash_micros, log.key.share_micros
        agreeing = [fill for fill in open_fills if within_tolerance(cash, fill.cash_micros, shares)]
        fill = (agreeing or open_fills)[0]
        if (log.log_index, fill.incarnation) in self._taken():
            self._reverse(fill)
            return None
        fill.role, fill.log_index = log.role, log.log_index
        fill.block_number, fill.block_hash = log.block_number, log.block_hash
        if not agreeing:
            self._flag(fill, Source.CHAIN, cash)
        elif (fill.notional_micros, fill.fee_micros) != (log.notional_micros, log.fee_micros):
            fill.notional_micros, fill.fee_micros, fill.price_micros = (
                log.notional_micros,
                log.fee_micros,
                log.price_micros,
            )
            self.changes.restated.append(fill)
        self._touch(fill)
        self._confirm(fill)
        return fill

    def _create_from_log(self, log: LogSighting) -> Fill:
        latest = self._latest(log.key)
        gone = next((fill for fill in latest if not fill.stands), None)
        ordinal, incarnation = (gone.ordinal, gone.incarnation + 1) if gone else (len(latest), 0)
        taken = self._taken()
        while (log.log_index, incarnation) in taken:
            incarnation += 1
        return self._create(
            Fill(
                id=fill_id(*log.key, ordinal, incarnation),
                key=log.key,
                ordinal=ordinal,
                incarnation=incarnation,
                user_id=log.user_id,
                booked=log.booked,
                notional_micros=log.notional_micros,
                fee_micros=log.fee_micros,
                price_micros=log.price_micros,
                event_time=log.event_time,
                detect_time=log.seen_at,
                first_source=Source.CHAIN,
                role=log.role,
                log_index=log.log_index,
                block_number=log.block_number,
                block_hash=log.block_hash,
            )
        )

    def _create_from_row(self, row: RowSighting, ordinal: int, incarnation: int) -> Fill:
        return self._create(
            Fill(
                id=fill_id(*row.key, ordinal, incarnation),
                key=row.key,
                ordinal=ordinal,
                incarnation=incarnation,
                user_id=row.user_id,
                booked=row.booked,
                notional_micros=row.notional_micros,
                fee_micros=row.fee_micros,
                price_micros=row.price_micros,
                event_time=row.event_time,
                detect_time=row.seen_at,
                first_source=Source.DATA_API,
            )
        )

    def _create(self, fill: Fill) -> Fill:
        self._keep(fill)
        self._new.add(fill.id)
        self.changes.created.append(fill)
        return fill

    def _reverse(self, fill: Fill) -> None:
        fill.status = EventStatus.REVERSED
        self.changes.reversed.append(fill)
        self._touch(fill)

    def _flag(self, fill: Fill, source: Source, cash_micros: int) -> None:
        """Keep what was told first, and both values beside it."""
        if fill.mismatch is None:
            both = {"recorded_cash_micros": fill.cash_micros, "reported_cash_micros": cash_micros}
            fill.mismatch = {**both, "reported_by": source.value}
            self.changes.mismatched.append(fill)
            self._touch(fill)

    def _touch(self, fill: Fill) -> None:
        if fill.id not in self._new:
            self.changes.changed[fill.id] = fill

    def _confirm(self, fill: Fill) -> None:
        if fill.id not in self._new:
            self.changes.confirmed.append(fill)

    def _sight_log(self, fill: Fill, log: LogSighting) -> None:
        self.changes.sights.append(
            FillSight(fill.id, Source.CHAIN, log.seen_at, log.key.share_micros, log.cash_micros, log.wire)
        )

    def _sight_row(self, fill: Fill, row: RowSighting) -> None:
        self.changes.sights.append(
            FillSight(fill.id, Source.DATA_API, row.seen_at, row.key.share_micros, row.cash_micros, row.wire)
        )

    def _keep(self, fill: Fill) -> None:
        self._fills.append(fill)
        self._by_key.setdefault(fill.key, []).append(fill)

    def _latest(self, key: FillKey) -> list[Fill]:
        """Return the latest incarnation of each of the key's fills, by ordinal."""
        latest: dict[int, Fill] = {}
        for fill in self._by_key.get(key, []):
            held = latest.get(fill.ordinal)
            if held is None or fill.incarnation > held.incarnation:
                latest[fill.ordinal] = fill
        return [latest[ordinal] for ordinal in sorted(latest)]

    def _taken(self) -> set[tuple[int | None, int]]:
        return {(fill.log_index, fill.incarnation) for fill in self._fills if fill.log_index is not None}


def _pair(
    rows: Sequence[RowSighting], fills: Sequence[Fill]
) -> tuple[list[tuple[RowSighting, Fill]], list[RowSighting], list[Fill]]:
    """Pair rows with fills of agreeing cash; return the pairs, and what is left of both."""
    free = list(fills)
    pairs: list[tuple[RowSighting, Fill]] = []
    left: list[RowSighting] = []
    for row in rows:
        fill = next(
            (each for each in free if within_tolerance(row.cash_micros, each.cash_micros, row.key.share_micros)), None
        )
        if fill is None:
            left.append(row)
        else:
            free.remove(fill)
            pairs.append((row, fill))
    return pairs, left, free
