"""A tape plays: rows appear after the API's lag, logs at their instant, pages hold each row once."""

import json
from collections import Counter
from pathlib import Path

import httpx
import pytest

from services.sandbox.order_filled import (
    EXCHANGE,
    NEG_RISK_EXCHANGE,
    address_topic,
    block_second,
)
from tests.support.sandbox import (
    HERON,
    OTTER,
    START_MS,
    HandClock,
    book,
    ended,
    head,
    market,
    receive,
    row,
    running_sandbox,
    subscribed,
    until,
    write_tape,
)

TAPES = Path(__file__).parents[3] / "shared" / "tapes"
needs_tapes = pytest.mark.skipif(not TAPES.is_dir(), reason=f"recorded tapes are not at {TAPES}")


async def test_nothing_has_happened_before_play(tmp_path: Path) -> None:
    tape = write_tape(
        tmp_path,
        head(60_000),
        activity=[row(1, 0)],
        books=[book("1001", 0, "a")],
        markets=[market("0xc0", "1001", "1002")],
    )
    async with running_sandbox(tape=tape) as sandbox:
        assert await sandbox.rows(OTTER) == []
        assert (await sandbox.get("/clob/book", token_id="1001")).json()["hash"] == "a"
        assert len((await sandbox.get("/gamma/markets")).json()) == 1
        status = await sandbox.status()
        assert (status["playing"], status["ended"], status["started_at"]) == (False, False, None)
        assert (await sandbox.play())["playing"]
        first = await sandbox.status()
        assert (await sandbox.play())["started_at"] == first["started_at"]


async def test_logs_come_at_their_instant_and_rows_after_the_lag(tmp_path: Path) -> None:
    markets = [market("0xc0", "1001", "1002"), market("0xc1", "2001", "2002", negRisk=True)]
    activity = [
        row(1, 400),
        row(2, 800, _maker=True, side="SELL"),
        row(3, 800, _no_log=True),
        row(4, 1_200, condition_id="0xc1", token_id="2001", _log_index=77),
        row(5, 1_300, wallet=HERON),
        row(6, 1_300, type="SPLIT", token_id="", side=""),
    ]
    tape = write_tape(tmp_path, head(4_000, api_lag_ms=1_500), activity=activity, markets=markets)
    clock = HandClock()
    async with running_sandbox(tape=tape, clock=clock) as sandbox, subscribed(sandbox, OTTER) as socket:
        await sandbox.play()
        clock.reach(400)
        logs = await receive(socket, 1)
        clock.reach(1_300)
        logs += await receive(socket, 2)
        clock.reach(1_899)
        assert await sandbox.rows(OTTER) == []
        assert [int(log["transactionHash"], 16) for log in logs] == [1, 2, 4]
        assert [log["address"] for log in logs] == [EXCHANGE, EXCHANGE, NEG_RISK_EXCHANGE]
        assert logs[2]["logIndex"] == hex(77)
        assert logs[0]["topics"][3] == address_topic(EXCHANGE)
        assert logs[1]["topics"][3] not in {address_topic(EXCHANGE), address_topic(NEG_RISK_EXCHANGE)}
        for log in logs:
            assert block_second(int(log["blockNumber"], 16)) == int(log["blockTimestamp"], 16)
        clock.reach(2_799)
        assert len(await sandbox.rows(OTTER)) == 4
        clock.reach(2_800)
        rows = await sandbox.rows(OTTER)
        assert len(rows) == 5
        stamps = {int(each["transaction_hash"], 16): each["timestamp"] for each in rows}
        assert {
            int(log["transactionHash"], 16): int(log["blockTimestamp"], 16) for log in logs
        }.items() <= stamps.items()
        assert not any(key.startswith("_") for each in rows for key in each)
        trades = (await sandbox.get("/data/v2/trades", user=OTTER)).json()["data"]
        assert len(trades) == 3
        assert len((await sandbox.get("/data/v2/trades", user=OTTER, taker_only="false")).json()["data"]) == 4
        clock.reach(4_000)
        assert await ended(sandbox)


