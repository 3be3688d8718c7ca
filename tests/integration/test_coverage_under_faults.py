"""Ingest against a sandbox that misbehaves: does the coverage report tell the truth about it?"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from libs.common.db.coverage import read_coverage
from libs.common.domain.contact import GapStatus, Span, Way
from libs.common.domain.coverage import Coverage
from libs.common.domain.kinds import Source
from services.ingest.core import polling, silence
from tests.integration.test_ingest_plays_a_tape import follow_all, ingest, rows, start_process, until
from tests.oracle.tape import read_tape
from tests.support.databases import Database
from tests.support.sandbox import running_sandbox
from tests.support.tapes import write_tape

pytestmark = [pytest.mark.integration, pytest.mark.timeout(150)]

SPEED = 20
LATE = timedelta(seconds=3)
SILENT = timedelta(seconds=8)
NEVER = datetime.min.replace(tzinfo=UTC)
MINED = timedelta(seconds=2)
"""From the time a block bears until its logs are delivered."""


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    return write_tape(tmp_path / "tape")


async def report(database: Database) -> Coverage:
    return await read_coverage(database.engine("ui"), datetime.now(UTC), 1)


def gaps(coverage: Coverage, source: Source) -> list[Any]:
    return [each.gap for each in coverage.gaps if each.source is source]


async def until_report(database: Database, holds: Callable[[Coverage], bool]) -> Coverage:
    """Return the first report for which something holds."""
    found: list[Coverage] = []

    async def holding() -> bool:
        found[:] = [await report(database)]
        return holds(found[0])

    try:
        await until(holding, 60)
    except TimeoutError:
        raise AssertionError("\n".join(map(str, [*found[0].sources, *found[0].gaps, found[0].verdict]))) from None
    return found[0]


def is_watching(coverage: Coverage) -> bool:
    return all(state.in_contact for state in coverage.sources) and coverage.is_complete


async def test_a_dropped_websocket_is_a_gap_that_fetched_logs_heal(
    database: Database, redis_url: str, tape: Path
) -> None:
    faults = [{"at_s": 2, "for_s": 3, "fault": "ws_drop", "target": "rpc"}]
    async with running_sandbox(tape=tape, speed=SPEED, faults=faults) as sandbox:
        await follow_all(database, read_tape(tape))
        async with ingest(database, redis_url, sandbox, chain=True):
            await until_report(database, is_watching)
            before = len(gaps(await report(database), Source.CHAIN))
            await sandbox.play()
            coverage = await until_report(
                database,
                lambda seen: (
                    len(gaps(seen, Source.CHAIN)) > before
                    and all(gap.status is GapStatus.HEALED and not gap.open for gap in gaps(seen, Source.CHAIN))
                    and seen.is_complete
                ),
            )
            last = gaps(coverage, Source.CHAIN)[-1]
            assert last.healed_by is Way.GETLOGS
            assert last.ended_by
            assert last.late is not None
            assert last.late >= last.span.end - last.span.start


def hasten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll every two seconds instead of thirty, and doubt a socket as much sooner."""
    monkeypatch.setattr(polling, "INTERVAL_SECONDS", 2.0)
    monkeypatch.setattr(silence, "UNDELIVERED_SECONDS", 3.0)
    monkeypatch.setattr(silence, "PROBE_SECONDS", 12.0)


