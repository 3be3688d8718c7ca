"""Rows that are no fills: whatever listings show in whatever order, each stands once; listings are never summed."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.domain.kinds import EventKind
from services.ingest.core.activity import Fact, match_facts
from services.ingest.core.sightings import FactKey, FactSighting

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
KEYS = tuple(
    FactKey("0x" + "ab" * 32, "0x" + "11" * 20, type_, "0xc", "", "", shares, shares)
    for type_, shares in (("SPLIT", 5), ("SPLIT", 6), ("MERGE", 5), ("REWARD", 5))
)


def sighting(key: FactKey, seconds: int) -> FactSighting:
    return FactSighting(key, UUID(int=1), EventKind.OTHER, True, NOON, NOON + timedelta(seconds=seconds), {})


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.sampled_from(KEYS), max_size=5), max_size=5))
def test_each_row_stands_as_often_as_the_largest_listing_shows_it(listings: list[list[FactKey]]) -> None:
    kept: dict[UUID, Fact] = {}
    for number, listing in enumerate(listings):
        known: defaultdict[FactKey, list[datetime]] = defaultdict(list)
        for fact in sorted(kept.values(), key=lambda each: each.ordinal):
            known[fact.sighting.key].append(fact.detect_time)
        new, old = match_facts(known, [sighting(key, number) for key in listing])
        assert all(fact.id not in kept for fact in new)
        assert all(kept[fact.id].detect_time == fact.detect_time for fact in old)
        kept |= {fact.id: fact for fact in new}
    largest: Counter[FactKey] = Counter()
    for listing in listings:
        largest |= Counter(listing)
    assert Counter(fact.sighting.key for fact in kept.values()) == largest
    ordinals = {(fact.sighting.key, fact.ordinal) for fact in kept.values()}
    assert ordinals == {(key, ordinal) for key, count in largest.items() for ordinal in range(count)}
