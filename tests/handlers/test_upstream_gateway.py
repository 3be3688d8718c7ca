"""The gateway believes nothing unchecked, waits as it is told, and knows when to stop asking."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from libs.common.domain.errors import PartlyAnswered, Rejected, Unavailable
from libs.common.domain.market import PartlyReadError
from libs.common.upstream.breaker import BreakerPolicy
from libs.common.upstream.clob import ClobClient
from libs.common.upstream.data_api import DataApiClient
from libs.common.upstream.gamma import GammaClient
from libs.common.upstream.gateway import Gateway, Patience
from libs.common.upstream.limits import NoLimit, TokenBucket
from libs.common.upstream.retry_after import RETRY_AFTER_SECONDS_MAX, retry_after_seconds

Answer = httpx.Response | Exception


class World:
    """A host that answers from a script, a clock that only sleeping moves, and counters."""

    def __init__(self, *answers: Answer | Callable[[httpx.Request], Answer]) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.now = 0.0
        self.slept: list[float] = []
        self.outcomes: Counter[str] = Counter()

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer) and not isinstance(answer, httpx.Response):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def count(self, name: str, amount: int = 1, **labels: str) -> None:
        self.outcomes[labels.get("outcome") or labels.get("reason") or name] += amount

    def observe(self, name: str, value: float, **labels: str) -> None:
        pass

    def gateway(
        self,
        host: Any = "data",
        *,
        attempts: int = 4,
        failures: int = 100,
        bucket: TokenBucket | None = None,
        total_seconds: float = 30,
    ) -> Gateway:
        return Gateway(
            "http://world/base",
            host,
            bucket or NoLimit(),
            patience=Patience(attempts=attempts, total_seconds=total_seconds),
            breaker=BreakerPolicy(failures=failures),
            metrics=self,
            transport=httpx.MockTransport(self.handle),
            clock=lambda: self.now,
            sleep=self.sleep,
        )


def ok(document: Any = None) -> httpx.Response:
    return httpx.Response(200, json={"data": []} if document is None else document)


async def ask(gateway: Gateway) -> Any:
    return await gateway.get("/v2/x", (("a", 1),), lambda document: document)


async def test_a_good_answer_comes_back_with_exact_decimals_and_our_own_name_was_given() -> None:
    world = World(httpx.Response(200, text='{"data": 0.1000000000000000055}'))
    assert await ask(world.gateway()) == {"data": Decimal("0.1000000000000000055")}
    assert str(world.requests[0].url) == "http://world/base/v2/x?a=1"
    assert "Shadowbook" in world.requests[0].headers["user-agent"]


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.Response(500, text="oops"),
        httpx.Response(503, json={"error": "x"}),
        httpx.Response(403, text="error code: 1010"),
        httpx.Response(429, text="error code: 1015"),
        httpx.Response(425),
        httpx.Response(302),
        httpx.Response(200, text="<html>Just a moment</html>"),
        httpx.Response(200, text='{"data": [1, 2'),
        httpx.Response(200, text='{"data": nan}'),
        httpx.Response(200, json={"error": "request_timeout"}),
        httpx.ReadTimeout("slow"),
        httpx.ConnectError("down"),
        httpx.RemoteProtocolError("cut"),
    ],
)
async def test_trouble_of_the_world_is_tried_again_with_backoff_and_then_unavailable(trouble: Answer) -> None:
    world = World(trouble, trouble, ok())
    assert await ask(world.gateway()) == {"data": []}
    assert len(world.slept) == 2
    assert 0 < world.slept[0] <= 0.25
    assert 0 < world.slept[1] <= 0.5
    world = World(trouble)
    with pytest.raises(Unavailable, match="4 attempts"):
        await ask(world.gateway())
    assert len(world.requests) == 4


@pytest.mark.parametrize("status", [400, 404, 405, 422])
async def test_what_will_stay_wrong_is_rejected_at_once(status: int) -> None:
    world = World(httpx.Response(status, json={"error": "no such thing"}))
    with pytest.raises(Rejected, match="no such thing"):
        await ask(world.gateway())
    assert len(world.requests) == 1


async def test_a_document_of_the_wrong_shape_is_trouble_too() -> None:
    world = World(ok([1]), ok({"data": []}))

    def shape(document: Any) -> Any:
        if not isinstance(document, dict):
            raise ValueError("expected an object")  # noqa: TRY004
        return document

    assert await world.gateway().get("/x", (), shape) == {"data": []}
    assert world.outcomes == {"malformed": 1, "ok": 1}


async def test_retry_after_is_waited_out_exactly() -> None:
    world = World(httpx.Response(429, headers={"Retry-After": "3"}), ok())
    await ask(world.gateway())
    assert world.slept == [3.0]


async def test_a_long_retry_after_is_not_waited_out_but_obeyed_by_everyone() -> None:
    world = World(httpx.Response(429, headers={"Retry-After": "90"}), ok())
    gateway = world.gateway()
    for _ in range(2):
        with pytest.raises(Unavailable):
            await ask(gateway)
    assert len(world.requests) == 1
    world.now = 90
    assert await ask(gateway) == {"data": []}


def test_retry_after_is_read_as_seconds_and_as_a_date_and_never_believed_blindly() -> None:
    now = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
    assert retry_after_seconds("7", now) == 7
    assert retry_after_seconds("1.5", now) == 1.5
    assert retry_after_seconds("Sun, 22 Nov 2026 10:00:05 GMT", now) == 5
    assert retry_after_seconds("Sun, 22 Nov 2026 09:00:00 GMT", now) == 0
    assert retry_after_seconds("-3", now) == 0
    for huge in ("1e9", "inf", "99999999999999999999", "Sun, 22 Nov 2099 10:00:05 GMT"):
        assert retry_after_seconds(huge, now) == RETRY_AFTER_SECONDS_MAX
    for garbage in ("soon", "", "nan", "Sun, 99 Nov 2026", "7 seconds", "Sun, 22 Nov 99999 10:00:00 GMT", None):
        assert retry_after_seconds(garbage, now) is None


async def test_a_date_is_read_by_the_hosts_own_clock() -> None:
    dates = {"Date": "Sun, 22 Nov 2020 10:00:00 GMT", "Retry-After": "Sun, 22 Nov 2020 10:00:04 GMT"}
    world = World(httpx.Response(429, headers=dates), ok())
    await ask(world.gateway())
    assert world.slept == [4.0]


@pytest.mark.parametrize("header", ["0", "-5", "soon", "nan"])
async def test_a_retry_after_that_says_nothing_is_backed_off_from_like_none(header: str) -> None:
    world = World(httpx.Response(429, headers={"Retry-After": header}))
    with pytest.raises(Unavailable, match="4 attempts"):
        await ask(world.gateway())
    assert len(world.slept) == 3
    assert all(wait > 0 for wait in world.slept)


@pytest.mark.parametrize("header", ["60", "20", "5", "1", None, "date"])
async def test_a_minute_of_rate_limit_is_survived_with_few_requests_and_no_caller_lost(header: str | None) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if world.now >= 60:
            return ok()
        if header == "date":
            told = {"Retry-After": "Sun, 22 Nov 2026 10:00:02 GMT", "Date": "Sun, 22 Nov 2026 10:00:00 GMT"}
            return httpx.Response(429, headers=told)
        return httpx.Response(429, headers={"Retry-After": header} if header else {}, text="error code: 1015")

    world = World(answer)
    gateway = Gateway(
        "http://world", "data", NoLimit(), metrics=world, transport=httpx.MockTransport(world.handle),
        clock=lambda: world.now, sleep=world.sleep,
    )  # fmt: skip
    answered: set[int] = set()
    while len(answered) < 5 and world.now < 200:
        for caller in range(5):
            with suppress(Unavailable):
                await ask(gateway)
                answered.add(caller)
        world.now += 1
    assert len(answered) == 5
    assert world.now < 100, "it is found out soon after the minute is over"
    asked = len(world.requests) - 5
    assert asked <= (60 if header in {"1", "date"} else 20), f"{asked} requests to a host that wants none"
    if header == "60":
        assert asked == 1
        assert world.outcomes["held"] > 100, "whoever is turned away because of the hold is counted"


async def test_a_caller_asleep_for_a_hold_that_grew_meanwhile_does_not_go_out() -> None:
    world = World(httpx.Response(429, headers={"Retry-After": "3"}), ok())
    gateway = world.gateway()

    async def sleep(seconds: float) -> None:
        await world_sleep(seconds)
        if len(world.slept) == 1:
            gateway._hold_until = world.now + 90

    world_sleep, world.sleep = world.sleep, sleep  # type: ignore[method-assign]
    gateway._sleep = sleep
    with pytest.raises(Unavailable, match="left alone for another 90"):
        await ask(gateway)
    assert len(world.requests) == 1


class Gate:
    """A limiter that lets nobody through until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def acquire(self, host_class: str, tokens: int = 1) -> None:
        await self.opened.wait()


