"""How the bus reaches Redis, and which of its errors mean that Redis is away rather than that we asked nonsense."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Connection, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError, TryAgainError
from redis.exceptions import TimeoutError as RedisTimeoutError

from libs.common.domain.errors import Unavailable

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0
"""Longest wait for any answer; blocking reads block for less."""
RETRIES = 2
CONNECTIONS_MAX = 32

_AWAY = (RedisConnectionError, RedisTimeoutError, OutOfMemoryError, ReadOnlyError, TryAgainError, OSError)
_AWAY_REPLIES = ("MISCONF", "LOADING", "MASTERDOWN", "OOM", "BUSY ", "CLUSTERDOWN", "NOREPLICAS")


class CancellableConnection(Connection):
    """A connection whose writes do not lose a cancellation.

    redis-py sends under `asyncio.wait_for`, which in Python 3.11 returns normally when the cancellation meets a write
    that is just done; a task that uses Redis in a loop would then outlive its timeout or its `cancel()`.
    """

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        """Send a packed command, with the errors of the method this one replaces."""
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        if check_health:
            await self.check_health()  # type: ignore[no-untyped-call]  # the library's own
        packed = command.encode() if isinstance(command, str) else command
        try:
            async with asyncio.timeout(self.socket_timeout):
                await self._send_packed_command([packed] if isinstance(packed, bytes) else packed)
        except BaseException as error:
            await self.disconnect(nowait=True)  # half a command may be on the wire
            if isinstance(error, TimeoutError):
                raise RedisTimeoutError("Timeout writing to socket") from None
            if isinstance(error, OSError):
                raise RedisConnectionError(f"Error while writing to socket: {error}") from error
            raise


def connection_options() -> dict[str, Any]:
    """Return the limits of every connection, spelled out."""
    return {
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": ANSWER_SECONDS,
        "socket_keepalive": True,
        "health_check_interval": 0,
        "max_connections": CONNECTIONS_MAX,
        "connection_class": CancellableConnection,
    }


def connect(url: str) -> Redis:
    """Return a client that connects when first used and retries a broken connection twice, at once."""
    backoff = ExponentialWithJitterBackoff(base=0.05, cap=0.5)
    return Redis.from_url(url, retry=Retry(backoff, RETRIES), **connection_options())


def is_away(error: BaseException) -> bool:
    """Tell whether `error` means Redis is away, full or starting."""
    return isinstance(error, _AWAY) or (isinstance(error, ResponseError) and str(error).startswith(_AWAY_REPLIES))


@contextmanager
def reaching(purpose: str) -> Iterator[None]:
    """Turn an outage of Redis inside the block into Unavailable that says what it was for; other errors pass."""
    try:
        yield
    except (RedisError, OSError) as error:
        if is_away(error):
            raise Unavailable(f"Redis is away: {purpose}: {type(error).__name__}: {error}") from error
        raise
