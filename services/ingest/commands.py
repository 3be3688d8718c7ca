"""What an operator asks of ingest.

Follow a wallet, stop following it, poll it again, read its last hours again, compare what it holds, prove that nothing
is missing.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from libs.common.bus import Bus
from libs.common.bus.limiter import RedisTokenBucket
from libs.common.bus.streams import RECONCILE_REQUESTED
from libs.common.db.coverage import read_coverage
from libs.common.db.dead_letters import PostgresDeadLetters
from libs.common.db.engine import make_engine
from libs.common.domain.coverage import Coverage
from libs.common.domain.coverage_document import document
from libs.common.domain.errors import Rejected, Unavailable
from libs.common.messages import ReconcileRequested
from libs.common.upstream.data_api import DataApiClient
from libs.common.upstream.gateway import Gateway
from services.ingest.backfill import REACH_HOURS_MAX, backfill_wish
from services.ingest.core.comparison import DIFFERENT, EQUAL, SETTLED, Compared, compare
from services.ingest.core.positions import Held
from services.ingest.positions import held_of
from services.ingest.store.comparison import ComparisonStore
from services.ingest.store.follows import Followed, FollowStore
from services.ingest.store.turns import TurnStore

__all__ = [
    "DIFFERENT",
    "EQUAL",
    "SETTLED",
    "Backfill",
    "Compared",
    "Comparison",
    "backfill",
    "compare_positions",
    "follow",
    "request_reconcile",
    "unfollow",
]

LABEL_LENGTH_MAX: Final = 60
LOOK_SECONDS: Final = 0.3
ACTIVITY_LAG: Final = timedelta(seconds=20)
"""A complete poll shows what happened so long before it began."""
UNDER_WAY: Final = timedelta(hours=1)

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_EXPECTED: Final = "expected a wallet (0x and 40 hex digits) or its profile URL (https://polymarket.com/profile/0x...)"


def parse_wallet(text: str) -> str:
    """Return the wallet in `text`, an address in any case or a profile URL, in lower case; raises ValueError."""
    given = text.strip()
    if "://" in given:
        url = urlsplit(given)
        host, path = (url.hostname or "").removeprefix("www."), url.path.rstrip("/")
        if url.scheme not in ("http", "https") or host != "polymarket.com" or not path.startswith("/profile/"):
            raise ValueError(f"{_EXPECTED}, got {given!r:.120}")
        given = path.removeprefix("/profile/")
    if not _ADDRESS.fullmatch(given) or int(given, 16) == 0:
        raise ValueError(f"{_EXPECTED}, got {text!r:.120}")
    return given.lower()


def _followed_wallet(text: str) -> str:
    """Return the wallet in `text`, which is no user's name; raises ValueError."""
    try:
        return parse_wallet(text)
    except ValueError as error:
        raise ValueError(
            f"expected a followed wallet, its profile URL, or the name of a followed user, got {text!r:.120}"
        ) from error


def parse_label(text: str | None) -> str:
    """Return a label without surrounding space, empty where none was given; raises ValueError."""
    label = (text or "").strip()
    if text is not None and not label:
        raise ValueError("expected a label, got only space")
    if len(label) > LABEL_LENGTH_MAX or not label.isprintable():
        raise ValueError(f"expected a label of at most {LABEL_LENGTH_MAX} printable characters, got {label!r:.80}")
    return label


async def follow(
    database_url: str,
    wallet: str,
    label: str | None = None,
    followed_at: datetime | None = None,
    *,
    actor: str = "operator",
) -> Followed:
    """Follow `wallet` from `followed_at` (now) on; an address or a profile URL. A known label gets a further wallet.

    Following it again changes nothing. Raises ValueError for bad input, Unavailable when the database is away.
    """
    address, name, now = parse_wallet(wallet), parse_label(label), datetime.now(UTC)
    # Block times are whole seconds: a fill of the same second as the follow counts.
    since = (followed_at or now).astimezone(UTC).replace(microsecond=0)
    engine = make_engine(database_url, application="follow", pool_size=1)
    try:
        return await FollowStore(engine).follow(address, name, since, actor, now)
    finally:
        await engine.dispose()


async def unfollow(database_url: str, wallet: str, *, actor: str = "operator") -> list[str]:
    """Stop following a wallet (address, profile URL) or all wallets of a user (label), keep history; return them.

    Raises ValueError when nobody of that name is followed, Unavailable when the database is away.
    """
    engine = make_engine(database_url, application="unfollow", pool_size=1)
    store = FollowStore(engine)
    try:
        wallets = await store.wallets(wallet.strip()) or [_followed_wallet(wallet)]
        for address in wallets:
            await store.unfollow(address, actor, datetime.now(UTC))
        return wallets
    finally:
        await engine.dispose()


async def coverage(database_url: str, hours: int, user: str | None = None, *, watching: bool = True) -> Coverage:
    """Return what proves that no fill of the last `hours` is missing, or shows that one may be.

    With nobody `watching` it ends with the last contact. Raises ValueError for an unknown user, or Unavailable.
    """
    engine = make_engine(database_url, application="coverage", pool_size=1)
    try:
        return await read_coverage(engine, datetime.now(UTC), hours, user, watching=watching)
    finally:
        await engine.dispose()


def coverage_document(report: Coverage) -> dict[str, Any]:
    """Return the report as it is written in JSON."""
    return document(report)


