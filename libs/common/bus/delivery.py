"""The fate of messages: one batch together, what fails one by one, each by its own merits.

::

    handler returns       acknowledged
    Rejected, Poison      dead letter now
    Unavailable, outage   stays pending, tried again with backoff, never counted
    anything else         recorded failure; after the last retry dead letter
    died running it       dead letter as CRASH at the limit

A dead letter is stored before its message is acknowledged; while the store is away the message stays pending. A run of
unexpected errors with no success between stops the consumer, because then the code is wrong and not the messages.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Generic, TypeVar

import structlog

from libs.common.bus.dead_letter import DeadLetterStore
from libs.common.bus.failures import Failure, FailureLog, describe, one_more
from libs.common.bus.parked import Entry, Parked, letter_for
from libs.common.bus.pause import Pause
from libs.common.bus.policy import RetryPolicy
from libs.common.bus.reporting import Health, Metrics
from libs.common.bus.streams import Stream
from libs.common.bus.wire import Fields, Poison, decode
from libs.common.domain.dead_letter import LetterKind
from libs.common.domain.errors import Rejected, Unavailable
from libs.common.messages import Message

M = TypeVar("M", bound=Message)
Handler = Callable[[Sequence[M]], Awaitable[None]]
OUTAGES_IN_A_ROW = 2
"""Single messages that find the world down before the rest of their batch is spared the try."""

_log = structlog.get_logger()


class HandlerTimeout(Exception):  # noqa: N818  names what happened
    """A handler did not return within its limit."""


class Fate(Enum):
    """What one try did to one message."""

    DONE = auto()
    WAITS = auto()
    FAILED = auto()
    BURIED = auto()


class Delivery(Generic[M]):
    """Runs one group's handler, one batch at a time, and settles what becomes of each message."""

    def __init__(
        self,
        stream: Stream[M],
        group: str,
        handler: Handler[M],
        *,
        timeout_seconds: float,
        policy: RetryPolicy,
        log: FailureLog,
        letters: DeadLetterStore,
        is_outage: Callable[[BaseException], bool],
        health: Health,
        metrics: Metrics,
    ) -> None:
        self.stream = stream
        self.group = group
        self.parked: Parked[M] = Parked()
        self.flight: set[str] = set()
        self._handler = handler
        self._timeout_seconds = timeout_seconds
        self._policy = policy
        self._log = log
        self._letters = letters
        self._is_outage = is_outage
        self._health = health
        self._metrics = metrics
        self._turn = asyncio.Lock()
        self._pause = Pause(policy)
        self._labels = {"stream": stream.name, "group": group}
        self._where = _log.bind(stream=stream.name, group=group)

    def admit(self, message_id: str, fields: Fields, failure: Failure | None = None, deaths: int = 0) -> Entry[M]:
        """Read one stream entry; an unreadable one carries its dead letter."""
        try:
            return Entry(message_id, fields, decode(self.stream, fields), None, failure, 0, deaths)
        except Poison as error:
            self._metrics.count("failures", 1, kind=LetterKind.POISON.lower(), **self._labels)
            entry: Entry[M] = Entry(message_id, fields, None)
            entry.letter = letter_for(
                self.stream, self.group, entry, LetterKind.POISON, one_more(failure, error, datetime.now(UTC))
            )
            return entry

    async def deliver(self, entries: Sequence[Entry[M]], skipped: Sequence[str] = ()) -> None:
        """Settle entries as far as possible now; the others are parked. `skipped` ids are acknowledged unseen."""
        ids = [entry.id for entry in entries]
        self.flight.update(ids)
        try:
            async with self._turn:
                if unreadable := [entry for entry in entries if entry.letter is not None]:
                    await self._bury(unreadable)
                ready = [entry for entry in entries if entry.letter is None]
                # After a second death the suspects run alone, so that only the one that kills is counted again.
                await self._run_batch([entry for entry in ready if entry.deaths < 2])
                await self._isolate([entry for entry in ready if entry.deaths >= 2])
                if skipped:
                    await self._log.finish(skipped)
        finally:
            self.flight.difference_update(ids)

    @property
    def stopped(self) -> bool:
        """Tell whether a run of unexpected errors stopped this consumer."""
        return self._pause.stopped

    def hold_seconds(self, now: float) -> float:
        """Return how long reading has to pause: in an outage, while stopped, or with too much parked."""
        if len(self.parked) >= self._policy.parked_max:
            return self._policy.outage_cap_seconds
        return self._pause.seconds_left(now)

    async def quiet(self) -> None:
        """Return once no handler runs."""
        async with self._turn:
            return

    async def _run_batch(self, batch: list[Entry[M]]) -> None:
        if len(batch) <= 1:
            await self._isolate(batch)
            return
        error = await self._try(batch)
        if error is None:
            await self._settle(batch)
        elif self.stopped:
            self._pause.probed(asyncio.get_running_loop().time())
            self._park(batch, self._policy.stopped_probe_seconds)
        else:
            self._where.info("batch_isolated", messages=len(batch), error=describe(error))
            await self._isolate(batch)

    async def _isolate(self, batch: list[Entry[M]]) -> None:
        outages = 0
        for index, entry in enumerate(batch):
            fate = await self._run_alone(entry)
            outages = outages + 1 if fate is Fate.WAITS else 0
            if outages >= OUTAGES_IN_A_ROW or (self.stopped and fate is Fate.FAILED):
                for spared in batch[index + 1 :]:
                    spared.waits = max(spared.waits, entry.waits)
                delay = self._policy.stopped_probe_seconds if self.stopped else self._policy.outage_delay(entry.waits)
                self._park(batch[index + 1 :], delay)
                return

    async def _run_alone(self, entry: Entry[M]) -> Fate:
        if entry.deaths >= self._policy.deaths_max:
            crash = Rejected(f"it was running at {entry.deaths} process deaths, the limit is {self._policy.deaths_max}")
            return await self._give_up(entry, LetterKind.CRASH, crash)
        error = await self._try([entry])
        if error is None:
            await self._settle([entry])
            return Fate.DONE
        if isinstance(error, Rejected):
            self._metrics.count("failures", 1, kind=LetterKind.REJECTED.lower(), **self._labels)
            return await self._give_up(entry, LetterKind.REJECTED, error)
        if isinstance(error, Unavailable) or self._is_outage(error):
            self._wait(entry, error)
            return Fate.WAITS
        return await self._count(entry, error)

    async def _try(self, batch: Sequence[Entry[M]]) -> Exception | None:
        """Run the handler once within its limit; return what it raised."""
        await self._log.running([entry.id for entry in batch])
        loop = asyncio.get_running_loop()
        started = loop.time()
        messages = [entry.message for entry in batch if entry.message is not None]
        deadline = asyncio.timeout(self._timeout_seconds)
        try:
            async with deadline:
                await self._handler(messages)
        except Exception as error:  # noqa: BLE001  here the bus decides a message's fate
            await self._log.idle()  # whoever dies now was not running it
            if deadline.expired():
                return HandlerTimeout(f"{len(batch)} messages took longer than {self._timeout_seconds} s")
            return error
        finally:
            self._metrics.observe("batch", loop.time() - started, **self._labels)
        return None

    async def _settle(self, batch: Sequence[Entry[M]]) -> None:
        """Acknowledge handled messages and take the success as a sign that the world and the code are well."""
        if self._pause.succeeded():
            self._resume()
        await self._log.finish([entry.id for entry in batch])
        self._metrics.count("handled", len(batch), **self._labels)

    def _wait(self, entry: Entry[M], error: Exception) -> None:
        """Park a message that met an outage; reading pauses for as long, more with each outage in a row."""
        entry.waits += 1
        delay = self._policy.outage_delay(entry.waits)
        self._pause.met_outage(asyncio.get_running_loop().time())
        self._metrics.count("failures", 1, kind="unavailable", **self._labels)
        self._where.warning(
            "message_waits", message=entry.id, waits=entry.waits, delay_s=round(delay, 2), error=describe(error)
        )
        self._park([entry], delay)

    async def _count(self, entry: Entry[M], error: Exception) -> Fate:
        """Record an unexpected failure and retry or give up; a stopped consumer only probes and counts nothing."""
        now = asyncio.get_running_loop().time()
        if self.stopped:
            self._pause.probed(now)
            self._park([entry], self._policy.stopped_probe_seconds)
            return Fate.FAILED
        self._metrics.count("failures", 1, kind="error", **self._labels)
        entry.failure = one_more(entry.failure, error, datetime.now(UTC))
        await self._log.note(entry.id, entry.failure)
        attempts = entry.failure.attempts
        self._where.warning(
            "message_failed", message=entry.id, attempts=attempts, error=entry.failure.error, exc_info=error
        )
        if self._pause.failed(entry.id, now):
            self._stop(error)
        if attempts > self._policy.retries and not self.stopped:
            entry.letter = letter_for(self.stream, self.group, entry, LetterKind.FAILED, entry.failure)
            if not await self._bury([entry]):
                entry.letter = None  # the store is away, so perhaps was what the handler needed: let it try again
            return Fate.BURIED
        self._park([entry], self._policy.retry_delay(attempts))
        return Fate.FAILED

    async def _give_up(self, entry: Entry[M], kind: LetterKind, error: Exception) -> Fate:
        entry.letter = letter_for(
            self.stream, self.group, entry, kind, one_more(entry.failure, error, datetime.now(UTC))
        )
        await self._bury([entry])
        return Fate.BURIED

    async def _bury(self, entries: Sequence[Entry[M]]) -> bool:
        """Store letters, then mirror and acknowledge; with the store away the messages stay pending."""
        letters = [entry.letter for entry in entries if entry.letter is not None]
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._letters.record(letters)
        except Exception as error:  # noqa: BLE001  whatever the store's trouble, the message must not be lost
            waits = max(entry.waits for entry in entries) + 1
            for entry in entries:
                entry.waits = waits
            self._where.error("dead_letter_delayed", letters=len(letters), error=describe(error))
            self._park(entries, self._policy.outage_delay(waits))
            return False
        await self._log.finish([entry.id for entry in entries], letters)
        for letter in letters:
            kind = letter.error.partition(":")[0]
            self._metrics.count("dead_letters", 1, kind=kind.lower(), **self._labels)
            self._where.error(
                "message_dead_lettered", message=letter.message_id, dead_letter=str(letter.id), error=letter.error
            )
        return True

    def _park(self, entries: Sequence[Entry[M]], delay_seconds: float) -> None:
        self.parked.add(entries, asyncio.get_running_loop().time() + delay_seconds)

    def _stop(self, error: Exception) -> None:
        reason = f"stopped after {self._pause.run_length} messages failed in a row, the last with {describe(error)}"
        self._health.set_fault(f"bus:{self.stream.name}:{self.group}", reason)
        self._metrics.observe("paused", 1, **self._labels)
        self._where.error("consumer_stopped", reason=reason)

    def _resume(self) -> None:
        self.parked.make_due(asyncio.get_running_loop().time())
        self._health.set_fault(f"bus:{self.stream.name}:{self.group}", None)
        self._metrics.observe("paused", 0, **self._labels)
        self._where.info("consumer_resumed")
