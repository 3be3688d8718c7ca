"""The synthetic market is the same for the same seed, lively at once, and its wallets only give what they hold."""

from collections import Counter
from fractions import Fraction
from typing import Any

import pytest

from services.sandbox.exchange import parse_wire
from services.sandbox.history import NO_LOG, Row
from services.sandbox.market.synthetic import SyntheticExchange
from services.sandbox.timeline import Timeline

START_MS = 1_795_000_000_000
HOUR_S = 3_600


class Played:
    """A synthetic market played for some seconds, however long that would have taken."""

    def __init__(self, seed: int, seconds: int, *, late_start: int = 0) -> None:
        self.now = START_MS
        self.exchange = SyntheticExchange(seed, Timeline(start_ms=0, speed=Fraction(1), key="", clock=lambda: self.now))
        self.exchange.timeline.play()
        self.now += late_start * 1000
        while self.now < START_MS + seconds * 1000:
            self.now += 5_000
            self.exchange.advance(self.now)

    def rows(self) -> list[Row]:
        return [row for row in self.exchange.history.rows(None) if row.at_ms <= self.now]

    def open_books(self, *, ago_ms: int = 0) -> list[dict[str, Any]]:
        tokens = [token for market in self.exchange.markets(self.now) for token in market.tokens]
        books = [self.exchange.book_json(token, self.now - ago_ms) for token in tokens]
        return [dict(parse_wire(book)) for book in books if book]


@pytest.fixture(scope="module")
def hour() -> Played:
    return Played(1, HOUR_S)


def test_the_same_seed_plays_the_same_market(hour: Played) -> None:
    again = Played(1, HOUR_S)
    first, second = ([each.exchange.row_json(row) for row in each.rows()] for each in (hour, again))
    assert first == second
    assert hour.open_books() == again.open_books()


def test_another_seed_plays_another_market(hour: Played) -> None:
    assert {row.tx_hash for row in hour.rows()}.isdisjoint(row.tx_hash for row in Played(2, 60).rows())


def test_a_restart_in_the_middle_knows_the_same_past(hour: Played) -> None:
    restarted = Played(1, HOUR_S, late_start=HOUR_S - 5)
    assert [row.tx_hash for row in restarted.rows()] == [row.tx_hash for row in hour.rows()]
    assert [row.at_ms for row in restarted.rows()] == [row.at_ms for row in hour.rows()]


def test_trades_begin_within_two_seconds() -> None:
    first = Played(3, 5)
    early = [row for row in first.rows() if row.at_ms < START_MS + 2_000]
    assert len(early) >= 5
    assert len({row.wallet for row in early}) >= 5


def test_several_things_of_every_kind_happen(hour: Played) -> None:
    kinds = Counter(row.type for row in hour.rows())
    assert kinds["TRADE"] > 2 * HOUR_S
    assert min(kinds[name] for name in ("SPLIT", "MERGE", "REDEEM")) > 20
    assert any(row.maker for row in hour.rows())
    twins = Counter((row.tx_hash, row.share_micros) for row in hour.rows())
    assert max(twins.values()) == 2
    closed = [market for market in hour.exchange.markets(hour.now) if market.closed]
    assert len(closed) >= 4
    resolved = {row["condition_id"] for row in hour.exchange.resolutions(hour.now)}
    assert resolved == {each.condition_id for each in closed}
    assert len([market for market in hour.exchange.markets(hour.now) if not market.closed]) >= 12


def test_no_wallet_gives_what_it_does_not_hold(hour: Played) -> None:
    held: Counter[tuple[str, str]] = Counter()
    tokens = {market.condition_id: market.tokens for market in hour.exchange.markets(hour.now)}
    for row in hour.rows():
        legs = (row.token_id,) if row.token_id else tokens[row.condition_id]
        for token in legs:
            taken_in = row.type == "SPLIT" or row.side == "BUY"
            held[row.wallet, token] += row.share_micros if taken_in else -row.share_micros
            assert held[row.wallet, token] >= 0, row


def test_every_fill_has_its_own_place_on_the_chain(hour: Played) -> None:
    places = [(row.timestamp, row.log_index) for row in hour.rows() if row.log_index != NO_LOG]
    assert len(places) == len(set(places))
    assert len({row.seq for row in hour.rows()}) == len(hour.rows())


def test_copies_of_most_trades_are_worth_making(hour: Played) -> None:
    buys = sorted(row.cash_micros // 100 for row in hour.rows() if row.side == "BUY")
    assert buys[len(buys) // 4] >= 1_000_000
    assert buys[-1] <= 61_000_000


def test_books_are_two_sided_worst_first_and_mostly_a_cent_wide(hour: Played) -> None:
    spreads = []
    for book in [each for ago_ms in range(0, 60_000, 6_000) for each in hour.open_books(ago_ms=ago_ms)]:
        bids, asks = ([level["price"] for level in book[side]] for side in ("bids", "asks"))
        assert bids == sorted(bids)
        assert asks == sorted(asks, reverse=True)
        spreads.append(round((float(asks[-1]) - float(bids[-1])) * 100))
    assert min(spreads) == 1
    assert spreads.count(1) > len(spreads) * 0.7


def test_history_is_bounded(hour: Played) -> None:
    hour.exchange.history.drop_before(hour.now - 600_000)
    assert all(row.at_ms >= hour.now - 601_000 for row in hour.exchange.history.rows(None))
