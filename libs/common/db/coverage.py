"""Read what `shadowbook coverage` and `/api/coverage` show: fills by source, lags and contact; any role may."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.common.db.engine import transaction
from libs.common.db.settings import find_user
from libs.common.domain.contact import Contact, LookBack, Span, Way
from libs.common.domain.coverage import (
    API_SHOWS_AFTER,
    Coverage,
    Fills,
    Followed,
    Lag,
    Looking,
    SourceState,
    Suspect,
)
from libs.common.domain.coverage_survey import days_of, survey
from libs.common.domain.kinds import Source

SUSPECTS_MAX: Final = 50
_CHAIN: Final = ""
"""The chain's place among wallets."""

_WALLETS: Final = bindparam("wallets", type_=ARRAY(Text))
_THROUGHS: Final = bindparam("throughs", type_=ARRAY(TIMESTAMP(timezone=True)))

_FOLLOWED: Final = text("""
SELECT w.wallet, u.label, w.followed_at, w.unfollowed_at
FROM followed_user_proxy_wallet w JOIN followed_user u ON u.id = w.user_id
WHERE CAST(:user AS uuid) IS NULL OR u.id = :user
ORDER BY u.label, w.wallet
""")

_LAST: Final = text("""
SELECT greatest(
  (SELECT through FROM source_contact WHERE source = 'CHAIN' AND wallet IS NULL AND way = 'LIVE'
   ORDER BY through DESC LIMIT 1),
  (SELECT max(last.through) FROM unnest(:wallets) AS one(wallet) CROSS JOIN LATERAL (
     SELECT through FROM source_contact c WHERE c.source = 'DATA_API' AND c.wallet = one.wallet AND way = 'LIVE'
     ORDER BY through DESC LIMIT 1) last))
""").bindparams(_WALLETS)

_COLUMNS: Final = "c.wallet, c.way, c.since, c.through, c.known_at, c.patience_seconds, c.failed, c.ended_by"
_POLLS: Final = text(f"""
SELECT {_COLUMNS} FROM source_contact c WHERE c.source = 'DATA_API' AND c.wallet = ANY(:wallets) AND c.through >= :since
UNION ALL
SELECT {_COLUMNS} FROM unnest(:wallets) AS one(wallet) CROSS JOIN LATERAL (
  SELECT * FROM source_contact c
  WHERE c.source = 'DATA_API' AND c.wallet = one.wallet AND c.way = 'LIVE' AND c.through < :since
  ORDER BY c.through DESC LIMIT 1) c
""").bindparams(_WALLETS)  # noqa: S608  names of columns
_LOGS: Final = text(f"""
SELECT {_COLUMNS} FROM source_contact c WHERE c.source = 'CHAIN' AND c.wallet IS NULL AND c.through >= :since
UNION ALL
(SELECT {_COLUMNS} FROM source_contact c
 WHERE c.source = 'CHAIN' AND c.wallet IS NULL AND c.way = 'LIVE' AND c.through < :since
 ORDER BY c.through DESC LIMIT 1)
""")  # noqa: S608  names of columns

