"""The CLOB's public reads: books worst level first, midpoints, last trades; unknown tokens are left out in silence."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.sandbox.exchange import Exchange
from services.sandbox.wire.answers import clob_error, json_response

BATCH_MAX = 500
NO_BOOK = "No orderbook exists for the requested token id"


class ClobFace:
    """Serves one exchange's books."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def routes(self) -> list[Route]:
        """Return the routes under the CLOB's base URL."""
        return [
            Route("/book", self.book),
            Route("/books", self.books, methods=["POST"]),
            Route("/midpoint", self.midpoint),
            Route("/midpoints", self.midpoints, methods=["POST"]),
            Route("/last-trade-price", self.last_trade),
            Route("/last-trades-prices", self.last_trades, methods=["POST"]),
            Route("/time", self.time),
        ]

    async def book(self, request: Request) -> Response:
        """Answer the book of one token."""
        return json_response(self._book(request))

    async def books(self, request: Request) -> Response:
        """Answer the books of many tokens."""
        now = self._exchange.timeline.now()
        found = (self._exchange.book_json(token, now) for token in await _tokens(request))
        return json_response(b"[" + b",".join(book for book in found if book) + b"]")

    async def midpoint(self, request: Request) -> Response:
        """Answer the midpoint of one token."""
        mid = _mid(orjson.loads(self._book(request)))
        if mid is None:
            raise clob_error(404, NO_BOOK)
        return json_response({"mid": mid})

    async def midpoints(self, request: Request) -> Response:
        """Answer the midpoints of many tokens; one-sided books have none."""
        mids = {token: _mid(book) for token, book in self._parsed(await _tokens(request))}
        return json_response({token: mid for token, mid in mids.items() if mid is not None})

    async def last_trade(self, request: Request) -> Response:
        """Answer the last trade of one token."""
        return json_response(_last(orjson.loads(self._book(request))))

    async def last_trades(self, request: Request) -> Response:
        """Answer the last trades of many tokens."""
        return json_response(
            [{"token_id": token, **_last(book)} for token, book in self._parsed(await _tokens(request))]
        )

    async def time(self, request: Request) -> Response:
        """Answer the exchange's clock."""
        return json_response(self._exchange.timeline.now() // 1000)

    def _book(self, request: Request) -> bytes:
        token = request.query_params.get("token_id", "")
        if not token.isdigit():
            raise clob_error(400, "Invalid token id")
        book = self._exchange.book_json(token, self._exchange.timeline.now())
        if book is None:
            raise clob_error(404, NO_BOOK)
        return book

    def _parsed(self, tokens: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        now = self._exchange.timeline.now()
        for token in tokens:
            book = self._exchange.book_json(token, now)
            if book is not None:
                yield token, orjson.loads(book)


async def _tokens(request: Request) -> list[str]:
    try:
        asked = orjson.loads(await request.body())
        tokens = [str(each["token_id"]) for each in asked]
    except (ValueError, TypeError, KeyError):
        raise clob_error(400, "Invalid payload") from None
    if len(tokens) > BATCH_MAX:
        raise clob_error(400, "Payload exceeds the limit")
    return list(dict.fromkeys(tokens))


def best(book: dict[str, Any]) -> tuple[Decimal | None, Decimal | None]:
    """Return best bid and best ask of a wire book, whatever its order."""
    bids = [Decimal(str(level["price"])) for level in book["bids"]]
    asks = [Decimal(str(level["price"])) for level in book["asks"]]
    return max(bids, default=None), min(asks, default=None)


def plain(value: Decimal) -> str:
    """Write a price without trailing zeros or exponent."""
    return format(value.normalize(), "f")


def _mid(book: dict[str, Any]) -> str | None:
    bid, ask = best(book)
    return None if bid is None or ask is None else plain((bid + ask) / 2)


def _last(book: dict[str, Any]) -> dict[str, str]:
    price = str(book.get("last_trade_price") or "")
    return {"price": price, "side": "BUY"} if price else {"price": "0.5", "side": ""}
