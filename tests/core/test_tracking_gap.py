"""The tracking gap: a worked example to the micro, and parts that sum to the whole whatever happened."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from libs.common.domain import tracking_gap as gap
from libs.common.domain.tracking_gap import Compared, Side, Sizing, rounded, split

USDC = 1_000_000
ONE_PER_CENT = Fraction(1, 100)


def pnl(side: Side, mark: Fraction) -> Fraction:
    """What a side made of its postings at a mark: shares at it, less what they cost, less fees."""
    return side.share_micros * mark - side.amount_micros - side.fee_micros


def test_a_copied_buy_is_split_into_size_drift_spread_and_fees() -> None:
    # They bought 10,000 at 0.50 and paid 80; our 1% is 50 USDC, cut to 40. The mid had moved to 0.51 and we filled 78
    # shares at 0.512 = 39.936 USDC, fee 0.68. It is marked at 0.60.
    theirs = Side(10_000 * USDC, 5_000 * USDC, 80 * USDC)
    ours = Side(78 * USDC, 39_936_000, 680_000)
    sizing = Sizing(ONE_PER_CENT, clamped_micros=40 * USDC, target_micros=40 * USDC)
    row = Compared(theirs, ours, mark_micros=600_000, mid_micros=510_000, sizing=sizing)
    parts = split([row], ONE_PER_CENT)
    assert parts.size[gap.CLAMP] == -2 * USDC  # 80 instead of 100 shares, of 0.10 each
    assert parts.size[gap.PARTIAL_OR_LOTS] == -200_000  # 78 instead of 80
    assert parts.drift == -780_000  # 78 shares, a cent each
    assert parts.spread_and_depth == -156_000  # 78 shares, 0.002 each
    assert parts.fees == 120_000  # one per cent of 80 is 0.80, we paid 0.68
    # ours: 78 * 0.6 - 39.936 - 0.68 = 6.184; theirs: (6000 - 5000 - 80) / 100 = 9.20
    whole = rounded(parts, 6_184_000, 9_200_000)
    assert (whole.gap_micros, whole.residual_micros) == (-3_016_000, 0)


def test_a_skip_is_booked_whole_to_its_reason() -> None:
    row = Compared(Side(10_000 * USDC, 5_000 * USDC), Side(), 600_000, cause="SPREAD_TOO_WIDE")
    parts = split([row], ONE_PER_CENT)
    assert dict(parts.size) == {"SPREAD_TOO_WIDE": -10 * USDC}
    assert parts.total == -10 * USDC


def test_a_sell_that_could_only_sell_what_we_held_is_a_position_cap() -> None:
    # They sold 1,000 at 0.40; ours would be 10, we held 4 and sold them at 0.40; it went on to 0.30.
    row = Compared(
        Side(-1_000 * USDC, -400 * USDC), Side(-4 * USDC, -1_600_000), 300_000, mid_micros=400_000,
        sizing=Sizing(ONE_PER_CENT, clamped_micros=4 * USDC, target_micros=1_600_000),
    )  # fmt: skip
    parts = split([row], ONE_PER_CENT)
    assert parts.size[gap.POSITION_CAP] == -600_000  # six shares not sold fell by a dime each
    assert parts.total == Fraction(400_000) - ONE_PER_CENT * 100 * USDC


def test_an_opening_is_no_merit_of_copying() -> None:
    row = Compared(Side(1_000 * USDC, 300 * USDC), Side(), 500_000, is_opening=True)
    parts = split([row], ONE_PER_CENT)
    assert parts.openings == parts.total == -2 * USDC


def test_a_copy_of_what_the_chain_took_back_is_its_own_cause() -> None:
    row = Compared(Side(), Side(100 * USDC, 51 * USDC, USDC), 600_000, mid_micros=500_000)
    parts = split([row], ONE_PER_CENT)
    assert dict(parts.size) == {gap.REVERSED: 10 * USDC}
    assert parts.drift == 0
    assert parts.spread_and_depth == parts.fees == -USDC


def test_a_gap_of_a_period_is_the_difference_of_two() -> None:
    row = Compared(Side(10_000 * USDC, 5_000 * USDC), Side(), 600_000, cause="STALE_EVENT")
    later = Compared(row.theirs, row.ours, 700_000, cause="STALE_EVENT")
    since = split([later], ONE_PER_CENT).minus(split([row], ONE_PER_CENT))
    assert dict(since.size) == {"STALE_EVENT": -10 * USDC}


amounts = st.integers(0, 10**14)
prices = st.integers(0, USDC)


@st.composite
def compared(draw: st.DrawFn) -> Compared:
    sign = draw(st.sampled_from((-1, 1)))
    shares, filled = (draw(st.one_of(st.just(0), st.integers(1, 10**13))) for _ in range(2))
    theirs = Side(sign * shares, sign * shares * draw(prices) // USDC, draw(amounts))
    ours = Side(sign * filled, sign * filled * draw(prices) // USDC, draw(amounts))
    sizing = None
    if draw(st.booleans()):
        steps = [draw(st.one_of(st.none(), amounts)) for _ in range(2)]
        sizing = Sizing(Fraction(draw(st.integers(1, 10_000)), 10_000), *steps)
    return Compared(
        theirs, ours, draw(prices), draw(st.one_of(st.none(), prices)),
        draw(st.sampled_from((None, "STALE_EVENT", gap.UNDECIDED))), sizing,
    )  # fmt: skip


@given(st.lists(compared(), max_size=8), st.fractions(Fraction(1, 10_000), 1))
def test_parts_sum_to_the_gap_exactly(rows: list[Compared], copy_share: Fraction) -> None:
    ours = theirs = Fraction(0)
    for row in rows:
        mark = Fraction(row.mark_micros or 0, USDC)
        ours += pnl(row.ours, mark)
        theirs += pnl(row.theirs, mark)
    parts = split(rows, copy_share)
    assert parts.total == ours - copy_share * theirs
    whole = rounded(parts, ours, copy_share * theirs)
    assert abs(whole.residual_micros) <= len(whole.size_micros) + 6


@given(compared())
def test_parts_sum_for_openings_too(row: Compared) -> None:
    opening = Compared(
        Side(row.theirs.share_micros, row.theirs.amount_micros), Side(), row.mark_micros, is_opening=True
    )
    mark = Fraction(row.mark_micros or 0, USDC)
    assert split([opening], ONE_PER_CENT).total == -ONE_PER_CENT * pnl(opening.theirs, mark)
