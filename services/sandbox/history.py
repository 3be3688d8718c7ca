"""What happened on the exchange and, on a tape, what will: activity rows and chain logs, indexed for the wire."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from services.sandbox.order_filled import ORDER_FILLED, address_topic, digest, fill_data, log_object

NO_LOG = -1


@dataclass(slots=True)
class Row:
    """One activity row. Times are wall time; `seq` orders rows of one second and is unique."""

    seq: int
    at_ms: int
    visible_ms: int
    timestamp: int
    wallet: str
    type: str
    side: str
    condition_id: str
    token_id: str
    tx_hash: str
    share_micros: int
    cash_micros: int
    fee_micros: int
    maker: bool
    log_index: int
    address: str
    source: Any
    """What the exchange needs to write the row out in full."""

    @property
    def recorded_block_hash(self) -> str | None:
        """Return None: the block of a derived log is the sandbox's own."""
        return None

    @property
    def taken_back(self) -> bool:
        """Return False: only recorded logs say they were removed."""
        return False

    @property
    def recorded_reorg(self) -> bool:
        """Return False: no recording takes this log's block back."""
        return False

    @property
    def topics(self) -> tuple[str, ...]:
        """Return the topics of the fill's log: a taker's counterparty is the exchange contract itself."""
        order_hash = "0x" + digest("order", self.tx_hash, self.log_index).hex()
        counterparty = "0x" + digest("counterparty", self.tx_hash).hex()[:40] if self.maker else self.address
        return ORDER_FILLED, order_hash, address_topic(self.wallet), address_topic(counterparty)

    def log(self, block_hash: str, *, removed: bool, stamped: bool) -> bytes:
        """Write the fill's log."""
        return log_object(
            address=self.address,
            topics=self.topics,
            data=fill_data(self.side, self.token_id, self.share_micros, self.cash_micros, self.fee_micros),
            second=self.timestamp,
            block_hash=block_hash,
            tx_hash=self.tx_hash,
            log_index=self.log_index,
            removed=removed,
            stamped=stamped,
        )


class Log(Protocol):
    """What the chain face needs of a log, be it derived from a row or recorded."""

    @property
    def seq(self) -> int:
        """Return what orders logs of one instant."""

    @property
    def at_ms(self) -> int:
        """Return when it is delivered."""

    @property
    def timestamp(self) -> int:
        """Return the timestamp of its block."""

    @property
    def address(self) -> str:
        """Return the emitting contract."""

    @property
    def tx_hash(self) -> str:
        """Return its transaction."""

    @property
    def log_index(self) -> int:
        """Return its index within the block."""

    @property
    def recorded_block_hash(self) -> str | None:
        """Return the block hash it was recorded with, if it was."""

    @property
    def taken_back(self) -> bool:
        """Tell whether it was recorded as `removed`."""

    @property
    def recorded_reorg(self) -> bool:
        """Tell whether the recording itself takes its block back: a scheduled reorganisation then leaves it alone."""

    @property
    def topics(self) -> tuple[str, ...]:
        """Return its topics."""

    def log(self, block_hash: str, *, removed: bool, stamped: bool) -> bytes:
        """Write it as JSON."""


def api_order(row: Row) -> tuple[int, int]:
    """Return the key by which the Data API orders rows."""
    return row.timestamp, row.seq


def log_order(log: Log) -> tuple[int, int]:
    """Return the key by which logs are delivered."""
    return log.at_ms, log.seq


def block_order(log: Log) -> tuple[int, int]:
    """Return the key by which blocks hold logs."""
    return log.timestamp, log.seq


class History:
    """Rows by wallet and logs by instant and by block; ever appended to at the end, dropped from the front."""

    def __init__(self) -> None:
        self._all: list[Row] = []
        self._by_wallet: dict[str, list[Row]] = {}
        self._logs: list[Log] = []
        self._by_block: list[Log] = []

    def extend(self, rows: Iterable[Row], logs: Iterable[Log] = ()) -> None:
        """Add rows and logs; each list stays in order, which is cheap where the new ones are the latest."""
        touched = set()
        for row in rows:
            self._all.append(row)
            self._by_wallet.setdefault(row.wallet, []).append(row)
            touched.add(row.wallet)
        self._all.sort(key=api_order)
        for wallet in touched:
            self._by_wallet[wallet].sort(key=api_order)
        added = list(logs)
        self._logs.extend(added)
        self._logs.sort(key=log_order)
        self._by_block.extend(added)
        self._by_block.sort(key=block_order)

    def drop_before(self, wall_ms: int) -> None:
        """Forget rows and logs older than this."""
        second = wall_ms // 1000
        for rows in (self._all, *self._by_wallet.values()):
            del rows[: bisect_left(rows, (second, 0), key=api_order)]
        del self._logs[: bisect_left(self._logs, (wall_ms, 0), key=log_order)]
        del self._by_block[: bisect_left(self._by_block, (second, 0), key=block_order)]

    def drop_from(self, wall_ms: int) -> None:
        """Forget what is planned from this instant on."""
        for rows in (self._all, *self._by_wallet.values()):
            rows[:] = [row for row in rows if row.at_ms < wall_ms]
        self._logs[:] = [log for log in self._logs if log.at_ms < wall_ms]
        self._by_block[:] = [log for log in self._by_block if log.at_ms < wall_ms]

    def rows(self, wallet: str | None) -> Sequence[Row]:
        """Return one wallet's rows, or all, in the API's ascending order."""
        return self._all if wallet is None else self._by_wallet.get(wallet, ())

    def logs_between(self, after: tuple[int, int], until_ms: int) -> Sequence[Log]:
        """Return logs in order of delivery: later than the key `after`, at or before `until_ms`."""
        low = bisect_right(self._logs, after, key=log_order)
        high = bisect_left(self._logs, (until_ms + 1, 0), key=log_order)
        return self._logs[low:high]

    def next_log_ms(self, after: tuple[int, int]) -> int | None:
        """Return when the next log after this key is due."""
        place = bisect_right(self._logs, after, key=log_order)
        return self._logs[place].at_ms if place < len(self._logs) else None

    def logs_of_blocks(self, first_second: int, last_second: int, now: int) -> Iterator[Log]:
        """Yield the logs of the blocks with these timestamps, both inclusive, that are out by now."""
        low = bisect_left(self._by_block, (first_second, 0), key=block_order)
        for place in range(low, len(self._by_block)):
            log = self._by_block[place]
            if log.timestamp > last_second:
                return
            if log.at_ms <= now:
                yield log

    @property
    def last_visible_ms(self) -> int:
        """Return when the last row becomes visible (0 without rows)."""
        return max((row.visible_ms for row in self._all), default=0)
