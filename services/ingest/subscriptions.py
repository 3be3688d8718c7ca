"""The subscriptions of one websocket connection: one for each 200 wallets, following the roster."""

from typing import Final

from libs.common.domain.errors import Unavailable
from libs.common.upstream.chain import log_filter
from libs.common.upstream.clob import chunks
from libs.common.upstream.json_rpc import RpcConnection
from libs.common.upstream.limits import TokenBucket
from services.ingest.roster import Roster

WALLETS_PER_SUBSCRIPTION: Final = 200


class Subscriptions:
    """The subscriptions of one connection, one for each 200 wallets."""

    def __init__(self, connection: RpcConnection, roster: Roster, bucket: TokenBucket) -> None:
        self._connection = connection
        self._roster = roster
        self._bucket = bucket
        self._current: dict[tuple[str, ...], str] = {}

    @property
    def wallets(self) -> int:
        """How many wallets are subscribed to."""
        return sum(len(part) for part in self._current)

    @property
    def subscriptions(self) -> int:
        """How many subscriptions there are."""
        return len(self._current)

    async def subscribe(self) -> list[str]:
        """Bring the subscriptions in line with whom we follow and return the wallets that are new to them.

        New subscriptions stand before old ones are given up.
        """
        before = {wallet for part in self._current for wallet in part}
        wanted = {tuple(part) for part in chunks(sorted(self._roster.follows), WALLETS_PER_SUBSCRIPTION)}
        for part in sorted(wanted - self._current.keys()):
            await self._bucket.acquire("rpc")
            subscription = await self._connection.call("eth_subscribe", ["logs", log_filter(part)])
            if not isinstance(subscription, str):
                raise Unavailable(f"rpc: expected a subscription id, got {subscription!r:.60}")
            self._current[part] = subscription
        for part in self._current.keys() - wanted:
            await self._connection.call("eth_unsubscribe", [self._current.pop(part)])
        return sorted({wallet for part in wanted for wallet in part} - before)
