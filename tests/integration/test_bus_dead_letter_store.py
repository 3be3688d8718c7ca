"""One contract for every dead letter store: the one in memory that tests use and the real one."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from libs.common.bus import DeadLetter, DeadLetterStore, LetterStatus
from libs.common.db.dead_letters import PostgresDeadLetters
from libs.common.db.engine import make_engine
from libs.common.domain.dead_letter import letter_id
from libs.common.domain.errors import Rejected, Unavailable
from tests.support.databases import Database
from tests.support.fakes_bus import InMemoryDeadLetters

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def letter(number: int, **changes: object) -> DeadLetter:
    made = DeadLetter(
        id=letter_id("groups.closed", "simulator-user", f"{number}-0", "{}"),
        stream="groups.closed",
        group="simulator-user",
        message_id=f"{number}-0",
        subject=f"subject-{number}",
        payload='{"odd": "\\u2028 payload"}',
        error="FAILED: KeyError: 'x'",
        traceback="Traceback ...",
        attempts=4,
        first_at=NOW,
        last_at=NOW + timedelta(seconds=number),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


class Contract:
    """What the bus relies on."""

    async def test_what_is_recorded_is_found_newest_first(self, store: DeadLetterStore) -> None:
        letters = [letter(1), letter(2, subject=None, traceback=None), letter(3, group="simulator-global")]
        await store.record(letters)
        assert await store.find() == letters[::-1]
        assert await store.find(limit=1) == letters[2:]
        assert await store.find(stream="groups.closed", group="simulator-user") == letters[1::-1]
        assert await store.find(stream="events.detected") == []
        assert await store.get(letters[0].id) == letters[0]
        assert await store.get(letter(9).id) is None

    async def test_recording_nothing_is_nothing(self, store: DeadLetterStore) -> None:
        await store.record([])
        assert await store.find() == []

    async def test_recording_twice_leaves_the_first(self, store: DeadLetterStore) -> None:
        await store.record([letter(1)])
        await store.settle(letter(1).id, LetterStatus.DISCARDED, actor="someone", reason="a test")
        await store.record([letter(1, attempts=9), letter(2)])
        found = {each.message_id: (each.attempts, each.status) for each in await store.find()}
        assert found == {"1-0": (4, LetterStatus.DISCARDED), "2-0": (4, LetterStatus.OPEN)}

    async def test_a_letter_is_settled_once(self, store: DeadLetterStore) -> None:
        await store.record([letter(1)])
        settled = await store.settle(letter(1).id, LetterStatus.REPLAYED, actor="someone", reason="again", payload="{}")
        assert (settled.status, settled.status_reason) == (LetterStatus.REPLAYED, "again")
        assert settled.status_at is not None
        assert settled.payload == letter(1).payload
        assert await store.find(status=LetterStatus.OPEN) == []
        assert await store.find(status=LetterStatus.REPLAYED) == [settled]
        with pytest.raises(Rejected):
            await store.settle(letter(1).id, LetterStatus.DISCARDED, actor="someone", reason="too late")
        with pytest.raises(Rejected):
            await store.settle(letter(2).id, LetterStatus.DISCARDED, actor="someone", reason="unknown")

    async def test_open_and_discarded_subjects_are_blocked_in_their_own_group(self, store: DeadLetterStore) -> None:
        await store.record([letter(1), letter(2), letter(3), letter(4, group="simulator-global")])
        await store.settle(letter(2).id, LetterStatus.DISCARDED, actor="someone", reason="a test")
        await store.settle(letter(3).id, LetterStatus.REPLAYED, actor="someone", reason="a test")
        asked = [f"subject-{number}" for number in range(6)]
        assert await store.blocked("groups.closed", "simulator-user", asked) == {"subject-1", "subject-2"}
        assert await store.blocked("groups.closed", "simulator-user", []) == set()


class TestInMemory(Contract):
    @pytest.fixture
    def store(self) -> DeadLetterStore:
        return InMemoryDeadLetters()


@pytest.mark.integration
class TestPostgres(Contract):
    @pytest.fixture
    def store(self, database: Database) -> DeadLetterStore:
        return PostgresDeadLetters(database.engine())

    async def test_settling_leaves_an_audit_row(self, store: DeadLetterStore, database: Database) -> None:
        await store.record([letter(1)])
        await store.settle(letter(1).id, LetterStatus.REPLAYED, actor="someone", reason="again", payload='{"a": 1}')
        async with database.engine().connect() as connection:
            row = (await connection.execute(text("SELECT actor, action, subject, detail FROM audit_log"))).one()
        assert tuple(row) == (
            "someone",
            "dead_letter.replay",
            str(letter(1).id),
            {
                "stream": "groups.closed",
                "group": "simulator-user",
                "reason": "again",
                "repaired_payload": '{"a": 1}',
            },
        )

    async def test_a_service_may_record_and_read_but_not_settle(self, database: Database) -> None:
        for role in ("ingest", "grouper", "simulator", "ledger", "pricer", "ui"):
            store = PostgresDeadLetters(database.engine(role))
            await store.record([letter(1)])
            assert len(await store.find()) == 1
            with pytest.raises(ProgrammingError, match="permission denied"):
                await store.settle(letter(1).id, LetterStatus.DISCARDED, actor=role, reason="a test")

    async def test_a_database_that_is_away_is_an_outage(self, unused_tcp_port_factory: Callable[[], int]) -> None:
        url = f"postgresql://nobody:nothing@127.0.0.1:{unused_tcp_port_factory()}/none"
        engine = make_engine(url, application="test")
        with pytest.raises(Unavailable):
            await PostgresDeadLetters(engine).record([letter(1)])
        await engine.dispose()
