"""Is everything working: heartbeats, polls, the chain feed, detection lag, marks, dead letters."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.ui.queries.portfolio import Frozen

SERVICES: Final = ("ingest", "grouper", "simulator", "ledger", "pricer", "ui")
OWN: Final = "ui"
"""Whoever asks runs, whatever was registered last."""
BEAT_SECONDS_MAX: Final = 15
"""A process that has not registered for this long is down; it registers every 5 s."""
FORGET_AFTER: Final = timedelta(hours=1)
"""An instance silent for so long was scaled away, unless its service has no other."""
POLL_SECONDS_AIM: Final = 30
"""How often each wallet is to be polled; with more wallets than the request budget carries it is less often."""
POLLS_MISSED_MAX: Final = 4
"""A wallet not polled for so many intervals is late."""
MARK_SECONDS_MAX: Final = 120
LAG_SECONDS_MAX: Final = 15
LAG_FILLS_MAX: Final = 2_000

Kind = Literal["ok", "warn", "bad", ""]

_PROCESSES: Final = text("""
SELECT service, value FROM system_checkpoint WHERE service = ANY(:services) AND key LIKE 'process:%'
ORDER BY service, key
""")
_POLLS: Final = text("""
SELECT count(*) AS wallets,
       count(*) FILTER (WHERE CAST(c.value->>'completed_at' AS timestamptz) >= :fresh) AS fresh,
       min(CAST(c.value->>'completed_at' AS timestamptz)) AS oldest_at, min(w.followed_at) AS followed_at
FROM followed_user_proxy_wallet w
LEFT JOIN system_checkpoint c ON c.service = 'ingest' AND c.key = 'poll:' || w.wallet
WHERE w.unfollowed_at IS NULL
""")
_LAG: Final = text("""
SELECT count(*) AS fills, percentile_cont(0.95) WITHIN GROUP (ORDER BY lag) AS p95 FROM (
  SELECT greatest(0, extract(epoch FROM detect_time - event_time)) AS lag FROM trade_event
  WHERE detect_time >= :since AND first_source = 'CHAIN' AND booked
  ORDER BY detect_time DESC LIMIT :limit) recent
""")
_LAST_FILL: Final = text("SELECT detect_time FROM trade_event ORDER BY detect_time DESC LIMIT 1")
_MARKING: Final = text("SELECT value FROM system_checkpoint WHERE service = 'pricer' AND key = 'marking'")
_DEAD: Final = text("SELECT count(*) FROM (SELECT FROM dead_letter WHERE status = 'OPEN' LIMIT 1000) open")


class Process(Frozen):
    """One process as it last registered; `status` is its own word, or `down` when it fell silent."""

    service: str
    instance: str
    status: str
    beat_at: datetime
    started_at: datetime
    faults: dict[str, str]


class Feed(Frozen):
    """State of the websocket to the chain: up, down, off (not configured) or unknown."""

    state: str
    detail: str


class HealthFacts(Frozen):
    """What the card "Is everything working?" and `/api/health` are made of."""

    processes: tuple[Process, ...]
    missing: tuple[str, ...]
    feed: Feed
    wallets: int
    wallets_fresh: int
    poll_every_seconds: int = POLL_SECONDS_AIM
    poll_aim_seconds: int = POLL_SECONDS_AIM
    oldest_poll_at: datetime | None
    lag_p95_seconds: Decimal | None
    lag_fills: int
    last_fill_at: datetime | None
    marked_at: datetime | None
    unmarked: int = 0
    """Held assets that no price was to be had of when everything was last marked."""
    dead_letters_open: int

    @property
    def down(self) -> tuple[Process, ...]:
        """Processes that fell silent."""
        return tuple(process for process in self.processes if process.status == "down")

    @property
    def degraded(self) -> tuple[Process, ...]:
        """Processes that say of themselves that something is wrong."""
        return tuple(process for process in self.processes if process.status == "degraded")


async def read_health(connection: AsyncConnection, now: datetime) -> HealthFacts:
    """Return the facts about the stack's health."""
    rows = (await connection.execute(_PROCESSES, {"services": list(SERVICES)})).all()
    processes, feed = _processes(rows, now), _feed(rows)
    every = _poll_seconds(rows)
    fresh = now - timedelta(seconds=every * POLLS_MISSED_MAX)
    polls = (await connection.execute(_POLLS, {"fresh": fresh})).one()
    lag = (await connection.execute(_LAG, {"since": now - timedelta(hours=1), "limit": LAG_FILLS_MAX})).one()
    marking = await connection.scalar(_MARKING)
    marked = (marking or {}).get("completed_at")
    present = {process.service for process in processes}
    return HealthFacts(
        processes=tuple(processes),
        missing=tuple(service for service in SERVICES if service not in present and service != OWN),
        feed=feed,
        wallets=polls.wallets,
        wallets_fresh=polls.fresh,
        poll_every_seconds=every,
        oldest_poll_at=polls.oldest_at,
        lag_p95_seconds=None if lag.p95 is None else round(Decimal(lag.p95), 2),
        lag_fills=lag.fills,
        last_fill_at=await connection.scalar(_LAST_FILL),
        marked_at=None if marked is None else datetime.fromisoformat(marked),
        unmarked=len((marking or {}).get("unmarked", ())),
        dead_letters_open=int(await connection.scalar(_DEAD) or 0),
    )


def _processes(rows: list[Any] | Any, now: datetime) -> list[Process]:
    found = []
    for row in rows:
        value = row.value
        if "beat_at" not in value or "started_at" not in value:
            continue
        beat = datetime.fromisoformat(value["beat_at"])
        is_down = row.service != OWN and (now - beat).total_seconds() > BEAT_SECONDS_MAX
        found.append(
            Process(
                service=row.service,
                instance=str(value.get("instance", row.service)),
                status="down" if is_down else "ok" if row.service == OWN else str(value.get("status", "ok")),
                beat_at=beat,
                started_at=datetime.fromisoformat(value["started_at"]),
                faults={} if is_down else {str(k): str(v)[:300] for k, v in value.get("faults", {}).items()},
            )
        )
    alive = {process.service for process in found if now - process.beat_at < FORGET_AFTER}
    return [each for each in found if now - each.beat_at < FORGET_AFTER or each.service not in alive]


def _poll_seconds(rows: list[Any] | Any) -> int:
    every = _said_by_ingest(rows, "polling").get("every_seconds")
    return max(POLL_SECONDS_AIM, round(every)) if isinstance(every, (int, float)) else POLL_SECONDS_AIM


def _said_by_ingest(rows: list[Any] | Any, what: str) -> dict[str, Any]:
    newest: dict[str, Any] = max(
        (row.value for row in rows if row.service == "ingest" and "beat_at" in row.value),
        key=lambda v: v["beat_at"],
        default={},
    )
    return (newest.get("detail") or {}).get(what) or {}


def _feed(rows: list[Any] | Any) -> Feed:
    said = _said_by_ingest(rows, "websocket")
    return Feed(state=str(said.get("state", "unknown")), detail=str(said.get("detail", "")))
