"""What `up` has done in child processes (see `apart`)."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.cli.errors import CommandError
from services.cli.stack import postgres
from services.cli.stack.places import PostgresPlace

FIRST_POLLS_LOOKS_MAX = 50
LOOK_INTERVAL_SECONDS = 0.1


def check_files(tape: Path | None, faults: Path | None, config: Path | None) -> None:
    """Raise with `file:line: what` when a file given on the command line is not what it should be."""
    if tape is not None or faults is not None:
        from services.sandbox.commands import FaultsError, TapeError, validate_faults, validate_tape

        try:
            if tape is not None:
                validate_tape(tape)
            if faults is not None:
                validate_faults(faults)
        except (FaultsError, TapeError) as error:
            raise CommandError(str(error)) from error
    configs = [] if config is None else [config]
    if tape is not None and "config" in json.loads((tape / "tape.json").read_text()):
        configs.append(tape / "tape.json")
    if configs:
        from services.simulator.commands import validate_config_file

        for file in configs:
            validate_config_file(file)


def bus_rules() -> dict[str, str]:
    """Return the ACL rules of the users of the bus."""
    from libs.common.bus.acl import RULES

    return dict(RULES)


def prepare_database(
    place: PostgresPlace | None, port: int, password: str, url: str, passwords: Mapping[str, str]
) -> None:
    """Bring the database to this code's schema, with a role for each service; `place` is None for an external one."""
    from libs.common.db.migrate import upgrade

    if place is not None:
        postgres.wait_ready(place, port)
        postgres.ensure_database(place, port, password)
    asyncio.run(upgrade(url, passwords))


def follow_wallets(database_url: str, wallets: Sequence[tuple[str, str]]) -> None:
    """Follow (label, wallet) pairs; those followed already stay as they are."""
    from services.ingest.commands import follow

    async def follow_all() -> None:
        for label, wallet in wallets:
            await follow(database_url, wallet, label)

    try:
        asyncio.run(follow_all())
    except ValueError as error:
        raise CommandError(f"the market names a wallet that cannot be followed: {error}") from error


def wait_first_polls(database_url: str) -> None:
    """Wait until ingest has looked at each wallet once; not for long: what it misses now it finds by polling."""
    from libs.common.db.drain import wallets_never_polled
    from libs.common.db.engine import make_engine

    async def wait() -> None:
        engine = make_engine(database_url, application="shadowbook-up", pool_size=1)
        try:
            for _ in range(FIRST_POLLS_LOOKS_MAX):
                if not await wallets_never_polled(engine):
                    return
                await asyncio.sleep(LOOK_INTERVAL_SECONDS)
        finally:
            await engine.dispose()

    asyncio.run(wait())


def apply_config(database_url: str, redis_url: str, files: Sequence[Path]) -> None:
    """Apply config files in order."""
    from services.simulator.commands import apply_config_file

    async def apply_all() -> None:
        for file in files:
            await apply_config_file(database_url, redis_url, file)

    asyncio.run(apply_all())


def login_link(database_url: str, dashboard_url: str) -> str:
    """Return a one-time login link."""
    from services.ui.commands import new_login_link

    link: str = asyncio.run(new_login_link(database_url, dashboard_url))
    return link


def wait_drained(database_url: str, redis_url: str, sandbox_port: int) -> int:
    """Wait for the end of the tape and of the work; returns the number of open dead letters."""
    from services.cli.stack.drained import wait_until_drained

    return asyncio.run(wait_until_drained(database_url, redis_url, sandbox_port))
