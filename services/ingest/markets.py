"""Learn what a token is an outcome of when it is first seen, and keep markets that matter fresh."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from libs.common.domain.errors import Rejected, Unavailable
from libs.common.domain.market import OUTCOMES_MIN, MarketFacts
from services.ingest.catalogue import Catalogue, ask_about
from services.ingest.turn import Turns

GATHER_SECONDS: Final = 0.02
"""First sights of one moment share a call."""
FIRST_SIGHTS: Final = "markets"
TURN_SECONDS: Final = 1.0
"""So long other replicas wait for what one is asking about, most likely the same; then they ask themselves."""
TAKEN_SECONDS: Final = 0.1
"""When to look again whether another replica still asks."""
LOOKUPS_MAX: Final = 100
REFRESHED_MAX: Final = 200
WANTED_MAX: Final = 10_000
REMEMBERED_MAX: Final = 50_000
RETRY_SECONDS_FIRST: Final = 1.0
RETRY_SECONDS_MAX: Final = 60.0
RETRY_SECONDS_AWAY: Final = 4.0
"""While Gamma does not answer it is asked again this soon; the gateway's breaker keeps that from being a burden."""
LOOK_SECONDS: Final = 5.0
NAMELESS_FIRST: Final = timedelta(days=7)
"""So far back the first look of a process goes for tokens that stayed unknown."""
RECENT: Final = timedelta(hours=24)
NAMELESS_OVERLAP: Final = timedelta(minutes=5)
"""After the first look only what was detected since the last one is looked through, with this much to spare."""
ASKED: Final = "markets:asked"
"""Checkpoint: {"at": iso}, when Gamma had last been asked, with an answer, for every market that is still unknown."""
LEARNED: Final = "markets:learned"
"""Checkpoint: {"at": iso}, when a token's market was last learned: pricing before that was without it."""

_log = structlog.get_logger()


class Shelf(Protocol):
    """The part of the store that keeps markets."""

    async def save(self, markets: Sequence[MarketFacts], now: datetime) -> None:
        """Store markets."""

    async def conditions_of(self, asset_ids: Iterable[str]) -> dict[str, str]:
        """Return the condition of known assets."""

    async def known_conditions(self, condition_ids: Iterable[str]) -> set[str]:
        """Return which conditions are known."""

    async def nameless(
        self, since: datetime, limit: int, besides: tuple[Iterable[str], Iterable[str]]
    ) -> tuple[list[str], list[str]]:
        """Return assets and conditions of recent events whose market is unknown, besides those given."""

    async def stale(self, before: datetime, recent: datetime, limit: int) -> list[str]:
        """Return conditions to look up again."""

    async def note(self, what: str, at: datetime) -> None:
        """Remember when something of this name was last so."""


@dataclass(slots=True)
class _Wish:
    """A token or condition nobody has explained yet."""

    due: float
    tries: int = 0
    answered_at: datetime | None = None


