"""Delivers logs to the open websockets at their instant, and plays the faults that strike connections."""

import asyncio
from random import Random

from services.sandbox.chain import Chain
from services.sandbox.exchange import Exchange
from services.sandbox.faults import Faults
from services.sandbox.history import Log
from services.sandbox.order_filled import block_second
from services.sandbox.wire.rpc import RpcFace

LOOK_EVERY_SECONDS = 0.05
"""Longest sleep: a fault or a fresh row is noticed this late at most."""
BURST = 500
"""Logs offered before other work gets a turn."""
FLAP_MS = 3_000
"""How long a connection lives under `ws_flap`."""


class LogPump:
    """One per process; what was due before it started is history, as on a real node."""

    def __init__(self, exchange: Exchange, chain: Chain, rpc: RpcFace, faults: Faults) -> None:
        self._exchange = exchange
        self._chain = chain
        self._rpc = rpc
        self._faults = faults
        self._after = (exchange.timeline.now(), 2**62) if exchange.timeline.playing else (0, 0)
        started = exchange.timeline.now()
        self._reorgs_done = {each.fork for each in chain.reorgs() if each.at_ms <= started}

    async def run(self) -> None:
        """Deliver for ever."""
        while True:
            now = self._exchange.timeline.now()
            self._exchange.advance(now)
            self._strike(now)
            await self._deliver(now)
            due = self._exchange.history.next_log_ms(self._after)
            wait = LOOK_EVERY_SECONDS
            if due is not None:
                wait = min(wait, max(0.0, (due - self._exchange.timeline.now()) / 1000))
            await asyncio.sleep(wait)

    async def _deliver(self, now: int) -> None:
        since = self._rpc.since_start()
        due: list[Log] = list(self._exchange.history.logs_between(self._after, now))
        if not due:
            return
        self._after = (due[-1].at_ms, due[-1].seq)
        if self._faults.find("rpc", "reorder_rows", since):
            Random(now).shuffle(due)  # noqa: S311  disorder on purpose, not a secret
        if self._faults.find("rpc", "ws_silent", since):
            return
        times = 2 if self._faults.find("rpc", "duplicate_rows", since) else 1
        for place, log in enumerate(due):
            for connection in tuple(self._rpc.connections):
                for _ in range(times):
                    connection.offer(log, None)
            if place % BURST == BURST - 1:
                await asyncio.sleep(0)

    def _strike(self, now: int) -> None:
        """Cut connections that a fault forbids, and take back and mine again what a reorganisation strikes."""
        since = self._rpc.since_start()
        refusing = self._rpc.refusing()
        flapping = self._faults.find("rpc", "ws_flap", since) is not None
        for connection in tuple(self._rpc.connections):
            if not connection.dropped and (refusing or (flapping and now - connection.opened_ms > FLAP_MS)):
                connection.drop()
        for reorg in self._chain.reorgs():
            if reorg.at_ms > now or reorg.fork in self._reorgs_done:
                continue
            self._reorgs_done.add(reorg.fork)
            struck = [
                log
                for log in self._exchange.history.logs_of_blocks(
                    block_second(reorg.first), block_second(reorg.last), now
                )
                if not log.recorded_reorg and (log.at_ms, log.seq) <= self._after
            ]
            for taken_from in (reorg, None):
                for log in struck:
                    for connection in tuple(self._rpc.connections):
                        connection.offer(log, taken_from)
