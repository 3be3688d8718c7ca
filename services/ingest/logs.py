"""Read the chain's logs of one connection: as they are pushed, and as they are fetched to close a gap."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import structlog

from libs.common.domain.errors import Rejected, Unavailable
from libs.common.observability import metrics
from libs.common.upstream.chain import decode_order_filled, log_filter, quantity
from libs.common.upstream.clob import chunks
from libs.common.upstream.json_rpc import RpcConnection
from libs.common.upstream.limits import TokenBucket
from services.ingest.core.sightings import LogSighting
from services.ingest.reading import read_fill
from services.ingest.roster import Roster
from services.ingest.subscriptions import WALLETS_PER_SUBSCRIPTION

BLOCKS_REMEMBERED_MAX: Final = 2_000
CALL_SECONDS: Final = 10.0

_log = structlog.get_logger()


class Logs(Protocol):
    """The part of the intake that takes logs."""

    block_committed: int

    async def put(self, log: LogSighting) -> None:
        """Queue a log."""

    async def settle(self) -> None:
        """Wait until every queued log is committed."""


class LogReader:
    """Decodes logs and passes those of followed wallets on."""

    def __init__(
        self, connection: RpcConnection, roster: Roster, intake: Logs, bucket: TokenBucket, range_blocks: int
    ) -> None:
        self._connection = connection
        self._roster = roster
        self._intake = intake
        self._bucket = bucket
        self._range_blocks = range_blocks
        self._block_times: OrderedDict[int, int] = OrderedDict()
        self._removed: set[tuple[str, int]] = set()

    async def take(self, log: Any, *, healing: bool = False) -> None:
        """Pass a log on; what cannot be decoded is counted, the API will show what it was."""
        seen_at = datetime.now(UTC)
        try:
            fill = decode_order_filled(log)
        except ValueError as error:
            metrics.ROWS_IGNORED.labels("log").inc()
            _log.warning("log_ignored", error=str(error)[:200])
            return
        place = (fill.block_hash, fill.log_index)
        if fill.removed:
            self._removed.add(place)
        follow = self._roster.follows.get(fill.wallet)
        if follow is None or (healing and place in self._removed):  # fetched before, removed since
            return
        if fill.is_combo:
            metrics.ROWS_IGNORED.labels("combo_log").inc()
            return
        timestamp = fill.timestamp
        if timestamp is None:
            timestamp = await self._block_time(fill.block_number)
        await self._intake.put(read_fill(fill, timestamp, follow, seen_at))

    async def heal(self, wallets: Sequence[str], first: int, last: int) -> None:
        """Fetch the logs of `wallets` in blocks `first` to `last` and return once they are committed.

        A node that refuses is left alone: the poller reaches as far back. Raises Unavailable with the connection.
        """
        found = 0
        try:
            for part in chunks(wallets, WALLETS_PER_SUBSCRIPTION):
                for start in range(first, last + 1, self._range_blocks):
                    found += await self._fetch(part, start, min(start + self._range_blocks - 1, last))
        except Rejected as error:
            _log.warning("logs_not_healed", from_block=first, to_block=last, error=str(error)[:200])
        await self._intake.settle()
        _log.info("logs_healed", wallets=len(wallets), from_block=first, to_block=last, logs=found)

    async def _fetch(self, wallets: Sequence[str], first: int, last: int) -> int:
        await self._bucket.acquire("rpc")
        query = {**log_filter(wallets), "fromBlock": hex(first), "toBlock": hex(last)}
        logs = await self._connection.call("eth_getLogs", [query])
        if not isinstance(logs, list):
            raise Rejected(f"rpc: expected a list of logs, got {type(logs).__name__}")
        for log in logs:
            await self.take(log, healing=True)
        return len(logs)

    async def _block_time(self, number: int) -> int:
        """Return a block's timestamp, asked for once; raises Unavailable, which ends the life and heals in the next."""
        if number not in self._block_times:
            block = await self._connection.call("eth_getBlockByNumber", [hex(number), False])
            if not isinstance(block, Mapping):
                raise Unavailable(f"rpc: expected block {number}, got {block!r:.60}")
            self._block_times[number] = _number(block.get("timestamp"), "block timestamp")
            while len(self._block_times) > BLOCKS_REMEMBERED_MAX:
                self._block_times.popitem(last=False)
        return self._block_times[number]


async def block_number(connection: RpcConnection, timeout_seconds: float = CALL_SECONDS) -> int:
    """Return the node's latest block; raises Unavailable."""
    return _number(await connection.call("eth_blockNumber", timeout_seconds=timeout_seconds), "block number")


def _number(value: object, what: str) -> int:
    try:
        return quantity(value, what=what)
    except ValueError as error:
        raise Unavailable(f"rpc: {error}") from error
