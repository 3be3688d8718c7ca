"""What skips saved or cost: groups that were not copied, what copying them would have filled, and its worth now.

The counterfactual of a SKIP (SPEC 5) is what the walk would have filled without the checks that failed. Its result is

    BUY    shares * mark - notional - fee
    SELL   notional - fee - shares * mark

with shares * mark rounded down, as positions are valued; mark is the asset's latest mark, its payout once it is
resolved. Above 0 the skip cost us that much, below 0 it saved it. A counterfactual of no shares is worth 0.
"""

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A value that is read, never changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SkipSum(Frozen):
    """Skips added up, in USDC micros.

    `skips` = `with_book` + `no_book`; SPLIT and MERGE are decided without a book, so is what cannot be copied at all.
    `unmarked` are those of `with_book` whose asset was never marked, or whose market (so whose fee) is not known to
    this day: they are in `notional_micros`, and in no other amount.
    """

    skips: int
    no_book: int
    with_book: int
    unmarked: int
    notional_micros: int
    fee_micros: int
    pnl_micros: int


class ReasonSum(SkipSum):
    """Skips that bear a reason. One with several reasons counts under each, so these sum to more than the total."""

    reason: str


class ScopeSkips(Frozen):
    """One kind of portfolio: how many decisions there were, the skips among them, and those by reason, most first."""

    scope: str
    decisions: int
    total: SkipSum
    reasons: tuple[ReasonSum, ...]


class Skips(Frozen):
    """Skips decided in [`since`, now], of one followed user or (None) of all; EXEC_USER adds all its portfolios up."""

    since: datetime | None
    user: str | None
    scopes: tuple[ScopeSkips, ...]


class Counterfactual(Frozen):
    """What a skip would have filled and what that would be worth now; None where it is not known.

    `fee_micros` is the taker's fee at the average price, by the rate and exponent the decision saw (by today's where
    it did not know the market). `mark_source` is MIDPOINT, LAST_TRADE or PAYOUT.
    """

    share_micros: int
    notional_micros: int
    fee_micros: int | None
    mark_micros: int | None
    marked_at: datetime | None
    mark_source: str | None
    pnl_micros: int | None
