"""The pricer's rounds: mark what is held, ask how held markets ended, and notice what cannot wait."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol, TypeVar

import structlog

from libs.common.domain.errors import PartlyAnswered, Rejected, Unavailable
from libs.common.domain.market import Resolution
from libs.common.messages import MarketResolved, MarkUpdated
from services.pricer.core import (
    Freshness,
    Held,
    Mark,
    choose_marks,
    conditions_to_ask,
    due_at_once,
    freshness,
    worth_writing,
)
from services.pricer.settings import Settings
from services.pricer.store import PriceStore, contradictions

OVERDUE_SECONDS: Final = 10
"""A market that has a reason to be over is asked about this often."""
REDEEM_REACH: Final = timedelta(minutes=5)
URGENT: Final = timedelta(minutes=10)
"""After this long with a reason to be over, a market is asked about like every other."""
RECHECK_SECONDS: Final = 600
RECHECK_REACH: Final = timedelta(days=2)
"""Payouts that became final within this are asked for again: nothing is settled twice, but somebody should know."""
UNMARKED_MAX: Final = 500

T = TypeVar("T")
_log = structlog.get_logger()


class Prices(Protocol):
    """What the pricer reads from the order book's side; prices in micros by asset."""

    async def midpoints(self, asset_ids: Sequence[str]) -> dict[str, int]:
        """Return the midpoints of those that have one; raises Unavailable, PartlyAnswered too."""

    async def last_trades(self, asset_ids: Sequence[str]) -> dict[str, int]:
        """Return the last trade prices of those that have one; raises as `midpoints`."""


class Resolutions(Protocol):
    """What the pricer reads of markets that ended."""

    async def resolutions(self, condition_ids: Sequence[str]) -> dict[str, Resolution]:
        """Return the final resolutions among these conditions; raises Unavailable, PartlyAnswered too."""


