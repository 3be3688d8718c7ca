"""Does what is recorded prove that no fill is missing? Counts by user and day, gaps in contact, and the verdict.

The Data API is what completes, so an event may be missing where a wallet's API contact has a gap that no later poll
looked back into. The chain shows fills only, sooner: its gaps cost promptness as long as the API covers them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from libs.common.domain.contact import Contact, Gap, GapStatus, LookBack, Span, length, union
from libs.common.domain.kinds import Source

API_SHOWS_AFTER: Final = timedelta(seconds=20)
"""A fill this old is shown by a poll; until one that began so late is complete, it awaits the API."""

ALIKE_SECONDS: Final = 60
"""Wallets lose contact one after the other, as their polls come due."""


@dataclass(frozen=True, slots=True)
class Lag:
    """Detection lag of one source, from the block's time to our first sight, in milliseconds; 0 if negative."""

    median_ms: int
    p95_ms: int


@dataclass(frozen=True, slots=True)
class Fills:
    """Standing fills, of the follow or later, of one user on one day, by who showed them.

    `fills` = both + only_chain + awaiting_api + only_api. `missed_by_chain` are those of only_api that happened while
    the chain was looked at. `others` are rows that are no fills.
    """

    fills: int = 0
    both: int = 0
    only_chain: int = 0
    awaiting_api: int = 0
    only_api: int = 0
    missed_by_chain: int = 0
    mismatched: int = 0
    reversed: int = 0
    others: int = 0
    chain_lag: Lag | None = None
    api_lag: Lag | None = None


@dataclass(frozen=True, slots=True)
class Followed:
    """A wallet and what of the window it was followed for."""

    wallet: str
    user: str
    span: Span


@dataclass(frozen=True, slots=True)
class Looking:
    """What is recorded of looking at one source, of one wallet or of the chain as a whole."""

    contacts: tuple[Contact, ...] = ()
    looks: tuple[LookBack, ...] = ()
    failed: int = 0


@dataclass(frozen=True, slots=True)
class SourceGap:
    """A gap in contact with a source; the chain's concern everybody and name no wallet."""

    source: Source
    gap: Gap
    user: str | None = None
    wallet: str | None = None


@dataclass(frozen=True, slots=True)
class SourceState:
    """How contact with one source went. `last_contact_at` None: never. `failed_polls`: of contact in the window."""

    source: Source
    is_configured: bool
    in_contact: bool
    last_contact_at: datetime | None
    failed_polls: int


@dataclass(frozen=True, slots=True)
class Day:
    """One user's day. `blind`: neither source was in contact; `unhealed`: nobody has looked at it to this moment."""

    user: str
    day: date
    fills: Fills
    followed: timedelta
    chain_gap: timedelta
    api_gap: timedelta
    blind: timedelta
    unhealed: timedelta

    @property
    def is_complete(self) -> bool:
        """Tell whether nothing of it is open."""
        return not (self.fills.only_chain or self.fills.mismatched or self.unhealed)

    @property
    def answer(self) -> str:
        """Return the day in words: "no trade" is not "not looking"."""
        if self.unhealed and self.unhealed >= self.followed:
            return "not looking"
        said = []
        if self.fills.mismatched:
            said.append(f"{self.fills.mismatched} mismatched")
        if self.fills.only_chain:
            said.append(f"{self.fills.only_chain} not shown by the API")
        if self.unhealed:
            said.append(f"not looked at for {spoken(self.unhealed)}")
        if not said:
            said.append("complete" if self.fills.fills else "no trade")
        return ", ".join(said)


@dataclass(frozen=True, slots=True)
class Suspect:
    """A fill to look at: MISMATCHED between sources, or shown by the chain alone although the API was asked."""

    event_id: str
    user: str
    tx_hash: str
    event_time: datetime
    problem: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """The whole report on [since, until]; `watching` is false when the stack is down, and `until` the last contact."""

    since: datetime
    until: datetime
    watching: bool
    users: int
    wallets: int
    sources: tuple[SourceState, ...]
    days: tuple[Day, ...]
    gaps: tuple[SourceGap, ...]
    suspects: tuple[Suspect, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Tell whether it proves that nothing is missing."""
        return all(day.is_complete for day in self.days) and not self.unhealed

    @property
    def verdict(self) -> str:
        """Return the report in one sentence."""
        if not self.wallets:
            return "nothing to prove: nobody was followed in this time"
        if self.is_complete:
            return f"complete: {self._fills_said()}; {self._gaps_said()}"
        problems = [
            f"{count} {words}"
            for count, words in (
                (self.total("mismatched"), "mismatched between the sources"),
                (self.total("only_chain"), "shown by the chain alone although the API was polled since"),
            )
            if count
        ]
        if self.unhealed:
            missing = length(union(span for each in self.unhealed for span in each.gap.unhealed))
            users = {each.user for each in self.unhealed if each.user}
            going_on = ", still going on" if any(each.gap.open for each in self.unhealed) else ""
            problems.append(f"{spoken(missing)} nobody has looked at ({len(users)} of {self.users} users{going_on})")
        return f"NOT complete: {'; '.join(problems)}; {self._fills_said()}"

    def _fills_said(self) -> str:
        parts = [
            f"{count:,} {words}"
            for count, words in (
                (self.total("both"), "seen by both sources"),
                (self.total("only_api"), "by the API alone"),
                (self.total("awaiting_api"), "awaiting the API"),
                (self.total("reversed"), "more reversed by the chain"),
            )
            if count
        ]
        fills = self.total("fills")
        said = f"{fills:,} fill{'' if fills == 1 else 's'}" if fills else "no trade"
        return ", ".join([said, *parts])

    def _gaps_said(self) -> str:
        if not self.gaps:
            return "no gap in contact"
        groups = len(alike(self.gaps))
        return f"{groups} gap{'' if groups == 1 else 's'} in contact, none unhealed"

    @property
    def unhealed(self) -> tuple[SourceGap, ...]:
        """Return the gaps that nobody looked back into."""
        return tuple(each for each in self.gaps if each.gap.status is GapStatus.UNHEALED)

    def total(self, count: str) -> int:
        """Return the sum of one count of Fills over all days."""
        return sum(getattr(day.fills, count) for day in self.days)


def alike(gaps: Sequence[SourceGap]) -> list[list[SourceGap]]:
    """Return gaps in groups that one outage made, newest first: same source, end and reason within a turn or so."""
    groups: dict[tuple[object, ...], list[SourceGap]] = {}
    for each in sorted(gaps, key=lambda one: one.gap.span, reverse=True):
        gap = each.gap
        minute = int(gap.span.start.timestamp()) // ALIKE_SECONDS
        kind = (each.source, each.wallet is None or minute, gap.open, gap.status, gap.healed_by, gap.ended_by)
        own = (gap.span,) if each.wallet is None else ()
        groups.setdefault((*kind, *own), []).append(each)
    return list(groups.values())


def spoken(duration: timedelta) -> str:
    """Return a duration in words of at most two units."""
    seconds = round(duration.total_seconds())
    if seconds < 1:
        return "less than 1 s"
    for size, unit, smaller, name in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            rest = seconds % size // smaller
            return f"{seconds // size} {unit} {rest} {name}" if rest else f"{seconds // size} {unit}"
    return f"{seconds} s"


def total_length(gaps: Iterable[SourceGap]) -> timedelta:
    """Return how long gaps last, those at the same time counted once."""
    return length(union(each.gap.span for each in gaps))
