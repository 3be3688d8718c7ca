"""Every figure of a portfolio, defined once: ledger, breakers, dashboard, API and commands call this, none repeats it.

Amounts are integer micros of USDC, shares integer micros; a ratio is a Fraction, or a `Loss` that is still two
integers. None says that a figure is not defined, which is shown as a dash and trips nothing. Where SQL must compute a
set at once, its text is in `libs.common.db.figures`, names the function it mirrors, and is held against it by tests.
Episodes and the win rate are in `episodes`.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

from libs.common.domain.kinds import Side
from libs.common.domain.money import MICROS

MINUTE: Final = timedelta(minutes=1)
"""A snapshot's row is named by the minute it began in and holds that minute's last value."""
SEVEN_DAYS: Final = timedelta(days=7)
PER_MYRIAD: Final = 10_000
K = TypeVar("K", bound=Hashable)


# worth


def position_value(share_micros: int, cost_micros: int, mark_micros: int | None) -> int:
    """Return floor(shares * mark); never marked: the cost. A short's value is negative, rounded away from us, too."""
    return cost_micros if mark_micros is None else share_micros * mark_micros // MICROS


def part_value(part_micros: int, share_micros: int, cost_micros: int, mark_micros: int | None) -> int:
    """Return what `part_micros` of a position's shares are worth.

    floor(part * mark); never marked: floor(cost * part / shares), 0 without shares. Parts may sum to less than the
    position, by less than a micro each.
    """
    if mark_micros is not None:
        return part_micros * mark_micros // MICROS
    return cost_micros * part_micros // share_micros if share_micros else 0


@dataclass(frozen=True, slots=True)
class Held:
    """An open position at its latest mark (None: never marked), and in EXEC_GLOBAL its open shares by source user."""

    share_micros: int
    cost_micros: int
    mark_micros: int | None
    sources: Mapping[UUID, int] = field(default_factory=dict)

    @property
    def value_micros(self) -> int:
        """Return its value."""
        return position_value(self.share_micros, self.cost_micros, self.mark_micros)


def exposure(values: Iterable[int]) -> int:
    """Return the sum of the values of all open positions; both outcomes of a condition add."""
    return sum(values)


def exposure_by_market(values: Iterable[tuple[K, int]]) -> dict[K, int]:
    """Return exposure per market from (market, value) of each open position: both outcomes of a condition add."""
    return _summed(values)


def exposure_by_user(positions: Iterable[Held]) -> dict[UUID, int]:
    """Return exposure per source user: the sum, over positions, of the value of the shares that came from them.

    In EXEC_GLOBAL only: in a portfolio of one user all of it is theirs. `attribute` says whose shares are.
    """
    return _summed(
        (user, part_value(shares, position.share_micros, position.cost_micros, position.mark_micros))
        for position in positions
        for user, shares in position.sources.items()
    )


def _summed(amounts: Iterable[tuple[K, int]]) -> dict[K, int]:
    sums: defaultdict[K, int] = defaultdict(int)
    for key, amount in amounts:
        sums[key] += amount
    return dict(sums)


def attribute(
    sources: Mapping[UUID, int], share_delta_micros: int, source: UUID | None, rank: Mapping[UUID, int]
) -> dict[UUID, int]:
    """Return the open shares by source user of an EXEC_GLOBAL position after one entry.

    Shares gained belong to `source`. Shares lost leave every source pro rata to what it has open; the micros that
    rounding leaves over go by largest remainder, ties to who was followed first (`rank`: place in that order). Nobody
    loses more than all sources have together.
    """
    found = {user: shares for user, shares in sources.items() if shares}
    if share_delta_micros >= 0:
        if source is not None and share_delta_micros:
            found[source] = found.get(source, 0) + share_delta_micros
        return found
    total = sum(found.values())
    lost = min(-share_delta_micros, total)
    if lost <= 0:
        return found
    parts = {user: divmod(shares * lost, total) for user, shares in found.items()}
    left_over = lost - sum(whole for whole, _ in parts.values())
    last = len(rank)
    ranked = sorted(parts, key=lambda user: (-parts[user][1], rank.get(user, last), user))
    for place, user in enumerate(ranked):
        found[user] -= parts[user][0] + (1 if place < left_over else 0)
    return {user: shares for user, shares in found.items() if shares}


def equity(cash_micros: int, exposure_micros: int) -> int:
    """Return cash + exposure."""
    return cash_micros + exposure_micros


# profit


def unrealised_pnl(exposure_micros: int, cost_micros: int) -> int:
    """Return exposure - cost of the open positions: what closing each at its mark would realise."""
    return exposure_micros - cost_micros


def realised_pnl(realised_micros: Iterable[int], fees_micros: int) -> int:
    """Return a portfolio's realised PnL: the sum over its positions, whose own excludes fees, - fees paid."""
    return sum(realised_micros) - fees_micros


def net_flows(deposits_micros: int, withdrawals_micros: int) -> int:
    """Return deposits - withdrawals; an opening counts as a deposit of its cost."""
    return deposits_micros - withdrawals_micros


