"""Made-up transactions, the sources that tell of them, and what SPEC section 3 says must be recorded in the end.

Nothing here knows how sightings are matched. A world is what truly happened to one transaction: which fills it holds,
in which blocks it was mined one after the other, whether it stands in the last of them. Each source tells of it in
its own way: a chain source in the order of events, but with gaps and repetitions; the API in complete listings that may
lag.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import strategies as st

from libs.common.domain.kinds import Role, Side
from services.ingest.core.sightings import FillKey, LogSighting, RowSighting

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
TX = "0x" + "ab" * 32
WALLET = "0x" + "11" * 20
KEYS = tuple(
    FillKey(TX, WALLET, asset, side, shares)
    for asset, side, shares in (
        ("7", Side.BUY, 10_000_000),
        ("7", Side.BUY, 20_000_000),
        ("7", Side.SELL, 10_000_000),
        ("8", Side.BUY, 10_000_000),
    )
)
AMOUNTS = ((5_000_000, 0), (5_000_008, 0), (5_000_000, 100_000), (6_000_000, 0), (7_000_000, 20_000))
"""Notional and fee; the first two are within the tolerance of each other."""
LATE = timedelta(minutes=3)


@dataclass(frozen=True, slots=True)
class TrueFill:
    """One fill as the chain has it; `api_off` is how far the API's cash is off, in micros."""

    key: FillKey
    notional_micros: int
    fee_micros: int
    api_off: int

    @property
    def cash_micros(self) -> int:
        """What it truly cost or brought."""
        return self.notional_micros + (self.fee_micros if self.key.side is Side.BUY else -self.fee_micros)


@dataclass(frozen=True, slots=True)
class Mined:
    """One block the transaction was in, and the index of its first log there."""

    block_hash: str
    block_number: int
    at: datetime
    first_index: int


@dataclass(frozen=True, slots=True, repr=False)
class Step:
    """What is recorded at once."""

    logs: tuple[LogSighting, ...] = ()
    rows: tuple[RowSighting, ...] = ()

    def __repr__(self) -> str:
        logs = [f"{'-' * log.removed}{_short(log)}#{log.log_index}@{log.block_hash[2:4]}" for log in self.logs]
        return f"<{' '.join(logs)} | {' '.join(f'{_short(row)}+{(row.seen_at - NOON).seconds}s' for row in self.rows)}>"


def _short(seen: LogSighting | RowSighting) -> str:
    return f"{KEYS.index(seen.key)}:{seen.cash_micros}"


@dataclass(frozen=True, slots=True)
class World:
    """What happened: `stands` tells whether the transaction is in the last block of `mined` for good."""

    fills: tuple[TrueFill, ...]
    mined: tuple[Mined, ...]
    stands: bool = True

    def log(self, place: int, block: int, *, removed: bool = False) -> LogSighting:
        """Return the log of a fill in a block."""
        fill, mined = self.fills[place], self.mined[block]
        index = mined.first_index + place
        return LogSighting(
            key=fill.key,
            user_id=UUID(int=1),
            booked=True,
            notional_micros=fill.notional_micros,
            fee_micros=fill.fee_micros,
            price_micros=fill.notional_micros * 1_000_000 // fill.key.share_micros,
            role=Role.TAKER if fill.fee_micros else Role.MAKER,
            log_index=index,
            block_number=mined.block_number,
            block_hash=mined.block_hash,
            event_time=mined.at,
            seen_at=mined.at + timedelta(seconds=1),
            removed=removed,
            wire={"logIndex": hex(index), "removed": removed},
        )

    def row(self, place: int, block: int, seen_at: datetime) -> RowSighting:
        """Return the row of a fill as a listing shows it while the transaction is in a block."""
        fill = self.fills[place]
        return RowSighting(
            key=fill.key,
            user_id=UUID(int=1),
            booked=True,
            notional_micros=fill.notional_micros + fill.api_off,
            fee_micros=fill.fee_micros,
            price_micros=fill.notional_micros * 1_000_000 // fill.key.share_micros,
            event_time=self.mined[block].at,
            seen_at=seen_at,
            wire={"place": place},
        )

    def standing(self) -> Counter[tuple[FillKey, int]]:
        """Return the fills that stand in the end, by key and true cash."""
        return Counter((fill.key, fill.cash_micros) for fill in self.fills if self.stands)


def owned(step: Step, owner: UUID) -> Step:
    """Return the step with everything in it belonging to `owner`."""
    return Step(
        tuple(replace(log, user_id=owner) for log in step.logs), tuple(replace(row, user_id=owner) for row in step.rows)
    )


def expected_count(key: FillKey, steps: Iterable[Step]) -> int:
    """Return max(valid logs, rows of the largest listing) for a transaction that was mined once."""
    logs = {log.log_index for step in steps for log in step.logs if log.key == key}
    rows = max((sum(row.key == key for row in step.rows) for step in steps), default=0)
    return max(len(logs), rows)


def _true_fill(key: FillKey, amount: tuple[int, int], api_off: int) -> TrueFill:
    # The API's rounding of two fills within the tolerance could make either of them look like the other.
    return TrueFill(key, *amount, api_off if amount in AMOUNTS[2:] else 0)


fills = st.builds(
    _true_fill, st.sampled_from(KEYS[:1] * 3 + KEYS), st.sampled_from(AMOUNTS), st.sampled_from((0, 0, 0, 10, -10))
)


