"""From what is recorded of looking to gaps and days: the computing half of the coverage report."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, timedelta

from libs.common.domain.contact import Span, find_gaps, live_spans, touching, union, within, without
from libs.common.domain.coverage import Day, Fills, Followed, Looking, SourceGap
from libs.common.domain.kinds import Source


def survey(
    window: Span,
    followed: Sequence[Followed],
    chain: Looking,
    polls: Mapping[str, Looking],
    *,
    chain_configured: bool,
) -> tuple[list[SourceGap], list[Span]]:
    """Return every gap of the window, oldest first, and when the chain was looked at, live or back.

    `polls` is by wallet. A chain that was never configured has no gaps: nobody promised to look.
    """
    found: list[SourceGap] = []
    missing: list[Span] = []
    for each in followed:
        looking = polls.get(each.wallet, Looking())
        still = each.span.end == window.end
        for gap in find_gaps(each.span, looking.contacts, looking.looks, momentary=True, ongoing=still):
            found.append(SourceGap(Source.DATA_API, gap, each.user, each.wallet))
            missing.extend(gap.unhealed)
    watched = within([*live_spans(chain.contacts, window.end), *(look.span for look in chain.looks)], window)
    if chain_configured and followed:
        spans = [each.span for each in followed]
        concerned = Span(min(span.start for span in spans), max(span.end for span in spans))
        shown_elsewhere = without([concerned], missing)
        gaps = find_gaps(concerned, chain.contacts, chain.looks, shown_elsewhere)
        found.extend(SourceGap(Source.CHAIN, gap) for gap in gaps)
    return sorted(found, key=lambda each: (each.gap.span, each.source, each.wallet or "")), watched


def days_of(
    window: Span,
    followed: Sequence[Followed],
    gaps: Sequence[SourceGap],
    fills: Mapping[tuple[str, date], Fills],
    *,
    chain_configured: bool,
) -> list[Day]:
    """Return a row for each user and each UTC day they were followed or filled on, newest day first."""
    by_user: defaultdict[str, list[Span]] = defaultdict(list)
    for each in followed:
        by_user[each.user].append(each.span)
    chain = [each.gap.span for each in gaps if each.source is Source.CHAIN] if chain_configured else [window]
    api: defaultdict[str, list[Span]] = defaultdict(list)
    unhealed: defaultdict[str, list[Span]] = defaultdict(list)
    for found in gaps:
        if found.user is not None:
            api[found.user].append(found.gap.span)
            unhealed[found.user].extend(found.gap.unhealed)
    filled: defaultdict[str, set[date]] = defaultdict(set)
    for user, day in fills:
        filled[user].add(day)
    away: dict[tuple[Span, ...], tuple[list[Span], dict[date, timedelta], dict[date, timedelta]]] = {}
    rows = []
    for user, spans in by_user.items():
        watched = tuple(union(spans))
        if watched not in away:  # most are followed for the whole window, and share what the chain did not watch
            out_of_chain = without(watched, without(watched, chain))
            away[watched] = out_of_chain, per_day(watched), per_day(out_of_chain)
        out_of_chain, *shared = away[watched]
        out_of_api = union(api[user])
        blind = [part for span in out_of_api for part in within(touching(out_of_chain, span), span)]
        parts = [*shared, *(per_day(each) for each in (out_of_api, blind, union(unhealed[user])))]
        for day in parts[0].keys() | filled[user]:
            lasting = [part.get(day, timedelta()) for part in parts]
            counted = fills.get((user, day), Fills())
            if not chain_configured:
                lasting[1] = timedelta()
            rows.append(Day(user, day, counted, *lasting))
    return sorted(rows, key=lambda row: (-row.day.toordinal(), row.user))


def per_day(spans: Iterable[Span]) -> dict[date, timedelta]:
    """Return how long disjoint spans last on each UTC day."""
    found: defaultdict[date, timedelta] = defaultdict(timedelta)
    for span in spans:
        start = span.start.astimezone(UTC)
        while start < span.end:
            midnight = start.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            end = min(midnight, span.end)
            found[start.date()] += end - start
            start = midnight
    return dict(found)
