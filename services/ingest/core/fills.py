"""One fill, one event (SPEC section 3): what is kept of a fill, and what one transaction's sightings change.

Per key the number of standing fills is max(valid logs, the largest number of rows in any one complete listing). A log
names its fill exactly; a row names none, so rows are counted, and logs and rows are paired with fills by their cash.
A sighting that agrees with no fill is flagged on one of them only as long as the count allows no further fill, and a
row only as long as its own listing cannot be paired with the fills: what comes later may show that it was another's,
and is paired again (ADR 0015). So the order in which the sources speak decides only which fill of a key is called the
first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from libs.common.domain.kinds import EventStatus, Role, Source
from libs.common.domain.money import within_tolerance
from services.ingest.core.sightings import FillKey, LogSighting, RowSighting, cash_of


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
    """What a source reported beyond the tolerance, beside what is recorded; further ones in its `also`."""

    @property
    def cash_micros(self) -> int:
        """Cash of the fill, fee included."""
        return cash_of(self.key.side, self.notional_micros, self.fee_micros)

    @property
    def stands(self) -> bool:
        """Tell whether the fill is canonical."""
        return self.status is EventStatus.CANONICAL

    @property
    def block(self) -> str | None:
        """Hash of the block in which the fill stands, None where it does not or no log told."""
        return self.block_hash if self.stands else None

    def agrees(self, cash_micros: int) -> bool:
        """Tell whether a report of this cash may be one of this fill."""
        return within_tolerance(cash_micros, self.cash_micros, self.key.share_micros)

    def is_at(self, log_index: int, block_hash: str) -> bool:
        """Tell whether this log is the one the fill is known by."""
        return self.log_index == log_index and self.block_hash == block_hash

    def logged(self, cash_micros: int) -> bool:
        """Tell whether the log of the fill, which may contradict it, may have reported this cash."""
        by_log = self.contradictions(Source.CHAIN)
        cash = by_log[0]["reported_cash_micros"] if by_log else self.cash_micros
        return within_tolerance(cash_micros, cash, self.key.share_micros)

    def told(self, cash_micros: int, *sources: Source) -> bool:
        """Tell whether one of these sources (none named: any) contradicted the fill with a report of this cash."""
        told = [each["reported_cash_micros"] for each in self.contradictions(*sources)]
        return any(within_tolerance(each, cash_micros, self.key.share_micros) for each in told)

    def contradictions(self, *sources: Source) -> list[dict[str, Any]]:
        """Return what these sources (none named: any) reported beyond the tolerance; of its log there is at most one.

        Each holds the amounts reported; a row's also `listing_cash_micros`, the cash of all rows it was listed with.
        """
        if self.mismatch is None:
            return []
        told = [self.mismatch, *self.mismatch.get("also", ())]
        told = [each | {"recorded_cash_micros": self.cash_micros} for each in told]
        told[0].pop("also", None)
        return [each for each in told if not sources or each["reported_by"] in sources]

    def contradict(self, told: Sequence[dict[str, Any]]) -> None:
        """State all that contradicts the fill, a log's report first."""
        log_first = sorted(told, key=lambda each: each["reported_by"] != Source.CHAIN)
        self.mismatch = log_first[0] if log_first else None
        if len(log_first) > 1:
            self.mismatch = log_first[0] | {"also": log_first[1:]}


@dataclass(frozen=True, slots=True)
class FillSight:
    """One source saw one fill; `cash_micros` is what it reported."""

    event_id: UUID
    source: Source
    seen_at: datetime
    share_micros: int
    cash_micros: int
    wire: Any

    @classmethod
    def of(cls, fill: Fill, source: Source, seen: LogSighting | RowSighting) -> "FillSight":
        """Return what `source` reported of `fill`."""
        return cls(fill.id, source, seen.seen_at, seen.key.share_micros, seen.cash_micros, seen.wire)


class Moved(NamedTuple):
    """A recorded sight that turned out to be one of another fill."""

    event_id: UUID
    to: UUID
    source: Source
    cash_micros: int


@dataclass(slots=True)
class FillChanges:
    """What one transaction's sightings change, and what they only confirm."""

    created: list[Fill] = field(default_factory=list)
    changed: dict[UUID, Fill] = field(default_factory=dict)
    reversed: list[Fill] = field(default_factory=list)
    restated: list[Fill] = field(default_factory=list)
    """Fills whose amounts (within the tolerance) or place in the transaction the log told."""
    mismatched: list[Fill] = field(default_factory=list)
    confirmed: list[Fill] = field(default_factory=list)
    """Fills that were known and were seen again."""
    sights: list[FillSight] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)
    """To be applied one after the other, before `sights` are kept."""
    released: set[UUID] = field(default_factory=set)
    """Recorded fills that give up their log index, so that another may take it."""
    waiting: int = 0
    """Rows that show a fill just reversed: the chain is expected to say what became of it."""
