"""Translate reconcile.requested into polls and backfills."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from libs.common.messages import ReconcileRequested
from services.ingest.roster import UnreadWalletsError

POLLED_HOURS_MAX: Final = 1
"""A wish that reaches further back than this becomes a backfill, which survives restarts and keeps no poll waiting."""


class Polls(Protocol):
    """The part of the poller that acts on a wish."""

    async def poll_now(self, wallet: str | None, seconds: int | None) -> None:
        """Poll now and return when it is done."""


class Backfills(Protocol):
    """The part of the backfiller that takes a wish."""

    async def ask(self, wallet: str | None, hours: int, asked_by: str) -> None:
        """Record the wish."""


class Unknowns(Protocol):
    """The part of the markets that looks again."""

    def ask_again(self) -> None:
        """Ask now for everything that is still unknown."""


def on_reconcile_requested(
    poller: Polls, backfills: Backfills, markets: Unknowns
) -> Callable[[Sequence[ReconcileRequested]], Awaitable[None]]:
    """Return the handler of wishes: a poll is awaited, a backfill only recorded.

    A wallet that cannot be read keeps no other wish waiting: for it a backfill is recorded.
    """

    async def handle(batch: Sequence[ReconcileRequested]) -> None:
        for request in batch:
            wallet = request.wallet.lower() if request.wallet else None
            if wallet is None:
                markets.ask_again()
            if request.hours is not None and request.hours > POLLED_HOURS_MAX:
                await backfills.ask(wallet, request.hours, request.requested_by)
                continue
            try:
                await poller.poll_now(wallet, None if request.hours is None else request.hours * 3600)
            except UnreadWalletsError as error:
                for unread in error.wallets:
                    await backfills.ask(unread, request.hours or POLLED_HOURS_MAX, request.requested_by)

    return handle
