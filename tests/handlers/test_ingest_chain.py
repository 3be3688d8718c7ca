"""The chain feed's moving parts on fakes: node, subscriptions, reader, healer, and a life of them all."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from libs.common.domain.contact import LookBack
from libs.common.domain.errors import Rejected, Unavailable
from libs.common.observability.health import Health
from libs.common.upstream.chain import EXCHANGES, ORDER_FILLED
from libs.common.upstream.json_rpc import NodeBusyError, NodeRefusedError, RangeTooWideError
from libs.common.upstream.limits import NoLimit
from services.ingest import life as lives
from services.ingest.contact import CAME_LATE, ChainContact
from services.ingest.core.contact import Poll
from services.ingest.core.gaps import Gap
from services.ingest.core.sightings import LogSighting
from services.ingest.core.silence import Silence
from services.ingest.feed import Feed, reconnect_seconds
from services.ingest.healing import Healer
from services.ingest.life import DoubtedError, Life, Ties
from services.ingest.logs import LogReader
from services.ingest.node import Node
from services.ingest.reading import Follow
from services.ingest.roster import Roster
from services.ingest.settings import Settings
from services.ingest.store.contact import ChainRow
from services.ingest.subscriptions import Subscriptions

USER = UUID(int=1)
NOW = datetime.now(UTC)


def wallet(number: int) -> str:
    return f"0x{number:040x}"


def log(number: int, block: int = 100, *, of: int = 1, fork: int = 0, **more: Any) -> dict[str, Any]:
    """Return a log of wallet `of` in a block; `fork` tells blocks of one number apart."""
    words = (0, 7, 500_000, 1_000_000 + number, 0, 0, 0)
    return {
        "address": EXCHANGES[0],
        "topics": [ORDER_FILLED, f"0x{number:064x}", "0x" + wallet(of)[2:].rjust(64, "0"), "0x" + "0" * 24 + "9" * 40],
        "data": "0x" + "".join(format(word, "064x") for word in words),
        "transactionHash": f"0x{number:064x}",
        "blockHash": f"0x{block * 1000 + fork:064x}",
        "blockNumber": hex(block),
        "blockTimestamp": hex(int(NOW.timestamp())),
        "logIndex": hex(number),
        "removed": False,
    } | more


class FakeFollows:
    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)

    async def follows(self) -> dict[str, Follow]:
        return {wallet(each): Follow(wallet(each), USER, NOW - timedelta(seconds=3)) for each in self.numbers}


class FakeIntake:
    def __init__(self) -> None:
        self.taken: list[LogSighting] = []
        self.block_committed = 0
        self.settled = 0

    async def put(self, log: LogSighting) -> None:
        self.taken.append(log)

    async def settle(self) -> None:
        self.settled += 1

    def seen(self) -> list[tuple[int, bool]]:
        return [(each.log_index, each.removed) for each in self.taken]


class FakeMemory:
    def __init__(self, place: int | None = None) -> None:
        self.places: list[int] = [] if place is None else [place]
        self.outages = 0

    async def checkpoint(self, key: str) -> dict[str, Any] | None:
        if self.outages:
            self.outages -= 1
            raise Unavailable("postgres is away")
        return {"block": self.places[-1]} if self.places else None

    async def remember(self, key: str, value: Mapping[str, Any]) -> None:
        self.places.append(value["block"])


class FakeConnection:
    """A node of our own: a head, logs by block, a widest range, and answers that go wrong on demand."""

    def __init__(self, head: int = 1_000, *logs: dict[str, Any]) -> None:
        self.head, self.logs = head, list(logs)
        self.calls: list[tuple[str, Sequence[Any]]] = []
        self.widest = 10
        self.wrong: dict[str, list[Exception]] = {}
        self.subscribed: dict[str, frozenset[str]] = {}
        self.history: list[tuple[str, str]] = []
        self.pushed: asyncio.Queue[Any] = asyncio.Queue()
        self.under_way = self.most_under_way = 0
        self.times: dict[int, list[tuple[int, str]]] = {}
        self.blocks: dict[int, Mapping[str, Any]] = {}

    def count(self, method: str) -> int:
        return sum(1 for called, _ in self.calls if called == method)

    async def call(self, method: str, params: Sequence[Any] = (), timeout_seconds: float = 10) -> Any:
        self.calls.append((method, params))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        if self.wrong.get(method):
            raise self.wrong[method].pop(0)
        return getattr(self, method)(*params)

    def eth_blockNumber(self) -> str:  # noqa: N802  the wire's own name
        return hex(self.head)

    def eth_getBlockByNumber(self, number: str, full: bool) -> Any:  # noqa: N802
        if number == "latest":
            return {"number": hex(self.head)}
        if int(number, 16) not in self.times:
            return self.blocks.get(int(number, 16))
        stamp, block_hash = self.times[int(number, 16)].pop(0)
        return {"hash": block_hash, "timestamp": hex(stamp)} if stamp else None

    def eth_getLogs(self, query: Mapping[str, Any]) -> list[Any]:  # noqa: N802
        first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        if last - first + 1 > self.widest:
            raise RangeTooWideError("up to a 10 block range")
        wanted = set(query["topics"][2])
        return [
            each for each in self.logs if first <= int(each["blockNumber"], 16) <= last and each["topics"][2] in wanted
        ]

    def eth_subscribe(self, kind: str, query: Mapping[str, Any]) -> str:
        name = f"0x{len(self.calls)}"
        self.subscribed[name] = frozenset(query["topics"][2])
        self.history.append(("+", name))
        return name

    def eth_unsubscribe(self, name: str) -> bool:
        self.history.append(("-", name))
        return self.subscribed.pop(name, None) is not None

    async def notifications(self) -> AsyncIterator[tuple[str, Any]]:
        while True:
            item = await self.pushed.get()
            if item is None:
                raise Unavailable("rpc notifications: closed by the node")
            yield "0x1", item

    async def close(self) -> None:
        pass


async def no_sleep(seconds: float) -> None:
    await asyncio.sleep(0)


def node_of(connection: FakeConnection) -> Node:
    return Node(connection, NoLimit(), sleep=no_sleep)


async def roster_of(*numbers: int) -> Roster:
    roster = Roster(FakeFollows(*numbers))
    await roster.look()
    return roster


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  the parts under test set no event
            await asyncio.sleep(0.005)


async def test_a_busy_node_is_asked_again_and_one_that_refuses_is_not() -> None:
    connection = FakeConnection()
    connection.wrong["eth_getBlockByNumber"] = [NodeBusyError("429"), NodeBusyError("429")]
    assert await node_of(connection).head() == 1_000
    connection.wrong["eth_getBlockByNumber"] = [NodeBusyError("429")] * 9
    with pytest.raises(NodeBusyError):
        await node_of(connection).head()
    connection.wrong["eth_getBlockByNumber"] = [NodeRefusedError("no")] * 9
    with pytest.raises(NodeRefusedError):
        await node_of(connection).head()
    assert connection.count("eth_getBlockByNumber") == 3 + 5 + 1


async def test_a_block_time_is_asked_for_once_and_a_block_not_there_yet_again() -> None:
    connection = FakeConnection()
    connection.times[7] = [(0, ""), (50, "0xother"), (60, "0xa")]
    node = node_of(connection)
    assert await asyncio.gather(*(node.block_time(7, "0xa") for _ in range(5))) == [60] * 5
    assert connection.count("eth_getBlockByNumber") == 3


async def test_a_follow_among_a_thousand_changes_one_subscription_and_the_new_one_stands_first() -> None:
    connection = FakeConnection()
    subscriptions = Subscriptions(node_of(connection))
    everyone = [wallet(each) for each in range(990)]
    assert len(await subscriptions.follow(everyone)) == 990
    assert len(subscriptions) == 5
    connection.history.clear()
    assert await subscriptions.follow([*everyone, wallet(2_000)]) == [wallet(2_000)]
    assert [sign for sign, _ in connection.history] == ["+", "-"]
    connection.history.clear()
    assert await subscriptions.follow(everyone[1:]) == []
    assert [sign for sign, _ in connection.history].count("+") <= 2
    connection.history.clear()
    await subscriptions.follow([*everyone[1:], *(wallet(3_000 + each) for each in range(5))])
    assert [sign for sign, _ in connection.history] == ["+", "-"], "several at once cost one change"


async def test_a_subscription_that_bears_the_name_of_another_is_none() -> None:
    connection = FakeConnection()
    connection.eth_subscribe = lambda kind, query: "0x1"  # type: ignore[method-assign]
    subscriptions = Subscriptions(node_of(connection))
    with pytest.raises(Unavailable, match="expected a new subscription id"):
        await subscriptions.follow([wallet(each) for each in range(300)])


async def test_a_change_cut_short_forgets_no_new_wallet() -> None:
    connection = FakeConnection()
    subscriptions = Subscriptions(node_of(connection), room=2)
    await subscriptions.follow([wallet(1)])
    connection.wrong["eth_unsubscribe"] = [NodeBusyError("429")] * 5
    with pytest.raises(NodeBusyError):
        await subscriptions.follow([wallet(1), wallet(2)])
    assert subscriptions.wallets == {wallet(1), wallet(2)}
    connection.wrong["eth_unsubscribe"] = [NodeRefusedError("subscription not known")]
    assert await subscriptions.follow([wallet(1), wallet(2)]) == [wallet(2)]
    assert len(subscriptions) == 1


async def test_a_log_fetched_is_dropped_when_it_was_taken_back_meanwhile() -> None:
    intake, connection = FakeIntake(), FakeConnection()
    reader = LogReader(node_of(connection), await roster_of(1), intake, contact_on(FakeRecords()))
    await reader.take(log(1, removed=True))
    await reader.take(log(1), healing=True)
    assert intake.seen() == [(1, True)], "taken back before it was ever seen: passed on, and then it stays away"
    await reader.take(log(1, fork=1), healing=True)
    await reader.take(log(1))
    await reader.take(log(1), healing=True)
    assert intake.seen() == [(1, True), (1, False), (1, False), (1, False)], "mined again in the same block"
    connection.times[200] = [(60, "0x" + f"{200_000:064x}")]
    slow = asyncio.create_task(reader.take(log(2, 200, blockTimestamp=None), healing=True))
    await asyncio.sleep(0)
    await reader.take(log(2, 200, removed=True, blockTimestamp=None))
    await slow
    assert (2, False) not in intake.seen(), "taken back while its block's time was asked for"


async def test_a_log_that_makes_no_sense_stops_nothing() -> None:
    intake = FakeIntake()
    reader = LogReader(node_of(FakeConnection()), await roster_of(1), intake, contact_on(FakeRecords()))
    for odd in ({}, None, 7, log(1, blockTimestamp="0x" + "f" * 30), log(1, blockTimestamp=hex(10**15)), log(1, of=9)):
        await reader.take(odd)
    await reader.take(log(2))
    assert intake.seen() == [(2, False)]


@pytest.mark.parametrize("stamp", [None, "soon", 60, "0x" + "f" * 17])
async def test_a_block_without_a_time_costs_its_own_logs_only(stamp: object) -> None:
    intake, connection = FakeIntake(), FakeConnection()
    reader = LogReader(node_of(connection), await roster_of(1), intake, contact_on(FakeRecords()))
    connection.blocks[100] = {"hash": "0x" + f"{100_000:064x}", "timestamp": stamp}
    for healing in (True, False):
        await reader.take(log(1, blockTimestamp=None), healing=healing)
    await reader.take(log(2))
    assert intake.seen() == [(2, False)]
    assert connection.count("eth_getBlockByNumber") == 1


def healer_of(connection: FakeConnection, reader: LogReader, intake: FakeIntake, width: int = 10) -> Healer:
    return Healer(node_of(connection), reader, intake, width)


async def healing(connection: FakeConnection, gap: Gap, *, width: int = 10) -> tuple[bool, list[int], FakeIntake]:
    intake = FakeIntake()
    reader = LogReader(node_of(connection), await roster_of(1, 2), intake, contact_on(FakeRecords()))
    moved: list[int] = []
    done = await healer_of(connection, reader, intake, width).heal([wallet(1), wallet(2)], gap, moved.append)
    return done, moved, intake


async def test_a_gap_is_fetched_in_ranges_side_by_side_and_the_place_moves_on_stretch_by_stretch() -> None:
    connection = FakeConnection(1_000, *(log(each, each) for each in range(700, 1_001, 7)))
    done, moved, intake = await healing(connection, Gap(755, 1_000))
    assert done
    assert moved == [855, 955, 1_001]
    assert intake.settled == 3
    assert sorted(intake.seen()) == [(each, False) for each in range(756, 1_001, 7)]
    assert connection.most_under_way == 8
    assert connection.count("eth_getLogs") == 25


@pytest.mark.parametrize("widest", [5, 3, 1])
async def test_a_range_that_is_too_wide_is_halved_until_it_is_answered(widest: int) -> None:
    connection = FakeConnection(1_000, *(log(each, each) for each in range(900, 1_001)))
    connection.widest = widest
    done, moved, intake = await healing(connection, Gap(900, 1_000), width=50)
    assert done
    assert moved[-1] == 1_001
    assert Counter(intake.seen()) == Counter((each, False) for each in range(900, 1_001))


async def test_a_busy_node_delays_a_heal_and_loses_nothing() -> None:
    connection = FakeConnection(1_000, *(log(each, each) for each in range(900, 1_001)))
    connection.wrong["eth_getLogs"] = [NodeBusyError("invalid block range")] * 20
    done, _, intake = await healing(connection, Gap(900, 1_000))
    assert done
    assert Counter(intake.seen()) == Counter((each, False) for each in range(900, 1_001))


@pytest.mark.parametrize("error", [NodeRefusedError("no such method"), NodeBusyError("429"), Rejected("no list")])
async def test_a_refusal_leaves_the_gap_open_where_it_is(error: Exception) -> None:
    connection = FakeConnection(1_000)
    connection.wrong["eth_getLogs"] = [error] * 1_000
    done, moved, _ = await healing(connection, Gap(900, 1_000))
    assert not done
    assert moved == []
    assert connection.count("eth_getLogs") <= 8 * 12


async def test_a_single_block_that_is_too_wide_is_a_refusal() -> None:
    connection = FakeConnection(1_000)
    connection.widest = 0
    assert (await healing(connection, Gap(900, 1_000)))[0] is False


class FakeRecords:
    """Contact as kept: the last state of each row with the chain, by the time it began, and looks back."""

    def __init__(self) -> None:
        self.rows: dict[datetime, tuple[datetime, str | None]] = {}
        self.looks: list[LookBack] = []

    async def keep_chain(self, rows: Sequence[ChainRow], looks: Sequence[LookBack]) -> None:
        self.rows |= {row.since: (row.through, row.ended_by) for row in rows}
        self.looks += looks

    async def polled(self, wallet: str, poll: Poll) -> None:
        raise AssertionError("the chain polls nobody")

    async def looked_back(self, wallet: str, look: LookBack) -> None:
        raise AssertionError("the chain polls nobody")

    async def poll_failed(self, wallet: str, reason: str) -> None:
        raise AssertionError("the chain polls nobody")

    async def polls_stop(self, wallets: Collection[str]) -> None:
        raise AssertionError("the chain polls nobody")


def contact_on(records: FakeRecords, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> ChainContact:
    return ChainContact(records, now)


class Stage:
    """A life on fakes."""

    def __init__(self, roster: Roster, connection: FakeConnection, memory: FakeMemory, monkeypatch: Any) -> None:
        monkeypatch.setattr(lives, "SAVE_SECONDS", 0.001)
        monkeypatch.setattr(lives, "WATCH_SECONDS", 0.005)
        monkeypatch.setattr(lives, "RECALL_SECONDS", 0.001)
        self.connection, self.memory, self.intake, self.silence = connection, memory, FakeIntake(), Silence()
        self.changed = roster.watch()
        self.reports: list[tuple[str, str]] = []
        ties = Ties(
            settings(), roster, self.changed, self.intake, memory, NoLimit(), self.silence, contact_on(FakeRecords()),
            lambda detail, block: self.silence.renew(datetime.now(UTC).timestamp()),
            lambda state, detail: self.reports.append((state, detail)),
        )  # fmt: skip
        self.life = asyncio.create_task(Life(connection, ties).run())  # type: ignore[arg-type]  # the fake is enough

    async def end(self) -> BaseExceptionGroup[Any]:
        self.connection.pushed.put_nowait(None)
        with pytest.raises(BaseExceptionGroup) as caught:
            await self.life
        return caught.value


def settings(url: str | None = None) -> Settings:
    return Settings(
        database_url=SecretStr("x"),
        redis_url=SecretStr("x"),
        instance="ingest-0",
        http_port=1,
        rpc_ws_url=SecretStr(url) if url else None,
        heal_blocks_max=200,
    )


async def test_the_place_waits_for_the_gap_and_then_follows_what_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    connection, memory = FakeConnection(1_000, log(1, 950)), FakeMemory(900)
    held = asyncio.Event()
    answer = connection.call

    async def call(method: str, params: Sequence[Any] = (), timeout_seconds: float = 10) -> Any:
        if method == "eth_getLogs":
            await held.wait()
        return await answer(method, params, timeout_seconds)

    connection.call = call  # type: ignore[method-assign]
    memory.outages = 2
    stage = Stage(await roster_of(1), connection, memory, monkeypatch)
    await until(lambda: len(memory.places) > 1)
    connection.pushed.put_nowait(log(2, 1_005))
    await until(lambda: stage.intake.taken)
    stage.intake.block_committed = 1_005
    await asyncio.sleep(0.02)
    assert set(memory.places) == {900, 894}, "a live log is committed, the gap before it is not"
    held.set()
    await until(lambda: memory.places[-1] == 1_005)
    assert sorted(stage.intake.seen()) == [(1, False), (2, False)]
    await stage.end()


async def test_a_refused_gap_pins_the_place_for_the_life(monkeypatch: pytest.MonkeyPatch) -> None:
    connection, memory = FakeConnection(1_000), FakeMemory(900)
    connection.wrong["eth_getLogs"] = [NodeRefusedError("no")] * 99
    stage = Stage(await roster_of(1), connection, memory, monkeypatch)
    stage.intake.block_committed = 1_100
    await until(lambda: connection.count("eth_getLogs"))
    await until(lambda: len(memory.places) > 1)
    await asyncio.sleep(0.02)
    assert memory.places[-1] == 894
    await stage.end()


async def test_an_outage_beyond_the_limit_is_fetched_as_far_as_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    connection, memory = FakeConnection(1_000), FakeMemory(100)
    stage = Stage(await roster_of(1), connection, memory, monkeypatch)
    await until(lambda: memory.places[-1] == 1_000)
    asked = [int(params[0]["fromBlock"], 16) for method, params in connection.calls if method == "eth_getLogs"]
    assert min(asked) == 800
    await stage.end()


async def test_a_new_follow_is_subscribed_and_its_gap_healed_while_the_others_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection, memory = FakeConnection(1_000, log(5, 996, of=2)), FakeMemory(1_000)
    roster = await roster_of(1)
    stage = Stage(roster, connection, memory, monkeypatch)
    await until(lambda: memory.places[-1] == 1_000 and connection.count("eth_getLogs"))
    assert isinstance(roster._store, FakeFollows)
    roster._store.numbers.append(2)
    connection.wrong["eth_subscribe"] = [NodeRefusedError("too many subscriptions")]
    monkeypatch.setattr(lives, "FOLLOW_AGAIN_SECONDS", 0.01)
    await roster.look()
    await until(lambda: stage.intake.seen() == [(5, False)])
    assert not stage.life.done(), "a follow that had to wait ended nothing"
    await until(lambda: len(connection.subscribed) == 1)
    assert stage.reports[-1] == ("up", "2 wallets in 1 subscriptions")
    await stage.end()


@pytest.mark.parametrize("answers", [True, False])
async def test_a_silent_socket_is_probed_once_and_replaced_whatever_the_probe_says(
    monkeypatch: pytest.MonkeyPatch, *, answers: bool
) -> None:
    connection = FakeConnection()
    stage = Stage(await roster_of(1), connection, FakeMemory(1_000), monkeypatch)
    await until(lambda: stage.silence.since < 1e12)
    if not answers:
        connection.wrong["eth_blockNumber"] = [Unavailable("no answer")]
    stage.silence.since = stage.silence.heard_at = datetime.now(UTC).timestamp() - 61
    with pytest.raises(BaseExceptionGroup) as caught:
        await stage.life
    assert caught.value.subgroup(DoubtedError)
    assert connection.count("eth_blockNumber") == 1
    stage = Stage(await roster_of(), FakeConnection(), FakeMemory(1_000), monkeypatch)
    await until(lambda: stage.silence.since < 1e12)
    stage.silence.since = stage.silence.heard_at = 0.0
    await asyncio.sleep(0.02)
    assert not stage.life.done(), "who follows nobody expects to hear nothing"
    await stage.end()


async def test_a_doubted_socket_is_replaced_at_once_and_a_broken_one_after_a_growing_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert [reconnect_seconds(each) for each in (0, 1, 2, 3, 20)] == [0, 0.5, 1, 2, 30]
    ends: list[Exception] = [DoubtedError("quiet", 1_000), Unavailable("cut"), Unavailable("cut"), Rejected("no")]
    waits: list[float] = []

    async def live(self: Feed, url: str) -> None:
        if not ends:
            await asyncio.Event().wait()
        raise ends.pop(0)

    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await real_sleep(0)

    monkeypatch.setattr(Feed, "_live", live)
    health = Health("ingest", "ingest-0")
    feed = Feed(
        settings("ws://x"), await roster_of(1), FakeIntake(), FakeMemory(), health, NoLimit(), lambda: None,
        contact_on(FakeRecords()),
    )  # fmt: skip
    with monkeypatch.context() as patched:
        patched.setattr("services.ingest.feed.asyncio.sleep", sleep)
        task = asyncio.create_task(feed.run())
        while ends:
            await real_sleep(0)
        await real_sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert waits[0] == 0
    assert all(most / 2 <= wait <= most for wait, most in zip(waits[1:4], (0.5, 1, 2), strict=True))


async def test_contact_goes_on_over_the_replacement_of_a_socket_that_was_only_quiet() -> None:
    began = datetime(2026, 11, 22, tzinfo=UTC)
    now = began
    records = FakeRecords()
    contact = contact_on(records, lambda: now)
    await contact.opened()
    now += timedelta(seconds=60)
    contact.answered()
    await contact.stands()
    now += timedelta(seconds=1)
    await contact.opened()
    await contact.healed(began - timedelta(seconds=30))
    now += timedelta(seconds=9)
    await contact.stands()
    assert records.rows == {began: (now, None)}
    assert [look.span for look in records.looks] == [(began - timedelta(seconds=30), began)]

    now += timedelta(seconds=60)  # this time nobody is up again soon
    await contact.opened()
    assert records.rows[began] == (now - timedelta(seconds=60), "replaced, and not up again soon")
    assert records.rows[now] == (now, None)
    await contact.lost("doubted: nothing came for a minute; the node does not answer")
    assert records.rows[now][0] == now


async def test_a_socket_that_was_taken_for_quiet_is_found_out_by_what_is_fetched() -> None:
    began = now = datetime(2026, 11, 22, tzinfo=UTC)

    def at(second: float) -> datetime:
        return began + timedelta(seconds=second)

    records = FakeRecords()
    contact = contact_on(records, lambda: now)
    await contact.opened()
    for second in range(1, 72):
        now = at(second)
        if second == 10:
            contact.delivered()
            contact.saw(("0xb", 1), 7, at(20), fetched=False)
        await contact.stands()
    contact.answered()
    now = at(72)
    await contact.opened()
    contact.saw(("0xb", 1), 7, at(20), fetched=True)  # it was delivered
    contact.saw(("0xb", 2), 7, at(71), fetched=True)  # of the moments between two sockets
    await contact.healed(at(0))
    assert [ended_by for _, ended_by in records.rows.values()] == [None]
    contact.saw(("0xb", 3), 7, at(30), fetched=True)
    now = at(73)
    await contact.healed(at(0))
    assert records.rows == {began: (at(30), CAME_LATE), now: (now, None)}
    assert [look.span for look in records.looks] == [(began, now)]


def test_only_a_socket_whose_node_answers_was_only_quiet() -> None:
    assert DoubtedError("quiet", 5).was_only_quiet
    assert not DoubtedError("quiet", None).was_only_quiet
    assert not DoubtedError("undelivered", 5).was_only_quiet
