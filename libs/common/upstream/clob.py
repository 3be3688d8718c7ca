"""The order book host: books, midpoints and last trades of many tokens at once.

The wire lists levels worst first, whatever its papers say, so levels are sorted here; prices and sizes are decimal
text. Source: reference section 2.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from libs.common.domain.book import Book, Level
from libs.common.domain.errors import PartlyAnswered, Rejected, Unavailable
from libs.common.domain.money import MICROS
from libs.common.upstream.fields import (
    EPOCH_SECOND_MAX,
    FieldError,
    an_object,
    read_amount,
    read_integer,
    read_price_micros,
    read_token,
)
from libs.common.upstream.gateway import Gateway, MalformedError
from libs.common.upstream.parts import Answers, InParts
from libs.common.upstream.samples import note_ignored

WHAT: Final = "book"
LAST_TRADE: Final = "last trade"
TOKENS_PER_CALL: Final = 250
SIZE_MAX: Final = 10**12
LEVELS_MAX: Final = 5_000

_VERSION = re.compile("[!-~]{1,80}")


def _levels(value: object, *, field: str, falling: bool) -> tuple[Level, ...]:
    if not isinstance(value, list) or len(value) > LEVELS_MAX:
        raise FieldError(WHAT, field, f"a list of at most {LEVELS_MAX} levels", value)
    sizes: dict[int, int] = {}
    price_field, size_field = f"{field}.price", f"{field}.size"
    for item in value:
        if not isinstance(item, Mapping):
            raise FieldError(WHAT, field, "a list of objects with price and size", item)
        price = read_price_micros(item.get("price"), price_field, WHAT)
        size = read_amount(item.get("size"), size_field, WHAT, SIZE_MAX)
        if not 0 < price < MICROS:
            raise FieldError(WHAT, price_field, "more than 0 and less than 1", item.get("price"))
        if size and sizes.setdefault(price, size) != size:
            raise FieldError(WHAT, price_field, "listed once", item.get("price"))
    return tuple(Level(price, sizes[price]) for price in sorted(sizes, reverse=falling))


def decode_book(wire: object) -> Book:
    """Return the book of a `/book` object, best level first; raises ValueError naming the field that is wrong."""
    book = an_object(wire, WHAT)
    version = book.get("hash")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise FieldError(WHAT, "hash", "1 to 80 plain characters", version)
    at = read_integer(
        book.get("timestamp"),
        "timestamp",
        WHAT,
        least=1,
        most=EPOCH_SECOND_MAX * 1000,
        expected="a time in ms before 2100",
    )
    return Book(
        read_token(book.get("asset_id"), "asset_id", WHAT),
        version,
        at,
        _levels(book.get("bids"), field="bids", falling=True),
        _levels(book.get("asks"), field="asks", falling=False),
    )


def decode_last_trade(wire: object) -> tuple[str, int] | None:
    """Return token and price in micros of a last trade, None where there was none; raises ValueError."""
    item = an_object(wire, LAST_TRADE)
    # A token without trades is answered with price "0.5" and no side: that is no price.
    if item.get("side") in (None, ""):
        return None
    if item["side"] not in ("BUY", "SELL"):
        raise FieldError(LAST_TRADE, "side", "BUY, SELL or nothing", item["side"])
    token = read_token(item.get("token_id"), "token_id", LAST_TRADE)
    return token, read_price_micros(item.get("price"), "price", LAST_TRADE)


class ClobClient:
    """Reads of the order book host; a single bad item is dropped and counted, the rest passes."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._books_of = InParts(self._books, TOKENS_PER_CALL, self._refused)
        self._midpoints_of = InParts(self._midpoints, TOKENS_PER_CALL, self._refused)
        self._last_trades_of = InParts(self._last_trades, TOKENS_PER_CALL, self._refused)

    async def books(self, asset_ids: Sequence[str]) -> dict[str, Book]:
        """Return the books of those `asset_ids` the host knows; raises Unavailable, PartlyAnswered too, or Rejected."""
        answers = await self._books_of.ask(list(dict.fromkeys(asset_ids)))
        found = {asset_id: book for _, part in answers.parts for asset_id, book in part.items()}
        if answers.failure:
            raise PartlyAnswered(answers.failure, found, answers.missed) from answers.failure
        return found

    async def midpoints(self, asset_ids: Sequence[str]) -> dict[str, int]:
        """Return the midpoint in micros of those `asset_ids` that have one; raises Unavailable, PartlyAnswered too.

        One half is also what a host may say of a token it knows nothing of, so it counts only with a book of two sides.
        """
        found: dict[str, int] = {}
        answers = await self._midpoints_of.ask(list(dict.fromkeys(asset_ids)))
        for part, answer in answers.parts:
            for asset_id in part:
                if answer.get(asset_id) in (None, ""):
                    continue
                try:
                    found[asset_id] = read_price_micros(answer[asset_id], asset_id, "midpoints")
                except ValueError as error:
                    note_ignored(self._gateway.metrics, "midpoint", error, {asset_id: answer[asset_id]})
        halves = [asset_id for asset_id, price in found.items() if price == MICROS // 2]
        try:
            behind = await self._books_of.ask(halves)
        except Unavailable as error:
            behind = Answers(missed=set(halves), failure=error)
        books = {each: book for _, part in behind.parts for each, book in part.items()}
        for asset_id in halves:
            if asset_id in behind.missed:
                del found[asset_id]
            elif asset_id not in books or not (books[asset_id].bids and books[asset_id].asks):
                doubt = f"token {asset_id}: expected a book of two sides behind a midpoint of one half"
                note_ignored(self._gateway.metrics, "midpoint_default", doubt, {asset_id: "0.5"})
                del found[asset_id]
        if failure := answers.failure or behind.failure:
            raise PartlyAnswered(failure, found, answers.missed | behind.missed) from failure
        return found

    async def last_trades(self, asset_ids: Sequence[str]) -> dict[str, int]:
        """Return the last trade price in micros of those `asset_ids` that ever traded; raises as `midpoints`."""
        found: dict[str, int] = {}
        answers = await self._last_trades_of.ask(list(dict.fromkeys(asset_ids)))
        for part, answer in answers.parts:
            for item in answer:
                try:
                    last = decode_last_trade(item)
                except ValueError as error:
                    note_ignored(self._gateway.metrics, "last_trade", error, item)
                    continue
                if last is not None and last[0] in part:
                    found[last[0]] = last[1]
        if answers.failure:
            raise PartlyAnswered(answers.failure, found, answers.missed) from answers.failure
        return found

    async def _books(self, part: Sequence[str], attempts: int | None) -> dict[str, Book]:
        found: dict[str, Book] = {}
        for wire in await self._gateway.post("/books", _tokens(part), expect_list, attempts):
            try:
                book = decode_book(wire)
            except ValueError as error:
                note_ignored(self._gateway.metrics, "book", error, wire)
                continue
            if book.asset_id in part:
                found[book.asset_id] = book
        return found

    async def _midpoints(self, part: Sequence[str], attempts: int | None) -> dict[str, Any]:
        return await self._gateway.post("/midpoints", _tokens(part), expect_object, attempts)

    async def _last_trades(self, part: Sequence[str], attempts: int | None) -> list[Any]:
        return await self._gateway.post("/last-trades-prices", _tokens(part), expect_list, attempts)

    def _refused(self, asset_id: str, error: Rejected) -> None:
        """Pass over a token that the host refuses."""
        note_ignored(self._gateway.metrics, "id_refused", ValueError(str(error)), {"token_id": asset_id})


def _tokens(asset_ids: Sequence[str]) -> list[dict[str, str]]:
    return [{"token_id": asset_id} for asset_id in asset_ids]


def expect_list(document: Any) -> list[Any]:
    """Return a body that should be a list; raises MalformedError."""
    if not isinstance(document, list):
        raise MalformedError(f"expected a list, got {type(document).__name__}")
    return document


def expect_object(document: Any) -> dict[str, Any]:
    """Return a body that should be an object; raises MalformedError."""
    if not isinstance(document, dict):
        raise MalformedError(f"expected an object, got {type(document).__name__}")
    return document
