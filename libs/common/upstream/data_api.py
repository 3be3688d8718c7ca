"""The Data API v2: what a wallet did, what it holds, and how conditions were resolved.

Every answer sits in a CDN for seconds to minutes, so each request carries a parameter that makes its URL new; pages
follow opaque cursors. Rows are decoded one by one: a row nobody understands is handed on as it came. Source: reference
section 1.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar

from libs.common.domain.errors import PartlyAnswered, Rejected, Unavailable
from libs.common.domain.market import Resolution
from libs.common.upstream.activity import ActivityRow, UnreadableRow, decode_activity_row
from libs.common.upstream.fields import (
    EPOCH_SECOND_MAX,
    EPOCH_SECOND_MIN,
    FieldError,
    an_object,
    clean,
    read_amount,
    read_hex_id,
    read_price_micros,
    read_seconds,
    read_token,
    read_wallet,
)
from libs.common.upstream.gateway import Gateway, MalformedError, Params
from libs.common.upstream.pages import PagesRead
from libs.common.upstream.parts import InParts
from libs.common.upstream.resolutions import final_resolutions
from libs.common.upstream.samples import note_ignored

PAGE_SIZE: Final = 500
PAGES_MAX: Final = 400
PAGES_PER_PART: Final = 4
"""Pages of activity that are held at once: a longer history is asked for in parts by the caller."""
PAGES_OF_A_SECOND: Final = 20
"""The most that a part which cannot be made smaller may have: ten thousand rows a second are no wallet's."""
CONDITIONS_PER_CALL: Final = 20
AHEAD_SECONDS_MAX: Final = 300
"""So far ahead of our clock a row's time can be one; where a listing is open, that is its end."""
EVENT_ID_LENGTH_MAX: Final = 80
POSITION: Final = "position"

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
    """What the API says a wallet holds of one token now; 0 shares of one it held before.

    `price_micros` is None where the API has none; `last_event_at` is the block time of the last event it counts.
    """

    wallet: str
    asset_id: str
    condition_id: str
    event_id: str
    share_micros: int
    price_micros: int | None
    last_event_at: int


