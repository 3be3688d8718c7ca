"""What an operator asks of ingest: follow a wallet, stop following it, poll it again."""

import re
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from libs.common.bus import Bus
from libs.common.bus.streams import RECONCILE_REQUESTED
from libs.common.db.dead_letters import PostgresDeadLetters
from libs.common.db.engine import make_engine
from libs.common.messages import ReconcileRequested
from services.ingest.store.follows import Followed, FollowStore

LABEL_LENGTH_MAX: Final = 60

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
        wallets = await store.wallets_of(wallet.strip()) or [parse_wallet(wallet)]
        for address in wallets:
            await store.unfollow(address, actor, datetime.now(UTC))
        return wallets
    finally:
        await engine.dispose()


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
