"""The order book host: books, midpoints and last trades of many tokens at once.

The wire lists levels worst first, whatever its papers say, so levels are sorted here; prices and sizes are decimal
text. Source: reference section 2.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from libs.common.domain.book import Book, Level
from libs.common.domain.money import MICROS, micros_from_wire
from libs.common.upstream.gateway import Gateway, MalformedError

TOKENS_PER_CALL: Final = 250
LEVELS_MAX: Final = 5_000

T = TypeVar("T")


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield `items` in runs of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _levels(value: object, *, side: str, falling: bool) -> tuple[Level, ...]:
    if not isinstance(value, list) or len(value) > LEVELS_MAX:
        raise ValueError(f"{side}: expected a list of at most {LEVELS_MAX} levels, got {type(value).__name__}")
    sizes: dict[int, int] = {}
    for item in value:
        if not isinstance(item, Mapping):
            raise ValueError(f"{side}: expected an object with price and size, got {item!r:.60}")  # noqa: TRY004
        price = micros_from_wire(item.get("price"), what=f"{side} price")
        size = micros_from_wire(item.get("size"), what=f"{side} size")
        if not 0 < price < MICROS:
            raise ValueError(f"{side} price: expected more than 0 and less than 1, got {item.get('price')}")
        if size and sizes.setdefault(price, size) != size:
            raise ValueError(f"{side} price: {item.get('price')} is listed twice with different sizes")
    return tuple(Level(price, sizes[price]) for price in sorted(sizes, reverse=falling))


def decode_book(wire: object) -> Book:
    """Return the book of a `/book` object, best level first; raises ValueError saying what is wrong with it."""
    if not isinstance(wire, Mapping):
        raise ValueError(f"book: expected an object, got {type(wire).__name__}")  # noqa: TRY004  one error type at the edge
    asset_id, version, at = wire.get("asset_id"), wire.get("hash"), wire.get("timestamp")
    if not isinstance(asset_id, str) or not asset_id.isdigit():
        raise ValueError(f"book: expected a decimal asset_id, got {asset_id!r:.60}")
    if not isinstance(version, str) or not 0 < len(version) <= 80:
        raise ValueError(f"book of {asset_id}: expected a hash, got {version!r:.90}")
    if isinstance(at, bool) or not isinstance(at, (str, int)) or not str(at).isdigit():
        raise ValueError(f"book of {asset_id}: expected a timestamp in ms, got {at!r:.40}")
    bids = _levels(wire.get("bids"), side="bid", falling=True)
    asks = _levels(wire.get("asks"), side="ask", falling=False)
    return Book(asset_id, version, int(at), bids, asks)


def _price(value: object, *, what: str) -> int:
    price = micros_from_wire(value, what=what)
    if not 0 <= price <= MICROS:
        raise ValueError(f"{what}: expected 0 to 1, got {value}")
    return price


class ClobClient:
    """Reads of the order book host; a single bad item is dropped and counted, the rest passes."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def books(self, asset_ids: Sequence[str]) -> dict[str, Book]:
        """Return the books of those `asset_ids` the host knows; raises Unavailable, or Rejected for a wrong request."""
        found: dict[str, Book] = {}
        wanted = list(dict.fromkeys(asset_ids))
        for part in chunks(wanted, TOKENS_PER_CALL):
            for wire in await self._gateway.post("/books", _tokens(part), _expect_list):
                try:
                    book = decode_book(wire)
                except ValueError:
                    self._gateway.metrics.count("rows_ignored", reason="book")
                    continue
                if book.asset_id in part:
                    found[book.asset_id] = book
        return found

    async def midpoints(self, asset_ids: Sequence[str]) -> dict[str, int]:
        """Return the midpoint in micros of those `asset_ids` that have one."""
        found: dict[str, int] = {}
        for part in chunks(list(dict.fromkeys(asset_ids)), TOKENS_PER_CALL):
            answer = await self._gateway.post("/midpoints", _tokens(part), _expect_object)
            for asset_id in part:
                if answer.get(asset_id) in (None, ""):
                    continue
                try:
                    found[asset_id] = _price(answer[asset_id], what="midpoint")
                except ValueError:
                    self._gateway.metrics.count("rows_ignored", reason="midpoint")
        return found

    async def last_trades(self, asset_ids: Sequence[str]) -> dict[str, int]:
        """Return the last trade price in micros of those `asset_ids` that ever traded."""
        found: dict[str, int] = {}
        for part in chunks(list(dict.fromkeys(asset_ids)), TOKENS_PER_CALL):
            for item in await self._gateway.post("/last-trades-prices", _tokens(part), _expect_list):
                # A token without trades is answered with price "0.5" and no side: that is no price.
                if not isinstance(item, Mapping) or item.get("side") not in ("BUY", "SELL"):
                    continue
                try:
                    price = _price(item.get("price"), what="last trade price")
                except ValueError:
                    self._gateway.metrics.count("rows_ignored", reason="last_trade")
                    continue
                if item.get("token_id") in part:
                    found[str(item["token_id"])] = price
        return found


def _tokens(asset_ids: Sequence[str]) -> list[dict[str, str]]:
    return [{"token_id": asset_id} for asset_id in asset_ids]


def _expect_list(document: Any) -> list[Any]:
    if not isinstance(document, list):
        raise MalformedError(f"expected a list, got {type(document).__name__}")
    return document


def _expect_object(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise MalformedError(f"expected an object, got {type(document).__name__}")
    return document
