"""Shadow positions against what the exchange says its wallets hold: equal, different, or not comparable yet.

A difference is claimed only where both sides count the same events: activity is complete up to every row, everything
recorded is in the books, and what came after a row is taken off again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from services.ingest.core.positions import Held

EQUAL: Final = "equal"
DIFFERENT: Final = "different"
SETTLED: Final = "settled"


@dataclass(frozen=True, slots=True)
class Wallet:
    """A wallet of a user: whether it is followed and its opening complete, and when its last complete poll began."""

    wallet: str
    user_id: UUID
    label: str
    followed_at: datetime
    followed: bool
    opened: bool
    through: datetime | None


@dataclass(frozen=True, slots=True)
class Shadow:
    """A shadow position in the books."""

    user_id: UUID
    asset_id: str
    condition_id: str
    share_micros: int


@dataclass(frozen=True, slots=True)
class Compared:
    """One token of one user. `verdict` is EQUAL, DIFFERENT, SETTLED, or why it cannot be compared yet."""

    user_label: str
    asset_id: str
    condition_id: str
    shadow_share_micros: int
    exchange_share_micros: int
    verdict: str

    @property
    def difference_micros(self) -> int:
        """Return by how much our shadow is above the exchange."""
        return self.shadow_share_micros - self.exchange_share_micros


def compare(
    wallets: Sequence[Wallet],
    shadows: Sequence[Shadow],
    held: Mapping[str, Mapping[str, Held]],
    *,
    later: Mapping[tuple[str, str], int],
    last: Mapping[tuple[str, str], datetime],
    resolved: Collection[str],
    busy: Collection[UUID],
    lag: timedelta,
) -> list[Compared]:
    """Return every token that a user's shadow or wallets hold, or held and we followed; amounts as of the rows.

    `held` are readings by wallet and token (a wallet without one could not be read); `later` and `last` are by wallet
    and token what moved after its row and the last thing booked; activity shows what is older than `lag`.
    """
    books = {(each.user_id, each.asset_id): each for each in shadows}
    compared: list[Compared] = []
    for user in dict.fromkeys(each.user_id for each in wallets):
        mine = [each for each in wallets if each.user_id == user]
        tokens = {asset for owner, asset in books if owner == user}
        tokens |= {asset for each in mine for asset, row in held.get(each.wallet, {}).items() if row.share_micros}
        for asset in sorted(tokens):
            rows = {each.wallet: held.get(each.wallet, {}).get(asset) for each in mine}
            known = next((row.condition_id for row in rows.values() if row), "")
            book = books.get((user, asset), Shadow(user, asset, known, 0))
            condition = book.condition_id or known
            after = sum(later.get((each.wallet, asset), 0) for each in mine)
            shares = sum(row.share_micros for row in rows.values() if row)
            ours = book.share_micros - after
            if any(row.is_combo for row in rows.values() if row):
                continue
            if condition in resolved:
                verdict = SETTLED
            else:
                verdict = _reason(mine, asset, rows, held, last, busy, lag) or (EQUAL if ours == shares else DIFFERENT)
            compared.append(Compared(mine[0].label, asset, condition, ours, shares, verdict))
    return compared


def _reason(
    wallets: Sequence[Wallet],
    asset: str,
    rows: Mapping[str, Held | None],
    held: Mapping[str, Mapping[str, Held]],
    last: Mapping[tuple[str, str], datetime],
    busy: Collection[UUID],
    lag: timedelta,
) -> str | None:
    """Return why a token cannot be compared yet, None where it can."""
    if any(each.user_id in busy for each in wallets):
        return "not comparable yet: events on their way into the books"
    for each in wallets:
        row = rows[each.wallet]
        booked = last.get((each.wallet, asset))
        if not each.followed:
            if booked is not None or (row and row.share_micros):
                return f"not comparable: {each.wallet} is no longer followed"
            continue
        if each.wallet not in held:
            return f"not comparable: {each.wallet} could not be read"
        if not each.opened:
            return f"not comparable yet: opening of {each.wallet} not complete"
        until = row.as_of if row else booked
        if until is not None and (each.through is None or each.through < until + lag):
            return "not comparable yet: activity not complete up to the row"
    return None
