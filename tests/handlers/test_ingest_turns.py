"""Polls among many wallets and replicas, long outages, and backfills, on fakes."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from libs.common.domain.errors import Rejected, Unavailable
from libs.common.upstream.data_api import ActivityListing, ListingTooLongError, PositionListing
from services.ingest.backfill import Backfiller, backfill_key, backfill_wish
from services.ingest.core.positions import Owner
from services.ingest.poller import checkpoint_key
from services.ingest.positions import FRUITLESS_SECONDS, Positions
from services.ingest.roster import NotFollowedError
from services.ingest.store.positions import Due
from tests.handlers.test_ingest_parts import (
    NOON,
    OTHER,
    WALLET,
    FakeApi,
    FakeFollows,
    FakeListings,
    FakeTurns,
    Stage,
    roster_of,
    running,
    until,
)

HOUR = 3600


class LongApi(FakeApi):
    """Lists at most an hour at a time, and remembers which hours it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[tuple[int, int | None]] = []
        self.parts_max: int | None = None
        """After so many parts the API is down."""
        self.refused: dict[str, str] = {}
        """Wallets whose listing cannot be had, and why."""

    async def activity(
        self, wallet: str, *, start: int | None, end: int | None = None, pages_max: int = 4
    ) -> ActivityListing:
        first, last = start or 1, int(NOON.timestamp()) if end is None else end
        if self.trouble or (self.parts_max is not None and len(self.parts) >= self.parts_max):
            raise self.trouble or Unavailable("down")
        if wallet in self.refused:
            raise Unavailable(self.refused[wallet])
        if last - first >= HOUR:
            raise ListingTooLongError("/v2/activity", pages_max, last - HOUR + 1)
        self.parts.append((first, end))
        return ActivityListing(wallet, start, (), (), 3, end)


async def test_a_thousand_wallets_set_out_evenly_and_a_new_follow_goes_first() -> None:
    follows = FakeFollows(*(f"0x{number:040x}" for number in range(1_000)))
    roster = await roster_of()
    roster._store = follows
    await roster.look()
    stage = Stage(roster)
    async with running(stage.poller.run(lambda: None)):
        await until(lambda: len(stage.api.asked) >= 7)
        for second in range(1, 6):
            stage.seconds = second
            stage.poller._woken.set()
            await until(partial(stage.has_asked, len(stage.api.asked) + 7))
        assert len(stage.api.asked) <= 8 * 6 + 1
        follows.wallets.append(WALLET)
        await roster.look()
        stage.seconds += 1
        stage.poller._woken.set()
        await until(lambda: WALLET in [wallet for wallet, _ in stage.api.asked])
        asked = [wallet for wallet, _ in stage.api.asked]
        assert asked.index(WALLET) < 8 * 7 + 1
        assert stage.poller.pace() == {"wallets": 1_001, "every_seconds": 125.1, "aim_seconds": 30.0}


async def test_a_wallet_another_replica_is_polling_is_looked_at_again_and_its_wish_is_kept() -> None:
    stage = Stage(await roster_of(WALLET))
    async with running(stage.poller.run(lambda: None)):
        await until(lambda: len(stage.memory.kept) == 1)
        stage.memory.taken.add(checkpoint_key(WALLET))
        stage.poller.reach_back_after_reconnect()
        await until(lambda: stage.poller._wallets[WALLET].due == 1)
        assert len(stage.api.asked) == 1
        stage.memory.taken.clear()
        stage.seconds = 1
        await until(lambda: len(stage.api.asked) == 2)
        assert stage.api.asked[1] == (WALLET, stage.epoch(-1 - 300))


async def test_the_first_poll_of_a_replica_is_left_out_where_another_has_just_reached_as_far_back() -> None:
    stage = Stage(await roster_of(WALLET, OTHER))
    now = stage.epoch()
    stage.memory.kept[checkpoint_key(WALLET)] = {"through": now, "deep_at": now}
    stage.memory.kept[checkpoint_key(OTHER)] = {"through": now, "deep_at": now - 1}
    async with running(stage.poller.run(lambda: None)):
        await until(lambda: {turn.due for turn in stage.poller._wallets.values()} == {30})
    assert stage.api.asked == [(OTHER, now - 900)]


