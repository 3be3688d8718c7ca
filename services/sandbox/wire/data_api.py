"""The Data API v2: activity, trades, positions and resolutions, newest first, by signed cursors, behind a CDN."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.sandbox.exchange import Exchange, dump_wire, parse_wire
from services.sandbox.faults import Faults
from services.sandbox.history import Row, api_order
from services.sandbox.positions import Holdings
from services.sandbox.wire.answers import Cdn, invalid, json_response
from services.sandbox.wire.cursors import Cursors
from services.sandbox.wire.parameters import Parameters
from services.sandbox.wire.position_rows import position_rows

TYPES = frozenset(
    [
        "TRADE",
        "SPLIT",
        "MERGE",
        "REDEEM",
        "REWARD",
        "CONVERSION",
        "MIGRATION",
        "DEPOSIT",
        "WITHDRAWAL",
        "YIELD",
        "MAKER_REBATE",
        "TAKER_REBATE",
        "REFERRAL_REWARD",
        "TIP",
    ]
)
ONLY_BY_NAME = frozenset({"TIP"})
BANKING = frozenset({"DEPOSIT", "WITHDRAWAL"})
TRADE_KEYS = [
    "proxy_wallet",
    "side",
    "token_id",
    "condition_id",
    "size",
    "price",
    "timestamp",
    "title",
    "slug",
    "icon",
    "event_slug",
    "outcome",
    "outcome_index",
    "name",
    "pseudonym",
    "bio",
    "profile_image",
    "profile_image_optimized",
    "transaction_hash",
]

ACTIVITY_SECONDS, TRADES_SECONDS, POSITIONS_SECONDS = 15, 300, 5
"""How long the CDN keeps an answer of each route."""
STALE_MS = 10_000
"""Under the `duplicate_rows` fault the listing is refreshed this seldom, so that polls see the same rows again."""

_ROW_FILTERS = frozenset(["user", "condition", "event_id", "side", "start", "end", "sort_direction", "sort_by"])
_ACTIVITY = _ROW_FILTERS | {"type", "exclude_deposits_withdrawals"}
_TRADES = _ROW_FILTERS | {"taker_only", "filter_type", "filter_amount"}
_POSITIONS = frozenset(["user", "condition", "status", "filter_type", "filter_amount", "include_archived"]) | frozenset(
    ["title", "sort_by", "sort_direction", "start", "end"]
)


@dataclass(frozen=True, slots=True)
class _Listing:
    """What a listing of rows selects."""

    wallet: str | None
    filters: dict[str, object]
    wanted: Callable[[Row], bool]
    start: int
    end: int
    ascending: bool


class DataFace:
    """Serves one exchange's rows."""

    def __init__(self, exchange: Exchange, faults: Faults, cursors: Cursors) -> None:
        self._exchange = exchange
        self._faults = faults
        self._cursors = cursors
        self._cdn = Cdn(exchange.timeline.now)
        self._holdings = Holdings(exchange)

    def routes(self) -> list[Route]:
        """Return the routes under the Data API's base URL."""
        return [
            Route("/v2/activity", self.activity),
            Route("/v2/trades", self.trades),
            Route("/v2/positions", self.positions),
            Route("/v2/resolutions", self.resolutions),
        ]

    def fold(self) -> None:
        """Fold every wallet's holdings up to now; called often, so that no row is forgotten before it is folded."""
        now = self._exchange.timeline.now()
        for wallet in self._exchange.wallets:
            self._holdings.of(wallet.address, now)

    def shown_until(self) -> int:
        """Return up to which wall instant listings show rows: now, or when a stale listing was refreshed last."""
        now = self._exchange.timeline.now()
        return now - now % STALE_MS if self._strikes("duplicate_rows", now) else now

    async def activity(self, request: Request) -> Response:
        """Answer a wallet's rows of every type."""
        asked = Parameters(request, _ACTIVITY)
        kept = self._cdn.kept(request)
        if kept is not None:
            return kept
        user = asked.user()
        if user is None:
            raise invalid("required query param 'user' not provided", "user")
        types = self._types(asked)
        excluded = BANKING if asked.flag("exclude_deposits_withdrawals", default=True) else frozenset()
        hidden = (ONLY_BY_NAME | excluded) - types

        def wanted(row: Row) -> bool:
            return row.type in types if types else row.type not in hidden

        listing = self._listing(asked, user, wanted, {"type": sorted(types), "hidden": sorted(hidden)})
        body = self._page(asked, listing, self._exchange.row_json)
        return self._cdn.keep(request, json_response(body), ACTIVITY_SECONDS, reusable=asked.reusable)

    async def trades(self, request: Request) -> Response:
        """Answer fills: one row an order in a settlement; makers only when asked for."""
        asked = Parameters(request, _TRADES)
        kept = self._cdn.kept(request)
        if kept is not None:
            return kept
        taker_only = asked.flag("taker_only", default=True)
        kind = asked.one_of("filter_type", ("CASH", "TOKENS"), "TOKENS")
        least = _micros(asked.text("filter_amount"), "filter_amount")

        def wanted(row: Row) -> bool:
            amount = row.cash_micros if kind == "CASH" else row.share_micros
            return row.type == "TRADE" and not (taker_only and row.maker) and amount >= least

        listing = self._listing(asked, asked.user(), wanted, {"taker_only": taker_only, "least": [kind, least]})
        body = self._page(asked, listing, self._trade_json)
        return self._cdn.keep(request, json_response(body), TRADES_SECONDS, reusable=asked.reusable)

    async def positions(self, request: Request) -> Response:
        """Answer what a wallet holds, or who holds a condition's tokens."""
        asked = Parameters(request, _POSITIONS)
        kept = self._cdn.kept(request)
        if kept is not None:
            return kept
        user, conditions = asked.user(), asked.conditions()
        if user is None and not conditions:
            raise invalid("required query param 'user' or 'condition' not provided", "user")
        rows, filters = position_rows(self._exchange, self._holdings, asked, user, conditions)
        limit, skip = asked.limit(), 0
        place = self._place(asked, filters)
        if place:
            keys = [[row["proxy_wallet"], row["token_id"]] for row in rows]
            skip = keys.index(place) + 1 if place in keys else 0
        page = rows[skip : skip + limit]
        more = skip + len(page) < len(rows)
        cursor = self._cursors.give([page[-1]["proxy_wallet"], page[-1]["token_id"]], filters) if more else None
        body = b'{"data":' + dump_wire(page) + b',"pagination":' + _pagination(limit, cursor) + b"}"
        return self._cdn.keep(request, json_response(body), POSITIONS_SECONDS, reusable=asked.reusable)

    async def resolutions(self, request: Request) -> Response:
        """Answer the resolution rows of conditions, of a question or of events."""
        asked = Parameters(request, frozenset({"condition", "question_id", "event_id"}))
        conditions, events, question = asked.conditions(), asked.listed("event_id"), asked.text("question_id")
        if sum((bool(conditions), bool(events), question is not None)) != 1:
            raise invalid("provide exactly one of 'question_id', 'condition', or 'event_id'")
        now = self._exchange.timeline.now()
        if events:
            wanted = {market.condition_id for market in self._exchange.markets(now) if market.event_id in events}
        else:
            wanted = set(conditions)
        found = [
            row
            for row in self._exchange.resolutions(now)
            if (row.get("question_id") == question if question else str(row.get("condition_id")).lower() in wanted)
        ]
        return json_response(dump_wire({"data": found}))

    def _strikes(self, fault: str, now: int) -> bool:
        started = self._exchange.timeline.started_ms
        return self._faults.find("data", fault, None if started is None else now - started) is not None

    def _types(self, asked: Parameters) -> frozenset[str]:
        types = frozenset(each.upper() for each in asked.listed("type"))
        unknown = sorted(types - TYPES)
        if unknown:
            raise invalid(f"invalid activity type: {unknown[0]}", "type")
        if asked.text("sort_by") not in {None, "TIMESTAMP"}:
            raise invalid("only sortBy=TIMESTAMP with sortDirection=DESC is supported", "sort_by")
        return types

    def _listing(
        self, asked: Parameters, user: str | None, wanted: Callable[[Row], bool], filters: dict[str, object]
    ) -> _Listing:
        conditions, events = frozenset(asked.conditions()), frozenset(asked.listed("event_id"))
        if conditions and events:
            raise invalid("provide either 'condition' or 'event_id'", "condition")
        side = asked.one_of("side", ("BUY", "SELL"))
        ascending = asked.one_of("sort_direction", ("ASC", "DESC"), "DESC") == "ASC"
        start, end = (asked.number("start") or 0, asked.number("end") or 0) if user else (0, 0)
        filters |= {"user": user, "side": side, "asc": ascending, "start": start, "end": end}
        filters |= {"condition": sorted(conditions), "event": sorted(events)}
        if events:
            now = self._exchange.timeline.now()
            conditions = frozenset(
                market.condition_id.lower() for market in self._exchange.markets(now) if market.event_id in events
            )

        def selected(row: Row) -> bool:
            return (
                wanted(row)
                and (side is None or row.side == side)
                and (not (conditions or events) or row.condition_id.lower() in conditions)
            )

        return _Listing(user, filters, selected, start, end or 2**62, ascending)

    def _place(self, asked: Parameters, filters: dict[str, object]) -> list[int | str] | None:
        cursor = asked.text("cursor")
        if cursor is None:
            return None
        try:
            return self._cursors.take(cursor, filters)
        except ValueError:
            raise invalid("invalid cursor", "cursor") from None

    def _page(self, asked: Parameters, listing: _Listing, written: Callable[[Row], bytes]) -> bytes:
        limit, now = asked.limit(), self.shown_until()
        self._exchange.advance(self._exchange.timeline.now())
        place = self._place(asked, listing.filters)
        found: list[Row] = []
        for row in _from(self._exchange.history.rows(listing.wallet), listing, place):
            if row.visible_ms <= now and listing.wanted(row):
                found.append(row)
                if len(found) > limit:
                    break
        page = found[:limit]
        cursor = self._cursors.give([*api_order(page[-1])], listing.filters) if len(found) > limit else None
        if self._strikes("reorder_rows", self._exchange.timeline.now()):
            Random(now // 1000).shuffle(page)  # noqa: S311  disorder on purpose, not a secret
        rows = b",".join(map(written, page))
        return b'{"data":[' + rows + b'],"pagination":' + _pagination(limit, cursor) + b"}"

    def _trade_json(self, row: Row) -> bytes:
        full: dict[str, Any] = parse_wire(self._exchange.row_json(row))
        return dump_wire({key: full[key] for key in TRADE_KEYS if key in full})


def _from(rows: Sequence[Row], listing: _Listing, place: list[int | str] | None) -> Iterator[Row]:
    """Yield the rows of the time range in the asked direction, after the cursor's place."""
    low = bisect_left(rows, (listing.start, 0), key=api_order)
    high = bisect_left(rows, (listing.end + 1, 0), key=api_order)
    if place is not None:
        after = (int(place[0]), int(place[1]))
        if listing.ascending:
            low = max(low, bisect_right(rows, after, key=api_order))
        else:
            high = min(high, bisect_left(rows, after, key=api_order))
    order = range(low, high) if listing.ascending else range(high - 1, low - 1, -1)
    return (rows[index] for index in order)


def _pagination(limit: int, cursor: str | None) -> bytes:
    return orjson.dumps({"limit": limit, "offset": 0, "has_more": cursor is not None, "next_cursor": cursor})


def _micros(text: str | None, name: str) -> int:
    try:
        return int(Decimal(text or "0") * 1_000_000)
    except ArithmeticError:
        raise invalid(f"invalid {name}", name) from None
