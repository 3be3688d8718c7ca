"""Recorded wire objects, put in a tape, come back over HTTP as they were recorded, but for their times."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.sandbox.exchange import parse_wire
from tests.support.sandbox import RunningSandbox, running_sandbox, write_tape

PAYLOADS = Path(__file__).parents[3] / "shared" / "reference" / "payloads"
pytestmark = pytest.mark.skipif(not PAYLOADS.is_dir(), reason=f"recorded payloads are not at {PAYLOADS}")

START_MS = 1_788_000_000_000


def payload(name: str) -> Any:
    return parse_wire((PAYLOADS / name).read_text())


def plain(name: str) -> Any:
    return json.loads((PAYLOADS / name).read_text())


def at_start(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "timestamp": START_MS // 1000, "_at_ms": START_MS}


@pytest.fixture
async def recorded(tmp_path: Path) -> AsyncIterator[RunningSandbox]:
    activity = [at_start(row) for row in plain("data_api_v2/activity.json")]
    books = [*plain("books/ten_books.json"), plain("books/near_zero.json"), plain("books/empty_bids.json")]
    markets = [*plain("gamma/markets_open_20.json"), *plain("gamma/market_with_fees.json")]
    markets += [plain(f"gamma/{path.name}") for path in sorted((PAYLOADS / "gamma").glob("nautilus*.json"))]
    resolutions = [{**row, "_at_ms": START_MS} for row in plain("data_api_v2/resolutions.json")]
    head = {
        "name": "recorded",
        "start_ms": START_MS,
        "end_ms": START_MS,
        "wallets": [{"label": "car", "wallet": activity[0]["proxy_wallet"]}],
        "api_lag_ms": 0,
    }
    tape = write_tape(
        tmp_path,
        head,
        activity=activity,
        books=[{**book, "timestamp": str(START_MS)} for book in books],
        markets=markets,
        resolutions=resolutions,
        positions=plain("data_api_v2/positions.json"),
    )
    async with running_sandbox(tape=tape) as sandbox:
        await sandbox.play()
        yield sandbox


async def test_activity_rows_come_back(recorded: RunningSandbox) -> None:
    rows = payload("data_api_v2/activity.json")
    answer = await recorded.get("/data/v2/activity", user=rows[0]["proxy_wallet"])
    served = parse_wire(answer.content)
    assert list(served) == ["data", "pagination"]
    assert served["pagination"] == {"limit": 100, "offset": 0, "has_more": False, "next_cursor": None}
    by_tx = {(row["transaction_hash"], row["token_id"]): row for row in served["data"]}
    assert len(by_tx) == len(rows)
    for row in rows:
        ours = by_tx[row["transaction_hash"], row["token_id"]]
        assert list(ours) == list(row)
        assert {**ours, "timestamp": 0} == {**row, "timestamp": 0}
    assert answer.headers["cache-control"] == "public, max-age=15"


async def test_trades_have_the_recorded_keys_and_types(recorded: RunningSandbox) -> None:
    wallet = plain("data_api_v2/activity.json")[0]["proxy_wallet"]
    answer = await recorded.get("/data/v2/trades", user=wallet, taker_only="false")
    like = plain("data_api_v2/trades.json")[0]
    assert answer.json()["data"]
    for row in answer.json()["data"]:
        assert list(row) == list(like)
        assert {key: type(item) for key, item in row.items()} == {key: type(item) for key, item in like.items()}


async def test_books_come_back_with_their_hash(recorded: RunningSandbox) -> None:
    books = [*plain("books/ten_books.json"), plain("books/near_zero.json"), plain("books/empty_bids.json")]
    async with httpx.AsyncClient(base_url=recorded.clob_url) as clob:
        asked = [{"token_id": book["asset_id"]} for book in books] + [{"token_id": "77"}]
        served = {book["asset_id"]: book for book in (await clob.post("/books", json=asked)).json()}
        assert len(served) == len(books)
        for book in books:
            ours = served[book["asset_id"]]
            assert list(ours) == list(book)
            assert {**ours, "timestamp": ""} == {**book, "timestamp": ""}
            one = (await clob.get("/book", params={"token_id": book["asset_id"]})).json()
            assert one == ours
        mids = (await clob.post("/midpoints", json=asked)).json()
        two_sided = [book for book in books if book["bids"] and book["asks"]]
        assert set(mids) == {book["asset_id"] for book in two_sided}
        last = (await clob.post("/last-trades-prices", json=asked)).json()
        assert {each["token_id"]: each["price"] for each in last} == {
            book["asset_id"]: book["last_trade_price"] for book in books
        }


MOVED = {"endDate", "startDate", "createdAt", "updatedAt", "closedTime", "umaEndDate", "endDateIso", "startDateIso"}
MOVED |= {"acceptingOrdersTimestamp", "startTime", "gameStartTime", "eventStartTime", "creationDate", "publishedAt"}
MOVED |= {"deployingTimestamp", "finishedTimestamp"}


def still(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: None if key in MOVED else still(item) for key, item in value.items()}
    return [still(each) for each in value] if isinstance(value, list) else value


async def test_markets_come_back_open_by_default(recorded: RunningSandbox) -> None:
    markets = {market["id"]: market for market in payload("gamma/markets_open_20.json")}
    found: dict[str, Any] = {}
    cursor: dict[str, Any] = {}
    while True:
        page = parse_wire((await recorded.get("/gamma/markets/keyset", limit=7, **cursor)).content)
        assert len(page["markets"]) <= 7
        found |= {market["id"]: market for market in page["markets"]}
        if "next_cursor" not in page:
            break
        cursor = {"after_cursor": page["next_cursor"]}
    assert markets.keys() <= found.keys()
    assert not any(market["closed"] for market in found.values())
    for number, market in markets.items():
        assert still(found[number]) == still(market)
        assert list(found[number]) == list(market)
        assert found[number]["endDate"].endswith("Z")
    closed = (await recorded.get("/gamma/markets", closed="true", limit=100)).json()
    assert len(closed) >= 4


async def test_markets_are_found_by_condition_and_token(recorded: RunningSandbox) -> None:
    markets = plain("gamma/markets_open_20.json")[:2]
    async with httpx.AsyncClient(base_url=recorded.gamma_url) as gamma:
        conditions = [market["conditionId"] for market in markets]
        asked = [("condition_ids", each) for each in conditions]
        found = (await gamma.get("/markets", params=asked)).json()
        assert sorted(market["conditionId"] for market in found) == sorted(conditions)
        tokens = [("clob_token_ids", json.loads(market["clobTokenIds"])[1]) for market in markets]
        found = (await gamma.get("/markets/keyset", params=tokens)).json()["markets"]
        assert sorted(market["conditionId"] for market in found) == sorted(conditions)
        closed = plain("gamma/nautilus_trader-3-gamma_market_closed_binary_accepting_false.json")
        assert (await gamma.get("/markets", params={"condition_ids": closed["conditionId"]})).json() == []
        asked_closed = {"condition_ids": closed["conditionId"], "closed": "true"}
        assert len((await gamma.get("/markets", params=asked_closed)).json()) == 1
        by_id = (await gamma.get(f"/markets/{markets[0]['id']}")).json()
        assert by_id["question"] == markets[0]["question"]
        assert (await gamma.get(f"/markets/{conditions[0]}")).status_code == 422
        assert (await gamma.get("/markets/1")).status_code == 404
        assert (await gamma.get("/markets/keyset", params={"offset": 1})).status_code == 422
        events = (await gamma.get("/events/keyset", params={"limit": 100})).json()["events"]
        assert {each["id"] for market in markets for each in market["events"]} <= {event["id"] for event in events}
        assert all(event["markets"] for event in events)


async def test_resolutions_come_back(recorded: RunningSandbox) -> None:
    for row in plain("data_api_v2/resolutions.json"):
        for asked in ({"condition": row["condition_id"]}, {"question_id": row["question_id"]}):
            served = (await recorded.get("/data/v2/resolutions", **asked)).json()["data"]
            assert len(served) == 1
            assert list(served[0]) == list(row)
            assert {**served[0], "last_update_timestamp": ""} == {**row, "last_update_timestamp": ""}
    refused = await recorded.get("/data/v2/resolutions", condition="0x1", event_id="1")
    assert refused.status_code == 400
    assert refused.json()["error"] == "provide exactly one of 'question_id', 'condition', or 'event_id'"


async def test_positions_come_back_and_derived_ones_look_alike(recorded: RunningSandbox) -> None:
    rows = plain("data_api_v2/positions.json")
    wallet = rows[0]["proxy_wallet"]
    served = (await recorded.get("/data/v2/positions", user=wallet, filter_amount=0, include_archived="true")).json()[
        "data"
    ]
    by_token = {row["token_id"]: row for row in served}
    open_rows = [row for row in rows if row["current_size"] > 0]
    assert {row["token_id"] for row in open_rows} <= by_token.keys()
    for row in open_rows:
        ours = by_token[row["token_id"]]
        assert list(ours) == list(row)
        times = {"last_event_at": 0, "first_entry_at": 0, "end_date": ""}
        assert {**ours, **times} == {**row, **times}
    derived = [row for row in served if row["token_id"] not in {each["token_id"] for each in rows}]
    assert derived
    like = rows[0]
    for row in derived:
        types = {key: type(item) for key, item in row.items() if key in like}
        assert types == {key: type(item) for key, item in like.items()}


ERRORS = [
    ("/data/v2/activity", {}, 400, {"parameter": "user", "code": "invalid_request", "retryable": False}),
    ("/data/v2/activity", {"user": "0x12"}, 400, {"parameter": "user"}),
    ("/data/v2/activity", {"user": "0x" + "e" * 40, "limit": 1001}, 400, {"parameter": "limit"}),
    ("/data/v2/activity", {"user": "0x" + "e" * 40, "offset": 0}, 400, {"parameter": "offset"}),
    ("/data/v2/activity", {"user": "0x" + "e" * 40, "type": "TRADE,BANANA"}, 400, {"parameter": "type"}),
    ("/data/v2/activity", {"user": "0x" + "e" * 40, "cursor": "bm8="}, 400, {"parameter": "cursor"}),
    ("/data/v2/activity", {"user": "0xE111180000d2663C0091e4f400237545B87B996B"}, 400, {"parameter": "user"}),
    ("/data/v2/trades", {"side": "HOLD"}, 400, {"parameter": "side"}),
    ("/data/v2/positions", {}, 400, {"code": "invalid_request"}),
    ("/clob/book", {}, 400, {"error": "Invalid token id"}),
    ("/clob/book", {"token_id": "123"}, 404, {"error": "No orderbook exists for the requested token id"}),
]


@pytest.mark.parametrize(("path", "params", "status", "says"), ERRORS)
async def test_refusals_look_like_the_real_ones(
    recorded: RunningSandbox, path: str, params: dict[str, Any], status: int, says: dict[str, Any]
) -> None:
    answer = await recorded.get(path, **params)
    body = answer.json()
    assert answer.status_code == status
    assert says.items() <= body.items()
    if path.startswith("/data"):
        assert body["trace_id"] == answer.headers["x-trace-id"]


async def test_unknown_wallets_have_no_rows(recorded: RunningSandbox) -> None:
    for user in ("0x" + "e" * 40, "0x" + "e" * 40 + ",0x" + "d" * 40):
        assert (await recorded.get("/data/v2/activity", user=user)).json()["data"] == []
