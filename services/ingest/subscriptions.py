"""The subscriptions of one websocket connection: one for each 200 wallets, following the roster."""

import contextlib
from collections.abc import Collection
from typing import Any, Final, Protocol

from libs.common.domain.errors import Unavailable
from libs.common.upstream.chain import log_filter
from libs.common.upstream.json_rpc import NodeRefusedError
from services.ingest.core.subscribing import arrange

WALLETS_PER_SUBSCRIPTION: Final = 200


class Asks(Protocol):
    """The part of the node that makes and ends subscriptions."""

    async def ask(self, method: str, params: list[Any]) -> Any:
        """Return the result of a call; raises Unavailable, NodeBusyError or NodeRefusedError."""


class Subscriptions:
    """The subscriptions of one connection; a follow changes one of them, the others stay as they are."""

    def __init__(self, node: Asks, room: int = WALLETS_PER_SUBSCRIPTION) -> None:
        self._node = node
        self._room = room
        self._current: dict[str, frozenset[str]] = {}
        self._new: set[str] = set()

    @property
    def wallets(self) -> frozenset[str]:
        """Whom we are subscribed to."""
        return frozenset().union(*self._current.values())

    def __len__(self) -> int:
        """How many subscriptions there are."""
        return len(self._current)

    async def follow(self, wanted: Collection[str]) -> list[str]:
        """Bring the subscriptions in line with whom we follow and return the wallets that are new to them.

        New ones stand before old ones are given up, so that nobody is missed meanwhile. Raises like the node; what
        stood still stands then, and the next call goes on from there.
        """
        parts = arrange(list(self._current.values()), wanted, self._room)
        standing = set(self._current.values())
        for part in parts:
            if part not in standing:
                name = await self._node.ask("eth_subscribe", ["logs", log_filter(sorted(part))])
                if not isinstance(name, str) or name in self._current:
                    # Else a part would be taken for unsubscribed, and subscribed to again for ever.
                    raise Unavailable(f"rpc: expected a new subscription id, got {name!r:.60}")
                self._new |= part - self.wallets
                self._current[name] = part
        for name in [name for name, part in self._current.items() if part not in parts]:
            with contextlib.suppress(NodeRefusedError):  # it has forgotten it already
                await self._node.ask("eth_unsubscribe", [name])
            del self._current[name]
        new = sorted(self._new & self.wallets)
        self._new.clear()
        return new
