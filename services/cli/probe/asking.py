"""One request, once, and what became of it in plain words."""

import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
from aiolimiter import AsyncLimiter

from libs.common.upstream.gateway import USER_AGENT, parse_json
from services.cli.probe.report import Check, Report
from services.cli.probe.targets import Target

ANSWER_SECONDS: Final = 10.0
SKEW_SECONDS_MAX: Final = 5.0
PER_SECOND_MAX: Final = 5
"""It asks a few dozen things and may run beside a stack, whose budget it does not share: slowly, so that what the two
ask together stays within what the exchange bears."""


@dataclass(slots=True)
class Asker:
    """Asks each host within the budget, and leaves one alone that cannot be reached."""

    target: Target
    report: Report
    budget: AsyncLimiter
    rate_limited: list[str] = field(default_factory=list)
    _clients: dict[str, httpx.AsyncClient] = field(default_factory=dict)
    _away: dict[str, str] = field(default_factory=dict)
    _skewed: set[str] = field(default_factory=set)

    async def ask(
        self,
        host: str,
        endpoint: str,
        params: Sequence[tuple[str, str | int]] = (),
        *,
        payload: Any = None,
        needed: bool = True,
        label: str = "",
        listed: bool = True,
    ) -> tuple[Check, Any]:
        """Ask `endpoint` ("GET /path") and return its check and the document, None where there is none."""
        check = Check(host, label or endpoint, needed)
        if listed:
            self.report.checks.append(check)
        if host in self._away:
            check.fail(f"not tried: {self._away[host]}")
            return check, None
        method, path = endpoint.split(" ", 1)
        base = {"data": self.target.data, "clob": self.target.clob, "gamma": self.target.gamma}[host]
        await self.budget.acquire()
        started = time.monotonic()
        try:
            response = await self._client(base).request(method, path, params=list(params), json=payload)
        except (httpx.TransportError, httpx.DecodingError, httpx.InvalidURL, ssl.SSLError) as error:
            problem = in_plain_words(error)
            if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)):
                self._away[host] = problem
            check.fail(problem)
            return check, None
        check.latency_ms = round((time.monotonic() - started) * 1000)
        self._compare_clocks(host, response.headers)
        return check, self._document(check, response)

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.aclose()

    def _client(self, base: str) -> httpx.AsyncClient:
        if base not in self._clients:
            self._clients[base] = httpx.AsyncClient(
                base_url=base,
                timeout=ANSWER_SECONDS,
                trust_env=base.startswith("https:"),
                headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
            )
        return self._clients[base]

    def _document(self, check: Check, response: httpx.Response) -> Any:
        status, body = response.status_code, response.text
        if status == httpx.codes.TOO_MANY_REQUESTS:
            wish = response.headers.get("Retry-After")
            self.rate_limited.append(
                f"status 429 on {check.endpoint} with {f'`Retry-After: {wish}`' if wish else 'no Retry-After'}"
            )
        if status != httpx.codes.OK:
            check.fail(status_in_plain_words(status, response.headers, body))
            return None
        try:
            return parse_json(response.content)
        except ValueError:
            if body.lstrip()[:1] == "<":
                check.fail(
                    "an HTML page with status 200 instead of JSON: a proxy, a captive portal or the CDN's challenge"
                )
            else:
                check.fail(f"a body that is no JSON: {body[:60]!r}")
            return None

    def _compare_clocks(self, host: str, headers: Mapping[str, str]) -> None:
        try:
            theirs = parsedate_to_datetime(headers.get("Date", ""))
        except (TypeError, ValueError):
            return
        skew = (datetime.now(UTC) - theirs).total_seconds()
        if abs(skew) > SKEW_SECONDS_MAX and host not in self._skewed:
            self._skewed.add(host)
            self.report.warnings.append(
                f"this machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the {host} host's: "
                "set it right (NTP), else lags and windows are wrong"
            )


def in_plain_words(error: Exception) -> str:
    """Return why no answer came."""
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text or isinstance(error, ssl.SSLError):
        return f"TLS is not trusted ({text[:100]}): something stands between; if it is your proxy, set SSL_CERT_FILE"
    if isinstance(error, httpx.ProxyError):
        return f"the proxy of this machine refuses ({text[:80]}): see HTTPS_PROXY and NO_PROXY"
    if isinstance(error, httpx.TimeoutException):
        return f"no answer in {ANSWER_SECONDS:.0f} s"
    if isinstance(error, httpx.ConnectError):
        return f"cannot be reached ({text[:80]}): is the address right, is the network (or the stack) up?"
    return f"the answer was cut off ({type(error).__name__})"


def status_in_plain_words(status: int, headers: Mapping[str, str], body: str) -> str:
    """Return what an error status means."""
    if status == httpx.codes.FORBIDDEN:
        return "status 403: the CDN refuses this machine (bot filter, or a country it does not serve)"
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return f"status 429: rate limited, Retry-After {headers.get('Retry-After', 'not given')}; try again later"
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return f"status {status}: the host is in trouble; try again later"
    if status in (404, 405, 410):
        return f"status {status}: this endpoint is not there: {body[:80]!r}"
    return f"status {status}: the request is refused: {body[:120]!r}"
