"""The sandbox's chain: one block a second, with the logs of that second; reorganisations come from the faults file.

Everything is a function of the instant, so that a restarted sandbox answers with the same blocks and hashes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from services.sandbox.exchange import Exchange
from services.sandbox.faults import Faults
from services.sandbox.history import Log
from services.sandbox.order_filled import block_number, block_second, digest


@dataclass(frozen=True, slots=True)
class Reorg:
    """From `at_ms` on the last blocks are others: numbers `first` to `last`, fork number `fork`."""

    at_ms: int
    fork: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Filter:
    """What a subscription or eth_getLogs asks for: addresses and, by position, alternatives of topics."""

    addresses: frozenset[str]
    topics: tuple[frozenset[str] | None, ...]

    @classmethod
    def of(cls, asked: dict[str, Any]) -> "Filter":
        """Read a filter object; raises ValueError for what no node takes."""
        address, topics = asked.get("address") or (), asked.get("topics") or ()
        addresses = [address] if isinstance(address, str) else address
        if not isinstance(topics, list | tuple) or len(topics) > 4:
            raise ValueError("invalid topics: at most 4 positions")
        positions: list[frozenset[str] | None] = []
        for position in topics:
            alternatives = [position] if isinstance(position, str) else position
            positions.append(None if not alternatives else frozenset(str(each).lower() for each in alternatives))
        return cls(frozenset(str(each).lower() for each in addresses), tuple(positions))

    def matches(self, log: Log) -> bool:
        """Tell whether a log is asked for."""
        if self.addresses and log.address not in self.addresses:
            return False
        if not self.topics:
            return True
        topics = log.topics
        return len(topics) >= len(self.topics) and all(
            wanted is None or topic in wanted for wanted, topic in zip(self.topics, topics, strict=False)
        )


class Chain:
    """Blocks and logs as of an instant."""

    def __init__(self, exchange: Exchange, faults: Faults) -> None:
        self._exchange = exchange
        self._faults = faults

    def head(self, now: int) -> int:
        """Return the number of the newest block."""
        return block_number(now // 1000)

    def reorgs(self) -> list[Reorg]:
        """Return the scheduled reorganisations, on the wall clock; none before play."""
        started = self._exchange.timeline.started_ms
        if started is None:
            return []
        found = []
        for fork, fault in self._faults.reorgs():
            at_ms = started + fault.at_ms
            last = self.head(at_ms)
            found.append(Reorg(at_ms, fork, last - fault.depth + 1, last))
        return found

    def block_hash(self, number: int, now: int) -> str:
        """Return the hash a block has at this instant."""
        return self.hash_on(number, self._fork(number, now))

    def _fork(self, number: int, now: int) -> int:
        struck = (each.fork for each in self.reorgs() if each.at_ms <= now and each.first <= number <= each.last)
        return max(struck, default=0)

    def hash_on(self, number: int, fork: int) -> str:
        """Return the hash a block has on a fork."""
        return "0x" + digest("block", self._exchange.name, number, fork).hex()

    def fork_before(self, number: int, reorg: Reorg) -> int:
        """Return the fork a block was on before this reorganisation."""
        earlier = [each.fork for each in self.reorgs() if each.fork < reorg.fork and each.first <= number <= each.last]
        return max(earlier, default=0)

    def written(self, log: Log, now: int, *, removed_from: Reorg | None = None) -> bytes:
        """Write a log in its block as of now, or as taken out of the block it was in before a reorganisation.

        A recorded log keeps its recorded block until a scheduled reorganisation strikes it.
        """
        started = self._exchange.timeline.started_ms
        since = None if started is None else now - started
        stamped = self._faults.find("rpc", "no_block_timestamp", since) is None
        number = block_number(log.timestamp)
        if removed_from is None:
            return log.log(self._block_of(log, self._fork(number, now)), removed=log.taken_back, stamped=stamped)
        return log.log(self._block_of(log, self.fork_before(number, removed_from)), removed=True, stamped=stamped)

    def _block_of(self, log: Log, fork: int) -> str:
        recorded = log.recorded_block_hash
        if recorded is None:
            return self.hash_on(block_number(log.timestamp), fork)
        if fork == 0 or log.recorded_reorg:
            return recorded
        return "0x" + digest("block", recorded, fork).hex()  # recorded blocks stay apart even within one second

    def logs(self, asked: Filter, first: int, last: int, now: int) -> Iterator[bytes]:
        """Yield the logs of a range of blocks that are out and stand."""
        found = list(self._exchange.history.logs_of_blocks(block_second(first), block_second(last), now))
        gone = {_place(log) for log in found if log.taken_back}
        for log in found:
            if not log.taken_back and _place(log) not in gone and asked.matches(log):
                yield self.written(log, now)

    def block(self, number: int, now: int) -> dict[str, object]:
        """Return a block object without its transactions' bodies."""
        second = block_second(number)
        logs: Sequence[Log] = list(self._exchange.history.logs_of_blocks(second, second, now))
        fork = self._fork(number, now)
        recorded = [self._block_of(log, fork) for log in logs if log.recorded_block_hash and not log.taken_back]
        transactions = list(dict.fromkeys(log.tx_hash for log in logs))
        return {
            "number": hex(number),
            "hash": recorded[-1] if recorded else self.block_hash(number, now),
            "parentHash": self.block_hash(number - 1, now),
            "timestamp": hex(second),
            "gasLimit": "0x2aea540",
            "gasUsed": hex(21_000 * len(transactions)),
            "baseFeePerGas": "0x1b",
            "miner": "0x" + "0" * 40,
            "logsBloom": "0x" + "0" * 512,
            "transactions": transactions,
        }


def _place(log: Log) -> tuple[str | None, str, int]:
    return log.recorded_block_hash, log.tx_hash, log.log_index