class Markets:
    """Looks up markets at first sight and refreshes them."""

    def __init__(
        self,
        shelf: Shelf,
        gamma: Catalogue,
        turns: Turns,
        *,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        refresh_seconds: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._shelf = shelf
        self._gamma = gamma
        self._turns = turns
        self._now = now
        self._clock = clock
        self._refresh = timedelta(seconds=refresh_seconds)
        self._sleep = sleep
        self._condition_of: OrderedDict[str, str] = OrderedDict()
        self._conditions: OrderedDict[str, None] = OrderedDict()
        self._tokens_wanted: dict[str, _Wish] = {}
        self._conditions_wanted: dict[str, _Wish] = {}
        self._wanted = asyncio.Event()
        self._looked_at: datetime | None = None
        self._hints: OrderedDict[str, str] = OrderedDict()

    def condition_of(self, asset_id: str) -> str | None:
        """Return the condition a token belongs to, if that is known already."""
        return self._condition_of.get(asset_id)

    def want(self, assets: Iterable[str] = (), conditions: Iterable[str] = ()) -> None:
        """Make sure the markets of these tokens and conditions become known."""
        for names, known, wanted in (
            (assets, self._condition_of, self._tokens_wanted),
            (conditions, self._conditions, self._conditions_wanted),
        ):
            for name in names:
                if name and name not in known and name not in wanted and len(wanted) < WANTED_MAX:
                    wanted[name] = _Wish(self._clock())
                    self._wanted.set()

    def hint(self, conditions: Iterable[tuple[str, str]]) -> None:
        """Take note of the condition that a row names for a token; asked for where the token itself leads nowhere."""
        for asset_id, condition_id in conditions:
            if asset_id and condition_id and asset_id not in self._condition_of:
                self._hints[asset_id] = condition_id
        while len(self._hints) > WANTED_MAX:
            self._hints.popitem(last=False)

    def ask_again(self) -> None:
        """Ask now for everything that is still unknown."""
        for wish in (*self._tokens_wanted.values(), *self._conditions_wanted.values()):
            wish.due = self._clock()
        self._wanted.set()

    async def run(self) -> None:
        """Look up what is wanted as soon as it is wanted, for ever."""
        while True:
            due = min(
                (wish.due for wanted in (self._tokens_wanted, self._conditions_wanted) for wish in wanted.values()),
                default=None,
            )
            wait = None if due is None else due - self._clock()
            if wait is None or wait > 0:
                self._wanted.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._wanted.wait()
                continue
            await self._sleep(GATHER_SECONDS)
            await self.look_up()

    async def look_up(self) -> None:
        """Ask once for all that is due; what stays unknown is asked again later, less and less often.

        Nothing is asked, and all stays due, while another replica asks: it may learn the same.
        """
        try:
            if await self._turns.take_turn(FIRST_SIGHTS, TURN_SECONDS) is None:
                await self._sleep(TAKEN_SECONDS)
                return
            # What cannot be read of the ones keeps none of the others unknown.
            await self._look_for(self._tokens_wanted, self._condition_of, self._learn_tokens)
            await self._look_for(self._conditions_wanted, self._conditions, self._learn_conditions)
            await self._turns.end_turn(FIRST_SIGHTS)
        except Unavailable as error:
            _log.warning("markets_wait", error=str(error)[:200])
            await self._sleep(RETRY_SECONDS_FIRST)

    async def _look_for(
        self, wanted: dict[str, _Wish], known: Container[str], learn: Callable[[Sequence[str]], Awaitable[None]]
    ) -> None:
        names, answered = self._due(wanted), False
        try:
            if names:
                await learn(names)
            answered = True
        except (Unavailable, Rejected) as error:
            _log.warning("markets_not_read", names=len(names), error=str(error)[:300])
        self._postpone(wanted, names, known, answered=answered)

    async def _learn_tokens(self, tokens: Sequence[str]) -> None:
        self._learn(await self._shelf.conditions_of(tokens))
        unknown = [token for token in tokens if token not in self._condition_of]
        failure = await ask_about(self._gamma.markets_by_token, unknown, self._keep)
        hinted = {self._hints.get(each, "") for each in unknown if each not in self._condition_of} - {""}
        if failure := await ask_about(self._gamma.markets_by_condition, sorted(hinted), self._keep) or failure:
            raise failure

    async def _learn_conditions(self, conditions: Sequence[str]) -> None:
        for known in await self._shelf.known_conditions(conditions):
            self._remember_condition(known)
        unknown = set(conditions) - self._conditions.keys()
        if failure := await ask_about(self._gamma.markets_by_condition, sorted(unknown), self._keep):
            raise failure

    async def refresh(self) -> int:
        """Look up again what is held or was traded lately, and what was missed before; return how many."""
        now = self._now()
        since = now - NAMELESS_FIRST if self._looked_at is None else self._looked_at - NAMELESS_OVERLAP
        wanted = (self._tokens_wanted, self._conditions_wanted)
        nameless, unknown = await self._shelf.nameless(since, LOOKUPS_MAX, wanted)
        self.want(nameless, unknown)
        if max(len(nameless), len(unknown)) < LOOKUPS_MAX:  # else there is more where these came from
            self._looked_at = now
        stale = await self._shelf.stale(now - self._refresh, now - RECENT, REFRESHED_MAX)
        failure = await ask_about(self._gamma.markets_by_condition, stale, self._keep)
        wishes = [*self._tokens_wanted.values(), *self._conditions_wanted.values()]
        answered = [wish.answered_at for wish in wishes if wish.answered_at]
        if self._looked_at == now and len(answered) == len(wishes):
            await self._shelf.note(ASKED, min([now, *answered]))
        if failure:
            raise failure
        return len(stale)

    async def run_refresh(self, progress: Callable[[], None]) -> None:
        """Refresh what is due, for ever."""
        while True:
            try:
                await self.refresh()
                progress()
            except (Unavailable, Rejected) as error:
                _log.warning("markets_not_refreshed", error=str(error)[:300])
            await self._sleep(LOOK_SECONDS)

    async def _keep(self, markets: Sequence[MarketFacts]) -> None:
        now = self._now()
        try:
            await self._shelf.save(markets, now)
            kept = list(markets)
        except SQLAlchemyError:
            kept = await self._keep_one_by_one(markets, now)
        if any(outcome.asset_id not in self._condition_of for market in kept for outcome in market.outcomes):
            await self._shelf.note(LEARNED, now)
        for market in kept:
            if len(market.outcomes) >= OUTCOMES_MIN:
                self._remember_condition(market.condition_id)
            self._learn({outcome.asset_id: market.condition_id for outcome in market.outcomes})
            _log.debug("market_read", condition_id=market.condition_id, slug=market.slug)

    async def _keep_one_by_one(self, markets: Sequence[MarketFacts], now: datetime) -> list[MarketFacts]:
        kept = []  # one market that cannot be stored must not keep the others out
        for market in markets:
            try:
                await self._shelf.save([market], now)
                kept.append(market)
            except SQLAlchemyError as error:
                _log.error("market_refused", condition_id=market.condition_id, error=str(error)[:300])
        return kept

    def _due(self, wanted: dict[str, _Wish]) -> list[str]:
        due = (name for name, wish in wanted.items() if wish.due <= self._clock())
        return sorted(due, key=lambda name: wanted[name].tries)[:LOOKUPS_MAX]

    def _postpone(
        self, wanted: dict[str, _Wish], asked: Iterable[str], known: Container[str], *, answered: bool
    ) -> None:
        most = RETRY_SECONDS_MAX if answered else RETRY_SECONDS_AWAY
        for name in asked:
            if name in known:
                wanted.pop(name, None)
            elif wish := wanted.get(name):
                wish.tries = wish.tries + 1 if answered == bool(wish.answered_at) else 1
                wish.answered_at = self._now() if answered else wish.answered_at
                wish.due = self._clock() + min(most, RETRY_SECONDS_FIRST * 2 ** min(wish.tries - 1, 10))

    def _learn(self, conditions: dict[str, str]) -> None:
        self._condition_of.update(conditions)
        while len(self._condition_of) > REMEMBERED_MAX:
            self._condition_of.popitem(last=False)

    def _remember_condition(self, condition_id: str) -> None:
        self._conditions[condition_id] = None
        while len(self._conditions) > REMEMBERED_MAX:
            self._conditions.popitem(last=False)