async def request_reconcile(
    database_url: str, redis_url: str, wallet: str | None = None, hours: int | None = None, *, actor: str = "operator"
) -> None:
    """Ask ingest to poll a wallet (None: all) now, reaching `hours` back; raises ValueError, or Unavailable."""
    now = datetime.now(UTC)
    address = None if wallet is None else parse_wallet(wallet)
    request = ReconcileRequested(wallet=address, hours=hours, requested_by=actor, occurred_at=now, observed_at=now)
    engine = make_engine(database_url, application="reconcile", pool_size=1)
    bus = Bus(redis_url, service="operator", instance="operator", dead_letters=PostgresDeadLetters(engine))
    try:
        await bus.publish(RECONCILE_REQUESTED, [request])
    finally:
        await bus.stop()
        await engine.dispose()


@dataclass(frozen=True, slots=True)
class Backfill:
    """How far reading a wallet's last hours again has got; times are UTC, `new` counts events not recorded before.

    `error` says why it ended, or, while `finished_at` is None, what it waits for.
    """

    wallet: str
    first: datetime
    last: datetime
    at: datetime
    rows: int
    new: int
    finished_at: datetime | None
    error: str | None

    @property
    def done_permille(self) -> int:
        """Share of the time that was read."""
        if self.finished_at:
            return 1000
        whole = (self.last - self.first).total_seconds()
        return int(1000 * (self.at - self.first).total_seconds() / whole) if whole else 0


async def backfill(
    database_url: str, who: str | None, hours: int, *, actor: str = "operator"
) -> AsyncIterator[list[Backfill]]:
    """Ask for the last `hours` of a wallet, of all wallets of a user (label) or of everybody (None); yield progress.

    Ends with the state in which all are finished; ingest goes on when the caller does not. Asked for again, one under
    way goes on where it is. Raises ValueError for what cannot be asked, Unavailable when the database is away.
    """
    if not 1 <= hours <= REACH_HOURS_MAX:
        raise ValueError(f"expected 1 to {REACH_HOURS_MAX} hours, got {hours}")
    engine = make_engine(database_url, application="backfill", pool_size=1)
    follows, turns = FollowStore(engine), TurnStore(engine, "operator")
    try:
        wallets = await follows.wallets(None if who is None else who.strip())
        if not wallets and who is not None:
            address = _followed_wallet(who)
            wallets = [wallet for wallet in await follows.wallets(None) if wallet == address]
        if not wallets:
            raise ValueError("nobody is followed" if who is None else f"{who.strip()} is not followed")
        for wallet in wallets:
            await turns.ask_backfill(wallet, backfill_wish(datetime.now(UTC), hours, actor))
        while True:
            kept = await turns.backfills()
            states = [_backfill(wallet, kept[wallet]) for wallet in wallets]
            yield states
            if all(state.finished_at for state in states):
                return
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        await engine.dispose()


def _backfill(wallet: str, kept: dict[str, Any]) -> Backfill:
    finished = kept.get("finished_at")
    return Backfill(
        wallet=wallet,
        first=datetime.fromtimestamp(int(kept["from"]), UTC),
        last=datetime.fromtimestamp(int(kept["to"]), UTC),
        at=datetime.fromtimestamp(int(kept["at"]), UTC),
        rows=int(kept["rows"]),
        new=int(kept["new"]),
        finished_at=datetime.fromisoformat(finished) if finished else None,
        error=kept.get("error"),
    )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Shadow positions beside what the exchange says; `unread` are the followed wallets it did not tell, and why."""

    positions: list[Compared]
    unread: dict[str, str]

    @property
    def ok(self) -> bool:
        """Whether every followed wallet was read and nothing differs."""
        return not self.unread and all(each.verdict != DIFFERENT for each in self.positions)


async def compare_positions(database_url: str, redis_url: str, data_api_url: str) -> Comparison:
    """Read what every followed user's wallets hold and compare it with their shadows; writes nothing.

    Asks within the stack's shared request budget. A wallet that cannot be read makes its user's tokens incomparable;
    raises Unavailable when the database is away.
    """
    engine = make_engine(database_url, application="verify", pool_size=1)
    bucket = RedisTokenBucket(redis_url)
    gateway = Gateway(data_api_url, "data", bucket)
    api, store = DataApiClient(gateway), ComparisonStore(engine)
    try:
        held: dict[str, Mapping[str, Held]] = {}
        unread: dict[str, str] = {}
        for wallet in await store.wallets():
            try:
                since = int(wallet.followed_at.timestamp())
                listing = await api.positions(wallet.wallet, closed_since=since)
                if listing.unreadable:
                    raise Rejected(f"{listing.unreadable} of its position rows could not be read")
                held[wallet.wallet] = held_of(listing.rows)
            except (Unavailable, Rejected) as error:
                if wallet.followed:
                    unread[wallet.wallet] = str(error)[:300]
        view = await store.view(held, datetime.now(UTC) - UNDER_WAY)
    finally:
        await gateway.close()
        await bucket.close()
        await engine.dispose()
    compared = compare(
        view.wallets,
        view.shadows,
        held,
        later=view.later,
        last=view.last,
        resolved=view.resolved,
        busy=view.busy,
        lag=ACTIVITY_LAG,
    )
    return Comparison(compared, unread)
