"""One test of a configuration: read what was recorded in order, decide it again under the draft, count.

Nothing here knows about rows of runs; `config_test` does.
"""

import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import orjson

from libs.common.domain.book import Book
from libs.common.domain.config import CopyConfig
from libs.common.domain.config_test import ConfigTestResult
from libs.common.domain.errors import Rejected
from libs.common.domain.kinds import GroupKind, Scope, Side
from libs.common.domain.statistics import start_of_day
from services.simulator.core.rerun import Course
from services.simulator.core.rules import Rules, compile_rules
from services.simulator.core.tally import Findings
from services.simulator.store.driver import Record
from services.simulator.store.history import (
    FLOW,
    MARK,
    MARKS_WANTED,
    PAGE,
    SETTLE,
    SLICE_MAX,
    SLICE_MIN,
    BookSideKey,
    Event,
    History,
    Mark,
    Range,
    recorded_of,
)
from services.simulator.store.rows import group_of

Progress = Callable[[int, int], Awaitable[None]]
"""Told how many of how many decisions are made; raises to stop."""
BOOKS_MAX: Final = 1_000
"""Books remembered beyond those of a page."""
_DAY: Final = timedelta(days=1)
_MONDAY: Final = 0


class Rerun:
    """Decides one range again. `draft` gives the rules for a user, or None where what ran stays in force."""

    def __init__(
        self,
        history: History,
        since: datetime,
        until: datetime,
        users: Sequence[UUID] | None,
        draft: Callable[[UUID], Rules | None],
        progress: Progress,
    ) -> None:
        self._history, self._draft, self._progress = history, draft, progress
        self._since, self._until, self._users = since, until, users
        self._marks: dict[str, int] = {}
        self._courses: dict[UUID, Course] = {}
        self._holders: dict[str, set[UUID]] = {}
        self._rules: dict[int, Rules] = {}
        self._books: dict[BookSideKey, Book] = {}
        self._done = self._total = 0

    async def run(self, now: datetime) -> ConfigTestResult:
        """Return what the draft would have done, marked `now`. Raises Rejected where books are no longer kept."""
        owned, people, labels = await self._history.portfolios(self._users)
        self._range = Range([each.id for each in owned], self._since, self._until)
        self._total, groups = await self._history.size(self._range)
        await self._progress(0, self._total)
        self._findings = Findings([(each.id, each.scope, each.label) for each in owned], labels)
        self._courses = {each.id: Course(each.id, each.scope, self._marks, people) for each in owned}
        self._assets = await self._history.assets(self._range)
        await self._load()
        self._events = [*await self._history.events(self._range, self._assets), *_midnights(self._since, self._until)]
        self._events.sort(key=lambda event: event.at)
        self._next_event, self._marked_until = 0, self._since
        self._slice, self._span = list[Mark](), SLICE_MIN
        self._next_mark = 0
        async for page in self._pages():
            await self._decide(page)
            await self._progress(self._done, self._total)
        await self._finish(now)
        return self._findings.result(self._courses, self._since, self._until, now, groups)

    async def _load(self) -> None:
        """Bring every portfolio to where it was at the start."""
        self._marks.update(await self._history.marks_at(self._assets, self._since))
        cash, entries, in_flight = await self._history.start(self._range)
        for portfolio, amount in cash.items():
            for state in self._courses[portfolio].both():
                state.cash_micros = amount
        for row in entries:
            portfolio, source = row["portfolio_id"], row["source_user_id"]
            for state in self._courses[portfolio].both():
                state.move(
                    row["asset_id"],
                    row["condition_id"],
                    row["share_delta_micros"],
                    row["cost_micros"],
                    source or portfolio,
                )
        for portfolio, trade in in_flight:
            for state in self._courses[portfolio].both():
                state.apply(trade)
        for course in self._courses.values():
            course.begin()
            self._note_holdings(course, course.held_assets())

    def _note_holdings(self, course: Course, assets: set[str]) -> None:
        for asset in assets:
            self._holders.setdefault(asset, set()).add(course.id)

    async def _pages(self) -> AsyncIterator[list[Record]]:
        """Yield attempts of both scopes in order of decision, some hundred at a time."""
        found: list[Record] = []
        async for row in _merged([self._history.attempts(self._range, scope) for scope in _SCOPES]):
            found.append(row)
            if len(found) >= PAGE:
                yield found
                found = []
        if found:
            yield found

    async def _decide(self, page: Sequence[Record]) -> None:
        await self._learn({row["config_version"] for row in page} - self._rules.keys())
        books = await self._read_books(page)
        inputs = {row["attempt_id"]: orjson.loads(row["inputs"]) for row in page}
        shadow_held = await self._shadow_held(page, inputs)
        for row in page:
            await self._advance(row["decided_at"])
            book = books.get(_book_key(row))
            recorded = recorded_of(row, inputs[row["attempt_id"]], self._rules[row["config_version"]], book)
            rules = self._rules_for(row)
            course = self._courses[recorded.portfolio_id]
            outcome = course.decide(recorded, rules, shadow_held.get(recorded.group.id))
            self._findings.count(recorded, outcome)
            if outcome.filled_share_micros or recorded.ran.executed:
                legs = recorded.market.asset_ids if recorded.market else ()
                self._note_holdings(course, {recorded.group.asset_id} if recorded.group.asset_id else set(legs))
        self._done += len(page)

    async def _read_books(self, page: Sequence[Record]) -> dict[BookSideKey, Book]:
        """Return the books of a page; those of the last one are remembered, because both scopes decide on a book."""
        keys = {_book_key(row) for row in page if row["book_hash"] is not None}
        known = {key: self._books[key] for key in keys & self._books.keys()}
        known |= await self._history.books(keys - known.keys())
        if gone := [row for row in page if row["book_hash"] is not None and _book_key(row) not in known]:
            at = gone[-1]["decided_at"]
            raise Rejected(f"expected a range whose books are kept, got one that reaches to before {at}: begin later")
        if len(self._books) > BOOKS_MAX:
            self._books.clear()
        self._books |= known
        return known

    def _rules_for(self, row: Record) -> Rules:
        """Return the rules of an attempt under the draft, and note what of them cannot be tested."""
        then = self._rules[row["config_version"]]
        rules = self._draft(row["user_id"])
        if rules is None:
            return then
        if rules.decision_latency != then.decision_latency:
            self._findings.not_tested.add("decision_latency_ms")
        if rules.jitter_ms != then.jitter_ms:
            self._findings.not_tested.add("jitter_ms")
        return rules

    async def _learn(self, versions: set[int]) -> None:
        if versions:
            for version, values in await self._history.config_values(versions):
                self._rules[version] = compile_rules(CopyConfig.model_validate(values), version)

    async def _shadow_held(self, page: Sequence[Record], inputs: Mapping[UUID, Any]) -> dict[UUID, int]:
        """Return what they held, for sells that the draft sizes by it and what ran did not."""
        wanted = {
            row["id"]: group_of(row)
            for row in page
            if row["side"] == Side.SELL
            and row["kind"] == GroupKind.TRADE
            and inputs[row["attempt_id"]]["portfolio"]["shadow_held_micros"] is None
            and self._rules_for(row).sells_proportionally
        }
        return await self._history.shadow_held(list(wanted.values()))

    async def _advance(self, at: datetime) -> None:
        """Apply whatever happened up to a time."""
        while self._marked_until < at:
            self._apply_until(self._marked_until)
            upto = self._marked_until + self._span
            self._slice, self._next_mark = await self._history.marks(self._assets, self._marked_until, upto), 0
            self._marked_until = upto
            if len(self._slice) < MARKS_WANTED // 2:
                self._span = min(SLICE_MAX, self._span * 2)
            elif len(self._slice) > MARKS_WANTED * 2:
                self._span = max(SLICE_MIN, self._span / 2)
            await self._progress(self._done, self._total)
        self._apply_until(at)

    def _apply_until(self, at: datetime) -> None:
        events, marks, held = self._events, self._slice, self._marks
        place, last = self._next_mark, len(self._slice)
        while True:
            event = events[self._next_event] if self._next_event < len(events) else None
            bound = at if event is None else min(at, event.at)
            while place < last and marks[place][0] <= bound:
                _, asset, price = marks[place]
                place += 1
                if held.get(asset) != price:
                    self._mark(asset, price)
            if event is None or event.at > at:
                break
            self._next_event += 1
            self._apply(event)
        self._next_mark = place

    def _apply(self, event: Event) -> None:
        asset = event.asset or ""
        if event.kind == MARK:
            self._mark(asset, event.amount)
        elif event.kind == SETTLE and event.portfolio:
            self._courses[event.portfolio].settle(asset, event.amount)
        elif event.kind == FLOW and event.portfolio:
            self._courses[event.portfolio].flow(event.amount)
        else:
            for course in self._courses.values():
                course.new_day(is_monday=event.at.weekday() == _MONDAY)

    def _mark(self, asset: str, price: int) -> None:
        self._marks[asset] = price
        for portfolio in self._holders.get(asset, ()):
            self._courses[portfolio].marked(asset)

    async def _finish(self, now: datetime) -> None:
        """Bring every course from the last decision to now: settlements, then today's marks."""
        self._slice = []
        self._apply_until(max(now, self._until))
        for asset, price in (await self._history.marks_at(self._assets, now)).items():
            self._mark(asset, price)
        for course in self._courses.values():
            course.finish()


_SCOPES: Final = (Scope.EXEC_USER, Scope.EXEC_GLOBAL)


def _book_key(row: Record) -> BookSideKey:
    return row["asset_id"], row["book_hash"], row["side"]


def _midnights(since: datetime, until: datetime) -> list[Event]:
    """Return every 00:00 UTC in [since, until)."""
    day = start_of_day(since)
    found = []
    while day < until:
        if day >= since:
            found.append(Event(day, "day", None, None, 0))
        day += _DAY
    return found


async def _merged(sources: Sequence[AsyncIterator[list[Record]]]) -> AsyncIterator[Record]:
    """Merge pages of rows, each source in order of decision, into one order of decision."""
    heads: list[tuple[datetime, int]] = []
    pages: list[list[Record]] = [[] for _ in sources]
    places = [0] * len(sources)

    async def refill(number: int) -> None:
        places[number] += 1
        if places[number] >= len(pages[number]):
            pages[number], places[number] = await anext(sources[number], []), 0
        if pages[number]:
            heapq.heappush(heads, (pages[number][places[number]]["decided_at"], number))

    for number in range(len(sources)):
        await refill(number)
    while heads:
        _, number = heapq.heappop(heads)
        yield pages[number][places[number]]
        await refill(number)
