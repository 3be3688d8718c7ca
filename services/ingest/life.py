"""One connection to the node, from its subscriptions to its end: heal the gap before it, listen, follow the roster."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import structlog

from libs.common.domain.errors import Rejected, Unavailable
from libs.common.observability import metrics
from libs.common.upstream.json_rpc import NodeBusyError, NodeRefusedError, RpcConnection
from libs.common.upstream.limits import TokenBucket
from services.ingest.contact import ChainContact
from services.ingest.core.gaps import OVERLAP_BLOCKS, Gap, Progress, blocks_in, gap_behind
from services.ingest.core.silence import Doubt, Silence
from services.ingest.healing import Healer
from services.ingest.logs import LogReader, Logs
from services.ingest.node import ATTEMPTS_PATIENT, Node
from services.ingest.roster import Roster
from services.ingest.settings import Settings
from services.ingest.subscriptions import Subscriptions

WATCH_SECONDS: Final = 1.0
SAVE_SECONDS: Final = 5.0
PROBE_TIMEOUT_SECONDS: Final = 5.0
RECALL_SECONDS: Final = 1.0
FOLLOW_AGAIN_SECONDS: Final = 5.0
FOLLOW_MARGIN_SECONDS: Final = 15.0
"""Fetched before a new follow's own time: whoever wrote it down may have had another clock."""
CHECKPOINT: Final = "chain"

_DOUBTS: Final[Mapping[Doubt, str]] = {
    "undelivered": "the API shows a fill that was not delivered",
    "quiet": "nothing came for a minute",
}
_log = structlog.get_logger()


