"""The bus as a process sees it: publish, consume, start, stop, sweep."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from typing import Any, TypeVar

import structlog
from faststream.redis import RedisBroker
from faststream.redis.exceptions import StreamGroupNotFoundError
from redis.exceptions import RedisError

from libs.common.bus import sweep as sweeping
from libs.common.bus.connection import connect, connection_options, is_away, reaching
from libs.common.bus.consume import Consumer
from libs.common.bus.dead_letter import MIRROR_MAX, DeadLetterStore, mirror_fields
from libs.common.bus.delivery import Delivery
from libs.common.bus.failures import Failure, FailureLog, describe, trace
from libs.common.bus.parked import Entry, letter_for
from libs.common.bus.policy import RetryPolicy
from libs.common.bus.reporting import Health, Metrics, Silent
from libs.common.bus.streams import Stream
from libs.common.bus.wire import encode
from libs.common.domain.dead_letter import LetterKind, LetterStatus
from libs.common.domain.errors import Rejected
from libs.common.messages import Message

M = TypeVar("M", bound=Message)

PUBLISH_CHUNK = 1_000
"""Messages per round trip."""
STOP_SECONDS = 10.0
"""How long a stop waits for a running handler, first of reading, then of retrying; supervisord kills at 30."""

_log = structlog.get_logger()


def looks_like_outage(error: BaseException) -> bool:
    """Tell whether an error that is not typed by its remedy still means that something shared is away."""
    if isinstance(error, OSError):  # a missing file is our own mistake, a refused connection is not
        return isinstance(error, ConnectionError | TimeoutError | socket.gaierror)
    return is_away(error)


def _reader_log() -> logging.Logger:
    """Return the logger FastStream gets: warnings only, an outage in one line, no advice we follow ourselves."""

    def shorten(record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            record.msg, record.args, record.exc_info = f"{record.getMessage()}: {describe(error)}", (), None
            return not isinstance(error, StreamGroupNotFoundError)
        return True

    logger = logging.getLogger("shadowbook.bus.reader")
    logger.setLevel(logging.WARNING)
    logger.filters[:] = [shorten]
    return logger


class Bus:
    """One per process. `instance` is the consumer name: stable across restarts, unique among living processes."""

    def __init__(
        self,
        url: str,
        *,
        service: str,
        instance: str,
        dead_letters: DeadLetterStore,
        health: Health | None = None,
        metrics: Metrics | None = None,
        policy: RetryPolicy | None = None,
        is_outage: Callable[[BaseException], bool] | None = None,
    ) -> None:
        """Prepare a bus that connects when started or first used.

        `is_outage` tells which errors of a handler mean that a shared part is away (the database's own test, for
        instance); such a message waits like one that met Unavailable. Health and metrics are reported where given.
        """
        self.redis = connect(url)
        self._service = service
        self._instance = instance
        self._dead_letters = dead_letters
        self._health: Health = health or Silent()
        self._metrics: Metrics = metrics or Silent()
        self._policy = policy or RetryPolicy()
        self._is_outage = is_outage
        self._consumers: list[Consumer[Any]] = []
        self._started = False
        self._broker = RedisBroker(
            url,
            apply_types=False,
            logger=_reader_log(),
            log_level=logging.DEBUG,
            graceful_timeout=STOP_SECONDS,
            **connection_options(),
        )

    def consume(
        self,
        stream: Stream[M],
        group: str,
        handler: Callable[[Sequence[M]], Awaitable[None]],
        *,
        batch_max: int = 200,
        timeout_seconds: float = 30,
        rest_seconds: float = 0.0,
    ) -> None:
        """Let `handler` read `stream` as `group`; call before `start`.

        The handler gets a batch of at most `batch_max` messages and returns when they are done. It may raise Rejected
        (dead letter now), Unavailable (wait) or anything else (counted); a failed batch is tried again one by one.
        After a batch that was not full the next read waits `rest_seconds`, where that much delay does no harm: what
        comes meanwhile shares a batch, and so a transaction.
        """
        stream.require_group(group)
        if self._started:
            raise RuntimeError(f"consume({stream.name}) after start: declare consumers first")
        log = FailureLog(self.redis, stream.name, group, self._instance)
        delivery = Delivery(
            stream,
            group,
            handler,
            timeout_seconds=timeout_seconds,
            policy=self._policy,
            log=log,
            letters=self._dead_letters,
            is_outage=self._outage,
            health=self._health,
            metrics=self._metrics,
        )
        self._consumers.append(
            Consumer(
                self._broker,
                self.redis,
                delivery,
                log,
                name=self._instance,
                batch_max=batch_max,
                timeout_seconds=timeout_seconds,
                rest_seconds=rest_seconds,
                policy=self._policy,
                health=self._health,
                metrics=self._metrics,
            )
        )

    async def publish(self, stream: Stream[M], messages: Sequence[M]) -> None:
        """Put messages on a stream, in order and at once; raises Unavailable when Redis is away or full.

        After Unavailable they may have arrived all the same; publish them again.
        """
        for start in range(0, len(messages), PUBLISH_CHUNK):
            chunk = messages[start : start + PUBLISH_CHUNK]
            with reaching(f"publish {len(chunk)} messages on {stream.name}"):
                # One transaction, so that readers wake up to all of it and not to its first message.
                async with self.redis.pipeline(transaction=True) as pipe:
                    for message in chunk:
                        pipe.xadd(stream.name, encode(message))  # type: ignore[arg-type]  # bytes are fine
                    await pipe.execute()
            self._metrics.count("published", len(chunk), stream=stream.name)

    async def give_up(self, stream: Stream[M], group: str, message: M, error: Exception, *, attempts: int) -> None:
        """Dead-letter a message whose work failed outside of a handler, after it was acknowledged.

        The letter stands for what the message is about: giving up twice on the same message leaves one, giving up again
        after its replay a new one. Raises Unavailable while the dead letter store is away; the mirror is written when
        Redis is there.
        """
        stream.require_group(group)
        now = datetime.now(UTC)
        failure = Failure(attempts, describe(error), trace(error), now, now)
        kind = LetterKind.REJECTED if isinstance(error, Rejected) else LetterKind.FAILED
        for replays in count():
            name = f"after-ack:{stream.subject_of(message)}"[:54] + (f":{replays}" if replays else "")
            letter = letter_for(stream, group, Entry(name, encode(message), message), kind, failure)
            former = await self._dead_letters.get(letter.id)
            if former is None or former.status is not LetterStatus.REPLAYED:
                break
        await self._dead_letters.record([letter])
        self._metrics.count("dead_letters", 1, kind=kind.lower(), stream=stream.name, group=group)
        _log.error("message_given_up", stream=stream.name, group=group, dead_letter=str(letter.id), error=letter.error)
        with suppress(RedisError, OSError):
            await self.redis.xadd(stream.dead_letters, mirror_fields(letter), maxlen=MIRROR_MAX, approximate=True)

    async def start(self) -> None:
        """Create the groups of every consumed stream at its beginning, then read; a Redis that is away is awaited."""
        self._started = True
        await self._broker.connect()
        for consumer in self._consumers:
            await consumer.start()
        _log.info("bus_started", service=self._service, consumers=len(self._consumers))

    async def stop(self) -> None:
        """Stop reading, let running handlers finish, acknowledge what is done, close."""
        await asyncio.gather(*(consumer.stop_reading() for consumer in self._consumers))
        await self._broker.stop()
        await asyncio.gather(*(consumer.finish(STOP_SECONDS) for consumer in self._consumers))
        await self.redis.aclose()

    async def sweep(self, stream: Stream[M], group: str, rows: sweeping.Rows[M]) -> int:
        """Put back on `stream`, for `group` alone, what `rows(limit)` finds missing in Postgres; see `bus.sweep`.

        Returns how many messages were published; raises Unavailable while Redis or the dead letter store is away.
        """
        with reaching(f"sweep {stream.name} for {group}"):
            swept = await sweeping.sweep(self.redis, self._dead_letters, stream, group, rows)
        self._metrics.count("swept", swept, stream=stream.name, group=group)
        return swept

    def _outage(self, error: BaseException) -> bool:
        return looks_like_outage(error) or (self._is_outage is not None and self._is_outage(error))
