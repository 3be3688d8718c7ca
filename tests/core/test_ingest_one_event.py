"""One fill, one event, against a reference that knows only SPEC section 3: any telling leads to the same events."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from hypothesis import given, note, settings

from libs.common.domain.kinds import Source
from libs.common.domain.money import within_tolerance
from services.ingest.core.fills import Fill, FillSight
from services.ingest.core.matching import match_fills
from services.ingest.core.sightings import FillKey
from tests.support.fill_worlds import (
    KEYS,
    TX,
    Step,
    World,
    expected_count,
    told_once_mined,
    told_with_contradictions,
    told_with_reorgs,
)

Cash = Counter[tuple[FillKey, int]]


@dataclass
class Shelf:
    """Keeps what a store would keep, with its unique keys; every step starts from that alone."""

    fills: dict[UUID, Fill] = field(default_factory=dict)
    sights: dict[tuple[UUID, Source], FillSight] = field(default_factory=dict)
    first_cash: dict[UUID, int] = field(default_factory=dict)
    announced_mismatch: int = 0

    def record(self, step: Step) -> None:
        """Record one step the way the store does: indexes released, changes, new fills, sights moved, new sights."""
        changes = match_fills({TX: [replace(fill) for fill in self.fills.values()]}, step.logs, step.rows, set())
        for released in changes.released:
            self.fills[released].log_index = None
        for fill in changes.changed.values():
            assert self.fills[fill.id].key == fill.key
            self.fills[fill.id] = fill
            self._check_index(fill)
        for fill in changes.created:
            assert fill.id not in self.fills
            self.fills[fill.id] = fill
            self.first_cash[fill.id] = fill.cash_micros
            self._check_index(fill)
        for moved in changes.moved:
            kept = self.sights.get((moved.event_id, moved.source))
            if kept and kept.cash_micros == moved.cash_micros:
                self.sights.setdefault((moved.to, moved.source), replace(kept, event_id=moved.to))
                del self.sights[moved.event_id, moved.source]
        for sight in changes.sights:
            self.sights.setdefault((sight.event_id, sight.source), sight)
        self.announced_mismatch += len(changes.mismatched)

    def _check_index(self, changed: Fill) -> None:
        place = (changed.log_index, changed.incarnation)
        others = [each for each in self.fills.values() if each is not changed and each.log_index is not None]
        assert place not in {(each.log_index, each.incarnation) for each in others}

    def standing(self) -> list[Fill]:
        return [fill for fill in self.fills.values() if fill.stands]

    def check_always(self) -> None:
        """Check what holds after every step."""
        chains: defaultdict[tuple[FillKey, int], list[Fill]] = defaultdict(list)
        for fill in self.fills.values():
            chains[fill.key, fill.ordinal].append(fill)
            assert within_tolerance(fill.cash_micros, self.first_cash[fill.id], fill.key.share_micros)
        for chain in chains.values():
            chain.sort(key=lambda fill: fill.incarnation)
            assert [fill.incarnation for fill in chain] == list(range(len(chain)))
            assert not any(fill.stands for fill in chain[:-1])
        for sight in self.sights.values():
            fill = self.fills[sight.event_id]
            assert fill.agrees(sight.cash_micros) or fill.mismatch


def cash_of(fills: Sequence[Fill]) -> Cash:
    return Counter((fill.key, fill.cash_micros) for fill in fills)


def is_part_of(fills: Sequence[Fill], world: World) -> bool:
    """Tell whether each fill can be a true one of its own, within the tolerance."""
    for key in KEYS:
        true = sorted(fill.cash_micros for fill in world.fills if fill.key == key)
        for cash in sorted(fill.cash_micros for fill in fills if fill.key == key):
            near = next((each for each in true if within_tolerance(each, cash, key.share_micros + 10 * 10**10)), None)
            if near is None:
                return False
            true.remove(near)
    return True


def told(steps: Sequence[Step]) -> Iterator[Shelf]:
    """Yield one shelf, empty and after each step it was told."""
    note(f"{steps!r}")
    shelf = Shelf()
    yield shelf
    for step in steps:
        shelf.record(step)
        shelf.check_always()
        yield shelf


@settings(max_examples=300, deadline=None)
@given(told_once_mined())
def test_any_telling_of_a_transaction_gives_its_fills_once(telling: tuple[World, list[Step], bool]) -> None:
    world, steps, chain_told_all = telling
    for number, shelf in enumerate(told(steps)):
        standing = shelf.standing()
        for key in KEYS:
            assert sum(fill.key == key for fill in standing) == expected_count(key, steps[:number])
        assert is_part_of(standing, world)
    assert shelf.fills == {fill.id: fill for fill in shelf.standing()}
    assert not any(fill.mismatch for fill in shelf.fills.values())
    assert len(shelf.fills) == len(world.fills)
    if any(len(step.rows) == len(world.fills) for step in steps):
        assert {(fill, Source.DATA_API) for fill in shelf.fills} <= shelf.sights.keys()
    if chain_told_all:
        assert cash_of(shelf.standing()) == world.standing()
        assert {fill.log_index for fill in shelf.standing()} == {
            world.log(n, 0).log_index for n in range(len(world.fills))
        }
        by_index = {log.log_index: log for log in (world.log(place, 0) for place in range(len(world.fills)))}
        for fill in shelf.standing():
            assert fill.log_index is not None
            log = by_index[fill.log_index]
            assert (fill.key, fill.notional_micros, fill.fee_micros) == (log.key, log.notional_micros, log.fee_micros)
            assert shelf.sights[fill.id, Source.CHAIN].cash_micros == log.cash_micros


def too_many(reports: Sequence[int], cash: Sequence[int], shares: int) -> int:
    """Return how many reports at least are left when they are given to fills of this cash, by trying all ways."""
    if not reports:
        return 0
    ways = [1 + too_many(reports[1:], cash, shares)]
    for place, each in enumerate(cash):
        if within_tolerance(reports[0], each, shares):
            ways.append(too_many(reports[1:], [*cash[:place], *cash[place + 1 :]], shares))
    return min(ways)


@settings(max_examples=200, deadline=None)
@given(told_with_contradictions())
def test_what_contradicts_the_chain_is_flagged_and_nothing_else_in_any_order(telling: tuple[World, list[Step]]) -> None:
    world, steps = telling
    *_, shelf = told(steps)
    assert len(shelf.fills) == len(world.fills)
    for key in KEYS:
        true = [fill.cash_micros for fill in world.fills if fill.key == key]
        listings = [[row.cash_micros for row in step.rows if row.key == key] for step in steps]
        wrong = [too_many(listing, true, key.share_micros) for listing in listings]
        fills = [fill for fill in shelf.fills.values() if fill.key == key]
        flagged = [fill for fill in fills if fill.mismatch]
        assert bool(flagged) == any(wrong)
        assert len(flagged) <= sum(wrong)
        assert len(flagged) == max(wrong) or sum(each > 0 for each in wrong) > 1
        # Both values are kept, whoever told first: the log's and each one that a listing told.
        kept = [fill.cash_micros for fill in fills]
        kept += [told["reported_cash_micros"] for fill in fills for told in fill.contradictions()]
        for cash in {*true, *(each for listing in listings for each in listing)}:
            assert any(within_tolerance(cash, each, key.share_micros) for each in kept)


@settings(max_examples=300, deadline=None)
@given(told_with_reorgs())
def test_any_telling_of_reorganisations_ends_in_what_stands(telling: tuple[World, list[Step]]) -> None:
    world, steps = telling
    *_, shelf = told(steps)
    standing = shelf.standing()
    assert cash_of(standing) == world.standing()
    assert not any(fill.mismatch for fill in standing)
