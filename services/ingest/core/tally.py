"""What is recorded of one transaction's fills, and the list of what changes of it."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from libs.common.domain.identity import event_id
from libs.common.domain.kinds import EventStatus, Source
from services.ingest.core.fills import Fill, FillChanges, FillSight, Moved
from services.ingest.core.sightings import FillKey, LogSighting, RowSighting

CONTRADICTIONS_MAX: Final = 16
"""On one fill; what an API that never says the same twice tells beyond that is not kept."""


class Flag(NamedTuple):
    """A row's contradiction of a fill."""

    fill: Fill
    told: dict[str, Any]

    @property
    def cash_micros(self) -> int:
        """Cash that the row reported."""
        return int(self.told["reported_cash_micros"])

    @property
    def listing(self) -> list[int]:
        """Cash of all rows it was listed with, in order."""
        return self.told.get("listing_cash_micros") or [self.cash_micros]


class Tally:
    """The fills of one transaction, known (by ordinal and incarnation) and new; every change of one is noted."""

    def __init__(self, known: Iterable[Fill], changes: FillChanges) -> None:
        self.fills: list[Fill] = []
        self.waiting = 0
        self._by_key: dict[FillKey, list[Fill]] = {}
        self._new: set[UUID] = set()
        self._restated: set[UUID] = set()
        self._changes = changes
        self._flagged: dict[UUID, Fill] = {}
        self._sights: dict[tuple[UUID, Source], FillSight] = {}
        for fill in known:
            self._keep(fill)

    def close(self) -> None:
        """Note what is known only when all sightings are taken in: the sights, and what is flagged after all."""
        self._changes.sights += self._sights.values()
        self._changes.mismatched += self._flagged.values()
        self._changes.waiting += self.waiting

    def of(self, key: FillKey) -> list[Fill]:
        """Return all fills of a key."""
        return self._by_key.get(key, [])

    def standing(self, key: FillKey) -> list[Fill]:
        """Return the fills of a key that stand."""
        return [fill for fill in self.of(key) if fill.stands]

    def heads(self, key: FillKey) -> list[Fill]:
        """Return the latest incarnation of each of the key's fills, by ordinal."""
        heads: dict[int, Fill] = {}
        for fill in self.of(key):
            held = heads.get(fill.ordinal)
            if held is None or fill.incarnation > held.incarnation:
                heads[fill.ordinal] = fill
        return [heads[ordinal] for ordinal in sorted(heads)]

    def create(self, seen: LogSighting | RowSighting, before: Fill | None) -> Fill:
        """Record a fill as it was first seen: a new one of its key, or `before` mined again."""
        key = seen.key
        ordinal, incarnation = (before.ordinal, before.incarnation + 1) if before else (len(self.heads(key)), 0)
        fill = Fill(
            id=event_id(seen.event_time, "fill", *key, ordinal, incarnation),
            key=key,
            ordinal=ordinal,
            incarnation=incarnation,
            user_id=seen.user_id,
            booked=seen.booked,
            notional_micros=seen.notional_micros,
            fee_micros=seen.fee_micros,
            price_micros=seen.price_micros,
            event_time=seen.event_time,
            detect_time=seen.seen_at,
            first_source=Source.CHAIN if isinstance(seen, LogSighting) else Source.DATA_API,
        )
        self._new.add(fill.id)
        if isinstance(seen, LogSighting):
            self._locate(fill, seen)
        self._keep(fill)
        self._changes.created.append(fill)
        return fill

    def attach(self, fill: Fill, log: LogSighting) -> None:
        """Give a log's facts to a fill first seen by the API; amounts only within the tolerance."""
        if not fill.agrees(log.cash_micros):
            self.flag(fill, Source.CHAIN, log)
        else:
            if (fill.notional_micros, fill.fee_micros) != (log.notional_micros, log.fee_micros):
                fill.notional_micros, fill.fee_micros = log.notional_micros, log.fee_micros
                self._restate(fill)
                fill.contradict(fill.contradictions())
            fill.price_micros = log.price_micros
        self._locate(fill, log)
        self._touch(fill)
        self.confirm(fill)

    def detach(self, fill: Fill, seen_at: datetime) -> tuple[LogSighting, FillSight | None]:
        """Take the log that contradicts a fill from it; return it, and its sight if that is not kept yet.

        `seen_at` is when it was seen that the two are not one.
        """
        (flag,) = fill.contradictions(Source.CHAIN)
        assert fill.role is not None and fill.log_index is not None  # noqa: S101, PT018
        assert fill.block_number is not None and fill.block_hash is not None  # noqa: S101, PT018
        log = LogSighting(
            key=fill.key,
            user_id=fill.user_id,
            booked=fill.booked,
            notional_micros=flag["reported_notional_micros"],
            fee_micros=flag["reported_fee_micros"],
            price_micros=flag["reported_price_micros"],
            role=fill.role,
            log_index=fill.log_index,
            block_number=fill.block_number,
            block_hash=fill.block_hash,
            event_time=fill.event_time,
            seen_at=seen_at,
            removed=False,
            wire=None,
        )
        fill.role = fill.block_number = fill.block_hash = None
        self._release_index(fill)
        self._state(fill, fill.contradictions(Source.DATA_API))
        return log, self._sights.pop((fill.id, Source.CHAIN), None)

    def reverse(self, fill: Fill) -> None:
        """Let a fill stand no longer."""
        fill.status = EventStatus.REVERSED
        self._changes.reversed.append(fill)
        self._touch(fill)

    def flag(
        self, fill: Fill, source: Source, seen: LogSighting | RowSighting, listing: Sequence[int] | None = None
    ) -> None:
        """Keep what was told first, and what contradicts it beside; with a row the cash of its listing, in order."""
        told: dict[str, Any] = {
            "recorded_cash_micros": fill.cash_micros,
            "reported_cash_micros": seen.cash_micros,
            "reported_notional_micros": seen.notional_micros,
            "reported_fee_micros": seen.fee_micros,
            "reported_price_micros": seen.price_micros,
            "reported_by": source.value,
        }
        before = fill.contradictions()
        if source is Source.DATA_API:
            told["listing_cash_micros"] = listing
            if len(before) >= CONTRADICTIONS_MAX:
                return
        if not fill.told(seen.cash_micros, source):
            self._flagged[fill.id] = fill
        self._state(fill, [*before, told])

    def withdraw(self, flag: Flag, taker: Fill) -> None:
        """Withdraw a row's contradiction: the row is one of `taker`."""
        rest = flag.fill.contradictions()
        rest.remove(flag.told)
        self._state(flag.fill, rest)
        sight = self._sights.get((flag.fill.id, Source.DATA_API))
        if sight and sight.cash_micros == flag.cash_micros:
            del self._sights[sight.event_id, sight.source]
        else:
            sight = None
        self.hand_over(flag.fill, taker, Source.DATA_API, flag.cash_micros, sight)

    def pass_on(self, flag: Flag, taker: Fill) -> None:
        """Let a row contradict another fill instead, one that a log contradicts in the same way."""
        self.withdraw(flag, taker)
        self._state(taker, [*taker.contradictions(), flag.told])

    def sight(self, fill: Fill, source: Source, seen: LogSighting | RowSighting) -> None:
        """Keep a source's first sight of a fill."""
        self._sights.setdefault((fill.id, source), FillSight.of(fill, source, seen))

    def hand_over(self, giver: Fill, taker: Fill, source: Source, cash_micros: int, sight: FillSight | None) -> None:
        """Give a sight that reported this cash to another fill: one not kept yet, or else the one kept.

        Where a sight of the taker is kept it was seen again, which is not kept.
        """
        if sight:
            self._sights.setdefault((taker.id, source), replace(sight, event_id=taker.id))
        if giver is not taker and giver.id not in self._new:
            self._changes.moved.append(Moved(giver.id, taker.id, source, cash_micros))

    def confirm(self, fill: Fill) -> None:
        """Note that a known fill was seen again."""
        if fill.id not in self._new:
            self._changes.confirmed.append(fill)

    def _locate(self, fill: Fill, log: LogSighting) -> None:
        """Say where a fill stands; one that bore the index in another block, which was replaced, gives it up."""
        for other in self.fills:
            if other is not fill and (other.log_index, other.incarnation) == (log.log_index, fill.incarnation):
                if other.stands:
                    self.reverse(other)
                self._release_index(other)
        if fill.log_index != log.log_index:
            self._restate(fill)
        fill.role, fill.log_index = log.role, log.log_index
        fill.block_number, fill.block_hash = log.block_number, log.block_hash

    def _release_index(self, fill: Fill) -> None:
        fill.log_index = None
        if fill.id not in self._new:
            self._changes.released.add(fill.id)
        self._restate(fill)
        self._touch(fill)

    def _state(self, fill: Fill, told: Sequence[dict[str, Any]]) -> None:
        fill.contradict(told)
        if not told:
            self._flagged.pop(fill.id, None)
        self._touch(fill)

    def _restate(self, fill: Fill) -> None:
        if fill.id not in self._new and fill.id not in self._restated:
            self._restated.add(fill.id)
            self._changes.restated.append(fill)

    def _touch(self, fill: Fill) -> None:
        if fill.id not in self._new:
            self._changes.changed[fill.id] = fill

    def _keep(self, fill: Fill) -> None:
        self.fills.append(fill)
        self._by_key.setdefault(fill.key, []).append(fill)
