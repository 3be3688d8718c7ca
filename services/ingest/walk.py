"""Read a wallet's activity of any length: in parts that are each complete, oldest first, few pages held at a time."""

from collections.abc import AsyncIterator
from typing import Protocol

from libs.common.upstream.data_api import PAGES_OF_A_SECOND, PAGES_PER_PART, ActivityListing, ListingTooLongError
from services.ingest.core.polling import Windows
from services.ingest.intake import Taken
from services.ingest.reading import Follow


class Activity(Protocol):
    """The part of the Data API that lists a wallet's activity."""

    async def activity(
        self, wallet: str, *, start: int | None, end: int | None = None, pages_max: int = PAGES_PER_PART
    ) -> ActivityListing:
        """Return a complete listing; raises ListingTooLongError beyond `pages_max`."""


class Listings(Protocol):
    """The part of the intake that records listings."""

    async def record_listing(self, listing: ActivityListing, follow: Follow) -> Taken:
        """Record a complete listing."""


async def parts_of(
    api: Activity, wallet: str, *, start: int, last: int | None, now: int
) -> AsyncIterator[ActivityListing]:
    """Yield what `wallet` did from `start` to `last` (epoch seconds; None: until now) in complete listings.

    The next part is asked for when the one before has been taken in. Raises Unavailable or Rejected as the API does.
    """
    windows = Windows(start, last, now)
    while not windows.done:
        most = PAGES_OF_A_SECOND if windows.is_smallest else PAGES_PER_PART
        try:
            listing = await api.activity(wallet, start=windows.start, end=windows.end, pages_max=most)
        except ListingTooLongError as error:
            if windows.is_smallest:
                raise
            windows.too_long(error.oldest)
            continue
        windows.listed(pages=listing.pages, pages_max=most)
        yield listing