async def test_a_long_outage_is_made_up_in_parts_and_its_way_is_gone_once() -> None:
    api = LongApi()
    stage = Stage(await roster_of(WALLET))
    stage.poller._api = api
    key, now = checkpoint_key(WALLET), stage.epoch()
    stage.memory.kept[key] = {"through": now - 20 * HOUR, "completed_at": "before"}
    api.parts_max = 4
    async with running(stage.poller.run(lambda: None)):
        await until(lambda: [turn.failures for turn in stage.poller._wallets.values()] == [1])
        (_, reached), again = api.parts[-1], len(api.parts)
        assert stage.memory.kept[key] == {"through": reached, "completed_at": "before"}
        api.parts_max = None
        stage.seconds = 3
        await until(lambda: "deep_at" in stage.memory.kept[key])
        assert reached is not None
        assert api.parts[again][0] == reached - 120
        del api.parts[again - 1 :]
    assert api.parts[0][0] == now - 20 * HOUR - 120
    for (_, end), (following, _) in zip(api.parts, api.parts[1:], strict=False):
        assert end is not None
        assert following == end + 1
    assert all((end or now) - first < HOUR for first, end in api.parts)
    assert stage.memory.kept[key]["through"] == now + 3


class FakeWishes(FakeTurns):
    async def ask_backfill(self, wallet: str, wish: Mapping[str, Any]) -> dict[str, Any]:
        self.kept[backfill_key(wallet)] = wish
        return dict(wish)

    async def open_backfills(self) -> list[str]:
        return [key.removeprefix("backfill:") for key, wish in self.kept.items() if not wish["finished_at"]]

    async def advance_backfill(self, wallet: str, asked_at: str, progress: Mapping[str, Any]) -> bool:
        key = backfill_key(wallet)
        if self.kept[key]["asked_at"] != asked_at:
            return False
        self.kept[key] = {**self.kept[key], **progress}
        return True


class Backfills:
    """A backfiller and its world."""

    def __init__(self) -> None:
        self.api, self.wishes = LongApi(), FakeWishes()
        self.now = NOON

    async def made(self, *wallets: str) -> Backfiller:
        return Backfiller(self.api, FakeListings(), self.wishes, await roster_of(*wallets), now=lambda: self.now)

    def state(self, wallet: str) -> Mapping[str, Any]:
        return self.wishes.kept[backfill_key(wallet)]


async def test_a_backfill_goes_on_where_it_was_cut_short() -> None:
    stage = Backfills()
    backfiller = await stage.made(WALLET)
    await backfiller.ask(WALLET, 24, "t")
    last = int(NOON.timestamp())
    stage.api.parts_max = 3
    with pytest.raises(Unavailable):
        await backfiller.work()
    got_to = stage.state(WALLET)["at"]
    assert stage.state(WALLET)["error"] == "down"
    assert stage.state(WALLET)["finished_at"] is None
    assert got_to > last - 24 * HOUR
    stage.api.parts_max, stage.api.parts = None, []
    await (await stage.made(WALLET)).work()
    assert stage.api.parts[0][0] == got_to
    assert stage.api.parts[-1][1] == last
    assert stage.state(WALLET)["finished_at"] is not None
    assert stage.state(WALLET)["error"] is None
    assert await stage.wishes.open_backfills() == []


async def test_a_wallet_that_cannot_be_read_keeps_no_other_from_its_backfill() -> None:
    stage = Backfills()
    backfiller = await stage.made(WALLET, OTHER)
    await backfiller.ask(None, 2, "t")
    stage.api.refused = {min(WALLET, OTHER): "cursor looped"}
    with pytest.raises(Unavailable, match="cursor looped"):
        await backfiller.work()
    assert stage.state(min(WALLET, OTHER))["finished_at"] is None
    assert stage.state(min(WALLET, OTHER))["error"] == "cursor looped"
    assert stage.state(max(WALLET, OTHER))["finished_at"] is not None
    stage.api.refused = {}
    await backfiller.work()
    assert await stage.wishes.open_backfills() == []