class Rounds:
    """All rounds of one pricer; every round can be repeated without harm."""

    def __init__(
        self,
        store: PriceStore,
        prices: Prices,
        outcomes: Resolutions,
        publish_marks: Callable[[Sequence[MarkUpdated]], Awaitable[None]],
        publish_resolved: Callable[[Sequence[MarketResolved]], Awaitable[None]],
        settings: Settings,
        now: Callable[[], datetime],
        report: Callable[[Freshness, Mapping[str, str]], None] = lambda _freshness, _refused: None,
    ) -> None:
        """Tell `report` after each look how old marks are, and why payouts that were told are refused, by condition."""
        self._store = store
        self._prices = prices
        self._outcomes = outcomes
        self._publish_marks = publish_marks
        self._publish_resolved = publish_resolved
        self._settings = settings
        self._now = now
        self._marked: set[str] = set()
        self._asked: dict[str, datetime] = {}
        self._marked_at: datetime | None = None
        self._all_marked_at: datetime | None = None
        self._resolved_at: datetime | None = None
        self._report = report
        self._taken: dict[str, datetime] = {}
        self._overdue_since: dict[str, datetime] = {}
        self._refused: dict[str, str] = {}
        self._rechecked_at: datetime | None = None
        self._untold: dict[str, Mark] = {}

    async def run(self, stop: asyncio.Event, progress: Callable[[], None]) -> None:
        """Look every `look_seconds` until `stop`; an outage only delays."""
        while not stop.is_set():
            try:
                await self.look()
                progress()
            except Unavailable as error:
                _log.warning("round_waits", error=str(error)[:200])
            except Rejected as error:
                _log.error("round_refused", error=str(error)[:500])
            try:
                async with asyncio.timeout(self._settings.look_seconds):
                    await stop.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Do what is due now. Marks and resolutions come from different hosts: one's outage never stops the other."""
        now = self._now()
        held = await self._store.held()
        overdue = due_at_once(held, (), now)
        self._overdue_since = {condition: self._overdue_since.get(condition, now) for condition in overdue}
        troubles: list[Unavailable | Rejected] = []
        for part in (self._marking, self._resolving, self._rechecking):
            try:
                await part(held, now)
            except (Unavailable, Rejected) as error:
                troubles.append(error)
        self._report(freshness(held, self._taken, overdue, self._now()), self._refused)
        if troubles:
            raise troubles[0]

    async def _marking(self, held: Sequence[Held], now: datetime) -> None:
        """Mark everything, what skips would hold too, when that is due; else only what is held for the first time.

        What the host stumbles over is asked for again with everything else; the round does not count as completed.
        """
        if _due(self._marked_at, now, self._settings.mark_seconds):
            without, stumbled = await self._mark([*held, *await self._imagined_beside(held)])
            self._all_marked_at = self._all_marked_at if stumbled else now
            unmarked = [asset.asset_id for asset in held if asset.asset_id in without][:UNMARKED_MAX]
            marking: dict[str, object] = {"assets": len(held), "unmarked": unmarked}
            if self._all_marked_at:
                marking["completed_at"] = self._all_marked_at.isoformat()
            await self._store.remember("marking", marking)
            self._taken = {asset.asset_id: at for asset in held if (at := self._taken.get(asset.asset_id))}
            self._marked_at = now
            self._marked = {asset.asset_id for asset in held}
        elif first_held := [asset for asset in held if asset.asset_id not in self._marked]:
            _, stumbled = await self._mark(first_held)
            self._marked |= {asset.asset_id for asset in first_held}
        else:
            return
        if stumbled:
            raise stumbled

    async def _resolving(self, held: Sequence[Held], now: datetime) -> None:
        """Ask about every unresolved condition when that is due, else only about those with a reason to be over."""
        if _due(self._resolved_at, now, self._settings.resolution_seconds):
            conditions = conditions_to_ask(held)
            imagined = due_at_once(await self._imagined_beside(held), (), now)
            stumbled = await self._resolve(conditions | imagined)
            if stumbled is None:
                asked = {"completed_at": now.isoformat(), "conditions": len(conditions)}
                await self._store.remember("resolutions", asked)
            self._resolved_at = now
        else:
            redeemed = await self._store.redeemed_since(now - REDEEM_REACH)
            urgent = {c for c in due_at_once(held, redeemed, now) if c in redeemed or self._is_urgent(c, now)}
            stumbled = await self._resolve({c for c in urgent if _due(self._asked.get(c), now, OVERDUE_SECONDS)})
        if stumbled:
            raise stumbled

    async def _imagined_beside(self, held: Sequence[Held]) -> list[Held]:
        """Return what nobody holds and a skip would have traded; its market is asked about once it may be over."""
        known = {asset.asset_id for asset in held}
        return [asset for asset in await self._store.imagined() if asset.asset_id not in known]

    def _is_urgent(self, condition: str, now: datetime) -> bool:
        return now - self._overdue_since.get(condition, now) < URGENT

    async def _rechecking(self, held: Sequence[Held], now: datetime) -> None:
        """Ask again for payouts that became final lately; what was settled stays, but a contradiction is told."""
        if not _due(self._rechecked_at, now, RECHECK_SECONDS):
            return
        just_now = now - timedelta(seconds=RECHECK_SECONDS)
        settled = await self._store.resolved_between(now - RECHECK_REACH, just_now)
        found, stumbled = await _told(self._outcomes.resolutions, sorted(settled))
        kept = {condition: (payouts, None) for condition, payouts in settled.items()}
        awaited = conditions_to_ask(held)
        self._refused = {c: reason for c, reason in self._refused.items() if c in awaited}
        self._refuse(contradictions(kept, found))
        self._rechecked_at = now
        if stumbled:
            raise stumbled

    def _refuse(self, refused: Mapping[str, str]) -> None:
        for reason in refused.values():
            _log.error("resolution_refused", reason=reason)
        self._refused |= refused

    async def _mark(self, held: Sequence[Held]) -> tuple[set[str], PartlyAnswered | None]:
        """Mark what has a price; returns what has none and keeps its last mark, and what the host stumbled over."""
        latest = await self._store.latest([asset.asset_id for asset in held])
        self._taken = {asset_id: mark.at for asset_id, mark in latest.items()} | self._taken
        wanted = [asset.asset_id for asset in held if asset.payout_micros is None]
        midpoints, stumbled = await _told(self._prices.midpoints, wanted)
        missed = stumbled.missed if stumbled else ()
        without = [asset_id for asset_id in wanted if asset_id not in midpoints and asset_id not in missed]
        last_trades = await self._last_trades(without)
        marks = choose_marks(held, midpoints, last_trades, self._now())
        changed = worth_writing(marks, latest, timedelta(seconds=self._settings.unchanged_seconds))
        await self._store.add_marks(changed)
        # What a former life wrote and did not announce is the same now: the first round announces all.
        await self._announce(changed if self._marked_at else marks)
        self._taken |= {mark.asset_id: mark.at for mark in marks}
        unmarked = {asset.asset_id for asset in held} - {mark.asset_id for mark in marks}
        if unmarked:
            _log.warning("assets_unmarkable", assets=len(unmarked))
        return unmarked, stumbled

    async def _last_trades(self, asset_ids: Sequence[str]) -> Mapping[str, int]:
        """Return last trades; without an answer the midpoints of all others still count, and these age visibly."""
        try:
            return (await _told(self._prices.last_trades, asset_ids))[0]
        except (Unavailable, Rejected) as error:
            _log.warning("last_trades_failed", assets=len(asset_ids), error=str(error)[:200])
            return {}

    async def _resolve(self, conditions: set[str]) -> PartlyAnswered | None:
        """Take over what is final; returns what the host stumbled over."""
        if not conditions:
            return None
        now = self._now()
        found, stumbled = await _told(self._outcomes.resolutions, sorted(conditions))
        self._asked = {c: at for c, at in self._asked.items() if not _due(at, now, OVERDUE_SECONDS)}
        self._asked |= dict.fromkeys(conditions, now)
        kept = await self._store.add_resolutions(found.values(), self._now())
        self._refused = {c: reason for c, reason in self._refused.items() if c not in kept.payouts}
        self._refuse(kept.refused)
        if kept.payouts:
            await self._publish_resolved(
                [
                    MarketResolved(
                        condition_id=condition,
                        payouts_micros=payouts,
                        occurred_at=resolved_at or now,
                        observed_at=now,
                    )
                    for condition, (payouts, resolved_at) in kept.payouts.items()
                ]
            )
            await self._announce(kept.marks)
            _log.info("markets_resolved", conditions=sorted(kept.payouts))
        return stumbled

    async def _announce(self, marks: Sequence[Mark]) -> None:
        """Announce marks, and those that could not be announced before."""
        self._untold |= {mark.asset_id: mark for mark in marks}
        if self._untold:
            await self._publish_marks(
                [
                    MarkUpdated(
                        asset_id=mark.asset_id,
                        price_micros=mark.price_micros,
                        source=mark.source,
                        occurred_at=mark.at,
                        observed_at=mark.at,
                    )
                    for mark in self._untold.values()
                ]
            )
            self._untold.clear()


async def _told(
    ask: Callable[[Sequence[str]], Awaitable[Mapping[str, T]]], ids: Sequence[str]
) -> tuple[Mapping[str, T], PartlyAnswered | None]:
    """Return what is told of `ids`, and the failure for those the host stumbles over."""
    try:
        return (await ask(ids) if ids else {}), None
    except PartlyAnswered as error:
        return error.found, error


def _due(last: datetime | None, now: datetime, seconds: float) -> bool:
    return last is None or now - last >= timedelta(seconds=seconds)
