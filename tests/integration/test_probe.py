"""The probe against a sandbox of which one field, one endpoint or one host is broken at a time."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.applications import Starlette

from services.cli.probe.report import Report
from services.cli.probe.run import Wishes, run
from services.cli.probe.targets import Target
from services.sandbox.app import build, listen, running
from services.sandbox.settings import Settings
from tests.support.command_line import shadowbook
from tests.support.sandbox import RunningSandbox, faults_file, until

pytestmark = pytest.mark.integration

Change = Callable[[Any], Any]


@dataclass
class Breaker:
    """Stands before the sandbox and changes the answers of one endpoint."""

    app: Any
    endpoint: str = ""
    change: Change | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await self.app(scope, *self._broken_node(receive, send))
        elif self.change and scope["path"].endswith(self.endpoint):
            await self.app(scope, receive, self._broken_host(send))
        else:
            await self.app(scope, receive, send)

    def _broken_host(self, send: Any) -> Any:
        held: list[Any] = []

        async def sent(message: Any) -> None:
            held.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                body = b"".join(each.get("body", b"") for each in held[1:])
                changed = self.changed(body)
                headers = [(name, value) for name, value in held[0]["headers"] if name != b"content-length"]
                await send({**held[0], "headers": [*headers, (b"content-length", b"%d" % len(changed))]})
                await send({"type": "http.response.body", "body": changed})

        return sent

    def _broken_node(self, receive: Any, send: Any) -> tuple[Any, Any]:
        methods: dict[int, str] = {}

        async def received() -> Any:
            message = await receive()
            if message.get("text"):
                call = json.loads(message["text"])
                methods[call["id"]] = call["method"]
            return message

        async def sent(message: Any) -> None:
            if self.change and message.get("text"):
                answer = json.loads(message["text"])
                if methods.get(answer.get("id")) == self.endpoint and "result" in answer:
                    answer["result"] = self.change(answer["result"])
                    message = {**message, "text": json.dumps(answer)}
            await send(message)

        return received, sent

    def changed(self, body: bytes) -> bytes:
        assert self.change is not None
        found = self.change(json.loads(body))
        return found if isinstance(found, bytes) else json.dumps(found).encode()


@asynccontextmanager
async def broken(breaker_of: Callable[[Any], Breaker], faults: Path | None = None) -> AsyncIterator[RunningSandbox]:
    listener = listen(0)
    port = int(listener.getsockname()[1])
    sandbox = build(Settings(http_port=port, speed=Decimal(60), seed=1, faults=faults))
    async with running(replace(sandbox, app=cast("Starlette", breaker_of(sandbox.app))), listener):
        yield RunningSandbox(port)


def target(sandbox: RunningSandbox) -> Target:
    return Target("a broken sandbox", sandbox.data_api_url, sandbox.clob_url, sandbox.gamma_url, sandbox.rpc_ws_url)


async def lively(sandbox: RunningSandbox) -> bool:
    """Tell whether there is something to decode everywhere."""
    rows = (await sandbox.get("/data/v2/trades", taker_only="false")).json()["data"]
    closed = (await sandbox.get("/gamma/markets/keyset", closed="true")).json()["markets"]
    return len(rows) > 20 and bool(closed)


def each(name: str, value: Any, *, within: str | None = "data") -> Change:
    """Return a change that gives a field of every object another value; the ellipsis removes it."""

    def change(document: Any) -> Any:
        for item in document[within] if within and isinstance(document, dict) else document:
            if value is ...:
                item.pop(name)
            else:
                item[name] = value
        return document

    return change


def whole(name: str, value: Any) -> Change:
    return lambda document: {**document, name: value}


HURRIED = 1_000
"""Requests a second that nothing but a sandbox of our own is asked."""
LOOKUP = "gamma GET /markets/keyset"
BROKEN: list[tuple[str, Change, str, str]] = [
    ("/v2/activity", each("usdc_size", None), "data GET /v2/activity", "usdc_size"),
    ("/v2/activity", each("timestamp", 1_789_380_859_000), "data GET /v2/activity", "timestamp"),
    ("/v2/activity", each("transaction_hash", ...), "data GET /v2/activity", "transaction_hash"),
    ("/v2/activity", each("price", "cheap"), "data GET /v2/activity", "price"),
    ("/v2/activity", each("size", -1), "data GET /v2/activity", "size"),
    ("/v2/activity", each("type", ...), "data GET /v2/activity", "type"),
    ("/v2/activity", each("token_id", 1.5), "data GET /v2/activity", "token_id"),
    ("/v2/activity", each("proxy_wallet", "0x0"), "data GET /v2/activity", "proxy_wallet"),
    ("/v2/activity", whole("pagination", {}), "data GET /v2/activity", "pagination.has_more"),
    ("/v2/positions", each("current_size", {}), "data GET /v2/positions", "current_size"),
    ("/v2/positions", whole("data", {}), "data GET /v2/positions", "data"),
    ("/v2/resolutions", each("payouts", [5, 5]), "data GET /v2/resolutions", "payouts"),
    ("/books", each("timestamp", "soon"), "clob POST /books", "timestamp"),
    ("/books", each("bids", None), "clob POST /books", "bids"),
    ("/midpoints", lambda document: dict.fromkeys(document, "2"), "clob POST /midpoints", "midpoint"),
    ("/last-trades-prices", each("price", ...), "clob POST /last-trades-prices", "price"),
    ("/keyset", each("conditionId", None, within="markets"), f"{LOOKUP} (clob_token_ids)", "conditionId"),
    ("/keyset", each("closed", "maybe", within="markets"), f"{LOOKUP} (condition_ids)", "closed"),
    ("eth_blockNumber", lambda result: int(result, 16), "rpc eth_blockNumber", "eth_blockNumber"),
    ("eth_chainId", lambda result: "0x1", "rpc eth_chainId", "eth_chainId"),
    ("eth_getLogs", each("data", "0x", within=None), "rpc eth_getLogs 10 blocks", "data"),
    ("eth_getLogs", each("topics", [], within=None), "rpc eth_getLogs 10 blocks", "topics"),
    ("eth_subscribe", lambda result: None, "rpc eth_subscribe logs", "result"),
]  # fmt: skip


def failures(report: Report) -> dict[str, str | None]:
    return {f"{check.host} {check.endpoint}": check.field for check in report.checks if check.state == "failed"}


async def test_each_broken_shape_is_named_and_only_the_whole_sandbox_is_good_enough() -> None:
    breakers: list[Breaker] = []

    def breaker_of(app: Any) -> Breaker:
        breakers.append(Breaker(app))
        return breakers[0]

    async with broken(breaker_of) as sandbox:
        await sandbox.play()
        await until(lambda: lively(sandbox), 60)
        good = await run(target(sandbox), Wishes())
        assert good.usable, good.text()
        assert all(
            check.decoded or not check.needed or "nothing" in check.detail for check in good.checks if check.objects
        )
        answers = {point.number: point.answer for point in good.points}
        assert answers[7] == "200 wallets in one filter are accepted"
        assert "v1" in str(answers[2])
        wallet = (await sandbox.get("/data/v2/trades", taker_only="false")).json()["data"][-1]["proxy_wallet"]
        for endpoint, change, expected, field in BROKEN:
            breakers[0].endpoint, breakers[0].change = endpoint, change
            report = await run(target(sandbox), Wishes(wallet=wallet), per_second_max=HURRIED)
            assert not report.usable, (endpoint, report.text())
            assert failures(report).get(expected) == field, (endpoint, report.text())
            assert f"`{field}`" in report.text()
        await rows_that_are_only_odd(breakers[0], sandbox, wallet)


async def rows_that_are_only_odd(breaker: Breaker, sandbox: RunningSandbox, wallet: str) -> None:
    """One strange row among many is a warning, a new field is news, and neither stops anybody."""

    def odd(document: Any) -> Any:
        document["data"] = document["data"] * 20
        document["data"][0] = {**document["data"][0], "usdc_size": "NaN", "brand_new": 1}
        return document

    breaker.endpoint, breaker.change = "/v2/activity", odd
    report = await run(target(sandbox), Wishes(wallet=wallet), per_second_max=HURRIED)
    check = next(check for check in report.checks if check.endpoint == "GET /v2/activity")
    assert report.usable
    assert (check.state, check.field, check.unknown_fields) == ("warning", "usdc_size", ["brand_new"])
    assert "brand_new" in report.text()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"fault": "html"}, "an HTML page"),
        ({"fault": "rate_limit", "retry_after": 7}, "Retry-After 7"),
        ({"fault": "server_error"}, "in trouble"),
        ({"fault": "malformed"}, "no JSON"),
        ({"fault": "down"}, "cut off"),
    ],
)
async def test_a_host_in_trouble_is_told_in_plain_words(tmp_path: Path, fault: dict[str, Any], words: str) -> None:
    faults = faults_file(tmp_path, [{"at_s": 0, "for_s": 60, "target": "clob", **fault}])
    async with broken(Breaker, faults) as sandbox:
        await sandbox.play()
        report = await run(target(sandbox), Wishes(wallet="0x" + "12" * 20, token="77"), per_second_max=HURRIED)
        assert "clob POST /books" in failures(report), report.text()
        assert words in report.text()
        if "retry_after" in fault:
            assert any("Retry-After" in str(point.answer) for point in report.points if point.number == 11)


async def test_nothing_there_is_told_at_once_and_arguments_are_checked() -> None:
    listener = listen(0)
    port = int(listener.getsockname()[1])
    listener.close()
    urls = {f"SHADOWBOOK_{name}_URL": f"http://127.0.0.1:{port}" for name in ("DATA_API", "CLOB", "GAMMA")}
    down = await asyncio.to_thread(shadowbook, "probe", "--json", variables=urls)
    assert down.code == 1, down.err
    report = json.loads(down.out)
    assert not report["usable"]
    assert "cannot be reached" in report["checks"][0]["detail"]
    assert any("polling alone" in warning for warning in report["warnings"])
    for arguments in (["--wallet", "otter"], ["--data-dir", "/nonexistent"]):
        assert (await asyncio.to_thread(shadowbook, "probe", *arguments)).code == 2
    bad = await asyncio.to_thread(shadowbook, "probe", "--live", variables={"SHADOWBOOK_RPC_WS_URL": "key"})
    assert bad.code == 2
    assert "SHADOWBOOK_RPC_WS_URL" in bad.err


async def test_the_command_probes_what_the_environment_names_and_exits_with_0() -> None:
    async with broken(Breaker) as sandbox:
        await sandbox.play()
        await until(lambda: lively(sandbox), 60)
        urls = {
            "SHADOWBOOK_DATA_API_URL": sandbox.data_api_url,
            "SHADOWBOOK_CLOB_URL": sandbox.clob_url,
            "SHADOWBOOK_GAMMA_URL": sandbox.gamma_url,
            "SHADOWBOOK_RPC_WS_URL": sandbox.rpc_ws_url,
        }
        done = await asyncio.to_thread(shadowbook, "probe", variables=urls)
        assert done.code == 0, done.out + done.err
        assert done.out.endswith("Shadowbook can work with this.\n")
