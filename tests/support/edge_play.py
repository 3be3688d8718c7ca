"""The edge tape's play: a user disabled at the start, splits asked for in time, a pause before the end."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.engine import make_engine
from libs.common.db.switches import set_enabled, set_paused
from services.cli.stack import session
from services.ingest.commands import request_reconcile
from services.ledger.commands import verify
from services.simulator.commands import Replayed, replay_attempts
from tests.support.edge_cases import DISABLED, FIRST_LOOK, PAUSED_FROM, SECOND_LOOK, STEPS
from tests.support.edge_tape import transaction_of, wallet_of
from tests.support.playing import Play
from tests.support.plays import Played, play_through

ADMIN: Final = "test"
SCOPES: Final = 2
_FOLLOWED: Final = text("SELECT id FROM followed_user WHERE label = :label")
_SEEN: Final = text("SELECT count(*) FROM trade_event WHERE tx_hash = :tx")
_DECIDED: Final = text("SELECT count(*) FROM copy_attempt")


@dataclass(frozen=True)
class EdgePlay(Played):
    """The play, what `verify` found wrong in its books, and which attempts come out different when decided again."""

    wrong: Sequence[str]
    different: Sequence[Replayed]


def play_edges(tape: Path, folder: Path) -> EdgePlay:
    """Play the edge tape at speed 1."""
    played = play_through(tape, folder, speed=1, meanwhile=lambda play: asyncio.run(_meddle(play)))
    with session(played.data_dir, command="verify") as visit:
        wrong = list(asyncio.run(verify(visit.database_url)))
        different = asyncio.run(replay_attempts(visit.database_url))
    return EdgePlay(**vars(played), wrong=wrong, different=different)


async def _meddle(play: Play) -> None:
    with session(play.data_dir, require_up=True) as visit:
        engine = make_engine(visit.database_url, application="edge-tape", pool_size=1)
        try:
            disabled = await _count(engine, _FOLLOWED, label=DISABLED)
            async with engine.begin() as connection:
                await set_enabled(connection, disabled, DISABLED, False, ADMIN)
            for name in (FIRST_LOOK, SECOND_LOOK):
                step = next(each for each in STEPS if each.name == name)
                await _until(engine, play, lambda count: count > 0, _SEEN, tx=transaction_of(step))
                for user in sorted({each.user for each in STEPS if each.kind in {"SPLIT", "MERGE"}}):
                    await request_reconcile(visit.database_url, visit.redis_url or "", wallet_of(user))
            decided = SCOPES * sum(step.at < PAUSED_FROM for step in STEPS)
            await _until(engine, play, lambda count: count >= decided, _DECIDED)
            async with engine.begin() as connection:
                await set_paused(connection, True, ADMIN)
        finally:
            await engine.dispose()


async def _count(engine: AsyncEngine, statement: Any, **parameters: str) -> Any:
    async with engine.begin() as connection:
        return (await connection.execute(statement, parameters)).scalar()


async def _until(
    engine: AsyncEngine, play: Play, is_enough: Callable[[int], bool], statement: Any, **parameters: str
) -> None:
    while not is_enough(await _count(engine, statement, **parameters)):
        assert not play.is_over(), play.output()[-2000:]
        await asyncio.sleep(0.1)
