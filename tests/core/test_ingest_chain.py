"""The chain feed's pure parts: who shares a subscription, up to where all is committed, what a node's refusal means."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.upstream.json_rpc import NodeBusyError, NodeRefusedError, RangeTooWideError, refusal
from services.ingest.core.gaps import OVERLAP_BLOCKS, START_BLOCKS, Gap, Progress, blocks_in, gap_behind
from services.ingest.core.silence import Silence
from services.ingest.core.subscribing import arrange

ROOM = 4
WALLETS = st.sets(st.integers(0, 40).map(str), max_size=30)


@given(st.lists(WALLETS, min_size=1, max_size=8), st.integers(1, 6))
def test_any_course_of_follows_keeps_each_wallet_in_one_of_the_fewest_parts(course: list[set[str]], room: int) -> None:
    parts: list[frozenset[str]] = []
    for wanted in course:
        parts = arrange(parts, wanted, room)
        assert sorted(wallet for part in parts for wallet in part) == sorted(wanted)
        assert len(parts) == -(-len(wanted) // room)
        assert all(0 < len(part) <= room for part in parts)
        assert set(arrange(parts, wanted, room)) == set(parts), "nothing changed, nothing is remade"


@given(WALLETS, st.integers(0, 40).map(str))
def test_one_follow_changes_at_most_one_part_and_one_unfollow_at_most_two(wallets: set[str], other: str) -> None:
    parts = arrange([], wallets, ROOM)
    joined = arrange(parts, wallets | {other}, ROOM)
    assert len(set(joined) - set(parts)) <= 1
    left = arrange(parts, wallets - {other}, ROOM)
    assert len(set(left) - set(parts)) <= 1
    assert len(set(parts) - set(left)) <= 2


def test_a_change_that_was_cut_short_is_gone_on_with_from_what_stands() -> None:
    old, new, other = frozenset("abc"), frozenset("abcd"), frozenset("xyz")
    assert set(arrange([old, other, new], "abcdxyz", ROOM)) == {new, other}


def test_the_place_is_before_every_gap_that_is_open() -> None:
    progress = Progress(through=100)
    first, second = progress.open(60), progress.open(80)
    progress.deliver(120)
    assert progress.place == 59
    progress.narrow(first, 90)
    assert progress.place == 79
    progress.close(second)
    assert progress.place == 89
    progress.close(first)
    assert progress.place == 120
    progress.deliver(110)
    assert progress.place == 120


def test_a_gap_reaches_back_to_the_place_kept_and_no_further_than_it_may() -> None:
    assert gap_behind(1_000, 900, blocks_max=500) == Gap(900 - OVERLAP_BLOCKS, 1_000)
    assert gap_behind(1_000, None, blocks_max=500) == Gap(1_000 - START_BLOCKS, 1_000)
    assert gap_behind(1_000, 100, blocks_max=500) == Gap(500, 1_000, given_up=400 + OVERLAP_BLOCKS)
    assert gap_behind(1_000, 5_000, blocks_max=500) == Gap(1_000 - START_BLOCKS, 1_000), "another chain's place"
    assert gap_behind(1_000, 1_003, blocks_max=500) == Gap(1_003 - OVERLAP_BLOCKS, 1_000), "a reorganisation took some"
    assert gap_behind(3, None, blocks_max=500) == Gap(0, 3)


def test_a_place_past_what_was_withheld_is_not_believed() -> None:
    gap = gap_behind(1_000, 995, blocks_max=500, withheld_seconds=42.0)
    assert gap == Gap(1_000 - blocks_in(42.0) - OVERLAP_BLOCKS, 1_000)
    assert gap_behind(1_000, 900, blocks_max=500, withheld_seconds=20.0).first == 900 - OVERLAP_BLOCKS


@pytest.mark.parametrize(
    "error",
    [
        {
            "code": -32600,
            "message": "Under the Free tier plan, you can make eth_getLogs requests with up to a 10 block range.",
        },
        {"code": -32602, "message": "Log response size exceeded. You can make requests with up to a 2K block range"},
        {"code": -32614, "message": "eth_getLogs is limited to a 10,000 range"},
        {"code": -32602, "message": "eth_getLogs is limited to 0 - 50 blocks range"},
        {"code": -32701, "message": "exceed maximum block range: 50000"},
        {"code": 35, "message": "ranges over 10000 blocks are not supported on freetier"},
        {"code": -32005, "message": "query returned more than 10000 results"},
        {"code": -32602, "message": "range 1000000 exceeds limit of 10000"},
        {"code": -32602, "message": "query exceeds max results 20000, retry with the range 1-2"},
        {"code": -32602, "message": "invalid params", "data": {"payload": "range 9009594 is bigger than range limit"}},
        {"code": -32000, "message": "too wide blocks range, the limit is 100"},
        {"code": -32012, "message": "requested range too large"},
        {"code": -32000, "message": "requested too many blocks from 0 to 16777216, maximum is set to 2048"},
        {"code": -32000, "message": "Query timeout exceeded. Consider reducing your block range."},
        "block range too high",
    ],
)
def test_a_range_that_is_too_wide_is_known_by_its_words_whoever_says_them(error: Any) -> None:
    assert isinstance(refusal(error), RangeTooWideError)


@pytest.mark.parametrize(
    "error",
    [
        {"code": 429, "message": "Your app has exceeded its compute units per second capacity."},
        {"code": -32007, "message": "50/second request limit reached - reduce calls per second or upgrade"},
        {"code": -32005, "message": "daily request count exceeded, request rate limited"},
        {"code": -32005, "message": "limit exceeded"},
        {"code": -32000, "message": "invalid block range params"},
        {"code": -32000, "message": "block range extends beyond current head block"},
        {"code": -32000, "message": "header not found"},
        {"code": -32001, "message": "One or more of the blocks specified in filter cannot be found."},
        {"code": -32000, "message": "internal error"},
        {"code": -32603, "message": "Internal error"},
        {"code": -32002, "message": "request timed out"},
        "Too Many Requests",
    ],
)
def test_a_node_that_cannot_answer_now_is_asked_again(error: Any) -> None:
    assert isinstance(refusal(error), NodeBusyError)


@pytest.mark.parametrize(
    "error",
    [
        {"code": -32601, "message": "the method eth_getLogs does not exist/is not available"},
        {"code": -32601, "message": "Method not found"},
        {"code": -32602, "message": "invalid argument 0: hex string has length 3"},
        {"code": -32000, "message": "exceed max topics"},
        {"code": -32052, "message": "API key is not allowed to access method"},
        None,
        [],
        {"code": "x", "message": None},
    ],
)
def test_anything_else_is_a_refusal(error: Any) -> None:
    found = refusal(error)
    assert isinstance(found, NodeRefusedError)
    assert not isinstance(found, RangeTooWideError)


def test_nothing_is_doubted_before_the_first_subscription_and_a_new_socket_starts_with_a_clean_slate() -> None:
    silence = Silence()
    silence.miss(UUID(int=1), 10.0)
    assert silence.doubt(1_000) is None
    silence.renew(1_000)
    silence.miss(UUID(int=1), 1_005)
    assert silence.doubt(1_030) == "undelivered"
    silence.probe(1_030)
    assert silence.withheld_seconds == 25
    silence.renew(1_031)
    silence.miss(UUID(int=2), 1_035)
    assert silence.doubt(1_080) is None, "the one before was probed less than a minute ago"
    assert silence.doubt(1_090) == "undelivered"
