"""The coverage report as a document with stable keys: what `--json` prints and `/api/coverage` answers."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from libs.common.domain.coverage import Coverage, Day, SourceGap, SourceState, Suspect

GAPS_MAX: Final = 5_000
"""The newest are told; `gaps_omitted` counts the others."""


def document(report: Coverage) -> dict[str, Any]:
    """Return the report; times are ISO in UTC, durations seconds, lags milliseconds."""
    newest = sorted(report.gaps, key=lambda each: each.gap.span, reverse=True)
    return {
        "complete": report.is_complete,
        "verdict": report.verdict,
        "since": _instant(report.since),
        "until": _instant(report.until),
        "watching": report.watching,
        "users": report.users,
        "wallets": report.wallets,
        "sources": [_source(state) for state in report.sources],
        "days": [_day(day) for day in report.days],
        "gaps": [_gap(gap) for gap in newest[:GAPS_MAX]],
        "gaps_omitted": max(0, len(newest) - GAPS_MAX),
        "suspects": [_suspect(suspect) for suspect in report.suspects],
    }


def _source(state: SourceState) -> dict[str, Any]:
    return {
        "source": state.source.value,
        "configured": state.is_configured,
        "in_contact": state.in_contact,
        "last_contact_at": _instant(state.last_contact_at),
        "failed_polls": state.failed_polls,
    }


def _day(day: Day) -> dict[str, Any]:
    return {
        "user": day.user,
        "day": day.day.isoformat(),
        "answer": day.answer,
        "complete": day.is_complete,
        **asdict(day.fills),
        "followed_seconds": _seconds(day.followed),
        "chain_gap_seconds": _seconds(day.chain_gap),
        "api_gap_seconds": _seconds(day.api_gap),
        "blind_seconds": _seconds(day.blind),
        "unhealed_seconds": _seconds(day.unhealed),
    }


def _gap(found: SourceGap) -> dict[str, Any]:
    gap = found.gap
    return {
        "source": found.source.value,
        "user": found.user,
        "wallet": found.wallet,
        "from": _instant(gap.span.start),
        "to": _instant(gap.span.end),
        "seconds": _seconds(gap.span.end - gap.span.start),
        "open": gap.open,
        "ended_by": gap.ended_by,
        "status": gap.status.value,
        "healed_at": _instant(gap.healed_at),
        "healed_by": gap.healed_by.value if gap.healed_by else None,
        "late_seconds": None if gap.late is None else _seconds(gap.late),
        "unhealed_seconds": _seconds(sum((span.end - span.start for span in gap.unhealed), timedelta())),
    }


def _suspect(suspect: Suspect) -> dict[str, Any]:
    return {
        "event_id": suspect.event_id,
        "user": suspect.user,
        "tx_hash": suspect.tx_hash,
        "event_time": _instant(suspect.event_time),
        "problem": suspect.problem,
    }


def _instant(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _seconds(duration: timedelta) -> float:
    return round(duration.total_seconds(), 3)
