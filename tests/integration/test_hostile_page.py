"""One page full of nonsense, through a real host, the client and the intake into Postgres: the good rows are booked."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import uvicorn
from sqlalchemy import text
from structlog.testing import capture_logs

from libs.common.domain.errors import Unavailable
from libs.common.domain.identity import user_id
from libs.common.observability.metrics import REGISTRY, UpstreamMetrics
from libs.common.upstream import samples
from libs.common.upstream.data_api import DataApiClient
from libs.common.upstream.fields import EPOCH_SECOND_MAX, EPOCH_SECOND_MIN
from libs.common.upstream.gateway import Gateway, Patience
from libs.common.upstream.limits import NoLimit
from services.ingest.commands import follow
from services.ingest.intake import Intake
from services.ingest.reading import Follow
from services.ingest.store import IngestStore, Recorded
from services.sandbox.app import listen
from tests.support.databases import Database

pytestmark = pytest.mark.integration

WALLET = "0x" + "a1" * 20
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
AT = 1_789_380_859


def row(number: int, **more: Any) -> dict[str, Any]:
    return {
        "proxy_wallet": WALLET,
        "timestamp": AT,
        "condition_id": "0x" + "5d" * 32,
        "type": "TRADE",
        "size": 10,
        "usdc_size": 5,
        "transaction_hash": f"0x{number:064x}",
        "price": 0.5,
        "token_id": "1001",
        "side": "BUY",
        "title": "Will it rain?",
    } | more


def at(*seconds: int) -> list[dict[str, Any]]:
    """Return rows of these seconds after AT, no two of them alike."""
    return [row(100 * second + number, timestamp=AT + second) for number, second in enumerate(seconds)]


HOSTILE: list[dict[str, Any] | str | None] = [
    row(10, size=None),
    row(11, size="NaN"),
    row(12, size=-1),
    row(13, size=10**30),
    row(14, price=1.01),
    row(15, price=-0.5),
    row(16, usdc_size=None),
    row(17, timestamp=1_789_380_859_000),
    row(18, timestamp=4_000_000_000),
    row(19, timestamp=None),
    row(20, token_id=""),
    row(21, side="BUY\0"),
    row(22, type="BRAND_NEW\0TYPE" + "x" * 500),
    row(23, condition_id="0x" + "ab" * 31),
    row(24, condition_id="\ud800\0"),
    row(25, token_id="\0\ud800"),
    row(26, usdc_size=5_000_000),
    row(27, transaction_hash="\0"),
    row(28, proxy_wallet="0x0"),
    row(29, type="SPLIT", size=10**30, price="\0"),
    row(30, type=None, side={}, token_id=[], condition_id=7),
    "odd",
    None,
]
GOOD: list[dict[str, Any]] = [
    row(1),
    row(2, proxy_wallet=WALLET.upper().replace("0X", "0x"), transaction_hash=f"0x{2:064X}"),
    row(3, size="10", usdc_size="5", price="0.5", timestamp="1789380859", token_id=1001),
    row(4, title="\0\ud800" + "x" * 100_000, brand_new=[10**30, {"deep": [[]]}], outcome_index=10**40),
    row(5, price=0.000001, usdc_size=0.00001),
    row(6, price=1, usdc_size=10),
]


class Host:
    """Answers with pages, one a request; the last one for ever."""

    def __init__(self, *bodies: str) -> None:
        self.bodies = list(bodies)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = self.bodies.pop(0) if len(self.bodies) > 1 else self.bodies[0]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body.encode()})


def page(rows: list[Any], cursor: str | None = None) -> str:
    return json.dumps({"data": rows, "pagination": {"has_more": cursor is not None, "next_cursor": cursor}})


@asynccontextmanager
async def served(*bodies: str) -> AsyncIterator[DataApiClient]:
    listener = listen(0)
    server = uvicorn.Server(uvicorn.Config(Host(*bodies), log_config=None, lifespan="off"))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    serving = asyncio.create_task(server._serve([listener]))
    gateway = Gateway(url, "data", NoLimit(), patience=Patience(attempts=1), metrics=UpstreamMetrics())
    try:
        yield DataApiClient(gateway)
    finally:
        await gateway.close()
        server.should_exit = True
        await serving
        listener.close()


def ignored(reason: str) -> float:
    return REGISTRY.get_sample_value("shadowbook_wire_rows_ignored_total", {"reason": reason}) or 0.0


async def test_every_good_row_of_a_hostile_page_is_booked_and_the_others_are_kept_counted_and_shown(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "_sampler", samples.Sampler())
    await follow(database.url(), WALLET, "otter")
    engine = database.engine()
    committed: list[Recorded] = []
    intake = Intake(IngestStore(engine), committed.append, lambda: datetime.now(UTC))
    following = Follow(WALLET, user_id("otter"), LONG_AGO)
    mixed = [each for pair in zip(HOSTILE, [*GOOD, *[None] * len(HOSTILE)], strict=False) for each in pair if each]
    before = {reason: ignored(reason) for reason in ("odd_row", "unreadable_row", "unknown_type", "refused")}
    async with served(page(mixed)) as client:
        with capture_logs() as logs:
            await intake.record_listing(await client.activity(WALLET, start=None), following)
            await intake.record_listing(await client.activity(WALLET, start=None), following)
    async with engine.connect() as connection:
        fills = list(await connection.execute(text("SELECT tx_hash, booked, share_micros FROM trade_event ORDER BY 1")))
        kinds = list(await connection.execute(text("SELECT kind, type, booked FROM activity_event")))
        kept = list(await connection.scalars(text("SELECT payload FROM event_sighting")))
    assert [(each.tx_hash, each.booked) for each in fills] == [(f"0x{number:064x}", True) for number in range(1, 7)]
    assert {each.share_micros for each in fills} == {10_000_000}
    assert len(kinds) == len([each for each in HOSTILE if each])
    assert {each.kind for each in kinds} == {"OTHER", "COMBO"}
    assert len(kept) == len(fills) + len(kinds)
    counted = {reason: ignored(reason) - count for reason, count in before.items()}
    assert counted["refused"] == 0
    assert counted["unknown_type"] >= 1
    assert counted["odd_row"] + counted["unreadable_row"] + counted["unknown_type"] == len(kinds) - 1  # but the combo
    shown = [each["reason"] for each in logs if each["event"] == "wire_row_ignored"]
    assert sorted(shown) == ["odd_row", "unknown_type", "unreadable_row"]
    assert all("expected" in each["error"] for each in logs if each["event"] == "wire_row_ignored")


async def test_a_number_that_is_none_costs_its_row(database: Database) -> None:
    await follow(database.url(), WALLET, "otter")
    intake = Intake(IngestStore(database.engine()), lambda _: None, lambda: datetime.now(UTC))
    body = page([row(1), row(2, size=777)]).replace("777", "-Infinity")
    async with served(body) as client:
        listing = await client.activity(WALLET, start=None)
        await intake.record_listing(listing, Follow(WALLET, user_id("otter"), LONG_AGO))
    assert [each.odd is None for each in listing.rows] == [False, True]


@pytest.mark.parametrize(
    ("bodies", "reason"),
    [
        ((page([row(1)] * 3, "c1"), page([row(1)] * 3, "c2"), page([])), "page_repeated"),
        ((page([row(1), row(2)], "c1"), page([row(2), row(1)], "c2"), page([])), "page_repeated"),
        ((page([row(1)], "c1"), page([row(2)], "c1"), page([])), "cursor_looped"),
        ((page([row(1)], "c1"), page([], "c2"), page([row(2)])), "page_empty"),
        ((page(at(300, 200, 200), "c1"), page([*at(300), row(9, timestamp=AT + 261), *at(100)])), "page_back_in_time"),
    ],
)
async def test_pages_that_cannot_be_believed_give_no_listing(bodies: tuple[str], reason: str) -> None:
    before = ignored(reason)
    async with served(*bodies) as client:
        with pytest.raises(Unavailable, match=r"already read|claims that more|back in time"):
            await client.activity(WALLET, start=None)
    assert ignored(reason) == before + 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (at(300, 200, 200), at(260, 260, 100)),  # within what real listings are out of order
        ([*at(300, 200, 200), row(9, timestamp=EPOCH_SECOND_MIN)], at(199, 100)),
        (at(300, 200, 200), [*at(199, 100), row(9, timestamp=AT + 9_999_999)]),
        ([*at(300, 200, 200), row(9, timestamp="never")], [*at(199, 199), *[row(7, timestamp=4 * 10**12)] * 2]),
        ([row(8, timestamp=AT)], at(900, 900)),  # one row alone does not tell where a page ends
    ],
)
async def test_one_wrong_time_stops_no_listing(first: list[Any], second: list[Any]) -> None:
    async with served(page(first, "c1"), page(second)) as client:
        listing = await client.activity(WALLET, start=None)
    assert len(listing.rows) + len(listing.unreadable) == len(first) + len(second)


@pytest.mark.parametrize("wrong", [[EPOCH_SECOND_MIN, AT - 1, 5], [AT + 1_000, AT + 2_000, EPOCH_SECOND_MAX]])
async def test_times_that_nobody_asked_for_stop_no_listing(wrong: list[int]) -> None:
    odd = [row(number, timestamp=second) for number, second in enumerate(wrong, 1)]
    first, second = [*at(300, 200, 200), *odd], [*at(199, 100), *odd[::-1], row(9, timestamp=AT + 50)]
    async with served(page(first, "c1"), page(second)) as client:
        assert len((await client.activity(WALLET, start=AT, end=AT + 999)).rows) == len(first) + len(second)


async def test_nothing_is_booked_of_a_poll_whose_pages_come_again_in_another_order(database: Database) -> None:
    await follow(database.url(), WALLET, "otter")
    following = Follow(WALLET, user_id("otter"), LONG_AGO)
    intake = Intake(IngestStore(database.engine()), lambda _: None, lambda: datetime.now(UTC))
    rows = [row(number) for number in range(1, 6)]
    async with served(page(rows, "c1"), page(rows[::-1], "c2"), page(rows)) as client:
        with pytest.raises(Unavailable, match="page 2 repeats"):
            await intake.record_listing(await client.activity(WALLET, start=None), following)
    async with database.engine().connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM event_sighting")) == 0
