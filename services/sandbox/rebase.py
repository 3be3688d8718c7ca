"""Moves the times inside recorded wire objects to the play's own clock, each in the shape it was recorded in."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

Wall = Callable[[int], int]
"""Maps a source instant to wall time, both in ms."""

MARKET_TIMES = frozenset(
    {
        "acceptingOrdersTimestamp",
        "closedTime",
        "createdAt",
        "creationDate",
        "deployingTimestamp",
        "endDate",
        "endDateIso",
        "eventStartTime",
        "finishedTimestamp",
        "gameStartTime",
        "publishedAt",
        "startDate",
        "startDateIso",
        "startTime",
        "umaEndDate",
        "updatedAt",
    }
)
RESOLUTION_TIMES = frozenset({"resolved_at", "last_update_timestamp", "expected_settlement_time"})
POSITION_TIMES = frozenset({"last_event_at", "first_entry_at", "end_date"})

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FAR_MS = 253_370_764_800_000
"""Year 9999: what lies beyond is served as this."""
_TEXT = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)"
    r"(?:(?P<gap>[T ])(?P<time>\d\d:\d\d(?::\d\d)?)(?P<fraction>\.\d+)?(?P<zone>Z|[+-]\d\d(?::?\d\d)?)?)?"
)


def _moment(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=max(0, min(ms, _FAR_MS)))


def rebase_text(text: str, wall: Wall) -> str:
    """Return a time written as text, moved; text that is no time stays as it is."""
    if text.isdigit() and len(text) == 10:
        return str(wall(int(text) * 1000) // 1000)
    match = _TEXT.fullmatch(text)
    if match is None:
        return text
    if match["gap"] is None:
        if match["day"] == "1970-01-01":
            return text
        return _moment(wall(_parsed(f"{match['day']}T00:00:00+00:00"))).strftime("%Y-%m-%d")
    zone = match["zone"] or "Z"
    offset = "+00:00" if zone == "Z" else zone if ":" in zone else f"{zone[:3]}:{zone[3:] or '00'}"
    moved = _moment(wall(_parsed(f"{match['day']}T{match['time']}{match['fraction'] or ''}{offset}")))
    local = moved.astimezone(datetime.fromisoformat(f"2000-01-01T00:00:00{offset}").tzinfo)
    fraction = ""
    if match["fraction"]:
        fraction = "." + local.strftime("%f").ljust(9, "0")[: len(match["fraction"]) - 1]
    pattern = "%H:%M:%S" if match["time"].count(":") == 2 else "%H:%M"
    return local.strftime(f"%Y-%m-%d{match['gap']}{pattern}") + fraction + (match["zone"] or "")


def _parsed(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def rebase_object(value: dict[str, Any], names: frozenset[str], wall: Wall) -> dict[str, Any]:
    """Return a copy of a recorded object with the named times moved, in nested objects too; `_` keys are left out."""
    moved: dict[str, Any] = {}
    for key, item in value.items():
        if key.startswith("_"):
            continue
        if key in names and isinstance(item, str):
            moved[key] = rebase_text(item, wall)
        elif key in names and isinstance(item, int) and not isinstance(item, bool):
            moved[key] = wall(item * 1000) // 1000
        elif isinstance(item, dict):
            moved[key] = rebase_object(item, names, wall)
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            moved[key] = [rebase_object(each, names, wall) if isinstance(each, dict) else each for each in item]
        else:
            moved[key] = item
    return moved
