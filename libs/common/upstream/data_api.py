"""The Data API v2: what a wallet did, what it holds, and how conditions were resolved.

Every answer sits in a CDN for seconds to minutes, so each request carries a parameter that makes its URL new; pages
follow opaque cursors. Rows are decoded one by one: a row nobody understands is handed on as it came. Source: reference
section 1.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from libs.common.domain.errors import Unavailable
from libs.common.domain.market import Resolution
from libs.common.domain.money import MICROS, micros_from_wire
from libs.common.upstream.activity import ActivityRow, UnreadableRow, decode_activity_row
from libs.common.upstream.clob import chunks
from libs.common.upstream.gamma import decode_instant
from libs.common.upstream.gateway import Gateway, MalformedError, Params

PAGE_SIZE: Final = 500
PAGES_MAX: Final = 400
PAGES_PER_PART: Final = 4
"""Pages of activity that are held at once: a longer history is asked for in parts by the caller."""
CONDITIONS_PER_CALL: Final = 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ActivityListing:
    """Everything the API shows of a wallet from `start` to `end` (epoch seconds, inclusive; None: unlimited).

    It is complete, so no transaction is cut. `rows` are in the API's own order turned round: oldest first.
    """

    wallet: str
    start: int | None
    rows: tuple[ActivityRow, ...]
    unreadable: tuple[UnreadableRow, ...]
    pages: int
    end: int | None = None


class ListingTooLongError(Unavailable):
    """A listing has more pages than were allowed; `oldest` is the earliest epoch second that was read of it."""

    def __init__(self, path: str, pages: int, oldest: int) -> None:
        super().__init__(f"{path}: expected at most {pages} pages")
        self.oldest = oldest


@dataclass(frozen=True, slots=True)
class PositionRow:
    """What the API says a wallet holds of one token now."""

    wallet: str
    asset_id: str
    condition_id: str
    share_micros: int
    price_micros: int
    last_event_at: int


@dataclass(frozen=True, slots=True)
class _Page:
    rows: list[Any]
    next_cursor: str | None


def _page(document: Any) -> _Page:
    if not isinstance(document, Mapping) or not isinstance(document.get("data"), list):
        raise MalformedError("expected an object with a list `data`")
    pagination = document.get("pagination")
    if not isinstance(pagination, Mapping) or not isinstance(pagination.get("has_more"), bool):
        raise MalformedError("expected `pagination.has_more`")
    cursor = pagination.get("next_cursor")
    if pagination["has_more"] and not (isinstance(cursor, str) and cursor):
        raise MalformedError("expected `pagination.next_cursor` where more follows")
    return _Page(document["data"], cursor if pagination["has_more"] else None)


def _rows(document: Any) -> list[Any]:
    if not isinstance(document, Mapping) or not isinstance(document.get("data"), list):
        raise MalformedError("expected an object with a list `data`")
    return list(document["data"])


def decode_resolution(wire: object) -> Resolution | None:
    """Return the resolution a row tells, or None while it is not final; raises ValueError for nonsense."""
    if not isinstance(wire, Mapping):
        raise ValueError(f"resolution: expected an object, got {type(wire).__name__}")  # noqa: TRY004  one error type at the edge
    payouts = wire.get("payouts")
    if wire.get("status") != "resolved" or not payouts:
        return None
    condition_id = str(wire.get("condition_id") or "").lower()
    whole = isinstance(payouts, list) and all(type(each) is int and 0 <= each <= MICROS for each in payouts)
    if not condition_id or not whole:
        raise ValueError(f"resolution of {condition_id!r:.80}: expected micros per share, got {payouts!r:.80}")
    return Resolution(
        condition_id=condition_id,
        payouts_micros=tuple(payouts),
        resolved_at=_instant_or_none(wire.get("resolved_at")),
        source=str(wire.get("resolution_source") or "reported")[:20],
    )


def _instant_or_none(value: object) -> datetime | None:
    try:
        return decode_instant(value)
    except ValueError:
        return None


def decode_position(wire: object) -> PositionRow:
    """Return a `/v2/positions` row; raises ValueError."""
    if not isinstance(wire, Mapping):
        raise ValueError(f"position: expected an object, got {type(wire).__name__}")  # noqa: TRY004
    asset_id = str(wire.get("token_id") or "")
    if not asset_id.isdigit():
        raise ValueError(f"position: expected a decimal token_id, got {asset_id!r:.40}")
    price = wire.get("current_price")
    return PositionRow(
        wallet=str(wire.get("proxy_wallet") or "").lower(),
        asset_id=asset_id,
        condition_id=str(wire.get("condition_id") or "").lower(),
        share_micros=micros_from_wire(wire.get("current_size"), what="current_size"),
        price_micros=0 if price is None else micros_from_wire(price, what="current_price"),
        last_event_at=int(wire.get("last_event_at") or 0),
    )


class DataApiClient:
    """Reads of the Data API. Raises Unavailable when a listing cannot be had whole; part of one is never returned."""

    def __init__(self, gateway: Gateway, *, nonce: Callable[[], int] = time.time_ns) -> None:
        self._gateway = gateway
        self._nonce = nonce

    async def activity(
        self,
        wallet: str,
        *,
        start: int | None,
        end: int | None = None,
        pages_max: int = PAGES_PER_PART,
        page_size: int = PAGE_SIZE,
    ) -> ActivityListing:
        """Return all activity of `wallet` with a block time from `start` to `end` (epoch seconds); None: all there is.

        Raises ListingTooLongError when that is more than `pages_max` pages: ask for less time, then.
        """
        query: list[tuple[str, str | int]] = [
            ("user", wallet),
            ("start", 1 if start is None else max(1, start)),
            ("sort_by", "TIMESTAMP"),
            ("sort_direction", "DESC"),
            *([] if end is None else [("end", end)]),
        ]
        wires, pages = await self._all_pages("/v2/activity", query, page_size, pages_max)
        rows: list[ActivityRow] = []
        unreadable: list[UnreadableRow] = []
        for wire in reversed(wires):
            row = decode_activity_row(wire, wallet)
            if isinstance(row, ActivityRow):
                rows.append(row)
            else:
                unreadable.append(row)
                self._gateway.metrics.count("rows_ignored", reason="activity")
        return ActivityListing(wallet, start, tuple(rows), tuple(unreadable), pages, end)

    async def resolutions(self, condition_ids: Sequence[str]) -> dict[str, Resolution]:
        """Return the final resolutions among `condition_ids`, by condition."""
        found: dict[str, Resolution] = {}
        wanted = list(dict.fromkeys(each.lower() for each in condition_ids))
        for part in chunks(wanted, CONDITIONS_PER_CALL):
            query = [("condition", ",".join(part)), self._fresh()]
            for wire in await self._gateway.get("/v2/resolutions", query, _rows):
                resolution = self._read(decode_resolution, wire, "resolution")
                if resolution is not None and resolution.condition_id in part:
                    found[resolution.condition_id] = resolution
        return found

    async def positions(self, wallet: str) -> list[PositionRow]:
        """Return everything `wallet` holds now, dust and archived included."""
        query: list[tuple[str, str | int]] = [
            ("user", wallet),
            ("status", "OPEN"),
            ("filter_type", "TOKENS"),
            ("filter_amount", 0),
            ("include_archived", "true"),
        ]
        wires, _ = await self._all_pages("/v2/positions", query, PAGE_SIZE)
        read = (self._read(decode_position, wire, "position") for wire in wires)
        return [row for row in read if row is not None]

    def _read(self, decode: Callable[[object], T], wire: object, reason: str) -> T | None:
        try:
            return decode(wire)
        except (ValueError, TypeError):
            self._gateway.metrics.count("rows_ignored", reason=reason)
            return None

    def _fresh(self) -> tuple[str, str | int]:
        return ("_", self._nonce())

    async def _all_pages(
        self, path: str, query: Params, page_size: int, pages_max: int = PAGES_MAX
    ) -> tuple[list[Any], int]:
        """Follow the cursors to the end: filters are sent again with each, as changing them would re-anchor it."""
        wires: list[Any] = []
        cursor: str | None = None
        seen: set[str] = set()
        for number in range(1, pages_max + 1):
            asked = [*query, ("limit", page_size), *([("cursor", cursor)] if cursor else []), self._fresh()]
            page = await self._gateway.get(path, asked, _page)
            wires.extend(page.rows)
            if page.next_cursor is None:
                return wires, number
            if page.next_cursor in seen:
                raise Unavailable(f"{path}: page {number} points back to a page already read")
            seen.add(page.next_cursor)
            cursor = page.next_cursor
        raise ListingTooLongError(path, pages_max, _oldest(wires))


def _oldest(wires: Sequence[Any]) -> int:
    """Return the earliest epoch second that rows bear, 0 where none bears one."""
    stamps = (wire.get("timestamp") for wire in wires if isinstance(wire, Mapping))
    return min((stamp for stamp in stamps if type(stamp) is int), default=0)
