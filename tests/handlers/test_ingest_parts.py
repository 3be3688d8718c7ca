"""The moving parts of ingest on fakes: poller, markets, announcer, intake, roster, reconcile handler."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.exc import SQLAlchemyError

from libs.common.domain.errors import Rejected, Unavailable
from libs.common.domain.kinds import EventKind, EventStatus, Role, Side, Source
from libs.common.domain.market import OUTCOMES_MIN, MarketFacts, Outcome, PartlyReadError
from libs.common.messages import EventDetected, ReconcileRequested
from libs.common.upstream.activity import decode_activity_row
from libs.common.upstream.data_api import ActivityListing
from services.ingest.announce import Announcer
from services.ingest.core.fills import Fill
from services.ingest.core.sightings import FactSighting, FillKey, LogSighting, RowSighting
from services.ingest.handlers import on_reconcile_requested
from services.ingest.intake import Intake, Taken, parts
from services.ingest.markets import ASKED, FIRST_SIGHTS, LEARNED, NAMELESS_OVERLAP, TAKEN_SECONDS, Markets
from services.ingest.poller import Poller, checkpoint_key
from services.ingest.reading import Follow, read_listing
from services.ingest.roster import Roster
from services.ingest.store import Recorded

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
WALLET, OTHER = "0x" + "11" * 20, "0x" + "22" * 20
USER = UUID(int=1)


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a part that never ends."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  the parts under test set no event
            await asyncio.sleep(0.005)


class FakeFollows:
    def __init__(self, *wallets: str) -> None:
        self.wallets = list(wallets)
        self.away = False

    async def follows(self) -> dict[str, Follow]:
        if self.away:
            raise Unavailable("away")
        return {wallet: Follow(wallet, USER, NOON) for wallet in self.wallets}


async def roster_of(*wallets: str) -> Roster:
    roster = Roster(FakeFollows(*wallets))
    await roster.look()
    return roster


async def test_the_roster_tells_its_watchers_of_every_change_and_survives_an_outage() -> None:
    follows = FakeFollows(WALLET)
    roster = Roster(follows)
    changed = roster.watch()
    await roster.look()
    assert changed.is_set()
    changed.clear()
    await roster.look()
    assert not changed.is_set()
    follows.away = True
    with pytest.raises(Unavailable):
        await roster.look()
    assert set(roster.follows) == {WALLET}


class FakeApi:
    def __init__(self) -> None:
        self.asked: list[tuple[str, int | None]] = []
        self.trouble: Exception | None = None

    async def activity(
        self, wallet: str, *, start: int | None, end: int | None = None, pages_max: int = 4
    ) -> ActivityListing:
        self.asked.append((wallet, start))
        if self.trouble:
            raise self.trouble
        return ActivityListing(wallet, start, (), (), 1, end)


class FakeTurns:
    def __init__(self) -> None:
        self.kept: dict[str, Mapping[str, Any]] = {}
        self.asked: list[str] = []
        self.ended: list[str] = []
        self.taken: set[str] = set()
        """Turns another replica has."""

    async def take_turn(self, key: str, seconds: float) -> dict[str, Any] | None:
        self.asked.append(key)
        return None if key in self.taken else dict(self.kept.get(key, {}))

    async def remember(self, key: str, value: Mapping[str, Any]) -> None:
        self.kept[key] = value

    async def end_turn(self, key: str, value: Mapping[str, Any] | None = None) -> None:
        self.ended.append(key)
        if value is not None:
            self.kept[key] = value


class FakeListings:
    async def record_listing(self, listing: ActivityListing, follow: Follow) -> Taken:
        return Taken(0, 0)


class FakeBackfills:
    def __init__(self) -> None:
        self.asked: list[tuple[str | None, int]] = []
        self.asked_again = 0

    def ask_again(self) -> None:
        self.asked_again += 1

    async def ask(self, wallet: str | None, hours: int, asked_by: str) -> None:
        self.asked.append((wallet, hours))


class Stage:
    """A poller, its world, and a clock that the test moves."""

    def __init__(self, roster: Roster) -> None:
        self.api, self.memory = FakeApi(), FakeTurns()
        self.seconds = 0.0
        self.poller = Poller(
            self.api,
            FakeListings(),
            self.memory,
            roster,
            at_once=2,
            now=lambda: NOON + timedelta(seconds=self.seconds),
            clock=lambda: self.seconds,
        )

    def has_asked(self, times: int) -> bool:
        return len(self.api.asked) >= times

    def epoch(self, offset: float = 0) -> int:
        return int((NOON + timedelta(seconds=self.seconds + offset)).timestamp())


async def test_the_first_poll_reaches_back_to_the_checkpoint_and_at_least_fifteen_minutes() -> None:
    stage = Stage(await roster_of(WALLET, OTHER))
    stage.memory.kept[checkpoint_key(WALLET)] = {"through": stage.epoch(-3600)}
    async with running(stage.poller.run(lambda: None)):
        await until(lambda: len(stage.api.asked) == 2)
        stage.seconds = 1
        assert dict(stage.api.asked) == {WALLET: stage.epoch(-1 - 3600 - 120), OTHER: stage.epoch(-1 - 900)}
        await until(lambda: len(stage.memory.kept) == 2)
        kept = stage.memory.kept[checkpoint_key(OTHER)]
        assert kept["through"] == kept["deep_at"] == stage.epoch(-1)
        assert datetime.fromisoformat(str(kept["completed_at"])) == NOON
        assert kept["rows"] == 0


async def test_a_wallet_is_polled_again_after_the_interval_two_minutes_back() -> None:
    stage = Stage(await roster_of(WALLET))
    async with running(stage.poller.run(lambda: None)):
        await until(lambda: len(stage.memory.kept) == 1)
        stage.seconds = 30
        await until(lambda: len(stage.api.asked) == 2)
        assert stage.api.asked[1] == (WALLET, stage.epoch(-30 - 120))


async def test_a_failed_poll_is_tried_again_and_loses_no_reach() -> None:
    stage = Stage(await roster_of(WALLET))
    stage.api.trouble = Unavailable("down")
    async with running(stage.poller.run(lambda: None)):
        await until(lambda: len(stage.api.asked) == 1)
        stage.api.trouble = None
        stage.seconds = 2
        await until(lambda: len(stage.api.asked) == 2)
        assert stage.api.asked[1] == (WALLET, stage.epoch(-900))


async def test_a_reconnect_polls_everything_at_once_five_minutes_back() -> None:
    stage = Stage(await roster_of(WALLET))
    async with running(stage.poller.run(lambda: None)):
        await until(lambda: len(stage.memory.kept) == 1)
        stage.poller.reach_back_after_reconnect()
        await until(lambda: len(stage.api.asked) == 2)
        assert stage.api.asked[1] == (WALLET, stage.epoch(-300))


async def test_a_wallet_another_replica_has_just_polled_is_left_alone() -> None:
    stage = Stage(await roster_of(WALLET))
    async with running(stage.poller.run(lambda: None)):
        await until(lambda: len(stage.memory.kept) == 1)
        stage.memory.kept[checkpoint_key(WALLET)] = {"through": stage.epoch(25)}
        stage.seconds = 30
        stage.poller.reach_back_after_reconnect()
        await until(lambda: len(stage.api.asked) == 2)
        stage.memory.kept[checkpoint_key(WALLET)] = {"through": stage.epoch(25)}
        stage.seconds = 60
        await until(lambda: stage.poller._wallets[WALLET].due > 60)
        assert len(stage.api.asked) == 2


async def test_a_request_is_done_when_its_poll_is_and_becomes_a_backfill_where_it_fails() -> None:
    stage = Stage(await roster_of(WALLET))
    backfills = FakeBackfills()
    handle = on_reconcile_requested(stage.poller, backfills, backfills)
    request = ReconcileRequested(wallet=WALLET, hours=1, requested_by="t", occurred_at=NOON, observed_at=NOON)
    async with running(stage.poller.run(lambda: None)):
        await handle([request])
        assert stage.api.asked[-1] == (WALLET, stage.epoch(-3600))
        stage.api.trouble = Unavailable("down")
        await handle([request])
        assert backfills.asked == [(WALLET, 1)]
        backfills.asked.clear()
        stage.api.trouble = None
        with pytest.raises(Rejected, match="followed wallet"):
            await handle([request.model_copy(update={"wallet": OTHER})])
        await handle([request.model_copy(update={"hours": 2})])
    assert backfills.asked == [(WALLET, 2)]


async def test_a_wallet_that_cannot_be_read_keeps_no_request_for_all_waiting() -> None:
    stage = Stage(await roster_of(WALLET, OTHER))
    backfills = FakeBackfills()
    handle = on_reconcile_requested(stage.poller, backfills, backfills)
    request = ReconcileRequested(wallet=None, hours=None, requested_by="t", occurred_at=NOON, observed_at=NOON)
    activity = stage.api.activity

    async def stumble(wallet: str, **asked: Any) -> ActivityListing:
        if wallet == WALLET:
            raise Unavailable("a cursor that loops")
        return await activity(wallet, **asked)

    stage.api.activity = stumble  # type: ignore[method-assign]
    async with running(stage.poller.run(lambda: None)):
        await handle([request])
        assert (backfills.asked, backfills.asked_again) == ([(WALLET, 1)], 1)
        stage.api.trouble = Unavailable("down")
        with pytest.raises(Unavailable):
            await handle([request])
    assert backfills.asked == [(WALLET, 1)]


async def test_a_request_is_not_taken_for_done_when_the_poller_stops() -> None:
    stage = Stage(await roster_of(WALLET))
    waiting = asyncio.create_task(stage.poller.poll_now(None, None))
    await asyncio.sleep(0)
    stage.api.activity = _never  # type: ignore[method-assign]
    async with running(stage.poller.run(lambda: None)):
        await asyncio.sleep(0.02)
    with pytest.raises(Unavailable):
        await waiting


async def _never(wallet: str, **_: object) -> ActivityListing:
    await asyncio.Event().wait()
    raise AssertionError(wallet)


def facts_of(number: int, **values: Any) -> MarketFacts:
    facts = {
        "id": str(number),
        "condition_id": f"0xc{number}",
        "question": "?",
        "slug": "s",
        "outcomes": (Outcome(f"{number}1", 0, "Yes"), Outcome(f"{number}2", 1, "No")),
        "close_time": None,
        "active": True,
        "closed": False,
        "accepting_orders": True,
        "neg_risk": False,
        "fee_rate": Decimal(0),
        "fee_exponent": Decimal(1),
        "tick_micros": 10_000,
        "version": "v1",
        "resolved": False,
    }
    return MarketFacts(**{**facts, **values})


class FakeGamma:
    def __init__(self, *known: int) -> None:
        self.known = set(known)
        self.calls: list[list[str]] = []
        self.trouble: Exception | None = None
        self.refused = self.poison = ""
        self.unreadable: set[int] = set()

    async def nothing(self, asset_ids: Sequence[str]) -> list[MarketFacts]:
        self.calls.append(sorted(asset_ids))
        return []

    async def markets_by_token(self, asset_ids: Sequence[str]) -> list[MarketFacts]:
        return await self._answer(asset_ids, lambda each: each[:-1])

    async def markets_by_condition(self, condition_ids: Sequence[str]) -> list[MarketFacts]:
        return await self._answer(condition_ids, lambda each: each.removeprefix("0xc"))

    async def _answer(self, ids: Sequence[str], number: Callable[[str], str]) -> list[MarketFacts]:
        self.calls.append(sorted(ids))
        if self.trouble:
            raise self.trouble
        if self.poison in ids:
            raise Unavailable("gamma: status 500")
        if self.refused in ids:
            raise Rejected("gamma: status 422")
        wanted = {int(number(each)) for each in ids} & self.known
        found = [facts_of(each) for each in sorted(wanted - self.unreadable)]
        if wanted & self.unreadable:
            raise PartlyReadError(Unavailable("gamma: status 500"), found)
        return found


class FakeShelf:
    def __init__(self) -> None:
        self.markets: dict[str, MarketFacts] = {}
        self.refused: set[str] = set()
        self.stale_ones: list[str] = []
        self.nameless_ones: list[str] = []
        self.unknown_ones: list[str] = []
        self.looked_since: list[datetime] = []
        self.notes: dict[str, datetime] = {}

    async def save(self, markets: Sequence[MarketFacts], now: datetime) -> None:
        if self.refused & {market.condition_id for market in markets}:
            raise SQLAlchemyError("refused")
        self.markets |= {market.condition_id: market for market in markets}

    async def conditions_of(self, asset_ids: Iterable[str]) -> dict[str, str]:
        known = {o.asset_id: m.condition_id for m in self.markets.values() for o in m.outcomes}
        return {each: known[each] for each in asset_ids if each in known}

    async def known_conditions(self, condition_ids: Iterable[str]) -> set[str]:
        known = {name for name, market in self.markets.items() if len(market.outcomes) >= OUTCOMES_MIN}
        return known.intersection(condition_ids)

    async def nameless(
        self, since: datetime, limit: int, besides: tuple[Iterable[str], Iterable[str]]
    ) -> tuple[list[str], list[str]]:
        self.looked_since.append(since)
        tokens, conditions = (set(each) for each in besides)
        found = [each for each in self.nameless_ones if each not in tokens][:limit]
        return found, [each for each in self.unknown_ones if each not in conditions][:limit]

    async def stale(self, before: datetime, recent: datetime, limit: int) -> list[str]:
        return self.stale_ones

    async def note(self, what: str, at: datetime) -> None:
        self.notes[what] = at


class Shop:
    """Markets on fakes, with a clock the test moves."""

    def __init__(self, *known: int) -> None:
        self.gamma, self.shelf, self.turns = FakeGamma(*known), FakeShelf(), FakeTurns()
        self.seconds = 0.0
        self.slept: list[float] = []
        self.markets = Markets(
            self.shelf,
            self.gamma,
            self.turns,
            now=lambda: NOON,
            clock=lambda: self.seconds,
            refresh_seconds=60,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(seconds)


async def test_first_sights_of_one_moment_share_a_call() -> None:
    shop = Shop(1, 2)
    async with running(shop.markets.run()):
        shop.markets.want(["11", "21"])
        shop.markets.want(["11", "12"])
        await until(lambda: shop.markets.condition_of("21"))
    assert shop.gamma.calls == [["11", "12", "21"]]
    assert set(shop.shelf.markets) == {"0xc1", "0xc2"}
    assert shop.markets.condition_of("12") == "0xc1"


async def test_what_is_on_the_shelf_is_not_asked_for() -> None:
    shop = Shop(1)
    shop.shelf.markets["0xc1"] = facts_of(1)
    shop.markets.want(["11"], ["0xc1"])
    await shop.markets.look_up()
    assert shop.gamma.calls == []
    assert shop.markets.condition_of("11") == "0xc1"


async def test_a_first_sight_waits_for_the_replica_that_asks_and_is_not_asked_for_if_that_one_learned_it() -> None:
    shop = Shop(1, 2)
    shop.turns.taken.add(FIRST_SIGHTS)
    async with running(shop.markets.run()):
        shop.markets.want(["11", "21"])
        await asyncio.sleep(0.1)
        assert shop.gamma.calls == []
        shop.shelf.markets["0xc1"] = facts_of(1)
        shop.turns.taken.clear()
        await until(lambda: shop.markets.condition_of("11") and shop.markets.condition_of("21"))
    assert shop.gamma.calls == [["21"]]


async def test_a_condition_is_looked_up_like_a_token() -> None:
    shop = Shop(3)
    shop.markets.want((), ["0xc3", ""])
    await shop.markets.look_up()
    assert shop.gamma.calls == [["0xc3"]]
    assert "0xc3" in shop.shelf.markets


async def test_an_unknown_token_is_asked_for_again_less_and_less_often() -> None:
    shop = Shop()
    shop.markets.want(["11"])
    for seconds in (0, 0.9, 1, 2.9, 3, 7):
        shop.seconds = seconds
        await shop.markets.look_up()
    assert len(shop.gamma.calls) == 4
    shop.gamma.known.add(1)
    shop.seconds = 15
    await shop.markets.look_up()
    assert shop.markets.condition_of("11") == "0xc1"


async def test_a_token_that_leads_nowhere_is_found_by_the_condition_its_row_names() -> None:
    shop = Shop(1)
    shop.markets.hint([("99", "0xc1"), ("12", "0xc1"), ("", "0xc1")])
    shop.gamma.markets_by_token = shop.gamma.nothing  # type: ignore[method-assign]
    shop.markets.want(["12", "99"])
    await shop.markets.look_up()
    assert shop.gamma.calls == [["12", "99"], ["0xc1"]]
    assert shop.markets.condition_of("12") == "0xc1"
    assert shop.markets.condition_of("99") is None  # the market does not know it, whatever the row says


async def test_a_name_gamma_refuses_keeps_no_other_unknown() -> None:
    shop = Shop(*range(1, 40))
    shop.gamma.refused = "71"
    shop.markets.want([f"{number}1" for number in range(1, 40)])
    await shop.markets.look_up()
    assert shop.markets.condition_of("71") is None
    assert len(shop.shelf.markets) == 38
    assert len(shop.gamma.calls) < 15


async def test_a_market_that_cannot_be_read_now_keeps_no_other_unknown_and_is_asked_for_again() -> None:
    shop = Shop(1, 2)
    shop.gamma.unreadable = {1}
    shop.markets.want(["11", "21"])
    await shop.markets.look_up()
    assert [shop.markets.condition_of(token) for token in ("11", "21")] == [None, "0xc2"]
    shop.gamma.unreadable.clear()
    shop.seconds = 3_600
    await shop.markets.look_up()
    assert shop.gamma.calls[-1] == ["11"]
    assert shop.markets.condition_of("11") == "0xc1"


async def test_a_market_that_cannot_be_read_now_keeps_no_condition_and_no_hint_from_being_asked_for() -> None:
    shop = Shop(1, 2, 3)
    shop.gamma.unreadable = {1}
    shop.markets.hint([("99", "0xc3")])
    shop.markets.want(["11", "99"], ["0xc2"])
    await shop.markets.look_up()
    assert set(shop.shelf.markets) == {"0xc2", "0xc3"}


async def test_a_market_that_cannot_be_read_beside_a_refused_name_keeps_no_other_unknown() -> None:
    shop = Shop(*range(1, 40))
    shop.gamma.unreadable, shop.gamma.refused = {1}, "391"
    shop.markets.want([f"{number}1" for number in (1, *range(39, 1, -1))])
    await shop.markets.look_up()
    assert len(shop.shelf.markets) == 37


async def test_a_name_gamma_stumbles_over_keeps_none_unknown_that_was_seen_at_the_same_time() -> None:
    shop = Shop(*range(1, 40))
    shop.gamma.poison = "71"
    shop.markets.want([f"{number}1" for number in range(1, 40)])
    for _ in range(60):
        await shop.markets.look_up()
        shop.seconds += 4
    assert shop.markets.condition_of("71") is None
    assert len(shop.shelf.markets) == 38


async def test_what_is_seen_first_goes_before_all_that_stayed_unknown() -> None:
    shop = Shop(1)
    shop.markets.want([f"{number}1" for number in range(1_000, 1_150)])
    for _ in range(2):
        await shop.markets.look_up()
    shop.seconds = 3_600
    shop.markets.want(["11"])
    await shop.markets.look_up()
    assert shop.markets.condition_of("11") == "0xc1"


async def test_a_turn_is_not_kept_after_a_failure_nor_asked_for_without_a_rest() -> None:
    shop = Shop(1)
    shop.gamma.trouble = Unavailable("gamma: away")
    shop.markets.want(["11"])
    await shop.markets.look_up()
    assert shop.turns.ended == [FIRST_SIGHTS]
    shop.turns.taken.add(FIRST_SIGHTS)
    shop.seconds = 3_600
    await shop.markets.look_up()
    assert shop.slept == [TAKEN_SECONDS]
    assert len(shop.gamma.calls) == 1


async def test_only_the_first_look_for_missed_markets_goes_far_back() -> None:
    shop = Shop()
    for _ in range(2):
        await shop.markets.refresh()
    assert shop.shelf.looked_since == [NOON - timedelta(days=7), NOON - timedelta(minutes=5)]


async def test_an_outage_of_gamma_only_postpones() -> None:
    shop = Shop(1)
    shop.gamma.trouble = Unavailable("down")
    shop.markets.want(["11"])
    await shop.markets.look_up()
    shop.gamma.trouble = None
    shop.seconds = 1
    await shop.markets.look_up()
    assert shop.markets.condition_of("11") == "0xc1"


async def test_a_token_is_asked_for_soon_after_a_long_outage_of_gamma() -> None:
    shop = Shop(1)
    shop.gamma.trouble = Unavailable("down")
    shop.markets.want(["11"])
    for shop.seconds in range(300):
        await shop.markets.look_up()
    shop.gamma.trouble = None
    for shop.seconds in range(300, 305):
        await shop.markets.look_up()
    assert shop.markets.condition_of("11") == "0xc1"


async def test_it_is_noted_when_all_that_is_unknown_was_asked_for_and_when_something_was_learned() -> None:
    shop = Shop(1)
    shop.shelf.nameless_ones = ["21"]
    shop.gamma.trouble = Unavailable("down")
    await shop.markets.refresh()
    await shop.markets.look_up()
    await shop.markets.refresh()
    assert shop.shelf.notes == {}
    shop.gamma.trouble = None
    shop.seconds = 4
    await shop.markets.look_up()
    await shop.markets.refresh()
    assert shop.shelf.notes == {ASKED: NOON}
    shop.markets.want(["11"])
    await shop.markets.look_up()
    assert shop.shelf.notes.keys() == {ASKED, LEARNED}


async def test_a_market_of_one_outcome_is_asked_for_until_it_has_two() -> None:
    shop = Shop()
    one, two = facts_of(1, outcomes=(Outcome("11", 0, "Yes"),)), facts_of(1)
    told = [one, one, two]
    shop.gamma.markets_by_condition = lambda _: _soon([told.pop(0)])  # type: ignore[assignment]
    shop.markets.want([], ["0xc1"])
    for shop.seconds in range(10):
        await shop.markets.look_up()
    assert told == []
    assert shop.shelf.markets["0xc1"] == two


async def _soon(markets: list[MarketFacts]) -> list[MarketFacts]:
    return markets


async def test_what_is_noted_is_when_the_last_answer_came_and_not_when_that_was_looked_at() -> None:
    shop = Shop(1)
    clock = {"now": NOON}
    shop.markets._now = lambda: clock["now"]  # as a process's clock would go on
    shop.markets.want(["21"])
    await shop.markets.look_up()
    clock["now"], shop.seconds = NOON + timedelta(seconds=0.5), 0.5
    await shop.markets.refresh()
    assert shop.shelf.notes == {ASKED: NOON}
    shop.markets.ask_again()
    await shop.markets.look_up()
    await shop.markets.refresh()
    assert shop.shelf.notes == {ASKED: clock["now"]}


async def test_it_is_noted_that_nothing_is_left_to_ask_for() -> None:
    shop = Shop(1)
    await shop.markets.refresh()
    assert shop.shelf.notes == {ASKED: NOON}


async def test_more_names_that_nobody_tells_than_one_look_finds_are_all_asked_for_and_that_is_noted() -> None:
    shop = Shop(1)
    shop.shelf.nameless_ones = [f"9{number:03}" for number in range(250)]
    shop.shelf.unknown_ones = [f"0xc9{number:03}" for number in range(150)]
    for shop.seconds in range(0, 40, 5):
        await shop.markets.refresh()
        await shop.markets.look_up()
    assert {each for call in shop.gamma.calls for each in call} == {*shop.shelf.nameless_ones, *shop.shelf.unknown_ones}
    assert shop.shelf.notes == {ASKED: NOON}
    assert shop.shelf.looked_since[-1] == NOON - NAMELESS_OVERLAP


async def test_a_market_that_cannot_be_stored_keeps_no_other_out() -> None:
    shop = Shop(1, 2)
    shop.shelf.refused = {"0xc1"}
    shop.markets.want(["11", "21"])
    await shop.markets.look_up()
    assert set(shop.shelf.markets) == {"0xc2"}
    assert shop.markets.condition_of("11") is None


async def test_a_refresh_asks_again_for_what_matters_and_wants_what_was_missed() -> None:
    shop = Shop(1, 2)
    shop.shelf.stale_ones, shop.shelf.nameless_ones = ["0xc1"], ["21"]
    assert await shop.markets.refresh() == 1
    await shop.markets.look_up()
    assert shop.gamma.calls == [["0xc1"], ["21"]]


def fill(number: int, **values: Any) -> Fill:
    key = FillKey(f"0x{number:064x}", WALLET, "7", Side.BUY, 1_000_000)
    given = {
        "id": UUID(int=number),
        "key": key,
        "ordinal": 0,
        "incarnation": 0,
        "user_id": USER,
        "booked": True,
        "notional_micros": 500_000,
        "fee_micros": 0,
        "price_micros": 500_000,
        "event_time": NOON,
        "detect_time": NOON,
        "first_source": Source.CHAIN,
    }
    return Fill(**{**given, **values})


class FakeBus:
    def __init__(self) -> None:
        self.messages: list[EventDetected] = []
        self.away = False
        self.tries = 0

    async def publish(self, messages: Sequence[EventDetected]) -> None:
        self.tries += 1
        if self.away:
            raise Unavailable("redis is away")
        self.messages += messages


async def test_news_are_told_once_and_what_this_process_told_is_not_told_again() -> None:
    bus = FakeBus()
    announcer = Announcer(bus.publish, lambda asset: "0xc", lambda: NOON)
    async with running(announcer.run()):
        announcer.announce(Recorded(created=[fill(1)]))
        announcer.announce(Recorded(confirmed=[fill(1), fill(2)]))
        announcer.announce(Recorded(confirmed=[fill(3, detect_time=NOON - timedelta(minutes=16))]))
        announcer.announce(Recorded(reversed=[fill(1, status=EventStatus.REVERSED)]))
        await announcer.flush(5)
    assert [(message.event_id.int, message.status) for message in bus.messages] == [
        (1, EventStatus.CANONICAL),
        (2, EventStatus.CANONICAL),
        (1, EventStatus.REVERSED),
    ]
    assert bus.messages[0].condition_id == "0xc"
    assert announcer.waiting == 0


async def test_an_outage_of_the_bus_keeps_the_messages_and_stops_nobody() -> None:
    bus = FakeBus()
    bus.away = True
    announcer = Announcer(bus.publish, lambda asset: None, lambda: NOON)
    async with running(announcer.run()):
        announcer.announce(Recorded(created=[fill(1)]))
        await until(lambda: bus.tries)
        announcer.announce(Recorded(created=[fill(2)]))
        bus.away = False
        await announcer.flush(5)
    assert [message.event_id.int for message in bus.messages] == [1, 2]


def log(number: int, block: int = 5) -> LogSighting:
    return LogSighting(
        key=FillKey(f"0x{number:064x}", WALLET, "7", Side.BUY, 1_000_000),
        user_id=USER,
        booked=True,
        notional_micros=500_000,
        fee_micros=0,
        price_micros=500_000,
        role=Role.MAKER,
        log_index=number,
        block_number=block,
        block_hash="0xb",
        event_time=NOON,
        seen_at=NOON,
        removed=False,
        wire={},
    )


class FakeEvents:
    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.rows: list[RowSighting] = []
        self.poison: int | None = None
        self.outages = 0
        self.waiting: set[str] = set()

    async def record(
        self, logs: Sequence[LogSighting], rows: Sequence[RowSighting] = (), facts: Sequence[FactSighting] = ()
    ) -> Recorded:
        if self.outages:
            self.outages -= 1
            raise Unavailable("postgres is away")
        if self.poison in [each.log_index for each in logs]:
            raise SQLAlchemyError("no")
        if self.poison in [int(each.key.tx_hash, 16) for each in rows]:
            raise SQLAlchemyError("no")
        self.batches.append([each.log_index for each in logs])
        self.rows += rows
        return Recorded(waiting=self.waiting)


async def test_logs_that_arrive_together_are_one_batch() -> None:
    events = FakeEvents()
    intake = Intake(events, lambda recorded: None, lambda: NOON)
    for number in range(3):
        await intake.put(log(number, block=number))
    async with running(intake.run()):
        await intake.settle()
    assert events.batches == [[0, 1, 2]]
    assert intake.block_committed == 2


async def test_an_outage_of_postgres_loses_no_log() -> None:
    events = FakeEvents()
    events.outages = 1
    intake = Intake(events, lambda recorded: None, lambda: NOON)
    await intake.put(log(1))
    async with running(intake.run()):
        await intake.settle()
    assert events.batches == [[1]]


async def test_a_log_postgres_refuses_costs_only_itself() -> None:
    events = FakeEvents()
    events.poison = 2
    intake = Intake(events, lambda recorded: None, lambda: NOON)
    for number in (1, 2, 3):
        await intake.put(log(number))
    async with running(intake.run()):
        await intake.settle()
    assert events.batches == [[1], [3]]


def listing(*transactions: int) -> ActivityListing:
    rows = [
        decode_activity_row(
            {
                "proxy_wallet": WALLET,
                "timestamp": int(NOON.timestamp()),
                "type": "TRADE",
                "size": 1,
                "usdc_size": Decimal("0.5"),
                "price": Decimal("0.5"),
                "transaction_hash": f"0x{number:064x}",
                "token_id": "7",
                "side": "BUY",
                "condition_id": "0xc",
            },
            WALLET,
        )
        for number in transactions
    ]
    return ActivityListing(WALLET, None, tuple(rows), (), 1)  # type: ignore[arg-type]  # none is unreadable


async def test_a_listing_seen_before_is_not_recorded_again_unless_a_row_must_wait() -> None:
    events = FakeEvents()
    intake = Intake(events, lambda recorded: None, lambda: NOON)
    follow = Follow(WALLET, USER, NOON)
    assert (await intake.record_listing(listing(1, 2), follow)).rows == 2
    assert (await intake.record_listing(listing(1, 2, 3), follow)).rows == 1
    assert (await intake.record_listing(listing(3, 3), follow)).rows == 2
    events.waiting = {f"0x{4:064x}"}
    assert (await intake.record_listing(listing(4), follow)).rows == 1
    assert (await intake.record_listing(listing(4), follow)).rows == 1


async def test_a_row_postgres_refuses_costs_only_its_transaction_and_is_tried_again() -> None:
    events = FakeEvents()
    events.poison = 2
    intake = Intake(events, lambda recorded: None, lambda: NOON)
    follow = Follow(WALLET, USER, NOON)
    await intake.record_listing(listing(1, 2, 3), follow)
    assert [int(row.key.tx_hash, 16) for row in events.rows] == [1, 3]
    events.poison = None
    assert (await intake.record_listing(listing(1, 2, 3), follow)).rows == 1


async def test_a_transaction_taken_back_is_looked_at_afresh() -> None:
    events = FakeEvents()
    intake = Intake(events, lambda recorded: None, lambda: NOON)
    follow = Follow(WALLET, USER, NOON)
    await intake.record_listing(listing(1), follow)
    intake._take_in(Recorded(reversed=[fill(1)]))
    assert (await intake.record_listing(listing(1), follow)).rows == 1


def test_parts_of_a_listing_never_cut_a_transaction() -> None:
    rows, facts = read_listing(listing(1, 2, 1, 2, 3).rows, (), Follow(WALLET, USER, NOON), NOON)
    found = [[row.key.tx_hash[-1] for row in part] for part, _ in parts(rows, facts, 1)]
    assert found == [["1", "1"], ["2", "2"], ["3"]]


def test_only_what_moves_positions_is_told_of_other_rows() -> None:
    told = {kind for kind in EventKind if kind in {"SPLIT", "MERGE", "REDEEM", "CONVERSION"}}
    from services.ingest.core.sightings import POSITION_TYPES

    assert told == POSITION_TYPES