async def test_a_socket_that_was_silent_for_a_while_is_no_contact_for_what_it_withheld(
    database: Database, redis_url: str, tape: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasten(monkeypatch)
    faults = [{"at_s": 1, "for_s": 12, "fault": "ws_silent", "target": "rpc"}]
    async with running_sandbox(tape=tape, speed=8, faults=faults) as sandbox:
        await follow_all(database, read_tape(tape))
        async with ingest(database, redis_url, sandbox, chain=True):
            await until_report(database, is_watching)
            began = datetime.fromisoformat((await sandbox.play())["started_at"])
            open_ = await until_report(database, lambda seen: not seen.sources[0].in_contact)
            assert gaps(open_, Source.CHAIN)[-1].open
            # Two sockets are silent one after the other; the second tells again before it is found out.
            coverage = await until_report(
                database,
                lambda seen: (
                    is_watching(seen)
                    and seen.total("fills") > 60
                    and all(gap.status is GapStatus.HEALED for gap in gaps(seen, Source.CHAIN))
                ),
            )
    withheld = Span(began + timedelta(seconds=1), began + timedelta(seconds=12))
    late = [at for at, lag in await chain_lags(database) if lag > LATE and withheld.start <= at <= withheld.end]
    assert late
    for event_time in late:
        shown_at = event_time + MINED
        around = [
            gap for gap in gaps(coverage, Source.CHAIN) if gap.span.start <= shown_at and event_time < gap.span.end
        ]
        assert any(gap.ended_by.startswith("doubted") for gap in around)  # the time to mine may reach into the next one


async def test_an_api_that_fails_is_not_looking_until_the_poll_that_reaches_back(
    database: Database, redis_url: str, tape: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasten(monkeypatch)
    told = read_tape(tape)
    faults = [{"at_s": 1, "for_s": 8, "fault": "html", "target": "data"}]
    async with running_sandbox(tape=tape, speed=8, faults=faults) as sandbox:
        await follow_all(database, told)
        async with ingest(database, redis_url, sandbox, chain=True):
            await until_report(database, is_watching)
            began = datetime.fromisoformat((await sandbox.play())["started_at"])
            open_ = await until_report(database, lambda seen: len(recent(seen, began)) == len(told.labels))
            assert all(gap.open and gap.status is GapStatus.UNHEALED for gap in recent(open_, began))
            assert not open_.is_complete
            assert not open_.sources[1].in_contact
            healed = await until_report(database, is_watching)
    for gap in recent(healed, began):
        assert (gap.status, gap.healed_by) == (GapStatus.HEALED, Way.POLL)
        assert gap.ended_by
        assert gap.span.end >= began + timedelta(seconds=9)
    assert healed.sources[1].failed_polls >= len(told.labels)


def recent(coverage: Coverage, began: datetime) -> list[Any]:
    return [gap for gap in gaps(coverage, Source.DATA_API) if gap.span.end > began + timedelta(seconds=1)]


async def chain_lags(database: Database) -> list[Any]:
    """Return the time of every fill whose log was seen, and how late that was."""
    return await rows(
        database,
        """SELECT e.event_time, s.seen_at - e.event_time FROM trade_event e
           JOIN event_sighting s ON s.event_id = e.id AND s.source = 'CHAIN' WHERE e.status = 'CANONICAL'""",
    )


async def test_an_api_that_is_down_from_the_start_is_not_looking_and_fills_await_it(
    database: Database, redis_url: str, tape: Path
) -> None:
    told = read_tape(tape)
    faults = [{"at_s": 0, "for_s": 1_000, "fault": "down", "target": "data"}]
    async with running_sandbox(tape=tape, speed=SPEED, faults=faults) as sandbox:
        await follow_all(database, told)
        await sandbox.play()
        async with ingest(database, redis_url, sandbox, chain=True):
            coverage = await until_report(database, lambda seen: seen.total("awaiting_api") > 5)
            assert not coverage.is_complete
            assert all(gap.open and gap.status is GapStatus.UNHEALED for gap in gaps(coverage, Source.DATA_API))
            assert len(gaps(coverage, Source.DATA_API)) == len(told.labels)
            assert coverage.total("only_chain") == coverage.total("only_api") == 0
            await until_report(database, lambda seen: seen.sources[1].failed_polls >= len(told.labels))


async def test_what_a_killed_ingest_had_not_seen_is_no_contact_once_the_next_one_has_healed(
    database: Database, redis_url: str, tape: Path
) -> None:
    """Its socket was silent when it said that it stood, and nobody had noticed yet."""
    silent = {"at_s": 1, "for_s": 7, "fault": "ws_silent", "target": "rpc"}
    async with running_sandbox(tape=tape, speed=8, faults=[silent]) as sandbox:
        await follow_all(database, read_tape(tape))
        process = await start_process(database, redis_url, sandbox)
        try:
            await until_report(database, is_watching)
            await sandbox.play()
            told_from, silent_until = datetime.now(UTC) + timedelta(seconds=3), datetime.now(UTC) + SILENT
            told = await until_report(database, lambda seen: (seen.sources[0].last_contact_at or NEVER) > told_from)
        finally:
            process.kill()
            await process.wait()
        killed_at, claimed = datetime.now(UTC), told.sources[0].last_contact_at
        assert claimed is not None
        await until_report(database, lambda _: datetime.now(UTC) > silent_until)
        async with ingest(database, redis_url, sandbox, chain=True):
            coverage = await until_report(
                database,
                lambda seen: (
                    any(gap.ended_by == "ended without a word" for gap in gaps(seen, Source.CHAIN))
                    and is_watching(seen)
                    and all(gap.status is GapStatus.HEALED for gap in gaps(seen, Source.CHAIN))
                ),
            )
    (gap,) = [gap for gap in gaps(coverage, Source.CHAIN) if gap.ended_by == "ended without a word"]
    unseen = [at for at, lag in await chain_lags(database) if at < claimed and at + lag > killed_at]
    assert unseen
    assert gap.span.start == min(unseen)
    assert killed_at <= gap.span.end
    assert gap.healed_by is Way.GETLOGS
