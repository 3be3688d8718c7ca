"""Rows that are no fills: a multiset per transaction, so two equal rows are two events, and one seen twice is one."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from libs.common.domain.identity import event_id
from services.ingest.core.sightings import FactKey, FactSighting


@dataclass(frozen=True, slots=True)
class Fact:
    """An event other than a fill; `ordinal` tells equal ones of a transaction apart."""

    id: UUID
    ordinal: int
    detect_time: datetime
    sighting: FactSighting


def match_facts(
    known: Mapping[FactKey, Sequence[datetime]], listing: Sequence[FactSighting]
) -> tuple[list[Fact], list[Fact]]:
    """Return (new, known before) facts of one complete listing.

    `known` holds the detect times of the recorded ones by key, in ordinal order.
    """
    by_key: defaultdict[FactKey, list[FactSighting]] = defaultdict(list)
    for sighting in listing:
        by_key[sighting.key].append(sighting)
    new: list[Fact] = []
    old: list[Fact] = []
    for key, sightings in by_key.items():
        recorded = known.get(key, ())
        for ordinal, sighting in enumerate(sightings):
            is_known = ordinal < len(recorded)
            detected = recorded[ordinal] if is_known else sighting.seen_at
            fact = Fact(event_id(sighting.event_time, "activity", *key, ordinal), ordinal, detected, sighting)
            (old if is_known else new).append(fact)
    return new, old
