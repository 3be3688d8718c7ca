"""What a person does with a dead letter: send it again to the group that failed, or discard it with a reason."""

from typing import Any
from uuid import UUID

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from libs.common.bus.connection import reaching
from libs.common.bus.dead_letter import DeadLetterStore
from libs.common.bus.failures import as_text
from libs.common.bus.streams import BY_NAME, Stream
from libs.common.bus.wire import DATA_FIELD, GROUP_FIELD, REPLAY_FIELD, Poison, parse
from libs.common.domain.dead_letter import DeadLetter, LetterStatus
from libs.common.domain.errors import Rejected
from libs.common.messages import Message

_log = structlog.get_logger()


async def replay(
    redis: Redis, letters: DeadLetterStore, letter_id: UUID, *, actor: str, payload: str | None = None
) -> DeadLetter:
    """Send an open letter again, to its group only, with `payload` in place of its own if given; return it settled.

    Raises Rejected when the letter is not open, its stream is not on the map or the payload is not the stream's
    message; Unavailable while Redis or the store is away. The entry is sent before the letter is settled: a crash
    between the two sends twice, which handlers bear.
    """
    letter = await _open_letter(letters, letter_id)
    stream = BY_NAME.get(letter.stream)
    if stream is None:
        raise Rejected(f"dead letter {letter_id}: expected a stream of the map, got {letter.stream}")
    body = letter.payload if payload is None else payload
    _check(stream, letter, body, repaired=payload is not None)
    fields = {DATA_FIELD: body.encode(), GROUP_FIELD: letter.group.encode(), REPLAY_FIELD: str(letter_id).encode()}
    with reaching(f"replay of dead letter {letter_id}"):
        await redis.xadd(letter.stream, fields)  # type: ignore[arg-type]  # bytes are fine
    settled = await letters.settle(letter_id, LetterStatus.REPLAYED, actor=actor, reason="replayed", payload=payload)
    await _drop_mirror(redis, letter)
    return settled


async def discard(redis: Redis, letters: DeadLetterStore, letter_id: UUID, *, actor: str, reason: str) -> DeadLetter:
    """Give an open letter up for good, with a reason; return it settled. Raises Rejected without a reason."""
    if not reason.strip():
        raise Rejected("a discard needs a reason")
    letter = await _open_letter(letters, letter_id)
    settled = await letters.settle(letter_id, LetterStatus.DISCARDED, actor=actor, reason=reason.strip())
    await _drop_mirror(redis, letter)
    return settled


async def _open_letter(letters: DeadLetterStore, letter_id: UUID) -> DeadLetter:
    letter = await letters.get(letter_id)
    if letter is None:
        raise Rejected(f"there is no dead letter {letter_id}")
    if letter.status is not LetterStatus.OPEN:
        raise Rejected(f"dead letter {letter_id}: expected it open, it is {letter.status}")
    return letter


def _check(stream: Stream[Message], letter: DeadLetter, body: str, *, repaired: bool) -> None:
    try:
        parse(stream, body)
    except Poison as error:
        what = "the repaired payload" if repaired else "its payload as it is (give a repaired one)"
        raise Rejected(f"dead letter {letter.id}: {what} would fail again: {error}") from error


async def _drop_mirror(redis: Redis, letter: DeadLetter) -> None:
    """Remove a settled letter from its stream's mirror; the mirror is a convenience, so an outage is only logged."""
    mirror = f"{letter.stream}.dlq"
    wanted = str(letter.id)
    try:
        entries: Any = await redis.xrange(mirror)
        for entry_id, fields in entries:
            if as_text(fields.get(b"dead_letter_id", b"")) == wanted:
                await redis.xdel(mirror, entry_id)
    except (RedisError, OSError) as error:
        _log.warning("mirror_not_cleaned", stream=mirror, dead_letter=wanted, error=str(error))
