"""Win rate: episodes from flat to flat, however the entries are cut into pages."""

from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from services.ui.queries.episodes import Episodes


class Row(NamedTuple):
    seq: int
    asset_id: str
    ref_id: str
    shares: int
    cash: int


def counted(*pages: list[Row]) -> tuple[int, int]:
    episodes = Episodes()
    for page in pages:
        episodes.take(page)
    return episodes.closed, episodes.won


def test_an_episode_is_won_by_its_cash_and_the_fee_of_its_last_fill_belongs_to_it() -> None:
    rows = [
        Row(1, "a", "r1", 10, -100),
        Row(2, "a", "r1", 0, -1),
        Row(3, "b", "r2", 5, -10),
        Row(4, "a", "r3", -10, 103),
        Row(5, "a", "r3", 0, -3),
        Row(6, "a", "r4", 1, -1),
        Row(7, "b", "condition", -5, 11),
    ]
    assert counted(rows[:4]) == (1, 1)
    assert counted(rows[:5]) == (1, 0)
    assert counted(rows) == (2, 1)


posting = st.tuples(st.sampled_from("ab"), st.integers(-3, 3), st.integers(-9, 9), st.integers(0, 3))


@given(st.lists(posting, max_size=30), st.integers(1, 7))
def test_any_pages_count_what_a_whole_reading_counts(postings: list[tuple[str, int, int, int]], size: int) -> None:
    rows: list[Row] = []
    by_asset: dict[str, list[Any]] = {"a": [], "b": []}
    for number, (asset, shares, cash, fee) in enumerate(postings):
        rows.append(Row(len(rows), asset, f"r{number}", shares, cash))
        rows.append(Row(len(rows), asset, f"r{number}", 0, -fee))
        by_asset[asset].append((shares, cash - fee))
    expected = []
    for moves in by_asset.values():
        held = result = 0
        for shares, cash in moves:
            held, result = held + shares, result + cash
            if shares and not held:
                expected.append(result)
                result = 0
    pages = [rows[start : start + size] for start in range(0, len(rows), size)]
    assert counted(*pages) == (len(expected), sum(each > 0 for each in expected))
