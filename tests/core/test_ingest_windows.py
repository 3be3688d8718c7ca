"""A long history in parts: every second exactly once, never more pages than allowed, whatever the density."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.upstream.data_api import PAGES_OF_A_SECOND, PAGES_PER_PART, ActivityListing, ListingTooLongError
from services.ingest.core.polling import Windows
from services.ingest.walk import parts_of

PAGE = 3
NOW = 10_000


class Api:
    """Lists how many rows fell into each second, newest first, three to a page."""

    def __init__(self, rows: Counter[int]) -> None:
        self.rows = rows
        self.pages = 0
        self.parts: list[tuple[int, int | None]] = []

    async def activity(
        self, wallet: str, *, start: int | None, end: int | None = None, pages_max: int = PAGES_PER_PART
    ) -> ActivityListing:
        first, last = start or 1, NOW * 2 if end is None else end
        found = sorted((at for at in self.rows.elements() if first <= at <= last), reverse=True)
        pages = max(1, -(-len(found) // PAGE))
        if pages > pages_max:
            self.pages += pages_max
            raise ListingTooLongError("/v2/activity", pages_max, found[pages_max * PAGE - 1])
        self.pages += pages
        self.parts.append((first, end))
        return ActivityListing(wallet, start, (), (), pages, end)


async def read(api: Api, start: int, last: int | None) -> None:
    async for _ in parts_of(api, "0x", start=start, last=last, now=NOW):
        pass


@given(
    st.lists(st.integers(1, NOW + 50), max_size=120, unique=True),
    st.lists(st.tuples(st.integers(1, NOW - 1), st.integers(10, 55)), max_size=3, unique_by=lambda crowd: crowd[0]),
    st.integers(1, NOW),
    st.one_of(st.none(), st.just(NOW)),
)
def test_every_second_is_listed_once_and_the_last_part_ends_where_it_should(
    seconds: list[int], crowds: list[tuple[int, int]], start: int, last: int | None
) -> None:
    rows = Counter(seconds)
    for at, many in crowds:
        rows[at] += many
    api = Api(rows)
    asyncio.run(read(api, start, last))
    assert api.parts[0][0] == start
    assert api.parts[-1][1] == last
    for (_, end), (following, _) in zip(api.parts, api.parts[1:], strict=False):
        assert end is not None
        assert following == end + 1
    # What is asked for in vain is bounded by what is found: no more than a few calls for each part.
    assert api.pages <= 20 + 8 * PAGES_PER_PART * len(api.parts) + sum(rows.values())


def test_a_short_history_is_one_call() -> None:
    api = Api(Counter([NOW - 5, NOW - 3]))
    asyncio.run(read(api, NOW - 120, None))
    assert api.parts == [(NOW - 120, None)]
    assert api.pages == 1


def test_one_crowded_second_is_read_to_its_end() -> None:
    api = Api(Counter({NOW - 10: PAGE * (PAGES_PER_PART + 5)}))
    asyncio.run(read(api, NOW - 20, None))
    assert (NOW - 10, NOW - 10) in api.parts
    assert PAGES_OF_A_SECOND > PAGES_PER_PART + 5


def test_a_listing_without_end_is_given_up_before_it_fills_the_memory() -> None:
    class Endless(Api):
        async def activity(
            self, wallet: str, *, start: int | None, end: int | None = None, pages_max: int = PAGES_PER_PART
        ) -> ActivityListing:
            self.pages += pages_max
            raise ListingTooLongError("/v2/activity", pages_max, NOW - 5)

    api = Endless(Counter())
    with pytest.raises(ListingTooLongError):
        asyncio.run(read(api, NOW - 120, None))
    assert api.pages < 50


def test_parts_grow_again_where_less_happened() -> None:
    windows = Windows(1, 1000, 1000)
    windows.too_long(901)
    assert windows.end == 50
    windows.listed(pages=1, pages_max=4)
    assert (windows.start, windows.end) == (51, 150)
    windows.listed(pages=4, pages_max=4)
    assert (windows.start, windows.end) == (151, 250)
