"""`explain`, `replay` and `skips` as a person types them, on a database that needs no stack."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer

from libs.common.domain.errors import Rejected
from libs.common.domain.identity import attempt_id
from libs.common.domain.kinds import Scope
from services.cli import explain, replay, skips
from services.cli.errors import CommandError
from services.cli.options import parse_since
from services.cli.replay import DIFFERENCES_MAX, Tally, leaves
from services.cli.stack import Session
from services.cli.stack.data_dir import DataDir
from services.simulator.commands import Difference, Replayed
from tests.support.databases import Database
from tests.support.decisions import YES, book, levels
from tests.support.simulator_world import HERON, World

pytestmark = pytest.mark.integration

NOW = datetime(2026, 9, 28, 12, 0, tzinfo=UTC)
USER, GLOBAL = Scope.EXEC_USER, Scope.EXEC_GLOBAL
Run = Callable[..., tuple[int, str]]


@pytest.fixture
async def world(database: Database) -> World:
    """One copied and one skipped group, in both scopes."""
    found = World(database)
    await found.open()
    first = await found.close_group(age_s=6)
    for scope in (USER, GLOBAL):
        replica = found.replica(scope)
        await replica.hear(first)
        await replica.decide_all()
    found.exchange.books_by_asset[YES] = book(levels(("0.40", "900")), levels(("0.50", "900")), "h2")
    await found.mark(YES, "0.6")
    second = await found.close_group(age_s=5, user=HERON)
    for scope in (USER, GLOBAL):
        replica = found.replica(scope)
        await replica.hear(second)
        await replica.decide_all()
    return found


@pytest.fixture
def run(database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command's function in a thread of its own, since it starts an event loop; return exit code and output."""

    @contextmanager
    def visited(*_arguments: Any, **_more: Any) -> Iterator[Session]:
        yield Session(DataDir(Path("/nowhere")), database.url(), None)

    monkeypatch.setattr("services.cli.stack.session", visited)

    def running(command: Callable[..., int | None], *arguments: Any, **more: Any) -> tuple[int, str]:
        import threading

        outcome: list[Any] = []

        def work() -> None:
            try:
                outcome.append(command(*arguments, **more) or 0)
            except (CommandError, Rejected, typer.BadParameter) as error:
                outcome.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0], capsys.readouterr().out

    return running


async def test_replay_says_that_none_differs_and_else_which(world: World, run: Run) -> None:
    assert run(replay.replay) == (0, "4 attempts decided again: none differs.\n")
    code, out = run(replay.replay, as_json=True)
    assert (code, json.loads(out)) == (0, {
        "ok": True, "attempts": 4, "compared": 4, "different": 0, "book_gone": 0, "older_rules": 0, "differences": [],
        "differences_omitted": 0,
    })  # fmt: skip
    assert run(replay.replay, user="heron")[1].startswith("2 attempts decided again")
    assert run(replay.replay, since="1h")[1].startswith("4 attempts")
    (attempt,) = [each for each in await world.attempts(USER) if each.decision == "EXECUTE"]
    await world.execute("UPDATE executable_fill SET price_micros = 1 WHERE attempt_id = :id", id=attempt.id)
    await world.execute("DELETE FROM book_snapshot WHERE hash = 'h2'")
    code, out = run(replay.replay)
    assert code == 1
    assert f"attempt {attempt.id} comes out different:\n  fills[0][1]\n    recorded  1\n    decided   500000\n" in out
    assert "2 attempts decided again: 1 DIFFER.\nBy field: fills 1." in out
    assert "2 could not be: their book is no longer kept (30 days).\n" in out
    code, out = run(replay.replay, as_json=True)
    assert (code, json.loads(out)["differences"][0]["attempt_id"]) == (1, str(attempt.id))


async def test_nobody_is_refused(world: World, run: Run) -> None:
    for command in (replay.replay, skips.skips):
        with pytest.raises(Rejected, match="expected the name or id of a followed user, got 'nobody'"):
            run(command, user="nobody")
    with pytest.raises(CommandError, match="--scope: expected global or user, got 'all'"):
        run(skips.skips, scope="all")