_SEEN: Final = """
FROM unnest(:wallets, :throughs) AS followed(wallet, through)
JOIN trade_event e ON e.wallet = followed.wallet
JOIN followed_user u ON u.id = e.user_id
LEFT JOIN event_sighting chain ON chain.event_id = e.id AND chain.source = 'CHAIN'
LEFT JOIN event_sighting api ON api.event_id = e.id AND api.source = 'DATA_API'
CROSS JOIN LATERAL (SELECT
  e.status = 'CANONICAL' AS stands,
  api.seen_at IS NULL AND (followed.through IS NULL
    OR greatest(e.event_time, chain.seen_at) > followed.through - CAST(:shown_after AS interval)) AS waits) it
WHERE e.booked AND e.event_time >= :since AND e.event_time <= :until
"""
_LAG_MS: Final = "CAST(greatest(0, extract(epoch FROM {source}.seen_at - e.event_time)) * 1000 AS bigint)"
_FILLS: Final = text(f"""
SELECT u.label, CAST(e.event_time AS date) AS day,
  count(*) FILTER (WHERE stands) AS fills,
  count(*) FILTER (WHERE stands AND chain.seen_at IS NOT NULL AND api.seen_at IS NOT NULL) AS both,
  count(*) FILTER (WHERE stands AND api.seen_at IS NULL AND NOT waits) AS only_chain,
  count(*) FILTER (WHERE stands AND waits) AS awaiting_api,
  count(*) FILTER (WHERE stands AND chain.seen_at IS NULL AND api.seen_at IS NOT NULL) AS only_api,
  count(*) FILTER (WHERE stands AND chain.seen_at IS NULL AND api.seen_at IS NOT NULL
    AND CAST(CAST(:watched AS text) AS tstzmultirange) @> e.event_time) AS missed_by_chain,
  count(*) FILTER (WHERE stands AND e.mismatch IS NOT NULL) AS mismatched,
  count(*) FILTER (WHERE NOT stands) AS reversed,
  percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY {_LAG_MS.format(source="chain")})
    FILTER (WHERE stands AND chain.seen_at IS NOT NULL) AS chain_lag,
  percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY {_LAG_MS.format(source="api")})
    FILTER (WHERE stands AND api.seen_at IS NOT NULL) AS api_lag
{_SEEN} GROUP BY 1, 2
""").bindparams(_WALLETS, _THROUGHS)
_SUSPECTS: Final = text(f"""
SELECT e.id, u.label, e.tx_hash, e.event_time, e.mismatch IS NOT NULL AS mismatched
{_SEEN} AND stands AND (e.mismatch IS NOT NULL OR (api.seen_at IS NULL AND NOT waits))
ORDER BY e.event_time DESC, e.id LIMIT :limit
""").bindparams(_WALLETS, _THROUGHS)
_OTHERS: Final = text("""
SELECT u.label, CAST(e.event_time AS date) AS day, count(*) AS others
FROM activity_event e JOIN followed_user u ON u.id = e.user_id
WHERE e.wallet = ANY(:wallets) AND e.event_time >= :since AND e.event_time <= :until AND e.event_time >= u.followed_at
GROUP BY 1, 2
""").bindparams(_WALLETS)


async def read_coverage(
    engine: AsyncEngine, now: datetime, hours: int, user: str | None = None, *, watching: bool = True
) -> Coverage:
    """Return the report on the last `hours` of `user` (by label or id), or of all.

    It ends `now`, or with the last contact if nobody is `watching`. Raises UnknownUserError, and Unavailable.
    """
    async with transaction(engine) as connection:
        await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        wanted = None if user is None else await find_user(connection, user)
        rows = (await connection.execute(_FOLLOWED, {"user": wanted})).all()
        wallets = [row.wallet for row in rows]
        until = now
        if not watching:
            until = await connection.scalar(_LAST, {"wallets": wallets}) or now
        window = Span(until - timedelta(hours=hours), until)
        followed = [
            Followed(row.wallet, row.label, span)
            for row in rows
            if (span := _followed_span(row.followed_at, row.unfollowed_at, window))
        ]
        return await _report(connection, window, followed, watching=watching)


def _followed_span(followed_at: datetime, unfollowed_at: datetime | None, window: Span) -> Span | None:
    span = Span(max(followed_at, window.start), min(unfollowed_at or window.end, window.end))
    return span if span.start < span.end else None


