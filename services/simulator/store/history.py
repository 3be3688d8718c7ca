"""What was recorded, read once through in order: portfolios at a start, decisions, marks, settlements, flows.

All in one repeatable-read transaction, a page at a time, so that memory does not grow with the range.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import orjson

from libs.common.domain.book import Book
from libs.common.domain.kinds import Decision, Scope, Side
from services.simulator.core.facts import Group
from services.simulator.core.portfolio import Trade
from services.simulator.core.rerun import Ran, Recorded
from services.simulator.core.rules import Rules
from services.simulator.records import clock_from, market_from, view_from
from services.simulator.store import history_statements as sql
from services.simulator.store.driver import Connection, Record
from services.simulator.store.groups import shadow_held
from services.simulator.store.rows import book_of, group_of, trade_of
from services.simulator.store.statements import CONFIG_VALUES

PAGE: Final = 250
"""Decisions read at a time."""
SLICE_MIN: Final = timedelta(minutes=2)
SLICE_MAX: Final = timedelta(hours=12)
MARKS_WANTED: Final = 5_000
"""Marks are read for stretches of time that hold about so many."""


@dataclass(frozen=True, slots=True)
class Owned:
    """A portfolio that is tested; `label` is None for EXEC_GLOBAL."""

    id: UUID
    scope: Scope
    user_id: UUID | None
    label: str | None


@dataclass(frozen=True, slots=True)
class Event:
    """Something between decisions. `portfolio` None: concerns all. Amount: a payout or mark per share, or a flow."""

    at: datetime
    kind: str
    portfolio: UUID | None
    asset: str | None
    amount: int


Mark = tuple[datetime, str, int]
"""When an asset got which mark."""
BookSideKey = tuple[str, str, str | None]
"""Asset, hash, and the side of ours that takes from the book."""
MARK, SETTLE, FLOW = "mark", "settle", "flow"


@dataclass(frozen=True, slots=True)
class Range:
    """What is read: decisions of some portfolios in [since, until)."""

    portfolios: Sequence[UUID]
    since: datetime
    until: datetime

    @property
    def parameters(self) -> dict[str, Any]:
        """Return it as parameters of a statement."""
        return {"portfolios": list(self.portfolios), "since": self.since, "until": self.until}


class History:
    """Reads one range; `connection` is a driver's, in a repeatable-read transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def portfolios(self, users: Iterable[UUID] | None) -> tuple[list[Owned], list[UUID], dict[UUID, str]]:
        """Return executables of `users` (None: all) and the global one, who was followed in order, and all labels."""
        wanted = None if users is None else sorted(users)
        rows = await sql.PORTFOLIOS.rows(self._connection, users=wanted)
        people = await sql.PEOPLE.rows(self._connection)
        owned = [Owned(row["id"], Scope(row["scope"]), row["user_id"], row["label"]) for row in rows]
        return owned, [row["id"] for row in people], {row["id"]: row["label"] for row in people}

    async def size(self, range_: Range) -> tuple[int, int]:
        """Return how many attempts and groups there are."""
        (row,) = await sql.SIZE.rows(self._connection, **range_.parameters)
        return row["attempts"], row["groups"]

    async def assets(self, range_: Range) -> list[str]:
        """Return every token that a decision in the range could hold, or that was held at its start."""
        return [row["asset_id"] for row in await sql.ASSETS.rows(self._connection, **range_.parameters)]

    async def start(self, range_: Range) -> tuple[dict[UUID, int], list[Record], list[tuple[UUID, Trade]]]:
        """Return cash, entries of open positions in order, and fills in flight, as they were at the start."""
        cash = await sql.START_CASH.rows(self._connection, **range_.parameters)
        entries = await sql.START_ENTRIES.rows(self._connection, **range_.parameters)
        in_flight = await sql.START_IN_FLIGHT.rows(self._connection, **range_.parameters)
        return (
            {row["portfolio_id"]: int(row["cash_micros"]) for row in cash},
            entries,
            [(row["portfolio_id"], trade_of(row)) for row in in_flight],
        )

    async def marks_at(self, assets: Sequence[str], at: datetime) -> dict[str, int]:
        """Return the marks in force at a time; a condition known to be resolved then marks at its payout."""
        rows = await sql.MARKS_AT.rows(self._connection, assets=list(assets), at=at)
        return {row["asset_id"]: row["price_micros"] for row in rows}

    async def marks(self, assets: Sequence[str], after: datetime, upto: datetime) -> list[Mark]:
        """Return marks in (after, upto], in order."""
        rows = await sql.MARKS.rows(self._connection, assets=list(assets), after=after, upto=upto)
        return [(at, assets[place - 1], price) for place, at, price in rows]

    async def events(self, range_: Range, assets: Sequence[str]) -> list[Event]:
        """Return flows in the range, and resolutions and settlements since its start, in order.

        A portfolio settles when it really did; what it did not hold then, when anybody's was settled, or else when the
        resolution was seen.
        """
        found = [
            Event(row["created_at"], FLOW, row["portfolio_id"], None, row["cash_delta_micros"])
            for row in await sql.FLOWS.rows(self._connection, **range_.parameters)
        ]
        for row in await sql.SETTLEMENTS.rows(self._connection, assets=list(assets), **range_.parameters):
            payout = row["payout_micros"]
            if row["is_first"] and row["observed_at"] >= range_.since:
                found.append(Event(row["observed_at"], MARK, None, row["asset_id"], payout))
            found.append(Event(row["settled_at"], SETTLE, row["portfolio_id"], row["asset_id"], payout))
        return sorted(found, key=lambda event: event.at)

    async def attempts(self, range_: Range, scope: Scope) -> AsyncIterator[list[Record]]:
        """Yield a scope's attempts in order of decision, in pages."""
        statement = sql.ATTEMPTS
        values = {**range_.parameters, "scope": scope.value}
        cursor = await self._connection.cursor(statement.text, *(values[name] for name in statement.names))
        while page := await cursor.fetch(PAGE):
            yield page

    async def books(self, keys: Iterable[BookSideKey]) -> dict[BookSideKey, Book]:
        """Return those book versions that are kept; of the side that is not taken from only the best level."""
        wanted = sorted(keys, key=lambda key: key[:2])
        if not wanted:
            return {}
        versions = sorted({key[:2] for key in wanted})
        assets, hashes = [key[0] for key in versions], [key[1] for key in versions]
        rows = {
            (row["asset_id"], row["hash"]): row
            for row in await sql.BOOKS.rows(self._connection, assets=assets, hashes=hashes)
        }
        return {key: _book(rows[key[:2]], key[2]) for key in wanted if key[:2] in rows}

    async def config_values(self, versions: Iterable[int]) -> list[tuple[int, Any]]:
        """Return the values of configuration versions."""
        rows = await CONFIG_VALUES.rows(self._connection, versions=sorted(versions))
        return [(row["version"], row["values"]) for row in rows]

    async def shadow_held(self, groups: Sequence[Group]) -> dict[UUID, int]:
        """Return what followed users held of a group's token before it."""
        return await shadow_held(self._connection, groups)


def _book(row: Record, side: str | None) -> Book:
    bids, asks = orjson.loads(row["bids"]), orjson.loads(row["asks"])
    if side == Side.BUY:
        bids = bids[:1]
    else:
        asks = asks[:1]
    return book_of({"asset_id": row["asset_id"], "hash": row["hash"], "timestamp_ms": 0, "bids": bids, "asks": asks})


def recorded_of(row: Record, inputs: dict[str, Any], rules: Rules, book: Book | None) -> Recorded:
    """Return the recorded attempt of a row of ATTEMPTS."""
    return Recorded(
        attempt_id=row["attempt_id"],
        portfolio_id=row["portfolio_id"],
        group=group_of(row),
        view=view_from(inputs["portfolio"]),
        market=market_from(inputs["market"]),
        clock=clock_from(inputs["clock"], Scope(row["scope"])),
        book_hash=row["book_hash"],
        book=book,
        rules=rules,
        ran=Ran(
            Decision(row["decision"]),
            tuple(row["reason_codes"]),
            row["filled_share_micros"],
            row["filled_notional_micros"],
            row["fee_micros"],
            row["partial"],
            tuple((price, shares) for price, shares in row["fills"] or ()),
        ),
    )
