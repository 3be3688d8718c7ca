"""What an operator asks of the simulator: apply a configuration, decide recorded attempts again."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

from libs.common.bus import Bus
from libs.common.bus.streams import CONFIG_CHANGED
from libs.common.db.dead_letters import PostgresDeadLetters
from libs.common.db.engine import make_engine, transaction
from libs.common.domain.config import ConfigFile, read_config_file
from libs.common.domain.errors import Rejected, Unavailable
from libs.common.messages import ConfigChanged
from services.simulator.replay import Difference, Replayed, replay
from services.simulator.store.session import BEGINNING
from services.simulator.store.settings_rows import write_config

__all__ = ["Difference", "Replayed", "apply_config_file", "replay_attempts", "validate_config_file"]

OPERATOR = "operator"


def validate_config_file(path: Path | str) -> ConfigFile:
    """Return the configuration in a JSON file, which may be a `tape.json` with a `config`.

    Raises Rejected, with the file's name and what was expected, when it is not valid.
    """
    where = str(path)
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"), parse_float=Decimal, parse_constant=_refuse)
    except OSError as error:
        raise Rejected(f"{where}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise Rejected(f"{where}{line}: expected JSON: {error}") from error
    return _read(content, where)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _read(content: Any, where: str) -> ConfigFile:
    if isinstance(content, Mapping) and "wallets" in content and "start_ms" in content:
        content = content.get("config") or {}
    return read_config_file(content, where)


async def apply_config_file(
    database_url: str, redis_url: str | None, source: Path | str | Mapping[str, Any], actor: str = OPERATOR
) -> None:
    """Set what a file, or a document as it would hold, sets; audited. `redis_url` lets running simulators know at once.

    Raises Rejected when it is not valid or names an unknown user, and then changes nothing.
    """
    file = _read(source, "config") if isinstance(source, Mapping) else validate_config_file(source)
    engine = make_engine(database_url, application="shadowbook-config", pool_size=1)
    try:
        async with transaction(engine) as connection:
            changed = await write_config(connection, file, actor)
        if redis_url is None or not changed:
            return
        now = datetime.now(UTC)
        bus = Bus(redis_url, service=OPERATOR, instance="shadowbook-config", dead_letters=PostgresDeadLetters(engine))
        try:
            messages = [
                ConfigChanged(
                    scope="GLOBAL" if user is None else "USER", user_id=user, occurred_at=now, observed_at=now
                )
                for user in changed
            ]
            await bus.publish(CONFIG_CHANGED, messages)
        except Unavailable:
            return  # the simulators look at the rows every second anyway
        finally:
            await bus.stop()
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