def pnl(equity_micros: int, deposits_micros: int, withdrawals_micros: int) -> int:
    """Return equity - (deposits + openings) + withdrawals, which is realised + unrealised PnL.

    `deposits_micros` includes openings.
    """
    return equity_micros - deposits_micros + withdrawals_micros


def return_on_deposits(pnl_micros: int, deposits_micros: int) -> Fraction | None:
    """Return PnL / (deposits + openings); None where nothing was ever put in."""
    return Fraction(pnl_micros, deposits_micros) if deposits_micros > 0 else None


# since when


def start_of_day(now: datetime) -> datetime:
    """Return 00:00 UTC of this day; `now` is in UTC."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def start_of_week(now: datetime) -> datetime:
    """Return 00:00 UTC of this week's Monday; `now` is in UTC."""
    return start_of_day(now) - timedelta(days=now.weekday())


def counts_at(snapshot_at: datetime, moment: datetime) -> bool:
    """Tell whether a snapshot may be a start at `moment`: `at` <= moment, and the last such one is it (SPEC 5).

    Read literally, as every reader of an export does: the row of 00:00 is a start at 00:00, though it holds the last
    value of 00:00 to 00:01: what happens in the first minute counts as before the start. Breakers, PnL today, this week
    and 7 days all count so. Gaps stay gaps: nothing is put between two rows, so a start may be older than its moment.
    """
    return snapshot_at <= moment


def known_at(snapshot_at: datetime) -> datetime:
    """Return from when on a snapshot's value is known: its minute's end. Curves draw a row there, never earlier."""
    return snapshot_at + MINUTE


@dataclass(frozen=True, slots=True)
class Start:
    """Equity at the start of a period (None: there is none), and net flows since."""

    equity_micros: int | None
    flows_micros: int

    @property
    def moved_micros(self) -> int | None:
        """Return the start moved by flows since: what equity would be if nothing was won or lost."""
        return None if self.equity_micros is None else self.equity_micros + self.flows_micros


def start_of(
    snapshot_equity_micros: int | None,
    flows_then_micros: int | None,
    first_deposit_micros: int | None,
    flows_micros: int,
) -> Start:
    """Return a period's start: the last snapshot that counts, else the first deposit, else none.

    `flows_then_micros` are the net flows that snapshot knew, `flows_micros` those of now.
    """
    if snapshot_equity_micros is not None:
        return Start(snapshot_equity_micros, flows_micros - (flows_then_micros or 0))
    if first_deposit_micros is not None:
        return Start(first_deposit_micros, flows_micros - first_deposit_micros)
    return Start(None, 0)


def pnl_since(start: Start, equity_micros: int) -> int | None:
    """Return equity - (start + flows since): PnL today, this week, 7 days; None without a start."""
    moved = start.moved_micros
    return None if moved is None else equity_micros - moved


class Loss(NamedTuple):
    """A loss as two amounts; `lost_micros` is below 0 after a gain, `base_micros` is above 0."""

    lost_micros: int
    base_micros: int


def loss_since(start_micros: int | None, flows_micros: int, equity_micros: int) -> Loss | None:
    """Return (start + flows - equity) / (start + flows); None without a start, or with one of 0 or less after flows."""
    if start_micros is None or start_micros + flows_micros <= 0:
        return None
    since = start_micros + flows_micros
    return Loss(since - equity_micros, since)


# from the peak


def moved_by_flows(amount_micros: int, flows_then_micros: int, flows_micros: int) -> int:
    """Return an equity of then as if the net flows of now had been there: amount + (flows - flows then)."""
    return amount_micros + flows_micros - flows_then_micros


def peak_before(kept: tuple[int, int] | None, best_pnl_micros: int | None, flows_micros: int) -> int | None:
    """Return the peak equity up to the last snapshot, in terms of the flows of now; None: there is nothing to go by.

    `kept` is the last decision's peak, or the equity of a later reset, with the net flows of that moment;
    `best_pnl_micros` is the largest PnL of the snapshots since, whose equity with the flows of now is PnL + flows.
    """
    peaks = [] if kept is None else [moved_by_flows(*kept, flows_micros)]
    if best_pnl_micros is not None:
        peaks.append(best_pnl_micros + flows_micros)
    return max(peaks, default=None)


def peak_with(peak_micros: int | None, equity_micros: int) -> int:
    """Return the peak once equity is seen: the larger of both."""
    return equity_micros if peak_micros is None else max(peak_micros, equity_micros)


def drawdown(peak_micros: int, equity_micros: int) -> Loss | None:
    """Return (peak - equity) / peak; None where the peak is 0 or less. With `peak_with` it is never below 0."""
    return Loss(peak_micros - equity_micros, peak_micros) if peak_micros > 0 else None


# execution


def slippage(side: Side, vwap_micros: int, reference_micros: int) -> int:
    """Return by how much a share was worse for us than for them: VWAP - reference for BUY, the reverse for SELL."""
    return vwap_micros - reference_micros if side is Side.BUY else reference_micros - vwap_micros


def slippage_bps(slippage_micros: int, reference_micros: int) -> Fraction | None:
    """Return slippage / reference in basis points, above 0 against us; None where their price is 0."""
    return Fraction(slippage_micros * PER_MYRIAD, reference_micros) if reference_micros else None