class Memory(Protocol):
    """The part of the store that keeps checkpoints."""

    async def checkpoint(self, key: str) -> dict[str, Any] | None:
        """Return what is kept under a key."""

    async def remember(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep a value under a key."""


class DoubtedError(Unavailable):
    """The socket may have gone silent and is to be replaced."""

    def __init__(self, doubt: Doubt, block: int | None) -> None:
        """`block` is what the node answered when it was asked for its latest one; None: it did not answer."""
        answered = "the node does not answer" if block is None else f"the node is at block {block}"
        super().__init__(f"doubted: {_DOUBTS[doubt]}; {answered}")
        self.doubt = doubt
        self.was_only_quiet = doubt == "quiet" and block is not None


@dataclass(frozen=True, slots=True)
class Ties:
    """What one life after the other has to do with; `changed` is set when the roster has."""

    settings: Settings
    roster: Roster
    changed: asyncio.Event
    intake: Logs
    memory: Memory
    bucket: TokenBucket
    silence: Silence
    contact: ChainContact
    subscribed: Callable[[str, int], None]
    report: Callable[[str, str], None]


class Life:
    """Everything that lives as long as one connection."""

    def __init__(self, connection: RpcConnection, ties: Ties) -> None:
        self._connection = connection
        self._ties = ties
        self._roster = ties.roster
        self._silence = ties.silence
        self._contact = ties.contact
        self._node = Node(connection, ties.bucket)
        self._subscriptions = Subscriptions(self._node)
        self._reader = LogReader(self._node, ties.roster, ties.intake, ties.contact)
        self._healer = Healer(self._node, self._reader, ties.intake, ties.settings.log_range_blocks)

    async def run(self) -> None:
        """Subscribe, heal and listen until the connection ends or is doubted: raises Unavailable or Rejected."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            self._ties.changed.clear()
            await self._subscriptions.follow(self._roster.follows)
            await self._contact.opened()
            head = await self._node.head()
            self._contact.begins_behind(head)
            self._ties.subscribed(self._size(), head)
            progress = Progress(head)
            tasks.create_task(self._catch_up(progress, head))
            await self._watch(tasks, progress)

    async def _listen(self) -> None:
        # Whose subscription it is does not matter: the reader looks at what the log says, and one that has just been
        # made or given up delivers as well.
        async for _, log in self._connection.notifications():
            self._silence.hear(_seconds())
            self._contact.delivered()
            await self._reader.take(log)

    async def _catch_up(self, progress: Progress, head: int) -> None:
        """Fetch what was logged since the place kept, and keep it from then on."""
        gap = gap_behind(
            head,
            await self._recall(),
            blocks_max=self._ties.settings.heal_blocks_max,
            withheld_seconds=self._silence.withheld_seconds,
        )
        if gap.given_up:
            metrics.LOG_HEALS.labels("beyond_limit").inc()
            _log.error("gap_left_to_polling", blocks=gap.given_up, error="further back than HEAL_BLOCKS_MAX")
        number = progress.open(gap.first)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_place(progress))
            healed = await self._heal(progress, sorted(self._roster.follows), gap, number)
            if healed and (since := await self._node.time_of(gap.first)):
                await self._contact.healed(since)
            self._silence.withheld_seconds = 0.0

    async def _heal(self, progress: Progress, wallets: list[str], gap: Gap, number: int) -> bool:
        """Close a gap and return True; one that the node refuses stays open, so that the place kept never passes it."""
        if not await self._healer.heal(wallets, gap, lambda first: progress.narrow(number, first)):
            return False
        progress.close(number)
        return True

    async def _recall(self) -> int | None:
        """Return the place kept; a database that is away is awaited, as what arrives meanwhile awaits it."""
        while True:
            try:
                place = (await self._ties.memory.checkpoint(CHECKPOINT) or {}).get("block")
            except Unavailable as error:
                _log.warning("place_not_recalled", error=str(error)[:200])
                await asyncio.sleep(RECALL_SECONDS)
            else:
                return place if isinstance(place, int) else None

    async def _keep_place(self, progress: Progress) -> None:
        """Remember up to which block everything is committed."""
        saved = None
        while True:
            progress.deliver(self._ties.intake.block_committed)
            place = progress.place
            if place != saved:
                try:
                    await self._ties.memory.remember(CHECKPOINT, {"block": place, "at": datetime.now(UTC).isoformat()})
                except Unavailable as error:
                    _log.warning("place_not_kept", block=place, error=str(error)[:200])
                else:
                    saved = place
                    metrics.CHAIN_PLACE.set(place)
            await asyncio.sleep(SAVE_SECONDS)

    async def _watch(self, tasks: asyncio.TaskGroup, progress: Progress) -> None:
        """Follow the roster, and doubt a socket that should have spoken; ends by raising Unavailable."""
        changed, behind_until = self._ties.changed, 0.0
        while True:
            try:
                async with asyncio.timeout(WATCH_SECONDS):
                    await changed.wait()
            except TimeoutError:
                pass
            changed.clear()
            if self._roster.follows.keys() != self._subscriptions.wallets and behind_until <= _seconds():
                try:
                    new = await self._subscriptions.follow(self._roster.follows)
                except (NodeBusyError, NodeRefusedError) as error:
                    behind_until = _seconds() + FOLLOW_AGAIN_SECONDS  # what stood still stands
                    _log.warning("follow_waits", error=str(error)[:200])
                else:
                    self._ties.report("up", self._size())
                    if new:
                        tasks.create_task(self._catch_up_with(progress, new))
            await self._doubt()
            await self._contact.stands()

    async def _catch_up_with(self, progress: Progress, wallets: list[str]) -> None:
        """Fetch the logs of wallets just subscribed to since they were followed."""
        follows, now = self._roster.follows, _seconds()
        since = min((follows[each].followed_at.timestamp() for each in wallets if each in follows), default=now)
        most = self._ties.settings.heal_blocks_max
        blocks = min(blocks_in(now - since + FOLLOW_MARGIN_SECONDS) + OVERLAP_BLOCKS, most)
        number = progress.open(max(0, progress.through - blocks))
        head = await self._node.head(attempts=ATTEMPTS_PATIENT)
        await self._heal(progress, wallets, Gap(max(0, head - blocks), head), number)

    async def _doubt(self) -> None:
        """Replace a socket that is suspect (SPEC section 3); what the probe answers only says what was wrong with it.

        A node that answers calls may still have forgotten our subscriptions, and only the API could tell that from a
        quiet market; a new socket costs a few calls and does not need the API to be there.
        """
        now = _seconds()
        withheld = self._silence.withheld_since(now)
        self._contact.withholds(None if withheld is None else datetime.fromtimestamp(withheld, UTC))
        doubt = self._silence.doubt(now) if self._subscriptions.wallets else None
        if doubt is None:
            return
        self._silence.probe(now)
        try:
            block = await self._node.probe(PROBE_TIMEOUT_SECONDS)
        except (Unavailable, Rejected):
            raise DoubtedError(doubt, None) from None
        self._contact.answered()
        raise DoubtedError(doubt, block)

    def _size(self) -> str:
        return f"{len(self._subscriptions.wallets)} wallets in {len(self._subscriptions)} subscriptions"


def _seconds() -> float:
    return datetime.now(UTC).timestamp()