@dataclass(frozen=True, slots=True)
class PositionListing:
    """Every position of a wallet by token, and how many rows nobody could read: those tokens are not among them."""

    rows: Mapping[str, PositionRow]
    unreadable: int


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing; `next_cursor` is None on the last."""

    rows: list[Any]
    next_cursor: str | None


def decode_page(document: Any) -> Page:
    """Return the rows of a page and the cursor to the next one; raises MalformedError."""
    if not isinstance(document, Mapping) or not isinstance(document.get("data"), list):
        raise MalformedError("expected an object with a list `data`")
    pagination = document.get("pagination")
    if not isinstance(pagination, Mapping) or not isinstance(pagination.get("has_more"), bool):
        raise MalformedError("expected `pagination.has_more`")
    cursor = pagination.get("next_cursor")
    if pagination["has_more"] and not (isinstance(cursor, str) and cursor):
        raise MalformedError("expected `pagination.next_cursor` where more follows")
    return Page(document["data"], cursor if pagination["has_more"] else None)


def decode_rows(document: Any) -> list[Any]:
    """Return the rows of a listing without pages; raises MalformedError."""
    if not isinstance(document, Mapping) or not isinstance(document.get("data"), list):
        raise MalformedError("expected an object with a list `data`")
    return list(document["data"])


def decode_position(wire: object) -> PositionRow:
    """Return a `/v2/positions` row; raises ValueError naming what is wrong."""
    row = an_object(wire, POSITION)
    last = row.get("last_event_at")
    return PositionRow(
        wallet=read_wallet(row.get("proxy_wallet"), "proxy_wallet", POSITION),
        asset_id=read_token(row.get("token_id"), "token_id", POSITION),
        condition_id=read_hex_id(row.get("condition_id"), "condition_id", POSITION),
        event_id=clean(row.get("event_id"), EVENT_ID_LENGTH_MAX),
        share_micros=read_amount(row.get("current_size"), "current_size", POSITION),
        price_micros=_price_or_none(row.get("current_price")),
        last_event_at=0 if last == 0 else read_seconds(last, "last_event_at", POSITION),
    )


def _price_or_none(value: object) -> int | None:
    """Return a price in micros; None where there is none or it is no price: nobody invents one."""
    try:
        return None if value is None else read_price_micros(value, "current_price", POSITION)
    except FieldError:
        return None


class DataApiClient:
    """Reads of the Data API. Raises Unavailable when a listing cannot be had whole; part of one is never returned."""

    def __init__(self, gateway: Gateway, *, nonce: Callable[[], int] = time.time_ns) -> None:
        self._gateway = gateway
        self._nonce = nonce
        self._resolutions_of = InParts(self._resolutions, CONDITIONS_PER_CALL, self._refused)

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
        first = 1 if start is None else max(1, start)
        query: list[tuple[str, str | int]] = [
            ("user", wallet),
            ("start", first),
            ("sort_by", "TIMESTAMP"),
            ("sort_direction", "DESC"),
            ("exclude_deposits_withdrawals", "false"),
            *([] if end is None else [("end", end)]),
        ]
        span = first, int(time.time()) + AHEAD_SECONDS_MAX if end is None else end
        wires, pages = await self._all_pages("/v2/activity", query, page_size, pages_max, span)
        rows: list[ActivityRow] = []
        unreadable: list[UnreadableRow] = []
        for wire in reversed(wires):
            row = decode_activity_row(wire, wallet)
            if isinstance(row, ActivityRow):
                rows.append(row)
            else:
                unreadable.append(row)
        return ActivityListing(wallet, start, tuple(rows), tuple(unreadable), pages, end)

    async def resolutions(self, condition_ids: Sequence[str]) -> dict[str, Resolution]:
        """Return the final resolutions among `condition_ids`; raises Unavailable, PartlyAnswered too."""
        found: dict[str, Resolution] = {}
        answers = await self._resolutions_of.ask(list(dict.fromkeys(each.lower() for each in condition_ids)))
        for part, rows in answers.parts:
            found |= final_resolutions(rows, part, self._ignore)
        if answers.failure:
            raise PartlyAnswered(answers.failure, found, answers.missed) from answers.failure
        return found

    async def _resolutions(self, part: Sequence[str], attempts: int | None) -> list[Any]:
        query = [("condition", ",".join(part)), self._fresh()]
        return await self._gateway.get("/v2/resolutions", query, decode_rows, attempts)

    def _refused(self, condition: str, error: Rejected) -> None:
        """Pass over a condition that the host refuses."""
        self._ignore("id_refused", ValueError(str(error)), {"condition_id": condition})

    async def positions(self, wallet: str, *, closed_since: int) -> PositionListing:
        """Return what `wallet` holds now, dust and archived included, and what it gave up since (epoch seconds)."""
        found: dict[str, PositionRow] = {}
        unreadable = 0
        # A token that is given up or taken up again between two calls is in one of the three; by time, the oldest
        # first, a row that moves while pages are read moves towards the pages to come.
        for status in ("CLOSED", "OPEN", "CLOSED"):
            query: list[tuple[str, str | int]] = [("user", wallet), ("status", status)]
            query += [("sort_by", "TIMESTAMP"), ("sort_direction", "ASC")]
            if status == "OPEN":
                query += [("filter_type", "TOKENS"), ("filter_amount", 0), ("include_archived", "true")]
            else:
                query.append(("start", max(1, closed_since)))
            wires, _ = await self._all_pages("/v2/positions", query, PAGE_SIZE)
            for wire in wires:
                row = self._read(decode_position, wire, "position")
                if row is None or row.wallet != wallet:
                    unreadable += 1
                elif row.asset_id not in found or row.last_event_at >= found[row.asset_id].last_event_at:
                    found[row.asset_id] = row
        return PositionListing(found, unreadable)

    def _read(self, decode: Callable[[object], T], wire: object, reason: str) -> T | None:
        try:
            return decode(wire)
        except ValueError as error:
            note_ignored(self._gateway.metrics, reason, error, wire)
            return None

    def _ignore(self, reason: str, error: ValueError, wire: object) -> None:
        note_ignored(self._gateway.metrics, reason, error, wire)

    def _fresh(self) -> tuple[str, str | int]:
        return ("_", self._nonce())

    async def _all_pages(
        self,
        path: str,
        query: Params,
        page_size: int,
        pages_max: int = PAGES_MAX,
        span: tuple[int, int] = (EPOCH_SECOND_MIN, EPOCH_SECOND_MAX),
    ) -> tuple[list[Any], int]:
        """Follow the cursors to the end: filters are sent again with each, as changing them would re-anchor it.

        `span` is the time asked for, first and last epoch second.
        """
        wires: list[Any] = []
        cursor: str | None = None
        seen: set[str] = set()
        read = PagesRead(page_size, *span)
        for number in range(1, pages_max + 1):
            asked = [*query, ("limit", page_size), *([("cursor", cursor)] if cursor else []), self._fresh()]
            page = await self._gateway.get(path, asked, decode_page)
            if trouble := read.trouble(page.rows, more=page.next_cursor is not None):
                reason, says = trouble
                self._refuse(reason, f"{path}: page {number} {says}", page.rows[0] if page.rows else query)
            wires.extend(page.rows)
            if page.next_cursor is None:
                return wires, number
            if page.next_cursor in seen:
                self._refuse("cursor_looped", f"{path}: page {number} points back to a page already read", query)
            seen.add(page.next_cursor)
            cursor = page.next_cursor
        raise ListingTooLongError(path, pages_max, _oldest(wires))

    def _refuse(self, reason: str, error: str, wire: Any) -> NoReturn:
        note_ignored(self._gateway.metrics, reason, error, wire)
        raise Unavailable(error)


def _oldest(wires: Sequence[Any]) -> int:
    """Return the earliest epoch second that rows bear, 0 where none bears one."""
    stamps = (wire.get("timestamp") for wire in wires if isinstance(wire, Mapping))
    return min((stamp for stamp in stamps if type(stamp) is int), default=0)
