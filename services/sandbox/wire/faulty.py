"""Stands before each HTTP face, counts what passes and spoils it while a fault is scheduled."""

import asyncio
from collections import Counter
from email.utils import formatdate

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.sandbox.faults import Fault, Faults
from services.sandbox.timeline import Timeline
from services.sandbox.wire.answers import data_error, json_response

_PAGE = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Checking your browser</body></html>"
_SERVER_ERRORS = (500, 502, 503)


class FaultyFace:
    """An ASGI app around another one."""

    def __init__(self, app: ASGIApp, target: str, faults: Faults, timeline: Timeline, counts: Counter[str]) -> None:
        self._app = app
        self._target = target
        self._faults = faults
        self._timeline = timeline
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as well or as badly as the schedule says."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._counts[self._target] += 1
        started = self._timeline.started_ms
        active = self._faults.http(self._target, None if started is None else self._timeline.now() - started)
        for fault in active:
            self._counts[f"{self._target}.{fault.name}"] += 1
            if fault.name == "slow":
                await asyncio.sleep(fault.delay_ms / 1000)
        names = {fault.name: fault for fault in active}
        if "down" in names:
            await _hang_up(send)
        elif "rate_limit" in names:
            await self._limited(names["rate_limit"])(scope, receive, send)
        elif "server_error" in names:
            await self._broken()(scope, receive, send)
        elif "html" in names:
            await Response(_PAGE, 200, media_type="text/html")(scope, receive, send)
        elif "truncated" in names:
            await self._app(scope, receive, _Truncating(send))
        elif "malformed" in names:
            await self._app(scope, receive, _Garbling(send))
        else:
            await self._app(scope, receive, send)

    def _limited(self, fault: Fault) -> Response:
        if fault.retry_after is None:
            return PlainTextResponse("error code: 1015", 429)
        response = (
            data_error(429, "rate_limited", "rate limit exceeded")
            if self._target == "data"
            else json_response({"error": "Too Many Requests"}, 429)
        )
        at = fault.retry_after
        wait = formatdate(self._timeline.now() / 1000 + 2, usegmt=True) if at == "date" else str(at)
        response.headers["retry-after"] = wait
        return response

    def _broken(self) -> Response:
        status = _SERVER_ERRORS[self._counts[f"{self._target}.server_error"] % len(_SERVER_ERRORS)]
        if self._target == "data":
            code = "dependency_unavailable" if status == 503 else "internal"
            return data_error(status, code, "internal error")
        return json_response({"error": "internal server error"}, status)


async def _hang_up(send: Send) -> None:
    """Promise a body and never send it: the server then cuts the connection."""
    await send({"type": "http.response.start", "status": 503, "headers": [(b"content-length", b"64")]})


class _Truncating:
    """Sends half the body under the whole body's length and leaves; the connection is cut."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            body = message.get("body", b"")
            await self._send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        else:
            await self._send(message)


class _Garbling:
    """Sends a body of the right length that is no JSON any more."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            body = message.get("body", b"").replace(b'"', b"'").replace(b"}", b",").replace(b"]", b"{")
            await self._send({**message, "body": body})
        else:
            await self._send(message)
