"""One host of the exchange over HTTP: rate limit, timeouts, retries, circuit breaker, and no body believed unchecked.

A call ends in the decoded answer, in Unavailable (the world is down: later) or in Rejected (the request is wrong and
will stay so). Outcomes counted, one for each request and one for each call turned away before it: ok, rejected,
timeout, unreachable, truncated, too_large, malformed, cancelled, the status (429, 503, ...), breaker_open, held.
"""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

import httpx

from libs.common.domain.errors import Rejected, Unavailable
from libs.common.upstream.breaker import BreakerPolicy, CircuitBreaker
from libs.common.upstream.limits import HostClass, TokenBucket
from libs.common.upstream.metrics import NoMetrics, UpstreamMetrics
from libs.common.upstream.retry_after import http_date, retry_after_seconds
from libs.common.upstream.samples import SHOWN_MAX, show_sample

USER_AGENT: Final = "Mozilla/5.0 (compatible; Shadowbook/0.1; paper trading, read only)"
"""The CDN turns away the names of bare HTTP libraries."""
CONNECTIONS_MAX: Final = 64
"""Above what the rate limit lets out at once, so that waiting for one of our own is never taken for a slow host."""
BODY_BYTES_MAX: Final = 32 * 1024 * 1024
REFUSAL_BYTES_MAX: Final = 2_000
RETRYABLE_STATUS: Final = frozenset({403, 408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
"""403 is the CDN's answer to a suspected bot; it heals."""

T = TypeVar("T")
Params = Sequence[tuple[str, str | int]]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one call may try: attempts, full-jitter backoff between them, and the longest Retry-After waited out."""

    attempts: int = 4
    delay_seconds_first: float = 0.25
    delay_seconds_max: float = 5.0
    retry_after_seconds_max: float = 15.0
    connect_seconds: float = 3.0
    read_seconds: float = 12.0
    total_seconds: float = 30.0
    """For one attempt as a whole: a body that drips never ends by `read_seconds`."""


class MalformedError(ValueError):
    """A body that is not what the host promises; tried again like any failure of the world."""


class _AttemptError(Exception):
    """One attempt failed; `retry_after` is the host's own wish in seconds."""

    def __init__(self, outcome: str, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.retry_after = retry_after


def parse_json(body: bytes | str) -> Any:
    """Return the JSON document in `body`, decimals exact; raises MalformedError.

    NaN, infinities and numbers beyond all bounds become the text they were written as: no decoder takes it for a
    number, so it costs its own row and not the page.
    """
    try:
        try:
            return json.loads(body, parse_float=Decimal, parse_constant=str)
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise
        except (ValueError, ArithmeticError):
            return json.loads(body, parse_float=_number_or_text, parse_int=_number_or_text, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise MalformedError(
            f"expected JSON, got {bytes(body[:60]) if isinstance(body, bytes) else body[:60]!r}"
        ) from error


def _number_or_text(text: str) -> int | Decimal | str:
    try:
        return int(text) if text.lstrip("-").isdigit() else Decimal(text)
    except (ValueError, ArithmeticError):
        return text


class Gateway:
    """Calls to one host. One per host and process: the breaker and the connections are shared by all callers."""

    def __init__(
        self,
        base_url: str,
        host_class: HostClass,
        bucket: TokenBucket,
        *,
        patience: Patience | None = None,
        breaker: BreakerPolicy | None = None,
        metrics: UpstreamMetrics | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.host_class = host_class
        self.metrics: UpstreamMetrics = metrics or NoMetrics()
        self._bucket = bucket
        self._patience = patience or Patience()
        self._breaker = CircuitBreaker(breaker or BreakerPolicy(), clock)
        self._clock = clock
        self._sleep = sleep
        self._hold_until = 0.0
        self._jitter = random.Random()  # noqa: S311  spreads retries, guards nothing
        self._client = httpx.AsyncClient(
            base_url=base_url,
            transport=transport,
            follow_redirects=False,
            trust_env=base_url.startswith("https:"),  # a proxy never stands before a sandbox on loopback
            headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
            timeout=httpx.Timeout(
                connect=self._patience.connect_seconds,
                read=self._patience.read_seconds,
                write=self._patience.connect_seconds,
                pool=self._patience.read_seconds,
            ),
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=4, keepalive_expiry=30.0),
        )

    async def get(self, path: str, params: Params, decode: Callable[[Any], T], attempts: int | None = None) -> T:
        """Return `decode(document)` of a GET; `decode` raises ValueError for a document that is not as promised.

        `attempts` at most, or as many as its patience allows.
        """
        return await self._call("GET", path, params, None, decode, attempts)

    async def post(self, path: str, payload: Any, decode: Callable[[Any], T], attempts: int | None = None) -> T:
        """Return `decode(document)` of a POST of `payload` as JSON; a read like any other, so it is retried alike."""
        return await self._call("POST", path, (), payload, decode, attempts)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _call(
        self, method: str, path: str, params: Params, payload: Any, decode: Callable[[Any], T], attempts: int | None
    ) -> T:
        last, most = "no attempt was made", attempts or self._patience.attempts
        for attempt in range(most):
            await self._wait_for_permission(path)
            try:
                return await self._attempt(method, path, params, payload, decode)
            except _AttemptError as error:
                last = f"{error.outcome}: {error}"
                await self._back_off(attempt + 1 < most, attempt, error, path)
        raise Unavailable(f"{self.host_class} {path}: {last} ({most} attempts)")

    async def _wait_for_permission(self, path: str) -> None:
        """Return when a request may go out; raises Unavailable where that is too far away.

        Nothing is awaited between the last look at the breaker and the start of the request: whoever waited for the
        limiter while the host broke down finds out, and of those who waited for its recovery one probes.
        """
        await self._wait_for_host(path)
        started = self._clock()
        await self._bucket.acquire(self.host_class)
        self.metrics.observe("limiter_wait", self._clock() - started, host_class=self.host_class)
        await self._wait_for_host(path)

    async def _wait_for_host(self, path: str) -> None:
        while True:
            if wait := self._breaker.wait_seconds():
                self._turned_away("breaker_open")
                raise Unavailable(f"{self.host_class} {path}: circuit breaker open for another {wait:.1f} s")
            hold = self._hold_until - self._clock()
            if hold <= 0:
                return
            if hold > self._patience.retry_after_seconds_max:
                self._turned_away("held")
                raise Unavailable(f"{self.host_class} {path}: the host asked to be left alone for another {hold:.1f} s")
            await self._sleep(hold)

    def _turned_away(self, outcome: str) -> None:
        self.metrics.count("requests", host_class=self.host_class, outcome=outcome)

    async def _attempt(self, method: str, path: str, params: Params, payload: Any, decode: Callable[[Any], T]) -> T:
        probe = self._breaker.start()
        started = self._clock()
        outcome = "cancelled"
        try:
            body = await self._exchange(method, path, params, payload)
            answer = _decoded(body, decode, self.host_class, path)
            outcome = "ok"
        except _AttemptError as error:
            outcome = error.outcome
            self._breaker.failed(probe=probe)
            raise
        except Rejected:
            outcome = "rejected"
            self._breaker.succeeded()  # a host that can say no is up
            raise
        else:
            self._breaker.succeeded()
            return answer
        finally:
            if outcome == "cancelled":
                self._breaker.abandoned(probe=probe)
            self.metrics.count("requests", host_class=self.host_class, outcome=outcome)
            self.metrics.observe("request_duration", self._clock() - started, host_class=self.host_class)
            self.metrics.observe("breaker_open", float(self._breaker.is_open), host_class=self.host_class)

    async def _exchange(self, method: str, path: str, params: Params, payload: Any) -> bytes:
        """Return the body of a good answer."""
        body = None
        try:
            async with (
                asyncio.timeout(self._patience.total_seconds),
                self._client.stream(method, path, params=list(params), json=payload) as response,
            ):
                body = bytearray()
                self._check_status(response)
                most = BODY_BYTES_MAX if response.status_code == httpx.codes.OK else REFUSAL_BYTES_MAX
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > most:
                        break
        except (httpx.TimeoutException, TimeoutError) as error:
            raise _AttemptError("timeout", type(error).__name__) from error
        except httpx.TransportError as error:
            outcome = "unreachable" if body is None else "truncated"
            raise _AttemptError(outcome, f"{type(error).__name__}: {error}") from error
        except httpx.DecodingError as error:
            raise _AttemptError("malformed", str(error)) from error
        if response.status_code != httpx.codes.OK:
            text = bytes(body[:200]).decode(errors="replace")
            raise Rejected(f"{self.host_class} {method} {path}: status {response.status_code}: {text}")
        if len(body) > BODY_BYTES_MAX:
            raise _AttemptError("too_large", f"expected at most {BODY_BYTES_MAX} bytes")
        return bytes(body)

    def _check_status(self, response: httpx.Response) -> None:
        """Raise _AttemptError for a status that is trouble of the host; what is left is 200 or a refusal."""
        status = response.status_code
        if status in RETRYABLE_STATUS:
            # By the host's own clock where it tells it: a date means nothing on a clock that is off.
            now = http_date(response.headers.get("Date")) or datetime.now(UTC)
            wish = retry_after_seconds(response.headers.get("Retry-After"), now)
            raise _AttemptError(str(status), f"status {status}", wish)
        if status != httpx.codes.OK and not 400 <= status < 500:
            raise _AttemptError(str(status), f"expected status 200, got {status}")

    async def _back_off(self, goes_on: bool, attempt: int, error: _AttemptError, path: str) -> None:
        if error.retry_after:
            self._hold_until = max(self._hold_until, self._clock() + error.retry_after)
            if error.retry_after > self._patience.retry_after_seconds_max:
                raise Unavailable(f"{self.host_class} {path}: asked to wait {error.retry_after:.0f} s") from error
            return
        if goes_on:
            ceiling = min(self._patience.delay_seconds_max, self._patience.delay_seconds_first * 2**attempt)
            await self._sleep(self._jitter.uniform(ceiling / 4, ceiling))


def _decoded(body: bytes, decode: Callable[[Any], T], host_class: str, path: str) -> T:
    """Return what `decode` makes of a body; whatever it stumbles over is the host's doing, and trouble like any."""
    try:
        document = parse_json(body)
        if isinstance(document, Mapping) and "error" in document and "data" not in document:
            raise MalformedError(f"an error body with status 200: {str(document['error'])[:120]}")
        return decode(document)
    except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RecursionError) as error:
        what = f"{type(error).__name__}: {error}"[:200]
        show_sample(f"{host_class}_body", f"{path}: {what}", body[:SHOWN_MAX].decode(errors="replace"))
        raise _AttemptError("malformed", what) from error
