"""How answers look: JSON bodies, each API's own errors, trace ids, and what the CDN before the Data API adds."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_hex

import orjson
from starlette.requests import Request
from starlette.responses import Response

CACHED_MAX = 256
JSON = "application/json"


class Refused(Exception):  # noqa: N818  an answer, not a mishap
    """The request is answered with an error body."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


def json_response(body: bytes | object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return an answer whose body is JSON, given as bytes already or as a value."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return Response(content, status, headers, JSON)


def data_error(status: int, code: str, message: str, parameter: str | None = None) -> Response:
    """Return the Data API's error: a JSON body and the same trace id in the header."""
    trace_id = token_hex(16)
    body: dict[str, object] = {"error": message, "code": code, "retryable": status >= 429, "trace_id": trace_id}
    if parameter:
        body["parameter"] = parameter
    return json_response(body, status, {"x-trace-id": trace_id})


def invalid(message: str, parameter: str | None = None) -> Refused:
    """Return the Data API's refusal of a parameter."""
    return Refused(data_error(400, "invalid_request", message, parameter))


def clob_error(status: int, message: str) -> Refused:
    """Return the CLOB's refusal."""
    return Refused(json_response({"error": message}, status))


def gamma_error(status: int, kind: str, message: str) -> Refused:
    """Return Gamma's refusal."""
    return Refused(json_response({"type": kind, "error": message}, status))


@dataclass(frozen=True, slots=True)
class _Kept:
    response: Response
    until_ms: int
    since_ms: int


class Cdn:
    """Keeps answers per full URL, as the CDN in front of the Data API does; an unknown parameter makes a new URL."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def kept(self, request: Request) -> Response | None:
        """Return the kept answer of this very URL, with its age, while it is fresh."""
        kept = self._kept.get(str(request.url))
        now = self._clock()
        if kept is None or now >= kept.until_ms:
            return None
        response = Response(kept.response.body, 200, dict(kept.response.headers), JSON)
        response.headers["x-cache"] = "Hit from cloudfront"
        response.headers["age"] = str((now - kept.since_ms) // 1000)
        return response

    def keep(self, request: Request, response: Response, max_age_seconds: int, *, reusable: bool) -> Response:
        """Mark an answer as public for a while and keep it, unless its URL will never be asked for again."""
        response.headers["cache-control"] = f"public, max-age={max_age_seconds}"
        response.headers["x-cache"] = "Miss from cloudfront"
        response.headers["x-trace-id"] = token_hex(16)
        if reusable:
            now = self._clock()
            self._kept[str(request.url)] = _Kept(response, now + max_age_seconds * 1000, now)
            if len(self._kept) > CACHED_MAX:
                self._kept.popitem(last=False)
        return response
