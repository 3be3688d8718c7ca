"""Options that several commands share, and how their values are read."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from services.cli.errors import CommandError

DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="SHADOWBOOK_DATA_DIR", help="The stack's data directory (./var if left out)."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="TIME", help="From this time on: 24h, 7d, 30m, 2026-09-28 or 2026-09-28T12:00Z; UTC."
    ),
]
_DURATION: Final = re.compile(r"(\d{1,6})(s|m|h|d|w)")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_since(text: str | None, now: datetime) -> datetime | None:
    """Return the time `--since` names: a duration before `now`, or an ISO date or time (UTC unless it says otherwise).

    Raises CommandError for anything else, and for a time that has not come yet.
    """
    if text is None:
        return None
    given = text.strip()
    duration = _DURATION.fullmatch(given.lower())
    try:
        if duration is not None:
            return now - timedelta(**{_UNITS[duration[2]]: int(duration[1])})
        found = datetime.fromisoformat(given)
    except (ValueError, OverflowError):
        raise CommandError(
            f"--since: expected a duration (30m, 24h, 7d) or a time (2026-09-28T12:00Z), got {text!r}"
        ) from None
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    if found > now:
        raise CommandError(f"--since: expected a time in the past, got {text} (it is {now:%Y-%m-%dT%H:%M:%SZ} now)")
    return found


def hours_up_to(most: int) -> Callable[[object], int]:
    """Return a parser of `--hours`: a whole number from 1 to `most`; it raises CommandError for anything else."""

    def parse(given: object) -> int:
        text = str(given)
        if re.fullmatch(r"[0-9]{1,6}", text) is None or not 1 <= int(text) <= most:
            raise CommandError(f"--hours: expected a whole number from 1 to {most}, got {text!r:.40}")
        return int(text)

    return parse