async def test_of_many_who_waited_for_the_limiter_one_probes_an_open_breaker() -> None:
    slow = httpx.Response(200, stream=Body(b'{"data": []}', pause=0.02))
    world, gate = World(*[httpx.Response(500)] * 3, slow, ok()), Gate()
    gateway = world.gateway(attempts=1, failures=3, bucket=gate)
    gate.opened.set()
    for _ in range(3):
        with pytest.raises(Unavailable):
            await ask(gateway)
    gate.opened.clear()
    world.now += 2
    waiting = [asyncio.create_task(ask(gateway)) for _ in range(5)]
    await asyncio.sleep(0)
    gate.opened.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(1 for result in results if result == {"data": []}) == 1
    assert sum(1 for result in results if isinstance(result, Unavailable)) == 4
    assert len(world.requests) == 4
    assert world.outcomes == {"500": 3, "ok": 1, "breaker_open": 4}


async def test_those_in_the_limiters_queue_stay_home_when_the_breaker_opens() -> None:
    world, gate = World(httpx.Response(500)), Gate()
    gateway = world.gateway(attempts=1, failures=2, bucket=gate)
    waiting = [asyncio.create_task(ask(gateway)) for _ in range(6)]
    await asyncio.sleep(0)
    gate.opened.set()
    for result in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(result, Unavailable)
    assert len(world.requests) <= 6
    assert world.outcomes["500"] + world.outcomes["breaker_open"] == 6


