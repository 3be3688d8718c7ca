"""What an operator asks of the simulator: apply a configuration, decide recorded attempts again, explain one."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from uuid import UUID

from libs.common.bus import Bus
from libs.common.bus.streams import CONFIG_CHANGED, Stream
from libs.common.db.dead_letters import PostgresDeadLetters
from libs.common.db.engine import make_engine, transaction
from libs.common.db.explanations import AmbiguousError, Candidate, read_explanations
from libs.common.db.settings import find_user, write_settings
from libs.common.domain.config_file import ConfigFile, read_config_file
from libs.common.domain.errors import Rejected, Unavailable
from libs.common.domain.explanation import Explanation
from libs.common.messages import ConfigChanged, Message
from services.simulator.breakers import Breaker, PortfolioBreakers, read_breakers
from services.simulator.replay import Difference, Replayed, count, replay
from services.simulator.store.session import BEGINNING

__all__ = [
    "AmbiguousError",
    "Breaker",
    "Candidate",
    "Difference",
    "Explanation",
    "PortfolioBreakers",
    "Replayed",
    "announce",
    "apply_config_file",
    "explain_attempts",
    "list_breakers",
    "replay_attempts",
    "validate_config_file",
    "watch_replay",
]

OPERATOR = "operator"
M = TypeVar("M", bound=Message)


def validate_config_file(path: Path | str) -> ConfigFile:
    """Return the configuration in a JSON file, which may be a `tape.json` with a `config`.

    Raises Rejected, with the file's name and what was expected, when it is not valid.
    """
    return _read(read_json(path), str(path))


def read_json(path: Path | str) -> Any:
    """Return what a JSON file holds, numbers exact. Raises Rejected when it cannot be read or is none."""
    where = str(path)
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"), parse_float=Decimal, parse_constant=_refuse)
    except OSError as error:
        raise Rejected(f"{where}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise Rejected(f"{where}{line}: expected JSON: {error}") from error


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _read(content: Any, where: str) -> ConfigFile:
    if isinstance(content, Mapping) and "wallets" in content and "start_ms" in content:
        content = content.get("config") or {}
    return read_config_file(content, where)


async def apply_config_file(
    database_url: str,
    redis_url: str | None,
    source: Path | str | Mapping[str, Any],
    actor: str = OPERATOR,
    *,
    replace: bool = False,
) -> list[UUID | None]:
    """Set what a file, or a document as it would hold, sets; audited; return whose rows changed (None: global).

    `redis_url` lets running simulators know at once. With `replace` what the file leaves out is inherited again, for
    those it names. Raises Rejected when it is not valid or names an unknown user, and then changes nothing.
    """
    file = _read(source, "config") if isinstance(source, Mapping) else validate_config_file(source)
    engine = make_engine(database_url, application="shadowbook-config", pool_size=1)
    try:
        async with transaction(engine) as connection:
            changes: dict[UUID | None, Mapping[str, Any]] = {None: file.global_values} if file.global_values else {}
            for label, values in file.user_values.items():
                changes[await find_user(connection, label)] = values
            changed = await write_settings(
                connection, changes, actor, bankroll_micros=file.bankroll_micros, replace=replace
            )
    finally:
        await engine.dispose()
    now = datetime.now(UTC)
    await announce(
        database_url,
        redis_url,
        CONFIG_CHANGED,
        [
            ConfigChanged(scope="GLOBAL" if user is None else "USER", user_id=user, occurred_at=now, observed_at=now)
            for user in changed
        ],
    )
    return changed


async def announce(database_url: str, redis_url: str | None, stream: Stream[M], messages: Sequence[M]) -> None:
    """Put an operator's messages on a stream; with the bus down or away who reads them looks by themselves."""
    if redis_url is None or not messages:
        return
    engine = make_engine(database_url, application="shadowbook-announce", pool_size=1)
    bus = Bus(redis_url, service=OPERATOR, instance="shadowbook", dead_letters=PostgresDeadLetters(engine))
    try:
        await bus.publish(stream, messages)
    except Unavailable:
        return
    finally:
        await bus.stop()
        await engine.dispose()


async def list_breakers(database_url: str) -> list[PortfolioBreakers]:
    """Return the breakers of every executable portfolio as its next decision would find them."""
    engine = make_engine(database_url, application="shadowbook-breakers", pool_size=1)
    try:
        return await read_breakers(engine, datetime.now(UTC))
    finally:
        await engine.dispose()


async def replay_attempts(database_url: str, user: str | None = None, since: datetime | None = None) -> list[Replayed]:
    """Decide recorded attempts again; return those whose outcome differs or whose book is gone, and no others."""
    engine = make_engine(database_url, application="shadowbook-replay", pool_size=1)
    try:
        async with engine.connect() as connection:
            found = [each async for each in replay(connection, user, since or BEGINNING)]
    finally:
        await engine.dispose()
    return [each for each in found if each.differences or each.book_is_gone]


async def watch_replay(
    database_url: str, user: str | None, since: datetime | None, see: Callable[[int, Replayed | None], None]
) -> None:
    """Decide recorded attempts again, up to now; `see` hears how many there are (first alone), and each as it is done.

    Memory stays flat however many there are. Raises Rejected for a user who is not followed.
    """
    begin, until = since or BEGINNING, datetime.now(UTC)
    engine = make_engine(database_url, application="shadowbook-replay", pool_size=1)
    try:
        async with engine.connect() as connection:
            total = await count(connection, user, begin, until)
            see(total, None)
            async for each in replay(connection, user, begin, until):
                see(total, each)
    finally:
        await engine.dispose()


async def explain_attempts(database_url: str, name: str) -> list[Explanation]:
    """Return the explanations of what `name` means: an attempt, a group or a transaction, by id, prefix or hash.

    Raises AmbiguousError with candidates where a prefix means several, Rejected where it means nothing.
    """
    engine = make_engine(database_url, application="shadowbook-explain", pool_size=1)
    try:
        async with engine.connect() as connection:
            return await read_explanations(connection, name)
    finally:
        await engine.dispose()