async def test_pages_hold_each_row_once_in_either_order(tmp_path: Path) -> None:
    activity = [row(number, number // 7 * 10) for number in range(1, 251)]
    activity += [row(300, 500), row(300, 500), row(301, 500, type="REDEEM"), row(302, 500, type="DEPOSIT")]
    tape = write_tape(tmp_path, head(600, api_lag_ms=0), activity=activity)
    async with running_sandbox(tape=tape) as sandbox:
        await sandbox.play()
        await until(lambda: ended(sandbox))
        everything = await sandbox.rows(OTTER)
        assert len(everything) == 253
        for limit in (1000, 100, 37):
            assert await sandbox.rows(OTTER, limit=limit) == everything
        upwards = await sandbox.rows(OTTER, limit=60, sort_direction="ASC")
        assert upwards == everything[::-1]
        assert len(await sandbox.rows(OTTER, type="REDEEM,DEPOSIT")) == 2
        assert len(await sandbox.rows(OTTER, exclude_deposits_withdrawals="false")) == 254
        assert len(await sandbox.rows(OTTER, type="TRADE", side="SELL")) == 0
        assert len(await sandbox.rows(OTTER, condition="0xc0,0xc9", limit=90)) == 253
        seconds = sorted({each["timestamp"] for each in everything})
        inclusive = await sandbox.rows(OTTER, start=seconds[0], end=seconds[-1])
        assert len(inclusive) == 253
        assert await sandbox.rows(OTTER, start=seconds[-1] + 1) == []
        page = (await sandbox.get("/data/v2/activity", user=OTTER, limit=10)).json()
        again = await sandbox.get(
            "/data/v2/activity", user=OTTER, limit=10, side="BUY", cursor=page["pagination"]["next_cursor"]
        )
        assert again.json()["data"] == page["data"], "a cursor of other filters starts again"


async def test_the_cdn_keeps_a_url_and_a_new_parameter_passes_it(tmp_path: Path) -> None:
    tape = write_tape(tmp_path, head(2_000, api_lag_ms=0), activity=[row(1, 300)])
    clock = HandClock()
    async with (
        running_sandbox(tape=tape, clock=clock) as sandbox,
        httpx.AsyncClient(base_url=sandbox.data_api_url) as data,
    ):
        await sandbox.play()
        asked = {"user": OTTER}
        assert (await data.get("/v2/activity", params=asked)).headers["x-cache"] == "Miss from cloudfront"
        clock.reach(300)
        assert len(await sandbox.rows(OTTER)) == 1
        kept = await data.get("/v2/activity", params=asked)
        assert kept.headers["x-cache"] == "Hit from cloudfront"
        assert kept.json()["data"] == []
        assert len((await data.get("/v2/activity", params={**asked, "_": "1"})).json()["data"]) == 1


async def test_books_markets_and_resolutions_come_into_force_in_time(tmp_path: Path) -> None:
    closed = {"closed": True, "umaResolutionStatus": "resolved", "_at_ms": START_MS + 16_000}
    resolution = {"condition_id": "0xc0", "status": "resolved", "payouts": [1_000_000, 0], "_at_ms": START_MS + 16_000}
    tape = write_tape(
        tmp_path,
        head(24_000),
        activity=[row(1, 1_000)],
        books=[book("1001", -500, "a"), book("1001", 8_000, "b"), book("1002", 4_000, "c")],
        markets=[market("0xc0", "1001", "1002"), market("0xc0", "1001", "1002", **closed)],
        resolutions=[resolution | {"resolved_at": "2026-08-29T12:00:00Z"}],
    )
    seen, clock = {}, HandClock()
    async with running_sandbox(tape=tape, speed=8, clock=clock) as sandbox:
        await sandbox.play()
        assert (await sandbox.get("/clob/book", token_id="1002")).status_code == 404
        for at_ms in (0, 999, 1_000, 1_999, 2_000):
            clock.reach(at_ms)
            answer = (await sandbox.get("/clob/book", token_id="1001")).json()
            seen[at_ms] = answer.get("hash", "gone")
            assert int(answer.get("timestamp", 0)) <= clock()
        assert seen == {0: "a", 999: "a", 1_000: "b", 1_999: "b", 2_000: "gone"}
        clock.reach(2_999)
        assert not await ended(sandbox)
        clock.reach(3_000)
        assert await ended(sandbox)
        rows = (await sandbox.get("/data/v2/resolutions", condition="0xc0")).json()["data"]
        assert rows[0]["payouts"] == [1_000_000, 0]
        market_now = (await sandbox.get("/gamma/markets", condition_ids="0xc0", closed="true")).json()[0]
        assert market_now["endDate"] == rows[0]["resolved_at"]
        assert (await sandbox.get("/gamma/markets", condition_ids="0xc0")).json() == []


async def test_positions_are_the_start_and_what_followed(tmp_path: Path) -> None:
    held = {"proxy_wallet": OTTER, "token_id": "1001", "condition_id": "0xc0", "current_size": 5, "last_event_at": 1}
    activity = [
        row(1, 10, size=10, usdc_size=5),
        row(2, 20, size=4, usdc_size=2, side="SELL"),
        row(3, 30, type="SPLIT", size=3, usdc_size=3, token_id="", side=""),
        row(4, 40, type="MERGE", size=1, usdc_size=1, token_id="", side=""),
    ]
    tape = write_tape(
        tmp_path, head(60, api_lag_ms=0), activity=activity, markets=[market("0xc0", "1001", "1002")], positions=[held]
    )
    async with running_sandbox(tape=tape) as sandbox:
        await sandbox.play()
        await until(lambda: ended(sandbox))
        rows = (await sandbox.get("/data/v2/positions", user=OTTER)).json()["data"]
        assert {each["token_id"]: each["current_size"] for each in rows} == {"1001": 13.0, "1002": 2.0}
        last = max(each["timestamp"] for each in await sandbox.rows(OTTER))
        assert {each["last_event_at"] for each in rows} == {last}
        by_condition = (await sandbox.get("/data/v2/positions", condition="0xc0", limit=1)).json()
        assert len(by_condition["data"]) == 1
        cursor = by_condition["pagination"]["next_cursor"]
        rest = (await sandbox.get("/data/v2/positions", condition="0xc0", limit=1, cursor=cursor)).json()
        assert rest["data"] != by_condition["data"]
        assert rest["pagination"]["has_more"] is False


@needs_tapes
@pytest.mark.parametrize("name", ["btc-15m-a", "wallets-a"])
async def test_recorded_tapes_play_to_their_end(name: str) -> None:
    lines = [json.loads(line) for line in (TAPES / name / "activity.jsonl").read_text().splitlines()]
    wallets = [each["wallet"] for each in json.loads((TAPES / name / "tape.json").read_text())["wallets"]]
    fills = [each for each in lines if each["type"] == "TRADE" and not each.get("_no_log")]
    async with running_sandbox(tape=TAPES / name, speed=400) as sandbox, subscribed(sandbox, *wallets) as socket:
        await sandbox.play()
        logs = await receive(socket, len(fills))
        await until(lambda: ended(sandbox))
        served = [each for wallet in wallets for each in await sandbox.rows(wallet, limit=50)]
    recorded = Counter(each["transaction_hash"] for each in lines)
    assert Counter(each["transaction_hash"] for each in served) == recorded
    assert Counter(each["transactionHash"] for each in logs) == Counter(each["transaction_hash"] for each in fills)
    assert len({(log["blockNumber"], log["logIndex"]) for log in logs}) == len(logs)