@pytest.mark.parametrize(
    "error", [KeyError("x"), TypeError("x"), AttributeError("x"), IndexError("x"), ValueError("x")]
)
async def test_whatever_a_decoder_stumbles_over_is_the_hosts_doing(error: Exception) -> None:
    def decode(document: Any) -> Any:
        raise error

    world = World(ok())
    with pytest.raises(Unavailable, match="malformed"):
        await world.gateway(attempts=2).get("/x", (), decode)
    assert world.outcomes == {"malformed": 2}


class Body(httpx.AsyncByteStream):
    """A body that comes in parts and may end badly."""

    def __init__(self, *parts: bytes, end: Exception | None = None, pause: float = 0) -> None:
        self.parts, self.end, self.pause, self.sent = parts, end, pause, 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            await asyncio.sleep(self.pause)
            self.sent += 1
            yield part
        if self.end:
            raise self.end


async def test_a_body_that_is_cut_is_told_from_a_host_that_is_away() -> None:
    cut = Body(b'{"data": [', end=httpx.RemoteProtocolError("peer closed connection"))
    world = World(httpx.Response(200, stream=cut), httpx.ConnectError("down"), ok())
    assert await ask(world.gateway()) == {"data": []}
    assert world.outcomes == {"truncated": 1, "unreachable": 1, "ok": 1}


async def test_a_body_without_end_is_left_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.common.upstream.gateway.BODY_BYTES_MAX", 1_000)
    flood = Body(*[b"[" * 600] * 50)
    world = World(httpx.Response(200, stream=flood), ok())
    assert await ask(world.gateway()) == {"data": []}
    assert world.outcomes == {"too_large": 1, "ok": 1}
    assert flood.sent == 2
    refusal = Body(*[b"no " * 400] * 50)
    with pytest.raises(Rejected, match="status 400: no no"):
        await ask(World(httpx.Response(400, stream=refusal)).gateway())
    assert refusal.sent == 2