async def test_explain_prints_an_attempt_a_document_and_candidates(world: World, run: Run) -> None:
    skipped = next(each for each in await world.attempts(GLOBAL) if each.decision == "SKIP")
    code, out = run(explain.explain, str(skipped.id)[:8])
    assert code == 0
    assert out.startswith("NOT COPIED  heron, EXEC_GLOBAL, decision 2 of this portfolio\nNot copied: spread: 0.10,")
    assert "worth now" in out
    document = json.loads(run(explain.explain, str(skipped.group_id), as_json=True)[1])
    assert [each["scope"] for each in document["attempts"]] == ["EXEC_USER", "EXEC_GLOBAL"]
    assert document["attempts"][1]["attempt_id"] == str(skipped.id)
    twin = "abcdefab-0000-4000-8000-00000000000"
    for number in (1, 2):
        await world.close_group(id=twin + str(number), age_s=3)
    replica = world.replica(USER)
    await replica.hear(await world.close_group())
    await replica.decide_all()
    with pytest.raises(CommandError) as refused:
        run(explain.explain, "abcdefab")
    assert refused.value.exit_code == 2
    lines = str(refused.value).splitlines()
    assert lines[0] == "'abcdefab' means more than one attempt: give more of its id"
    assert str(attempt_id(USER, await _id_of(world, twin + "1"))) in str(refused.value)
    assert len(lines) == 3


async def _id_of(world: World, group: str) -> Any:
    return (await world.execute("SELECT id FROM event_group WHERE id = :g", g=group))[0].id


async def test_skips_prints_reasons_and_what_they_cost(world: World, run: Run) -> None:
    code, out = run(skips.skips, scope="global")
    assert code == 0
    assert out.startswith("EXEC_GLOBAL: 1 of 2 decisions were skips\n")
    assert "SPREAD_TOO_WIDE" in out
    assert all(len(line) <= 100 for line in out.splitlines())
    document = json.loads(run(skips.skips, as_json=True)[1])
    assert {each["reason"] for each in document["scopes"][0]["reasons"]} == {"SPREAD_TOO_WIDE", "CHASING_MID",
                                                                            "NO_LIQUIDITY_WITHIN_BOUNDS"}  # fmt: skip
    assert run(skips.skips, user="otter")[1].startswith("EXEC_GLOBAL: 0 of 1 decisions were skips")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("24h", NOW - timedelta(hours=24)),
        ("7d", NOW - timedelta(days=7)),
        (" 30M ", NOW - timedelta(minutes=30)),
        ("90s", NOW - timedelta(seconds=90)),
        ("2w", NOW - timedelta(weeks=2)),
        ("2026-09-28", NOW - timedelta(hours=12)),
        ("2026-09-28T11:30", NOW - timedelta(minutes=30)),
        ("2026-09-28T11:30:00.5Z", NOW - timedelta(minutes=29, seconds=59, milliseconds=500)),
        ("2026-09-28T13:30+02:00", NOW - timedelta(minutes=30)),
    ],
)
def test_since_is_a_duration_or_a_time(text: str | None, expected: datetime | None) -> None:
    assert parse_since(text, NOW) == expected


@pytest.mark.parametrize(
    "text", ["", "yesterday", "24", "h", "-1h", "1.5h", "9999999d", "999999w", "2026-13-01", "1h 5m"]
)
def test_any_other_since_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match=r"--since: expected a duration .* or a time"):
        parse_since(text, NOW)


def test_a_since_to_come_is_refused() -> None:
    with pytest.raises(CommandError, match="expected a time in the past"):
        parse_since("2026-09-28T12:00:01Z", NOW)


def test_differences_are_counted_beyond_those_that_are_told() -> None:
    tally, group = Tally(), HERON
    for _ in range(DIFFERENCES_MAX + 5):
        tally.add(Replayed(group, (Difference(group, "fee_micros", 1, 2),), book_is_gone=False))
    tally.add(Replayed(group, (), book_is_gone=False, is_older=True))
    told = tally.document()
    assert (told["different"], len(told["differences"]), told["differences_omitted"]) == (1005, 1000, 5)
    assert (told["compared"], told["older_rules"], told["ok"]) == (1005, 1, False)


def test_what_differs_inside_a_value_is_pointed_at() -> None:
    old, new = [{"a": 1, "b": [1, 2]}, {"c": 3}], [{"a": 1, "b": [1, 3]}, {"d": 3}]
    assert list(leaves("checks", old, new)) == [
        ("checks[0].b[1]", 2, 3), ("checks[1].c", 3, None), ("checks[1].d", None, 3),
    ]  # fmt: skip
    assert list(leaves("fills", [[1]], [])) == [("fills", [[1]], [])]
