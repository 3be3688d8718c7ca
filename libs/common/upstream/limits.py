"""The rate limit every outbound call passes: shared through Redis where there is one, else one process's own share."""

from typing import Final, Literal, Protocol

from aiolimiter import AsyncLimiter

HostClass = Literal["data", "clob", "gamma"]

TOTAL_PER_SECOND: Final = 20
TOTAL_BURST: Final = 40
DATA_PER_SECOND: Final = 10
"""Of the total, what the Data API may take."""


class TokenBucket(Protocol):
    """Grants calls; waits until there is room."""

    async def acquire(self, host_class: str, tokens: int = 1) -> None:
        """Return once `tokens` calls to `host_class` are granted."""


class LocalTokenBucket:
    """A limit of this process alone; `share` of the whole budget."""

    def __init__(self, share: float = 1.0) -> None:
        burst_seconds = TOTAL_BURST / TOTAL_PER_SECOND
        self._total = AsyncLimiter(max(1.0, TOTAL_BURST * share), burst_seconds)
        self._data = AsyncLimiter(max(1.0, DATA_PER_SECOND * share), 1.0)

    async def acquire(self, host_class: str, tokens: int = 1) -> None:
        """Return once `tokens` calls to `host_class` are granted."""
        if host_class == "data":
            await self._data.acquire(tokens)
        await self._total.acquire(tokens)


class NoLimit:
    """Grants everything: for tests and for a sandbox of one's own."""

    async def acquire(self, host_class: str, tokens: int = 1) -> None:
        """Return at once."""