async def test_a_backfill_another_replica_is_at_is_left_to_it() -> None:
    stage = Backfills()
    backfiller = await stage.made(WALLET, OTHER)
    await backfiller.ask(None, 2, "t")
    stage.wishes.taken.add(backfill_key(WALLET))
    await backfiller.work()
    assert stage.state(WALLET)["finished_at"] is None
    assert stage.state(OTHER)["finished_at"] is not None


async def test_a_backfill_that_is_refused_or_of_nobody_ends_with_the_reason() -> None:
    stage = Backfills()
    backfiller = await stage.made(WALLET)
    with pytest.raises(Rejected, match="followed wallet"):
        await backfiller.ask(OTHER, 2, "t")
    stage.wishes.kept[backfill_key(OTHER)] = backfill_wish(NOON, 2, "t")
    await backfiller.ask(WALLET, 2, "t")
    stage.api.trouble = Rejected("status 400")
    await backfiller.work()
    assert stage.state(WALLET)["error"] == "status 400"
    assert stage.state(WALLET)["finished_at"] is not None
    assert stage.state(OTHER)["finished_at"] is None  # followed a moment ago, perhaps
    stage.now += timedelta(seconds=20)
    await backfiller.work()
    assert stage.state(OTHER)["error"] == "no longer followed"


class Wanted:
    """A wallet whose positions are wanted until it is found not to be followed any more."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.tried = asyncio.Event()

    async def due(self, settled: datetime) -> list[Due]:
        return [Due(Owner(UUID(int=1), WALLET, NOON, first=True), True, None, NOON)]

    async def reading(self, owner: Owner) -> Any:
        self.tried.set()
        raise self.error


@pytest.mark.parametrize(
    ("error", "level", "event"),
    [
        (NotFollowedError(WALLET), "info", "positions_not_wanted"),
        (Rejected("status 400"), "warning", "positions_not_synced"),
        (Unavailable("down"), "warning", "positions_not_synced"),
    ],
)
async def test_a_wallet_that_is_left_in_its_opening_is_no_trouble(error: Exception, level: str, event: str) -> None:
    shelf = Wanted(error)
    said = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        if shelf.tried.is_set():
            said.set()
        await asyncio.sleep(0)

    unused: Any = None
    wanted: Any = shelf
    positions = Positions(unused, wanted, unused, FakeTurns(), lambda *_: None, settle_seconds=0, sleep=sleep)
    with capture_logs() as lines:
        async with running(positions.run()):
            await said.wait()
    assert (lines[0]["log_level"], lines[0]["event"], lines[0]["wallet"]) == (level, event, WALLET)


async def test_a_wallet_rests_after_a_re_sync_that_attached_nothing() -> None:
    class Hopeless:
        async def due(self, settled: datetime) -> list[Due]:
            return [Due(Owner(UUID(int=1), WALLET, NOON, first=True), False, NOON, NOON)]

        async def record_adjustments(self, *_: Any, **__: Any) -> list[Any]:
            return []

    class Nothing:
        async def positions(self, wallet: str, *, closed_since: int) -> PositionListing:
            return PositionListing({}, 0)

        async def poll_now(self, wallet: str | None, seconds: int | None) -> None:
            pass

    rests = asyncio.Event()

    async def sleep(seconds: float) -> None:
        if seconds == FRUITLESS_SECONDS:
            rests.set()
        await asyncio.sleep(0)

    unused: Any = Hopeless()
    positions = Positions(Nothing(), unused, Nothing(), FakeTurns(), lambda *_: None, settle_seconds=0, sleep=sleep)
    with capture_logs() as lines:
        async with running(positions.run()):
            await rests.wait()
    assert (lines[0]["event"], lines[0]["wallet"], lines[0]["since"]) == ("conversion_not_attached", WALLET, NOON)
