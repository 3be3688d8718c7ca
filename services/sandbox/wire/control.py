"""The sandbox's own door: what is playing, the order to play, health and metrics."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from libs.common.observability.health import Health
from libs.common.observability.metrics import REGISTRY
from services.sandbox.exchange import Exchange
from services.sandbox.wire.answers import json_response


class ControlFace:
    """Tells about the play and starts it."""

    def __init__(
        self, exchange: Exchange, health: Health, counts: Counter[str], shown_until: Callable[[], int]
    ) -> None:
        self._exchange = exchange
        self._shown_until = shown_until
        self._health = health
        self._counts = counts

    def routes(self) -> list[Route]:
        """Return the routes at the root."""
        return [
            Route("/_sandbox/status", self.status),
            Route("/_sandbox/play", self.play, methods=["POST"]),
            Route("/health", self.healthy),
            Route("/metrics", self.metrics),
        ]

    async def status(self, request: Request) -> Response:
        """Tell what is playing and how far it is."""
        exchange, ends = self._exchange, self._exchange.ends_ms()
        return json_response(
            {
                "name": exchange.name,
                "mode": exchange.mode,
                "playing": exchange.timeline.playing,
                "ended": ends is not None and self._shown_until() >= ends,
                "started_at": _iso(exchange.timeline.started_ms),
                "ends_at": _iso(ends),
                "wallets": [{"label": each.label, "wallet": each.address} for each in exchange.wallets],
                "requests": dict(self._counts),
            }
        )

    async def play(self, request: Request) -> Response:
        """Start the clock of the play; once it runs, nothing changes."""
        self._exchange.timeline.play()
        self._exchange.advance(self._exchange.timeline.now())
        return await self.status(request)

    async def healthy(self, request: Request) -> Response:
        """Answer /health as every process does."""
        snapshot = self._health.snapshot()
        return json_response(snapshot, 200 if snapshot["status"] == "ok" else 503)

    async def metrics(self, request: Request) -> Response:
        """Answer /metrics as every process does."""
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


def _iso(ms: int | None) -> str | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
