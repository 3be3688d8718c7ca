"""`shadowbook dlq` against real databases."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from structlog.testing import capture_logs
from typer.testing import CliRunner

from libs.common.bus.streams import CONTROL_CHANGED
from libs.common.db.dead_letters import PostgresDeadLetters
from libs.common.domain.errors import Rejected
from libs.common.messages import ControlChanged
from services.cli import dlq
from services.cli.errors import CommandError
from tests.support.databases import Database
from tests.support.fakes_bus import Spy, control, fails_for, raw_redis, running_bus, until

pytestmark = pytest.mark.integration

STREAM, GROUP = CONTROL_CHANGED, "simulator-user"
POISON = '{"key": "broken"}'


class Command:
    """The command line as a person uses it, on the test's databases instead of a data directory's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, database_url: str, redis_url: str) -> None:
        self.stack = SimpleNamespace(database_url=database_url, redis_url=redis_url)
        self.app = typer.Typer()
        dlq.register(self.app)
        self.app.callback()(lambda: None)
        monkeypatch.setattr(dlq, "session", self._session)

    @contextmanager
    def _session(self, _data_dir: Path | None, *, command: str, require_up: bool = False) -> Iterator[Any]:
        assert command.startswith("dlq ")
        if require_up and self.stack.redis_url is None:
            raise CommandError("the stack is down")
        yield self.stack

    async def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """Run `shadowbook dlq ARGUMENTS`; return what it printed, raise what it raised."""
        result = await asyncio.to_thread(
            CliRunner().invoke, self.app, ["dlq", *arguments], input=stdin, standalone_mode=False
        )
        if result.exception is not None:
            raise result.exception
        self.code = result.return_value or 0
        return result.output

    async def json(self, *arguments: str) -> Any:
        return json.loads(await self(*arguments, "--json"))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, database: Database, redis_url: str) -> Iterator[Command]:
    with capture_logs():  # the bus runs beside the command and would print into its output
        yield Command(monkeypatch, database.url(), redis_url)


async def test_a_repaired_poison_comes_through(command: Command, database: Database, redis_url: str) -> None:
    spy: Spy[ControlChanged] = Spy()
    letters = PostgresDeadLetters(database.engine("simulator"))
    assert await command("list") == "No dead letters.\n"
    async with running_bus(redis_url, (STREAM, GROUP, spy), letters=letters), raw_redis(redis_url) as client:
        await client.xadd(STREAM.name, {"__data__": POISON})
        await until(lambda: client.xlen(STREAM.dead_letters))
        (listed,) = await command.json("list")
        assert (listed["stream"], listed["group"], listed["payload"]) == (STREAM.name, GROUP, POISON)
        assert "POISON" in await command("list")
        shown = await command("show", listed["id"][:8])
        assert POISON in shown
        assert "traceback" in shown
        with pytest.raises(Rejected, match="give a repaired one"):
            await command("replay", listed["id"])
        replayed = await command("replay", listed["id"][:8], "--payload", control("mended").model_dump_json())
        assert replayed == f"replayed {listed['id']} on {STREAM.name} to {GROUP}\n"
        await until(lambda: spy.done == [control("mended")])
    assert await command.json("list") == []
    assert [letter["status"] for letter in await command.json("list", "--all")] == ["REPLAYED"]


async def test_all_open_letters_of_a_stream_are_sent_again_and_the_hopeless_are_named(
    command: Command, database: Database, redis_url: str, tmp_path: Path
) -> None:
    spy = Spy(fails_for("later", Rejected("not yet")))
    letters = PostgresDeadLetters(database.engine("simulator"))
    async with running_bus(redis_url, (STREAM, GROUP, spy), letters=letters) as bus, raw_redis(redis_url) as client:
        await client.xadd(STREAM.name, {"__data__": POISON})
        await bus.publish(STREAM, [control("later")])

        async def both() -> bool:
            return bool(await client.xlen(STREAM.dead_letters) == 2)

        await until(both)
        spy.fate = lambda _message: None
        result = await command.json("replay", "--all", "--stream", STREAM.name)
        assert command.code == 1
        assert ([letter["subject"] for letter in result["replayed"]], len(result["refused"])) == (["later"], 1)
        await until(lambda: spy.done == [control("later")])
        (left,) = await command.json("list")
        file = tmp_path / "mended.json"
        file.write_text(control("mended").model_dump_json())
        await command("replay", left["id"], "--payload-file", str(file))
        await until(lambda: spy.done[-1] == control("mended"))
    assert await command("replay", "--all") == "No open dead letters.\n"


async def test_a_discarded_letter_keeps_its_reason(command: Command, database: Database, redis_url: str) -> None:
    letters = PostgresDeadLetters(database.engine("simulator"))
    async with running_bus(redis_url, letters=letters) as bus:
        await bus.give_up(STREAM, GROUP, control("x"), KeyError("gone"), attempts=4)
    (listed,) = await command.json("list")
    assert "a test" in await command("discard", listed["id"], "--reason", "a test")
    (settled,) = await command.json("list", "--all")
    assert (settled["status"], settled["status_reason"]) == ("DISCARDED", "a test")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "abc"], "expected at least 4 characters"),
        (["show", "abcdef"], "there is no dead letter abcdef"),
        (["replay"], "expected either the ID of one letter or --all"),
        (["replay", "abcdef", "--all"], "expected either the ID of one letter or --all"),
        (["replay", "--all", "--payload", "{}"], "goes with one ID"),
        (["replay", "abcdef", "--payload", "{}", "--payload-file", "x"], "not both"),
        (["replay", "abcdef", "--payload-file", "/nowhere/x"], "cannot be read"),
        (["discard", "abcdef", "--reason", "x"], "there is no dead letter abcdef"),
    ],
)
async def test_a_wrong_request_is_told_in_one_line(command: Command, arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        await command(*arguments)


async def test_letters_can_be_read_with_the_stack_down_but_not_replayed(command: Command) -> None:
    command.stack.redis_url = None
    assert await command("list") == "No dead letters.\n"
    with pytest.raises(CommandError, match="down"):
        await command("replay", "--all")