async def test_a_body_that_drips_is_given_up_in_time() -> None:
    drip = Body(*[b" "] * 1_000, pause=0.01)
    world = World(httpx.Response(200, stream=drip), ok())
    assert await ask(world.gateway(total_seconds=0.05)) == {"data": []}
    assert world.outcomes == {"timeout": 1, "ok": 1}


async def test_a_call_that_is_cancelled_is_counted_and_makes_room_for_another_probe() -> None:
    world = World(httpx.Response(500), httpx.Response(200, stream=Body(b" ", pause=60)), ok())
    gateway = world.gateway(attempts=1, failures=1)
    with pytest.raises(Unavailable):
        await ask(gateway)
    world.now += 2
    call = asyncio.create_task(ask(gateway))
    while len(world.requests) < 2:  # noqa: ASYNC110  the transport sets no event
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await ask(gateway) == {"data": []}
    assert world.outcomes == {"500": 1, "cancelled": 1, "ok": 1}


async def test_an_open_breaker_asks_nothing_until_its_probe_succeeds() -> None:
    world = World(*[httpx.Response(500)] * 3, ok())
    gateway = world.gateway(attempts=1, failures=3)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await ask(gateway)
    with pytest.raises(Unavailable, match="breaker open"):
        await ask(gateway)
    assert len(world.requests) == 3
    world.now += 2
    assert await ask(gateway) == {"data": []}
    assert await ask(gateway) == {"data": []}
    assert world.outcomes["breaker_open"] == 1


def activity(tx: int, at: int) -> dict[str, Any]:
    return {
        "proxy_wallet": "0xw",
        "timestamp": at,
        "type": "TRADE",
        "size": 1,
        "usdc_size": 0.5,
        "price": 0.5,
        "transaction_hash": f"0x{tx:064x}",
        "token_id": "1",
        "side": "BUY",
        "condition_id": "0xc",
    }


def page(rows: Sequence[Any], cursor: str | None) -> httpx.Response:
    return ok({"data": list(rows), "pagination": {"has_more": cursor is not None, "next_cursor": cursor}})


async def test_a_listing_follows_its_cursors_with_the_same_filters_and_a_new_url_each_time() -> None:
    world = World(page([activity(3, 30), "odd"], "c1"), page([activity(1, 10)], None))
    nonces = iter(range(100))
    client = DataApiClient(world.gateway(), nonce=lambda: next(nonces))
    listing = await client.activity("0xw", start=5, page_size=2)
    assert [row.timestamp for row in listing.rows] == [10, 30]
    assert len(listing.unreadable) == 1
    first, second = (dict(request.url.params) for request in world.requests)
    assert first["start"] == second["start"] == "5"
    assert "cursor" not in first
    assert second["cursor"] == "c1"
    assert first["_"] != second["_"]
    assert "offset" not in first | second


@pytest.mark.parametrize(
    "document",
    [{"data": {}}, {"data": []}, {"data": [], "pagination": {"has_more": True, "next_cursor": None}}, []],
)
async def test_a_page_without_its_envelope_is_never_taken_for_the_end(document: Any) -> None:
    world = World(ok(document))
    with pytest.raises(Unavailable):
        await DataApiClient(world.gateway()).activity("0xw", start=None)


async def test_a_cursor_that_leads_in_circles_is_left() -> None:
    world = World(page([activity(1, 1)], "c1"))
    with pytest.raises(Unavailable, match="already read"):
        await DataApiClient(world.gateway()).activity("0xw", start=None)


async def test_resolutions_are_asked_for_twenty_at_a_time() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        asked = request.url.params["condition"].split(",")
        return ok({"data": [{"condition_id": each, "status": "resolved", "payouts": [0, 1_000_000]} for each in asked]})

    world = World(answer)
    found = await DataApiClient(world.gateway()).resolutions([f"0x{n:x}" for n in range(45)])
    assert len(found) == 45
    assert len(world.requests) == 3


def _tokens_of(request: httpx.Request) -> list[str]:
    return [item["token_id"] for item in httpx.Response(200, content=request.content).json()]


