"""When were we looking: spans of contact with a source, the gaps between them, and what looked back into a gap.

Spans are half-open, [start, end). A look back covers event times that nobody watched live: a heal by `eth_getLogs`,
the poll after an outage, a backfill. "No trade" is silence inside a span, "not looking" is a gap.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import accumulate
from typing import NamedTuple


class Span(NamedTuple):
    """A stretch of time, its end excluded."""

    start: datetime
    end: datetime


class Way(StrEnum):
    """How a source was looked at: live as things happen, back at what had happened, or in vain before any contact."""

    LIVE = "LIVE"
    GETLOGS = "GETLOGS"
    POLL = "POLL"
    BACKFILL = "BACKFILL"
    FAILED = "FAILED"


class GapStatus(StrEnum):
    """What became of a gap: looked back into it, watched by the other source meanwhile, or neither (in part)."""

    HEALED = "HEALED"
    BRIDGED = "BRIDGED"
    UNHEALED = "UNHEALED"


@dataclass(frozen=True, slots=True)
class Contact:
    """Live contact as recorded: last known at `through`, to be heard of again within `patience`, then lost."""

    since: datetime
    through: datetime
    patience: timedelta
    ended_by: str | None = None

    @property
    def span(self) -> Span:
        """When it is known to have lasted."""
        return Span(self.since, self.through)

    def lasts(self, now: datetime) -> bool:
        """Tell whether it is still to be counted on."""
        return now <= self.through + self.patience


@dataclass(frozen=True, slots=True)
class LookBack:
    """A look at the past: what happened in `span` is known completely since `known_at`."""

    span: Span
    known_at: datetime
    way: Way


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch without live contact. `open`: it goes on. `unhealed`: what nobody has looked at so far.

    `healed_at` is when the last of it became known, by `healed_by`; both None for a gap that is BRIDGED or UNHEALED.
    """

    span: Span
    open: bool
    ended_by: str | None
    status: GapStatus
    healed_at: datetime | None
    healed_by: Way | None
    unhealed: tuple[Span, ...]

    @property
    def late(self) -> timedelta | None:
        """How late the oldest of what happened in it may have become known; None where nobody looked back."""
        return None if self.healed_at is None else self.healed_at - self.span.start


def union(spans: Iterable[Span]) -> list[Span]:
    """Return what the spans cover, as disjoint spans in order; empty ones vanish."""
    found: list[Span] = []
    for span in sorted(each for each in spans if each.start < each.end):
        if found and span.start <= found[-1].end:
            found[-1] = Span(found[-1].start, max(found[-1].end, span.end))
        else:
            found.append(span)
    return found


def without(whole: Iterable[Span], parts: Iterable[Span]) -> list[Span]:
    """Return what `whole` covers and `parts` do not."""
    taken = union(parts)
    left: list[Span] = []
    place = 0
    for span in union(whole):
        start = span.start
        while place < len(taken) and taken[place].end <= start:
            place += 1
        reached = place
        while reached < len(taken) and taken[reached].start < span.end:
            if start < taken[reached].start:
                left.append(Span(start, taken[reached].start))
            start = max(start, taken[reached].end)
            reached += 1
        if start < span.end:
            left.append(Span(start, span.end))
    return left


def within(spans: Iterable[Span], window: Span) -> list[Span]:
    """Return the parts of the spans that lie in the window, as disjoint spans in order."""
    return union(Span(max(each.start, window.start), min(each.end, window.end)) for each in spans)


def length(spans: Iterable[Span]) -> timedelta:
    """Return how long disjoint spans last together."""
    return sum((span.end - span.start for span in spans), timedelta())


def live_spans(contacts: Iterable[Contact], until: datetime) -> list[Span]:
    """Return when contact lasted, up to `until`; contact that is still to be counted on reaches it."""
    return union(Span(each.since, until if each.lasts(until) else each.through) for each in contacts)


def find_gaps(
    window: Span,
    contacts: Sequence[Contact],
    looks: Sequence[LookBack],
    elsewhere: Sequence[Span] = (),
    *,
    momentary: bool = False,
    ongoing: bool = True,
) -> list[Gap]:
    """Return the gaps of one source in a window that ends now, or where it was to be looked at no more, oldest first.

    `contacts` and `looks` are all that is recorded of the source, in any order and by any number of processes;
    `elsewhere` is when another source that shows as much was looked at, live or back. `momentary`: contact of no length
    counts, too, and parts two gaps; else it is a connection that proved to have told nothing.
    """
    live = live_spans(contacts, window.end)
    ends = sorted((each.through, each.ended_by or "") for each in contacts)
    backs, others = _Overlapping(looks), union(elsewhere)
    return [
        _gap(
            span,
            backs.of(span),
            touching(others, span),
            is_open=ongoing and span.end == window.end,
            ended_by=_reason(ends, span.start),
        )
        for span in _parted(without([window], live), [each.since for each in contacts] if momentary else [])
    ]


def _gap(
    span: Span, looks: Sequence[LookBack], elsewhere: Sequence[Span], *, is_open: bool, ended_by: str | None
) -> Gap:
    left, last = [span], None
    for look in sorted(looks, key=lambda look: look.known_at):
        remaining = without(left, [look.span])
        if remaining != left:
            left, last = remaining, look
        if not left:
            break
    if not left and last:
        return Gap(span, is_open, ended_by, GapStatus.HEALED, last.known_at, last.way, ())
    left = without(left, elsewhere)
    status = GapStatus.UNHEALED if left else GapStatus.BRIDGED
    return Gap(span, is_open, ended_by, status, None, None, tuple(left))


class _Overlapping:
    """Finds the looks that touch a span without going through all of them."""

    def __init__(self, looks: Iterable[LookBack]) -> None:
        self._looks = sorted(looks, key=lambda look: look.span)
        self._starts = [look.span.start for look in self._looks]
        self._ends = list(accumulate((look.span.end for look in self._looks), max))

    def of(self, span: Span) -> list[LookBack]:
        found = []
        for place in range(bisect_left(self._starts, span.end) - 1, -1, -1):
            if self._ends[place] <= span.start:
                break  # nothing that began before reaches it
            if self._looks[place].span.end > span.start:
                found.append(self._looks[place])
        return found


def touching(spans: Sequence[Span], span: Span) -> Sequence[Span]:
    """Return those of disjoint spans in order that have something in common with one."""
    first = bisect_right(spans, span.start, key=lambda each: each.end)
    return spans[first : bisect_left(spans, span.end, key=lambda each: each.start)]


def _parted(spans: Iterable[Span], moments: Iterable[datetime]) -> Iterator[Span]:
    cuts = sorted(set(moments))
    for span in spans:
        start = span.start
        for cut in cuts[bisect_right(cuts, span.start) : bisect_left(cuts, span.end)]:
            yield Span(start, cut)
            start = cut
        yield Span(start, span.end)


def _reason(ends: Sequence[tuple[datetime, str]], start: datetime) -> str | None:
    """Return why the contact ended behind which a gap starts; None where nobody said, or nobody had looked before."""
    place = bisect_right(ends, start, key=lambda end: end[0])
    return (ends[place - 1][1] or None) if place else None
