"""Read the chain's logs of one connection: as they are pushed, and as they are fetched to close a gap."""

from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from libs.common.observability.metrics import UpstreamMetrics
from libs.common.upstream.chain import ChainFill, decode_order_filled
from libs.common.upstream.samples import note_ignored
from services.ingest.core.sightings import LogSighting
from services.ingest.reading import read_fill, refuse_future
from services.ingest.roster import Roster

REMOVED_REMEMBERED_MAX: Final = 10_000

_METRICS: Final = UpstreamMetrics()


class Logs(Protocol):
    """The part of the intake that takes logs."""

    block_committed: int

    async def put(self, log: LogSighting) -> None:
        """Queue a log."""

    async def settle(self) -> None:
        """Wait until every queued log is committed."""


class Blocks(Protocol):
    """The part of the node that knows when a block was."""

    async def block_time(self, number: int, block_hash: str) -> int:
        """Return a block's timestamp in epoch seconds; raises Unavailable, NodeBusyError or NodeRefusedError.

        Raises ValueError for a block whose time is none.
        """


class Watch(Protocol):
    """The part of the record of contact that learns which logs were pushed and which had to be fetched."""

    def saw(self, place: tuple[str, int], block: int, event_time: datetime, *, fetched: bool) -> None:
        """Note a log by its block's hash and its index in it."""


class LogReader:
    """Decodes logs and passes those of followed wallets on."""

    def __init__(self, node: Blocks, roster: Roster, intake: Logs, watch: Watch) -> None:
        self._node = node
        self._roster = roster
        self._intake = intake
        self._watch = watch
        self._removed: OrderedDict[tuple[str, int], None] = OrderedDict()

    async def take(self, log: Any, *, healing: bool = False) -> None:
        """Pass a log on; what cannot be decoded is counted, the API will show what it was.

        A log that was fetched (`healing`) and has been taken back on this connection since is dropped: the answer is
        older than what we know. Raises Unavailable when its block's time cannot be had, which ends the connection; the
        next one fetches the log again.
        """
        seen_at = datetime.now(UTC)
        try:
            fill = decode_order_filled(log)
        except ValueError as error:
            note_ignored(_METRICS, "log", error, log)
            return
        place = (fill.block_hash, fill.log_index)
        if fill.removed:
            self._remember_removed(place)
        elif not healing:
            self._removed.pop(place, None)  # mined again in the very block it was taken back with
        follow = self._roster.follows.get(fill.wallet)
        if follow is None:
            return
        if fill.is_combo:
            note_ignored(_METRICS, "combo_log", "a position of several legs", log)
            return
        try:
            timestamp = await self._time_of(fill, seen_at)
            refuse_future(timestamp, "blockTimestamp", seen_at)
            sighting = read_fill(fill, timestamp, follow, seen_at)
        except (ValueError, OverflowError, OSError) as error:
            note_ignored(_METRICS, "log_time", error, log)
            return
        if healing and place in self._removed:
            return
        await self._intake.put(sighting)
        if not fill.removed:
            self._watch.saw(place, fill.block_number, sighting.event_time, fetched=healing)

    async def _time_of(self, fill: ChainFill, seen_at: datetime) -> int:
        """Return the epoch second of a fill's block.

        What is taken back needs no time, and its block can no longer be asked for it.
        """
        if fill.timestamp is not None:
            return fill.timestamp
        if fill.removed:
            return int(seen_at.timestamp())
        return await self._node.block_time(fill.block_number, fill.block_hash)

    def _remember_removed(self, place: tuple[str, int]) -> None:
        self._removed[place] = None
        while len(self._removed) > REMOVED_REMEMBERED_MAX:
            self._removed.popitem(last=False)
