"""`shadowbook coverage`: is anything missing? Exit 0 if it is proven that nothing is, 1 if something is open."""

import asyncio
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from services.cli.columns import columns
from services.cli.options import DataDirOption, JsonOption, hours_up_to

if TYPE_CHECKING:
    from libs.common.domain.coverage import Coverage, Day, Lag, SourceGap

HOURS_MAX: Final = 24 * 366
EXIT_INCOMPLETE: Final = 1
GAPS_SHOWN_MAX: Final = 30
DAYS_SHOWN_MAX: Final = 400
HEAD: Final = (
    *("USER", "DAY", "FILLS", "BOTH", "CHAIN ONLY", "API ONLY", "AWAITING", "MISMATCH", "REVERSED"),
    *("CHAIN LAG", "API LAG", "NO CHAIN", "NO API", ""),
)
NUMBERS: Final = range(2, len(HEAD) - 1)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("coverage")(coverage)


def coverage(
    user: Annotated[str | None, typer.Option("--user", help="Only this followed user; all if left out.")] = None,
    hours: Annotated[
        int,
        typer.Option(
            "--hours", parser=hours_up_to(HOURS_MAX), metavar="N", help="How far back, by the time of the fills."
        ),
    ] = 24,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> int:
    """Prove that no fill is missing. Tells which source saw it, how late, and when nobody was looking.

    Works with the stack up or down; down, the report ends with the last contact. Times are UTC, lags are the block's
    time to our first sight (median / p95). Exit 0: complete; 1: something is missing, unhealed or mismatched.

    JSON: complete, verdict, since, until, watching, sources, days, gaps, suspects; described in
    runbooks/read-the-coverage-report.md.
    """
    from services.cli.stack import session
    from services.ingest import commands

    with session(data_dir, command="coverage") as visit:
        report = asyncio.run(commands.coverage(visit.database_url, hours, user, watching=visit.stack_is_up))
    if as_json:
        sys.stdout.write(json.dumps(commands.coverage_document(report), indent=1) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in _text(report))
    return 0 if report.is_complete else EXIT_INCOMPLETE


def _text(report: "Coverage") -> Iterator[str]:
    yield report.verdict
    tail = "" if report.watching else "; the stack is down, this is its last contact"
    yield f"{_minute(report.since)} to {_second(report.until)} UTC{tail}."
    for state in report.sources:
        if not state.is_configured:
            yield f"{state.source}: no contact is on record; fills are found by the API alone."
        elif state.failed_polls:
            yield f"{state.source}: {state.failed_polls} polls failed and were made again."
    if report.days:
        yield ""
        yield from columns([HEAD, *(_row(day) for day in report.days[:DAYS_SHOWN_MAX])], right=NUMBERS)
    if len(report.days) > DAYS_SHOWN_MAX:
        yield f"... {len(report.days) - DAYS_SHOWN_MAX} older rows; --json has them all."
    if report.suspects:
        yield ""
        yield "To look at:"
        for suspect in report.suspects:
            when = _second(suspect.event_time)
            yield f"  {suspect.problem:<17} {suspect.user}  {when}  {suspect.tx_hash}  fill {suspect.event_id}"
    yield ""
    yield from _gaps(report)


def _row(day: "Day") -> tuple[str, ...]:
    from libs.common.domain.coverage import spoken

    fills = day.fills
    counts = (
        fills.fills,
        fills.both,
        fills.only_chain,
        fills.only_api,
        fills.awaiting_api,
        fills.mismatched,
        fills.reversed,
    )
    away = tuple(spoken(each) if each else "-" for each in (day.chain_gap, day.api_gap))
    return (
        day.user,
        day.day.isoformat(),
        *(str(count) if count else "-" for count in counts),
        _lag(fills.chain_lag),
        _lag(fills.api_lag),
        *away,
        day.answer,
    )


def _lag(lag: "Lag | None") -> str:
    return "-" if lag is None else f"{lag.median_ms / 1000:.1f} / {lag.p95_ms / 1000:.1f} s"


def _gaps(report: "Coverage") -> Iterator[str]:
    from libs.common.domain.coverage import alike, spoken, total_length

    if not report.gaps:
        yield "No gap in contact."
        return
    groups = alike(report.gaps)
    yield f"Gaps in contact, newest first ({spoken(total_length(report.gaps))} in all):"
    for group in groups[:GAPS_SHOWN_MAX]:
        yield f"  {_gap(group)}"
    if len(groups) > GAPS_SHOWN_MAX:
        older = [gap for group in groups[GAPS_SHOWN_MAX:] for gap in group]
        unhealed = sum(each.gap.status == "UNHEALED" for each in older)
        said = f"{unhealed} of them unhealed" if unhealed else "none of them unhealed"
        yield f"  ... {len(groups) - GAPS_SHOWN_MAX} more, {said}; --json has them all."


def _gap(group: Sequence["SourceGap"]) -> str:
    from libs.common.domain.coverage import spoken

    first = group[0]
    gap = first.gap
    who = "all" if first.user is None else _named({each.user or "" for each in group})
    end = "now" if gap.open else _second(gap.span.end)[11:]
    lasted = spoken(gap.span.end - gap.span.start)
    why = f": {gap.ended_by}" if gap.ended_by else ""
    return f"{first.source:<8}  {_second(gap.span.start)} - {end}  {lasted:<12} {who}  {_outcome(group)}{why}"


def _outcome(group: Sequence["SourceGap"]) -> str:
    from libs.common.domain.coverage import spoken

    gap = group[0].gap
    if gap.status == "HEALED":
        late = max(each.gap.late for each in group if each.gap.late is not None)
        way = {"GETLOGS": "fetched logs", "POLL": "the next poll", "BACKFILL": "a backfill"}[gap.healed_by or "POLL"]
        return f"healed by {way}, late by up to {spoken(late)}"
    return "the API was polled for it" if gap.status == "BRIDGED" else "UNHEALED"


def _named(users: Iterable[str]) -> str:
    names = sorted(users)
    return ", ".join(names) if len(names) <= 2 else f"{names[0]} and {len(names) - 1} more"


def _second(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"
