"""Translate reconcile.requested into polls."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from libs.common.messages import ReconcileRequested


class Polls(Protocol):
    """The part of the poller that acts on a wish."""

    async def poll_now(self, wallet: str | None, seconds: int | None) -> None:
        """Poll now and return when it is done."""


def on_reconcile_requested(poller: Polls) -> Callable[[Sequence[ReconcileRequested]], Awaitable[None]]:
    """Return the handler that polls what is asked for; a request is done when its poll is complete."""

    async def handle(batch: Sequence[ReconcileRequested]) -> None:
        for request in batch:
            wallet = request.wallet.lower() if request.wallet else None
            await poller.poll_now(wallet, None if request.hours is None else request.hours * 3600)

    return handle