async def _report(
    connection: AsyncConnection, window: Span, followed: Sequence[Followed], *, watching: bool
) -> Coverage:
    wallets = [each.wallet for each in followed]
    still = [each.wallet for each in followed if each.span.end == window.end]
    times = {"since": window.start, "until": window.end}
    polls = _looking(await connection.execute(_POLLS, {"wallets": wallets, "since": window.start}))
    chain = _looking(await connection.execute(_LOGS, {"since": window.start})).get(_CHAIN, Looking())
    is_configured = bool(chain.contacts)
    # Months of many gaps take a second: whoever shares this event loop goes on meanwhile.
    gaps, watched = await asyncio.to_thread(survey, window, followed, chain, polls, chain_configured=is_configured)
    throughs = [_through(polls.get(wallet)) for wallet in wallets]
    given = {"wallets": wallets, "throughs": throughs, "shown_after": API_SHOWS_AFTER, **times}
    fills = await _fills(connection, given, watched)
    days = await asyncio.to_thread(days_of, window, followed, gaps, fills, chain_configured=is_configured)
    suspects: tuple[Suspect, ...] = ()
    if any(day.fills.only_chain or day.fills.mismatched for day in days):
        found = await connection.execute(_SUSPECTS, {**given, "limit": SUSPECTS_MAX})
        suspects = tuple(
            Suspect(
                str(row.id),
                row.label,
                row.tx_hash,
                row.event_time,
                "MISMATCHED" if row.mismatched else "NOT_SHOWN_BY_API",
            )
            for row in found
        )
    return Coverage(
        since=window.start,
        until=window.end,
        watching=watching,
        users=len({each.user for each in followed}),
        wallets=len(followed),
        sources=(
            _state(Source.CHAIN, [chain], window.end, is_configured=is_configured),
            _state(Source.DATA_API, [polls.get(wallet, Looking()) for wallet in still], window.end),
        ),
        days=tuple(days),
        gaps=tuple(gaps),
        suspects=suspects,
    )


async def _fills(
    connection: AsyncConnection, given: Mapping[str, Any], watched: Sequence[Span]
) -> dict[tuple[str, date], Fills]:
    spans = ",".join(f"[{span.start.isoformat()},{span.end.isoformat()})" for span in watched)
    rows = await connection.execute(_FILLS, {**given, "watched": f"{{{spans}}}"})
    found = {(row.label, row.day): _count(row) for row in rows}
    times = {name: given[name] for name in ("wallets", "since", "until")}
    for row in await connection.execute(_OTHERS, times):
        key = (row.label, row.day)
        found[key] = replace(found.get(key, Fills()), others=row.others)
    return found


def _count(row: Any) -> Fills:
    names = ("fills", "both", "only_chain", "awaiting_api", "only_api", "missed_by_chain", "mismatched", "reversed")
    return Fills(
        **{name: getattr(row, name) for name in names}, chain_lag=_lag(row.chain_lag), api_lag=_lag(row.api_lag)
    )


def _lag(percentiles: Sequence[int] | None) -> Lag | None:
    return Lag(*percentiles) if percentiles else None


def _looking(rows: Any) -> dict[str, Looking]:
    """Return what is recorded, by wallet."""
    found: dict[str, tuple[list[Contact], list[LookBack], list[int]]] = {}
    for row in rows:
        contacts, looks, failed = found.setdefault(row.wallet or _CHAIN, ([], [], []))
        if row.way == Way.LIVE:
            patience = timedelta(seconds=row.patience_seconds)
            contacts.append(Contact(row.since, row.through, patience, row.ended_by))
            failed.append(row.failed)
        elif row.way == Way.FAILED:
            failed.append(row.failed)
        else:
            looks.append(LookBack(Span(row.since, row.through), row.known_at, Way(row.way)))
    return {
        wallet: Looking(tuple(contacts), tuple(looks), sum(failed))
        for wallet, (contacts, looks, failed) in found.items()
    }


def _through(looking: Looking | None) -> datetime | None:
    """Return when the last complete poll of a wallet began."""
    return max((contact.through for contact in looking.contacts), default=None) if looking else None


def _state(source: Source, lookings: Sequence[Looking], until: datetime, *, is_configured: bool = True) -> SourceState:
    contacts = [contact for looking in lookings for contact in looking.contacts]
    in_contact = bool(lookings) and all(
        any(contact.lasts(until) for contact in looking.contacts) for looking in lookings
    )
    return SourceState(
        source=source,
        is_configured=is_configured,
        in_contact=in_contact,
        last_contact_at=max((contact.through for contact in contacts), default=None),
        failed_polls=sum(looking.failed for looking in lookings),
    )
