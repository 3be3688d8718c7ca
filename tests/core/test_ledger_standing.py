"""Taking in late entries from a base: the same to the micro as folding everything again, and reading far less."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain.kinds import EntryType, Scope, Side
from services.ledger.core import entries
from services.ledger.core.entries import Entry, Owner, Posting
from services.ledger.core.fold import NOTHING, Holding, in_order, refold
from services.ledger.core.standing import EVER, LATE, Base, Standing, is_honest

START = datetime(2026, 9, 28, 9, 0, tzinfo=UTC)
SHADOW = Owner(Scope.SHADOW_USER, UUID(int=1))


def paid(number: int, second: int, sign: int, shares: int, notional: int, tx: str, fee: int) -> Sequence[Entry]:
    at = Posting(SHADOW, f"fill-{number}", START + timedelta(seconds=second), "0xc", tx_hash=tx, log_index=number)
    side = Side.BUY if sign > 0 else Side.SELL
    return entries.trade(at, "1001", side, share_micros=shares, notional_micros=notional, fee_micros=fee)


def fill(number: int, second: int, sign: int = 1) -> Entry:
    return paid(number, second, sign, 10, 5, "0xt", 0)[0]


class Kept:
    """A position and its entries, as the store has them; remembers how many of them each posting read again."""

    def __init__(self) -> None:
        self.standing = Standing(NOTHING, None, None)
        self.posted: list[Entry] = []
        self.read: list[int] = []

    def post(self, batch: list[Entry]) -> None:
        self.posted += batch
        new = in_order(Scope.SHADOW_USER, [entry for entry in batch if entry.undoes is not EntryType.FEE])
        since = self.standing.since_when(new)
        if since is None:
            self.standing.add(new)
            self.read.append(0)
        else:
            history = in_order(Scope.SHADOW_USER, [entry for entry in self.posted if entry.event_time >= since])
            self.standing.fold_again(new, history)
            self.read.append(len(history))

    @property
    def folded_from_nothing(self) -> Holding:
        return refold(in_order(Scope.SHADOW_USER, self.posted))


facts = st.lists(
    st.tuples(
        st.integers(0, 600),
        st.sampled_from([1, -1]),
        st.integers(1, 10**9),
        st.integers(0, 10**9),
        st.sampled_from(["0xa", "0xb"]),
        st.sampled_from([0, 0, 7, 10**8]),
        st.booleans(),
    ),
    max_size=25,
)


@given(facts, st.data())
def test_any_order_in_any_batches_with_reversals_folds_as_from_nothing(
    made: list[tuple[int, int, int, int, str, int, bool]], data: st.DataObject
) -> None:
    told: list[tuple[int, Sequence[Entry]]] = []
    for number, (second, sign, shares, notional, tx, fee, is_reversed) in enumerate(made):
        at = second + data.draw(st.integers(0, 300))
        posted = paid(number, second, sign, shares, notional, tx, fee)
        told.append((at, posted[:1]))
        if later := posted[1:]:  # the fee of a fill that a poll told comes with its log
            at += data.draw(st.integers(0, 300))
            told.append((at, later))
        if is_reversed:
            told.append((at + data.draw(st.integers(0, 300)), [entries.reversal(entry, 0) for entry in posted]))
    left = [batch for _, batch in sorted(told, key=lambda each: each[0])]
    kept = Kept()
    while left:
        size = data.draw(st.integers(1, len(left)))
        kept.post([entry for batch in left[:size] for entry in batch])
        left = left[size:]
        assert kept.standing.holding == kept.folded_from_nothing
        assert is_honest(kept.standing.base, kept.posted)


def test_a_late_entry_reads_what_came_since_the_last_pause_only() -> None:
    kept = Kept()
    for number in range(50):
        kept.post([fill(number, 600 * number)])
    kept.post([fill(50, 600 * 49 - 60, sign=-1)])
    assert kept.read[-1] == 2
    assert kept.standing.holding == kept.folded_from_nothing


def test_without_a_pause_the_base_moves_with_what_is_folded_again() -> None:
    kept = Kept()
    for number in range(0, 400, 2):
        kept.post([fill(number, number * 10)])
        kept.post([fill(number + 1, number * 10 - 5)])
    window = 2 * int(LATE.total_seconds()) // 20
    assert max(kept.read[100:]) <= window + 4
    assert kept.standing.holding == kept.folded_from_nothing


def test_what_is_older_than_the_base_reads_everything_once_and_its_neighbours_do_not() -> None:
    kept = Kept()
    for number in range(50):
        kept.post([fill(number, 600 * number)])
    kept.post([fill(50, 15_000)])
    assert kept.read[-1] == 51
    kept.post([fill(51, 15_001)])
    assert kept.read[-1] < 51 / 2 + 3
    assert kept.standing.holding == kept.folded_from_nothing


def test_a_wrong_base_is_told_from_a_right_one() -> None:
    posted = [fill(0, 0), fill(1, 10), fill(2, 20)]
    moment = START + timedelta(seconds=15)
    assert is_honest(Base(moment, Holding(20, 10, 0)), posted)
    assert not is_honest(Base(moment, Holding(20, 11, 0)), posted)
    assert is_honest(Base(EVER, NOTHING), posted)
    assert is_honest(None, posted)
