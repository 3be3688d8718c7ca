"""Poison put on every stream by hand ends in its dead-letter stream with a reason; neighbours and repairs pass."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from redis import Redis

from libs.common.bus.streams import ALL
from libs.common.bus.wire import DATA_FIELD
from libs.common.domain.identity import user_id
from libs.common.messages import (
    AttemptDecided,
    ConfigChanged,
    ControlChanged,
    EventDetected,
    GroupClosed,
    MarketResolved,
    MarkUpdated,
    Message,
    ReconcileRequested,
)
from services.cli.stack import session
from tests.oracle import Run, read_run
from tests.support.playing import Play
from tests.support.tapes import MARKETS, write_tape

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

POISON = {"a body of no known shape": b'{"nonsense": 1}', "a body that is no JSON": b"\xff not json"}
GROUPS = ("simulator-user", "simulator-global")
NOW = {"occurred_at": datetime(2026, 11, 22, tzinfo=UTC), "observed_at": datetime(2026, 11, 22, tzinfo=UTC)}


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    """A stack that has decided and settled something and goes on running."""
    folder = tmp_path_factory.mktemp("poison")
    playing = Play(write_tape(folder / "tape"), folder / "play")
    try:
        playing.wait_playing()
        playing.wait_until(lambda: '"SETTLEMENT"' in playing.run("export", "ledger").stdout, "a settlement", 120)
        yield playing
    finally:
        playing.stop()


@pytest.fixture(scope="module")
def good(play: Play) -> dict[str, Message]:
    """One message per stream that says again what the stack knows."""
    run = read_run(play.exported())
    return {message_stream(message): message for message in _messages(run)}


def message_stream(message: Message) -> str:
    return next(stream.name for stream in ALL if stream.message is type(message))


def _messages(run: Run) -> list[Message]:
    event = next(row for row in run["events"] if row["kind"] == "TRADE")
    group, attempt, mark = run["groups"][0], run["attempts"][0], run["marks"][-1]
    resolved = next(market for market in MARKETS if market.payouts)
    named = {"condition_id": event["condition_id"], "asset_id": event["asset_id"], "side": event["side"]}
    attempted = {"group_id": attempt["group_id"], "scope": attempt["scope"], "decision": attempt["decision"]}
    marked = {"asset_id": mark["asset_id"], "price_micros": mark["price_micros"], "source": mark["source"]}
    payouts = {"condition_id": resolved.condition_id, "payouts_micros": resolved.payouts}
    told: list[tuple[type[Message], dict[str, Any]]] = [
        (EventDetected, {"event_id": event["id"], "kind": "TRADE", "booked": True, **_owner(event), **named}),
        (GroupClosed, {"group_id": group["id"], "kind": group["kind"], **_owner(group)}),
        (AttemptDecided, {"attempt_id": attempt["id"], **attempted, **_owner(attempt)}),
        (MarkUpdated, marked),
        (MarketResolved, payouts),
        (ReconcileRequested, {"requested_by": "a test"}),
        (ConfigChanged, {"scope": "GLOBAL"}),
        (ControlChanged, {"key": "engine_paused"}),
    ]
    return [kind.model_validate({**NOW, **values}) for kind, values in told]


def _owner(row: dict[str, Any]) -> dict[str, Any]:
    return {"user_id": user_id(row["user_label"])}


def put(play: Play, stream: str, *bodies: bytes) -> None:
    with session(play.data_dir) as stack, Redis.from_url(str(stack.redis_url)) as redis:
        for body in bodies:
            redis.xadd(stream, {DATA_FIELD: body})


def letters(play: Play, stream: str) -> list[dict[str, Any]]:
    return list(json.loads(play.run("dlq", "list", "--stream", stream, "--json").stdout))


def rows_of(play: Play, stream: str) -> list[dict[str, Any]]:
    return [row for row in play.status()["streams"] if row["name"] == stream]


def is_quiet(play: Play, stream: str) -> bool:
    """Tell whether every group of a stream has handled all that is on it."""
    return all(not row["lag"] and not row["pending"] for row in rows_of(play, stream))


def payload(message: Message) -> bytes:
    return message.model_dump_json().encode()


@pytest.mark.parametrize("stream", ALL, ids=lambda stream: str(stream.name))
def test_poison_is_laid_aside_with_its_reason_and_neighbours_pass(
    play: Play, good: dict[str, Message], stream: Any
) -> None:
    neighbour = payload(good[stream.name])
    put(play, stream.name, neighbour, *POISON.values(), neighbour)
    wanted = len(POISON) * len(stream.groups)
    play.wait_until(lambda: len(letters(play, stream.name)) == wanted, f"{wanted} dead letters of {stream.name}")
    play.wait_until(lambda: is_quiet(play, stream.name), f"an end of the work on {stream.name}")
    found = letters(play, stream.name)
    assert {letter["group"] for letter in found} == set(stream.groups)
    assert all(letter["error"].startswith("POISON") for letter in found)
    assert any("nonsense" in letter["error"] for letter in found)
    with session(play.data_dir) as stack, Redis.from_url(str(stack.redis_url)) as redis:
        assert redis.xlen(stream.dead_letters) == wanted


@pytest.mark.parametrize("stream", ALL, ids=lambda stream: str(stream.name))
def test_a_repaired_letter_goes_through(play: Play, good: dict[str, Message], stream: Any) -> None:
    before = letters(play, stream.name)
    assert before, f"no dead letter of {stream.name}"
    for letter in before:
        done = play.run("dlq", "replay", letter["id"], "--payload", payload(good[stream.name]).decode())
        assert done.returncode == 0, done.stderr
    play.wait_until(lambda: is_quiet(play, stream.name), f"an end of the work on {stream.name}")
    assert letters(play, stream.name) == []
    every = json.loads(play.run("dlq", "list", "--stream", stream.name, "--all", "--json").stdout)
    assert {letter["status"] for letter in every} == {"REPLAYED"}


def test_a_replay_of_what_is_still_broken_is_refused(play: Play) -> None:
    put(play, "control.changed", b'{"key": 1}')
    play.wait_until(lambda: len(letters(play, "control.changed")) == len(GROUPS), "the dead letters")
    letter = letters(play, "control.changed")[0]
    done = play.run("dlq", "replay", letter["id"])
    assert done.returncode == 2
    assert "ControlChanged" in done.stderr
    assert len(letters(play, "control.changed")) == len(GROUPS)
