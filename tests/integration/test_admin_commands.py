"""`shadowbook config`, `blacklist`, `breaker`, `pause`, `enable`: on real databases, with the bus up or down."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from libs.common.bus.connection import connect
from libs.common.bus.streams import CONFIG_CHANGED, CONTROL_CHANGED
from libs.common.domain.errors import Rejected
from libs.common.domain.kinds import Scope
from services.cli.__main__ import application
from services.cli.errors import CommandError
from services.cli.stack.ports import free_port
from services.simulator.commands import apply_config_file
from services.simulator.store.configs import ConfigStore
from tests.support.databases import Database
from tests.support.decisions import CONDITION
from tests.support.simulator_world import World

pytestmark = pytest.mark.integration
Command = Callable[..., Any]


@pytest.fixture
def stack(database: Database, redis_url: str) -> SimpleNamespace:
    return SimpleNamespace(database_url=database.url(), redis_url=redis_url)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, stack: SimpleNamespace, world: World) -> Iterator[Command]:
    """The command line as a person uses it, on the test's databases instead of a data directory's."""

    @contextmanager
    def session(_data_dir: Path | None, *, command: str, require_up: bool = False) -> Iterator[Any]:
        assert command
        assert not require_up, "works with the stack down, too"
        yield stack

    async def run(*arguments: str, stdin: str | None = None) -> str:
        app = application(arguments)
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments, input=stdin, standalone_mode=False)
        if result.exception is not None:
            raise result.exception
        return result.output

    monkeypatch.setattr("services.cli.stack.session", session)
    with capture_logs():  # the bus would print into the output
        yield run


async def told(url: str, stream: str) -> int:
    redis = connect(url)
    try:
        return int(await redis.xlen(stream))
    finally:
        await redis.aclose()


async def test_the_configuration_is_set_shown_and_remembered(
    command: Command, stack: SimpleNamespace, world: World, tmp_path: Path
) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"global": {"max_spread_micros": 25000}, "users": {"otter": {"copy_pct": 0.1}}}')
    assert (await command("config", "set", str(file))).startswith("Changed the global configuration and 1 of users")
    assert await told(stack.redis_url, CONFIG_CHANGED.name) == 2
    assert "Nothing changed" in await command("config", "set", str(file))
    view = json.loads(await command("config", "show", "--user", "otter", "--json"))
    assert (view["values"]["max_spread_micros"], view["own"], view["version"]) == (25_000, {"copy_pct": "0.1"}, 1)
    await ConfigStore(world.database.engine("simulator")).merge()
    lines = (await command("config", "show", "--user", "otter")).splitlines()
    assert lines[0].startswith("otter: version 3 since ")
    assert [line.split()[1:] for line in lines if line.startswith(("copy_pct", "max_spread", "jitter"))] == [
        ["0.1", "user"], ["250", "default"], ["25000", "global"],
    ]  # fmt: skip
    history = (await command("config", "history")).splitlines()
    assert history[0].split()[3:] == ["otter", "first"]
    assert history[1].split()[3:] == ["global", "max_spread_micros", "20000", "->", "25000"]
    assert len(json.loads(await command("config", "history", "--user", "otter", "--json"))) == 1
    document = '{"users": {"otter": {"jitter_ms": 5}}}'
    assert "1 of users" in await command("config", "set", "-", "--replace", stdin=document)
    assert json.loads(await command("config", "show", "--user", "otter", "--json"))["own"] == {"jitter_ms": 5}


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ('{"global": {"copy_pct": 0}}', "global: copy_pct: expected greater than 0, got 0"),
        ('{"global": {"copy_pct": 2}, "users": {"nobody": {}}}', "got 'nobody'"),
        (
            '{"global": {"max_event_age_seconds": 2, "jitter_ms": 300}}',
            "max_event_age_seconds: expected at least 4, got 2",
        ),
        ("[]", "expected a JSON object, got list"),
        ("{", "standard input: expected JSON"),
    ],
)
async def test_a_wrong_file_is_refused_in_one_sentence(
    command: Command, world: World, document: str, complaint: str
) -> None:
    with pytest.raises(Rejected, match=complaint):
        await command("config", "set", "-", stdin=document)
    assert await world.execute("SELECT 1 FROM audit_log") == []


@pytest.mark.parametrize("bus", ["up", "down", "away"])
async def test_switches_are_turned_whatever_the_bus_does(
    command: Command, stack: SimpleNamespace, world: World, bus: str
) -> None:
    url = stack.redis_url
    stack.redis_url = {"up": url, "down": None, "away": f"redis://127.0.0.1:{free_port()}"}[bus]
    assert (await command("pause")).startswith("Copying is paused, since ")
    assert json.loads(await command("resume", "--json"))["paused"] is False
    assert (await command("disable", "otter")).startswith("otter is shadowed, not copied")
    assert json.loads(await command("enable", "otter", "--json"))["enabled"] is True
    actions = await world.execute("SELECT actor, action FROM audit_log ORDER BY at")
    assert [row.action for row in actions] == ["control.pause", "control.resume", "user.disable", "user.enable"]
    assert all(row.actor.startswith("cli") for row in actions)
    assert await told(url, CONTROL_CHANGED.name) == (4 if bus == "up" else 0)
    with pytest.raises(Rejected, match="'nobody'"):
        await command("disable", "nobody")


async def test_breakers_are_listed_and_reset(command: Command, world: World) -> None:
    lines = (await command("breaker", "list")).splitlines()
    assert lines[0].split() == ["PORTFOLIO", "EQUITY", "BREAKER", "FROM", "LOST", "LIMIT", "STATE"]
    assert lines[1].split() == ["global", "10,000.00", "daily_loss", "10,000.00", "0.00%", "3.00%", "ok"]
    await world.execute("UPDATE portfolio SET drawdown_tripped = true WHERE user_id IS NOT NULL")
    assert "stays open until `shadowbook breaker reset" in await command("breaker", "list")
    assert (
        await command("breaker", "reset", "--user", "otter") == "The drawdown of otter counts from 10,000.00 USDC on.\n"
    )
    assert json.loads(await command("breaker", "reset", "--global", "--json"))["scope"] == Scope.EXEC_GLOBAL
    found = {each["user"]: each for each in json.loads(await command("breaker", "list", "--json"))}
    assert {user: (each["breakers"][2]["is_open"], each["is_reset"]) for user, each in found.items()} == {
        None: (False, True), "otter": (False, True), "heron": (True, False),
    }  # fmt: skip
    for wrong in ([], ["--global", "--user", "otter"]):
        with pytest.raises(CommandError, match="either --user USER or --global"):
            await command("breaker", "reset", *wrong)


async def test_a_market_is_blacklisted_excepted_and_taken_off(command: Command, stack: SimpleNamespace) -> None:
    assert await command("blacklist", "list") == "No market is blacklisted.\n"
    page = "https://polymarket.com/event/some-event/q"
    assert await command("blacklist", "add", page, "--reason", "rigged") == f"{CONDITION} is blacklisted for all.\n"
    assert (await command("blacklist", "add", "q")).endswith("; it was before.\n")
    assert await told(stack.redis_url, CONFIG_CHANGED.name) == 1
    assert "not blacklisted for otter" in await command("blacklist", "allow", "q", "--user", "otter")
    shown = (await command("blacklist", "list")).splitlines()
    assert [line.split()[:2] for line in shown] == [["allowed", "otter"], ["listed", "all"]]
    assert shown[1].endswith("q  (rigged)")
    assert "as for all for otter" in await command("blacklist", "remove", "q", "--user", "otter")
    assert json.loads(await command("blacklist", "remove", CONDITION, "--json"))["blacklisted"] is False
    assert await command("blacklist", "list") == "No market is blacklisted.\n"
    with pytest.raises(Rejected, match="expected a condition id"):
        await command("blacklist", "add", "no such market")


async def test_a_tape_may_take_a_user_s_copies_below_the_minimum(database: Database, world: World) -> None:
    await apply_config_file(database.url(), None, {"users": {"otter": {"MAX_TRADE_NOTIONAL": 3_000_000}}})
    await ConfigStore(database.engine("simulator")).merge()
    replica = world.replica(Scope.EXEC_USER)
    await replica.hear(await world.close_group())
    await replica.decide_all()
    assert (await world.attempts(Scope.EXEC_USER))[0].reason_codes == ["BELOW_MIN_NOTIONAL"]
