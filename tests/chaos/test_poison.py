"""Poison put on every stream by hand ends in its dead-letter stream with a reason; neighbours and repairs pass."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from libs.common.bus.status import stream_status
from libs.common.bus.streams import ALL, Stream
from libs.common.bus.wire import DATA_FIELD
from libs.common.domain.identity import user_id
from libs.common.messages import (
    AttemptDecided,
    ConfigChanged,
    ConfigTestRequested,
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
from tests.support.playing import SPEED, Play
from tests.support.tapes import MARKETS, write_tape

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

POISON = (b'{"nonsense": 1}', b"\xff not json")
NOW = {"occurred_at": datetime(2026, 11, 22, tzinfo=UTC), "observed_at": datetime(2026, 11, 22, tzinfo=UTC)}


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    """A stack that has decided and settled something and goes on running."""
    folder = tmp_path_factory.mktemp("poison")
    playing = Play(write_tape(folder / "tape"), folder / "play", speed=SPEED)
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
        (ConfigTestRequested, {"run_id": uuid4()}),
    ]
    return [kind.model_validate({**NOW, **values}) for kind, values in told]


def _owner(row: dict[str, Any]) -> dict[str, Any]:
    return {"user_id": user_id(row["user_label"])}


def payload(message: Message) -> bytes:
    return message.model_dump_json().encode()


def put(play: Play, bodies: dict[str, list[bytes]]) -> None:
    with session(play.data_dir) as stack, Redis.from_url(str(stack.redis_url)) as redis:
        for stream, each in bodies.items():
            for body in each:
                redis.xadd(stream, {DATA_FIELD: body})


def letters(play: Play, *options: str) -> list[dict[str, Any]]:
    return list(json.loads(play.run("dlq", "list", "--json", *options).stdout))


def wait_quiet(play: Play) -> None:
    """Wait until every group has handled all that is on its stream."""
    with session(play.data_dir) as stack:
        url = str(stack.redis_url)
    play.wait_until(
        lambda: all(not row.lag and not row.pending for row in asyncio.run(stream_status(url))), "an end of all work"
    )


@pytest.fixture(scope="module")
def poisoned(play: Play, good: dict[str, Message]) -> list[dict[str, Any]]:
    """The letters that poison between two good neighbours leaves, on every stream."""
    put(play, {name: [payload(message), *POISON, payload(message)] for name, message in good.items()})
    wait_quiet(play)
    return letters(play)


@pytest.mark.parametrize("stream", ALL, ids=lambda stream: str(stream.name))
def test_poison_is_laid_aside_with_its_reason_and_neighbours_pass(
    play: Play, poisoned: list[dict[str, Any]], stream: Stream[Message]
) -> None:
    found = [letter for letter in poisoned if letter["stream"] == stream.name]
    assert Counter(letter["group"] for letter in found) == dict.fromkeys(stream.groups, len(POISON))
    assert all(letter["error"].startswith("POISON") for letter in found)
    assert any("nonsense" in letter["error"] for letter in found)
    with session(play.data_dir) as stack, Redis.from_url(str(stack.redis_url)) as redis:
        assert redis.xlen(stream.dead_letters) == len(found)


def test_repaired_letters_go_through(play: Play, good: dict[str, Message], poisoned: list[dict[str, Any]]) -> None:
    repaired = {letter["stream"]: letter["id"] for letter in poisoned}
    assert repaired.keys() == good.keys()
    for stream, letter in repaired.items():
        done = play.run("dlq", "replay", letter, "--payload", payload(good[stream]).decode())
        assert done.returncode == 0, done.stderr
    wait_quiet(play)
    left = {letter["id"] for letter in letters(play)}
    assert left == {letter["id"] for letter in poisoned} - set(repaired.values())
    settled = [letter for letter in letters(play, "--all") if letter["id"] in repaired.values()]
    assert {letter["status"] for letter in settled} == {"REPLAYED"}


def test_a_replay_of_what_is_still_broken_is_refused(play: Play, poisoned: list[dict[str, Any]]) -> None:
    letter = next(
        each for each in letters(play) if each["stream"] == "events.detected" and "nonsense" in each["payload"]
    )
    done = play.run("dlq", "replay", letter["id"])
    assert done.returncode == 2
    assert "EventDetected" in done.stderr
    assert letter["id"] in {each["id"] for each in letters(play)}