@st.composite
def told_once_mined(draw: st.DrawFn) -> tuple[World, list[Step], bool]:
    """A transaction in one block, steps in which chain, API or both tell all of it, and whether the chain does."""
    world = World(
        tuple(draw(st.lists(fills, min_size=1, max_size=5))),
        (Mined("0x" + "01" * 32, 100, NOON, draw(st.integers(0, 9))),),
    )
    places = range(len(world.fills))
    subset = st.lists(st.sampled_from(places), unique=True)
    complete = draw(st.sampled_from(("chain", "api", "both")))
    logs = draw(st.lists(st.sampled_from(places), max_size=4)) + (list(places) if complete != "api" else [])
    listings = draw(st.lists(subset, max_size=3)) + ([list(places)] if complete != "chain" else [])
    steps = [Step(logs=(world.log(place, 0),)) for place in logs]
    for listing in listings:
        shown = draw(st.permutations(listing))
        steps.append(Step(rows=tuple(world.row(place, 0, NOON + timedelta(seconds=5)) for place in shown)))
    told = _batched(draw, draw(st.permutations(steps)))
    return world, told, set(logs) == set(places)


@st.composite
def told_with_contradictions(draw: st.DrawFn) -> tuple[World, list[Step]]:
    """A transaction in one block of which the chain tells all, and listings some of whose rows are plainly wrong."""
    world = World(tuple(draw(st.lists(fills, min_size=1, max_size=5))), (Mined("0x" + "01" * 32, 100, NOON, 3),))
    places = range(len(world.fills))
    steps = [Step(logs=(world.log(place, 0),)) for place in places]
    for listing in draw(st.lists(st.lists(st.sampled_from(places), unique=True), min_size=1, max_size=4)):
        rows = [world.row(place, 0, NOON + timedelta(seconds=5)) for place in listing]
        wrong = [draw(st.sampled_from((0, 0, 0, 300_050, 1_000_070))) for _ in rows]
        told = zip(rows, wrong, strict=True)
        steps.append(Step(rows=tuple(replace(row, notional_micros=row.notional_micros + off) for row, off in told)))
    return world, _batched(draw, draw(st.permutations(steps)))


@st.composite
def told_with_reorgs(draw: st.DrawFn) -> tuple[World, list[Step]]:
    """A transaction mined up to three times and perhaps dropped, told by up to two chain sources and the API.

    Each source ends with the truth: the chain's with all logs of the last block, or with everything taken back that it
    told; the API's, where the transaction stands, with a complete listing that is late enough to be believed.
    """
    blocks = draw(st.integers(1, 3))
    count = draw(st.integers(1, 2))
    # Of two blocks of one number nobody can tell which is the later one, unless somebody tells of them in order.
    same_time = count == 1 and draw(st.booleans())
    mined = tuple(
        Mined(
            "0x" + f"{block + 1:02x}" * 32,
            100 + (0 if same_time else block),
            NOON + timedelta(seconds=0 if same_time else 2 * block),
            draw(st.sampled_from((3, 3, 4, 8))),
        )
        for block in range(blocks)
    )
    stands = draw(st.booleans()) if blocks < 3 else True
    world = World(tuple(draw(st.lists(fills, min_size=1, max_size=4))), mined, stands)
    sources = [_chain_source(draw, world, whole=not number) for number in range(count)]
    lagging = [
        Step(rows=_listing(draw, world, draw(st.sampled_from(range(blocks))), mined[0].at + timedelta(seconds=10)))
        for _ in range(draw(st.integers(0, 3)))
    ]
    steps = _merged(draw, [*sources, lagging])
    if stands:
        everything = tuple(world.row(place, blocks - 1, NOON + LATE) for place in range(len(world.fills)))
        steps += [Step(rows=everything)] * draw(st.integers(0, 2))
    return world, steps


def _chain_source(draw: st.DrawFn, world: World, *, whole: bool) -> list[Step]:
    """Tell of the blocks in order, with gaps; where it is dropped, all of a block or (not whole) nothing."""
    places, last = list(range(len(world.fills))), len(world.mined) - 1
    told: list[LogSighting] = []
    for block in range(len(world.mined)):
        if not world.stands:
            seen: Sequence[int] = places if whole or draw(st.booleans()) else ()
            back: Sequence[int] = seen
        else:
            seen = draw(st.lists(st.sampled_from(places), max_size=5)) if block < last else places
            back = draw(st.lists(st.sampled_from(places), max_size=5)) if block < last else ()
        told += [world.log(place, block) for place in draw(st.permutations(list(seen)))]
        if block < last or not world.stands:
            told += [world.log(place, block, removed=True) for place in draw(st.permutations(list(back)))]
    return _batched(draw, [Step(logs=(log,)) for log in told])


def _listing(draw: st.DrawFn, world: World, block: int, seen_at: datetime) -> tuple[RowSighting, ...]:
    shown = draw(st.lists(st.sampled_from(range(len(world.fills))), unique=True))
    return tuple(world.row(place, block, seen_at) for place in shown)


def _batched(draw: st.DrawFn, steps: Sequence[Step]) -> list[Step]:
    """Join some neighbours into one step; a step holds at most one listing."""
    batched: list[Step] = []
    for step in steps:
        last = batched[-1] if batched else None
        if last and not (last.rows and step.rows) and draw(st.booleans()):
            batched[-1] = Step(last.logs + step.logs, last.rows + step.rows)
        else:
            batched.append(step)
    return batched


def _merged(draw: st.DrawFn, parts: Sequence[Sequence[Step]]) -> list[Step]:
    """Interleave, keeping each part's order."""
    turns = draw(st.permutations([number for number, part in enumerate(parts) for _ in part]))
    iterators = [iter(part) for part in parts]
    return [next(iterators[number]) for number in turns]
