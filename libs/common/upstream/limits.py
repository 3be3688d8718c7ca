"""What every outbound call passes first: a budget of requests. The budgets themselves are `libs.common.bus.limiter`."""

from typing import Literal, Protocol

HostClass = Literal["data", "clob", "gamma"]
"""The hosts spoken to over HTTP; the node is spoken to over its websocket, as `rpc` and `rpc_heal`."""


class TokenBucket(Protocol):
    """Grants calls; waits until there is room."""

    async def acquire(self, host_class: str, tokens: int = 1) -> None:
        """Return once `tokens` calls to `host_class` are granted."""


class NoLimit:
    """Grants everything: for tests and for a sandbox of one's own."""

    async def acquire(self, host_class: str, tokens: int = 1) -> None:
        """Return at once."""