async def test_marks_are_asked_for_250_tokens_at_a_time() -> None:
    sizes: list[tuple[str, int]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/base")
        sizes.append((path, len(asked := _tokens_of(request))))
        if path == "/midpoints":
            return ok(dict.fromkeys(asked, "0.25"))
        return ok([{"token_id": each, "price": "0.25", "side": "BUY"} for each in asked])

    client, tokens = ClobClient(World(answer).gateway("clob")), [str(n) for n in range(1, 602)]
    assert await client.midpoints(tokens) == await client.last_trades(tokens) == dict.fromkeys(tokens, 250_000)
    paths = ("/midpoints", "/last-trades-prices")
    assert sizes == [(path, size) for path in paths for size in (250, 250, 101)]


async def test_a_midpoint_of_one_half_counts_only_with_a_book_of_two_sides() -> None:
    level = {"price": "0.4", "size": "1"}
    books = {"2": ([level], [{**level, "price": "0.6"}]), "3": ([level], []), "4": ([], [])}

    def answer(request: httpx.Request) -> httpx.Response:
        asked = _tokens_of(request)
        if request.url.path.endswith("/midpoints"):
            return ok({"1": "0.51", **dict.fromkeys(["2", "3", "4", "5"], "0.5")})
        assert asked == ["2", "3", "4", "5"]
        return ok(
            [
                {"asset_id": each, "hash": "h", "timestamp": "1", "bids": books[each][0], "asks": books[each][1]}
                for each in asked
                if each in books
            ]
        )

    world = World(answer)
    found = await ClobClient(world.gateway("clob")).midpoints(["1", "2", "3", "4", "5"])
    assert found == {"1": 510_000, "2": 500_000}
    assert world.outcomes["midpoint_default"] == 3


async def test_a_token_the_host_refuses_costs_only_itself() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        asked = _tokens_of(request)
        if {"7", "77"} & set(asked):
            return httpx.Response(400, json={"error": "Invalid token id"})
        return ok(dict.fromkeys(asked, "0.25"))

    world = World(answer)
    tokens = [str(n) for n in range(1, 251)]
    found = await ClobClient(world.gateway("clob")).midpoints(tokens)
    assert found == dict.fromkeys((each for each in tokens if each not in {"7", "77"}), 250_000)
    assert world.outcomes["id_refused"] == 2
    assert len(world.requests) < 40


async def test_a_token_the_host_stumbles_over_costs_only_itself_and_is_named() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        asked = _tokens_of(request)
        return httpx.Response(500) if "77" in asked else ok(dict.fromkeys(asked, "0.25"))

    tokens = [str(n) for n in range(1, 251)]
    for _ in range(20):  # whichever half it is in
        world = World(answer)
        with pytest.raises(PartlyAnswered, match="500") as caught:
            await ClobClient(world.gateway("clob", failures=6)).midpoints(tokens)
        assert caught.value.found == dict.fromkeys((each for each in tokens if each != "77"), 250_000)
        assert caught.value.missed == {"77"}
        assert len(world.requests) < 40


async def test_a_book_that_cannot_be_had_costs_the_midpoint_of_one_half_that_needs_it() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/midpoints"):
            return ok({"1": "0.51", "2": "0.5"})
        return httpx.Response(500)

    with pytest.raises(PartlyAnswered) as caught:
        await ClobClient(World(answer).gateway("clob")).midpoints(["1", "2"])
    assert (caught.value.found, caught.value.missed) == ({"1": 510_000}, {"2"})


async def test_a_condition_the_host_stumbles_over_costs_only_itself_and_is_named() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        asked = request.url.params["condition"].split(",")
        if "0x3" in asked:
            return httpx.Response(500)
        return ok({"data": [{"condition_id": each, "status": "resolved", "payouts": [0, 1_000_000]} for each in asked]})

    with pytest.raises(PartlyAnswered) as caught:
        await DataApiClient(World(answer).gateway(failures=6)).resolutions([f"0x{n:x}" for n in range(45)])
    assert set(caught.value.found) == {f"0x{n:x}" for n in range(45)} - {"0x3"}
    assert caught.value.missed == {"0x3"}


async def test_a_token_the_host_stumbles_over_does_not_keep_the_breaker_open() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        asked = _tokens_of(request)
        return httpx.Response(500) if "7" in asked else ok(dict.fromkeys(asked, "0.25"))

    world = World(answer)
    client = ClobClient(world.gateway("clob", failures=6))
    for _ in range(2):  # alone, as when it was the first thing held
        with pytest.raises(Unavailable):
            await client.midpoints(["7"])
    found: Mapping[str, int] = {}
    for _ in range(20):
        world.now += 5
        with pytest.raises(Unavailable) as caught:
            await client.midpoints([str(n) for n in range(1, 9)])
        if isinstance(caught.value, PartlyAnswered):
            found = caught.value.found
            break
    assert found == dict.fromkeys((str(n) for n in range(1, 9) if n != 7), 250_000)


@pytest.mark.parametrize(("tokens", "bad"), [(10, 2), (100, 4), (200, 5), (1_000, 8)])
async def test_a_handful_of_bad_tokens_is_found_and_asked_for_apart(tokens: int, bad: int) -> None:
    names = [str(n) for n in range(1, tokens + 1)]
    trouble = set(names[:: tokens // bad][:bad])

    def answer(request: httpx.Request) -> httpx.Response:
        asked = _tokens_of(request)
        return httpx.Response(500) if trouble & set(asked) else ok(dict.fromkeys(asked, "0.25"))

    world = World(answer)
    client = ClobClient(world.gateway("clob", failures=6))
    found: Mapping[str, int] = {}
    for _ in range(12):
        world.now += 30
        with pytest.raises(Unavailable) as caught:
            await client.midpoints(names)
        found = caught.value.found if isinstance(caught.value, PartlyAnswered) else {}
    assert found == dict.fromkeys((each for each in names if each not in trouble), 250_000)
    asked_before = len(world.requests)
    world.now += 30
    trouble.clear()
    assert len(await client.midpoints(names)) == tokens
    assert len(world.requests) - asked_before <= 4 + bad


async def test_a_host_that_is_down_is_not_asked_for_its_parts() -> None:
    world = World(httpx.Response(500))
    with pytest.raises(Unavailable) as caught:
        await ClobClient(world.gateway("clob", failures=6)).midpoints([str(n) for n in range(1, 1_000)])
    assert not isinstance(caught.value, PartlyAnswered)
    assert len(world.requests) == 6  # then the breaker is open
    world = World(httpx.Response(500))
    with pytest.raises(Unavailable):
        await ClobClient(world.gateway("clob")).midpoints(["1"])
    assert len(world.requests) == 4


async def test_a_condition_the_host_refuses_costs_only_itself() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        asked = request.url.params["condition"].split(",")
        if "0x3" in asked:
            return httpx.Response(400, json={"error": "invalid condition"})
        return ok({"data": [{"condition_id": each, "status": "resolved", "payouts": [0, 1_000_000]} for each in asked]})

    found = await DataApiClient(World(answer).gateway()).resolutions([f"0x{n:x}" for n in range(20)])
    assert set(found) == {f"0x{n:x}" for n in range(20)} - {"0x3"}


async def test_a_host_that_refuses_everything_is_not_asked_for_ever() -> None:
    world = World(lambda _: httpx.Response(400, json={"error": "no"}))
    with pytest.raises(Rejected):
        await ClobClient(world.gateway("clob")).midpoints([str(n) for n in range(1, 251)])
    assert len(world.requests) < 80


async def test_books_come_in_chunks_unknown_tokens_are_absent_and_a_bad_book_costs_only_itself() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        asked = [item["token_id"] for item in httpx.Response(200, content=request.content).json()]
        books = [{"asset_id": each, "hash": "h", "timestamp": "1", "bids": [], "asks": []} for each in asked[1:]]
        books[0]["bids"] = None
        return ok([*books, "odd"])

    world = World(answer)
    found = await ClobClient(world.gateway("clob")).books([str(n) for n in range(1, 301)])
    assert len(world.requests) == 2
    assert len(found) == 300 - 4
    assert world.outcomes["book"] == 4


async def test_a_token_that_is_trouble_costs_no_other_its_book() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        asked = _tokens_of(request)
        if "2" in asked:
            return httpx.Response(400, json={"error": "Invalid token id"})
        if "5" in asked:
            return httpx.Response(500)
        return ok([{"asset_id": each, "hash": "h", "timestamp": "1", "bids": [], "asks": []} for each in asked])

    world = World(answer)
    with pytest.raises(PartlyAnswered) as caught:
        await ClobClient(world.gateway("clob", attempts=2, failures=6)).books([str(n) for n in range(1, 9)])
    assert caught.value.found.keys() == {"1", "3", "4", "6", "7", "8"}
    assert caught.value.missed == {"5"}
    assert world.outcomes["id_refused"] == 1


async def test_prices_that_are_none_are_left_out() -> None:
    world = World(ok({"1": "0.0255", "2": "", "3": "x", "9": "0.5"}))
    assert await ClobClient(world.gateway("clob")).midpoints(["1", "2", "3", "4"]) == {"1": 25_500}
    trades = [
        {"token_id": "1", "price": "0.4", "side": "SELL"},
        {"token_id": "2", "price": "0.5", "side": ""},
        {"token_id": "3", "price": "7", "side": "BUY"},
        "odd",
    ]
    assert await ClobClient(World(ok(trades)).gateway("clob")).last_trades(["1", "2", "3"]) == {"1": 400_000}


def market(number: int, *, closed: bool, **values: Any) -> dict[str, Any]:
    return {
        "id": str(number),
        "conditionId": f"0xc{number}",
        "clobTokenIds": [f"{number}1", f"{number}2"],
        "outcomes": ["Yes", "No"],
        "closed": closed,
        **values,
    }


async def test_markets_are_looked_for_among_the_open_and_then_the_closed_ones() -> None:
    fees: dict[str, Any] = {"feesEnabled": True}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/markets/1"):
            return ok(market(1, closed=False, feesEnabled=True, feeSchedule={"rate": 0.04, "exponent": 1}))
        shown = (
            [market(2, closed=True)] if request.url.params["closed"] == "true" else [market(1, closed=False, **fees)]
        )
        return ok({"markets": [*shown, market(8, closed=False), "odd"], "next_cursor": None})

    world = World(answer)
    found = await GammaClient(world.gateway("gamma")).markets_by_token(["12", "21", "77"])
    assert {each.condition_id for each in found} == {"0xc1", "0xc2"}
    assert {each.condition_id: each.fee_rate for each in found}["0xc1"] == Decimal("0.04")
    asked = [request.url.params.get_list("clob_token_ids") for request in world.requests]
    assert asked[0] == ["12", "21", "77"]
    assert asked[-1] == ["21", "77"]


def listing_without_fees(whole: httpx.Response) -> Callable[[httpx.Request], httpx.Response]:
    """Answer with an open and a closed market whose fees only `/markets/ID` names; `whole` is that of the open one."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/markets/1"):
            return whole
        closed = request.url.params["closed"] == "true"
        return ok({"markets": [market(2 if closed else 1, closed=closed, feesEnabled=True)]})

    return answer


@pytest.mark.parametrize("whole", [httpx.Response(404), ok(market(1, closed=False, feesEnabled=True))])
async def test_a_market_that_charges_an_untold_fee_stays_unknown_unless_it_is_closed(whole: httpx.Response) -> None:
    world = World(listing_without_fees(whole))
    found = await GammaClient(world.gateway("gamma")).markets_by_token(["11", "21"])
    assert [each.condition_id for each in found] == ["0xc2"]
    assert world.outcomes["market"] == 1


@pytest.mark.parametrize("whole", [httpx.Response(500), httpx.Response(200, text="<html>")])
async def test_a_market_that_cannot_be_read_now_leaves_the_others_to_be_kept(whole: httpx.Response) -> None:
    world = World(listing_without_fees(whole))
    with pytest.raises(PartlyReadError) as caught:
        await GammaClient(world.gateway("gamma")).markets_by_token(["11", "21"])
    assert [each.condition_id for each in caught.value.found] == ["0xc2"]


async def test_what_was_found_before_gamma_went_away_is_kept() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.params["closed"] == "true":
            return httpx.Response(500)
        return ok({"markets": [market(1, closed=False)]})

    with pytest.raises(PartlyReadError) as caught:
        await GammaClient(World(answer).gateway("gamma")).markets_by_token(["11", "21"])
    assert [each.condition_id for each in caught.value.found] == ["0xc1"]
