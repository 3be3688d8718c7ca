"""Gamma: markets and events, by keyset or offset; only open ones unless asked; lists are JSON inside strings."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.sandbox.exchange import Exchange, Market, dump_wire
from services.sandbox.wire.answers import gamma_error, json_response
from services.sandbox.wire.cursors import Cursors

LIMIT_DEFAULT, LIMIT_MAX = 20, 100
_SUNSET = {"deprecation": "true", "sunset": "Fri, 01 May 2026 00:00:00 GMT"}
_SCHEMAS = "https://gamma-api.polymarket.com/schemas/"


class GammaFace:
    """Serves one exchange's markets."""

    def __init__(self, exchange: Exchange, cursors: Cursors) -> None:
        self._exchange = exchange
        self._cursors = cursors

    def routes(self) -> list[Route]:
        """Return the routes under Gamma's base URL; the listings come before the ids they would be taken for."""
        return [
            Route("/markets", self.markets),
            Route("/markets/keyset", self.markets_keyset),
            Route("/markets/slug/{slug}", self.market_by_slug),
            Route("/markets/{market_id}", self.market),
            Route("/events", self.events),
            Route("/events/keyset", self.events_keyset),
            Route("/events/slug/{slug}", self.event_by_slug),
            Route("/events/{event_id}", self.event),
        ]

    async def markets(self, request: Request) -> Response:
        """Answer the old listing by offset."""
        found = [market.body for market in self._selected(request)]
        offset, limit = _number(request, "offset", 0), _limit(request)
        return json_response(dump_wire(found[offset : offset + limit]), headers=_SUNSET)

    async def markets_keyset(self, request: Request) -> Response:
        """Answer the listing by cursor."""
        bodies = [market.body for market in self._selected(request)]
        return self._page(request, "markets", "MarketsKeysetListResponse.json", bodies)

    async def market(self, request: Request) -> Response:
        """Answer one market, open or closed, by its id."""
        asked = request.path_params["market_id"]
        if not asked.isdigit():
            raise gamma_error(422, "validation error", "id is invalid")
        return self._one([market.body for market in self._all() if market.market_id == asked])

    async def market_by_slug(self, request: Request) -> Response:
        """Answer one market by its slug."""
        return self._one([market.body for market in self._all() if market.slug == request.path_params["slug"]])

    async def events(self, request: Request) -> Response:
        """Answer the old listing of events by offset."""
        found = self._selected_events(request)
        offset, limit = _number(request, "offset", 0), _limit(request)
        return json_response(dump_wire(found[offset : offset + limit]), headers=_SUNSET)

    async def events_keyset(self, request: Request) -> Response:
        """Answer the listing of events by cursor."""
        return self._page(request, "events", "EventsKeysetListResponse.json", self._selected_events(request))

    async def event(self, request: Request) -> Response:
        """Answer one event by its id."""
        return self._one(
            [event for event in self._all_events() if str(event.get("id")) == request.path_params["event_id"]]
        )

    async def event_by_slug(self, request: Request) -> Response:
        """Answer one event by its slug."""
        return self._one([event for event in self._all_events() if event.get("slug") == request.path_params["slug"]])

    def _all(self) -> Sequence[Market]:
        return self._exchange.markets(self._exchange.timeline.now())

    def _selected(self, request: Request) -> list[Market]:
        if "offset" in request.query_params and request.url.path.endswith("keyset"):
            raise gamma_error(422, "validation error", "offset is not supported, use after_cursor")
        asked = request.query_params
        conditions, tokens = asked.getlist("condition_ids"), asked.getlist("clob_token_ids")
        ids, slugs = asked.getlist("id"), asked.getlist("slug")
        closed = asked.get("closed", "false").lower() == "true"
        found = []
        for market in self._all():
            wanted = (
                market.closed == closed
                and (not conditions or market.condition_id in conditions)
                and (not tokens or any(token in tokens for token in market.tokens))
                and (not ids or market.market_id in ids)
                and (not slugs or market.slug in slugs)
            )
            if wanted:
                found.append(market)
        return found

    def _all_events(self) -> list[dict[str, Any]]:
        events: dict[str, dict[str, Any]] = {}
        for market in self._all():
            if market.event is not None:
                event = events.setdefault(market.event_id, {**market.event, "closed": True, "markets": []})
                event["markets"].append({key: value for key, value in market.body.items() if key != "events"})
                event["closed"] = event["closed"] and market.closed
        return list(events.values())

    def _selected_events(self, request: Request) -> list[dict[str, Any]]:
        asked = request.query_params
        closed = asked.get("closed", "false").lower() == "true"
        ids, slugs = asked.getlist("id"), asked.getlist("slug")
        found = [
            event
            for event in self._all_events()
            if event["closed"] == closed
            and (not ids or str(event.get("id")) in ids)
            and (not slugs or event.get("slug") in slugs)
        ]
        if asked.get("include_markets", "true").lower() == "false":
            found = [{key: value for key, value in event.items() if key != "markets"} for event in found]
        return found

    def _page(self, request: Request, name: str, schema: str, found: list[dict[str, Any]]) -> Response:
        filters = {key: request.query_params.getlist(key) for key in request.query_params if key not in _NO_FILTERS}
        skip = 0
        cursor = request.query_params.get("after_cursor")
        if cursor:
            try:
                place = self._cursors.take(cursor, filters)
            except ValueError:
                raise gamma_error(422, "validation error", "after_cursor is invalid") from None
            ids = [str(each.get("id")) for each in found]
            skip = ids.index(str(place[0])) + 1 if place and str(place[0]) in ids else 0
        page = found[skip : skip + _limit(request)]
        body: dict[str, Any] = {"$schema": _SCHEMAS + schema, name: page}
        if skip + len(page) < len(found):
            body["next_cursor"] = self._cursors.give([str(page[-1].get("id"))], filters)
        return json_response(dump_wire(body))

    def _one(self, found: list[dict[str, Any]]) -> Response:
        if not found:
            raise gamma_error(404, "not found error", "id not found")
        return json_response(dump_wire(found[0]))


_NO_FILTERS = frozenset({"limit", "after_cursor", "_"})


def _number(request: Request, name: str, default: int) -> int:
    given = request.query_params.get(name, str(default))
    if not given.isdigit():
        raise gamma_error(422, "validation error", f"{name} is invalid")
    return int(given)


def _limit(request: Request) -> int:
    return max(1, min(_number(request, "limit", LIMIT_DEFAULT), LIMIT_MAX))
