"""The worker of configuration tests: `python -m services.simulator.config_test`, started when somebody asks for one.

It takes the runs that wait, one after the other, does them at the lowest priority, and ends: nothing idles. It reads
DATABASE_URL alone, and dies with the process that started it (its standard input ends then).
"""

import asyncio
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, NoReturn
from uuid import UUID, uuid4

import structlog
import uvloop
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.engine import is_outage, make_engine
from libs.common.domain.config import CopyConfig
from libs.common.domain.config_test import BANKROLL, ConfigTestResult
from libs.common.domain.errors import Rejected, Unavailable
from libs.common.observability.logging import configure
from services.simulator.core.rules import Rules, compile_rules
from services.simulator.rerunning import Progress, Rerun
from services.simulator.store.config_tests import WORKER_VARIABLE, Claimed, RunStore
from services.simulator.store.configs import ConfigStore, Seen, merged_layers
from services.simulator.store.driver import driver_connection
from services.simulator.store.history import History

REPORT_SECONDS: Final = 0.5
"""How often progress is written and a cancellation looked for."""
NICE: Final = 19
_DRAFT_VERSION: Final = 0
GC_THRESHOLD: Final = 50_000
"""Pages make many values and no cycles; looking for cycles as often as usual costs a tenth of the time."""

_log = structlog.get_logger()


class _CalledOff(Exception):  # noqa: N818  a verdict, not a mishap
    """The run was cancelled, or is not ours any more."""


def _tell_nobody(_run: UUID, _state: str, _decisions: int, _error: Exception | None) -> None:
    """Say nothing; the row says it all."""


Ended = Callable[[UUID, str, int, Exception | None], None]
"""Told how a run ended, after how many decisions, and by which mistake of ours."""


async def work(engine: AsyncEngine, worker: str, ended: Ended = _tell_nobody) -> int:
    """Do the runs that wait, one after the other; return how many. Needs two connections."""
    runs = RunStore(engine, worker)
    count = 0
    while (run := await runs.claim()) is not None:
        count += 1
        await _do(engine, runs, run, ended)
    return count


async def _do(engine: AsyncEngine, runs: RunStore, run: Claimed, ended: Ended) -> None:
    """Do one run and write how it ended; an outage ends the worker, and another one takes the run up."""
    state, error, result = "DONE", None, None
    mistake: Exception | None = None
    done, reported = 0, -REPORT_SECONDS

    async def progress(made: int, total: int) -> None:
        nonlocal done, reported
        done = made
        now = time.monotonic()
        if now - reported < REPORT_SECONDS:
            await asyncio.sleep(0)
            return
        reported = now
        if await runs.report(run.id, made, total) is not False:
            raise _CalledOff

    try:
        result = (await test(engine, run, progress)).model_dump_json()
    except _CalledOff:
        state = "CANCELLED"
    except Rejected as problem:
        state, error = "FAILED", str(problem)
    except Exception as problem:
        if isinstance(problem, Unavailable) or is_outage(problem):
            raise
        mistake, state, error = problem, "FAILED", f"{type(problem).__name__}: {problem}"
    await runs.end(run.id, state, error=error, result=result, done=done)
    ended(run.id, state, done, mistake)


async def test(engine: AsyncEngine, run: Claimed, progress: Progress) -> ConfigTestResult:
    """Decide the range of `run` again under its draft."""
    seen = await ConfigStore(engine).seen()
    async with (
        driver_connection(engine) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        history = History(connection)
        _, _, labels = await history.portfolios([])
        users = {label: user for user, label in labels.items()}
        rules, concerned = drafted(seen, run.draft, run.user_id, users)
        rerun = Rerun(history, run.since, run.until, concerned, rules, progress)
        result = await rerun.run(datetime.now(UTC))
    if BANKROLL in run.draft:
        result.not_tested = sorted({*result.not_tested, BANKROLL})
    return result


def drafted(
    seen: Seen, draft: dict[str, Any], user: UUID | None, users: dict[str, UUID]
) -> tuple[Callable[[UUID], Rules | None], list[UUID] | None]:
    """Return the rules of each user under a draft over what is set, and whose portfolios it concerns (None: all).

    Whom it does not concern keeps what ran. Raises Rejected when the whole is not valid.
    """
    if unknown := sorted(draft["users"].keys() - users.keys()):
        raise Rejected(f"users: nobody is followed as {', '.join(unknown)}")
    layers, blacklist = seen
    combined = {**layers.values, None: _over(layers.values.get(None, {}), draft["global"])}
    for label, values in draft["users"].items():
        combined[users[label]] = _over(combined.get(users[label], {}), values)
    wanted, refused = merged_layers(replace(layers, values=combined), blacklist, {})
    if refused:
        raise Rejected("; ".join(refused))
    compiled = {
        each: compile_rules(CopyConfig.model_validate(values), _DRAFT_VERSION) for each, values in wanted.items()
    }
    named = {users[label] for label in draft["users"]}
    if user is not None:
        concerned: list[UUID] | None = [user]
    else:
        concerned = sorted(named) if named and not draft["global"] else None

    def rules(of: UUID) -> Rules | None:
        return compiled.get(of, compiled[None]) if concerned is None or of in concerned else None

    return rules, concerned


def _over(layer: Mapping[str, Any], draft: Mapping[str, Any]) -> dict[str, Any]:
    """Return a layer with a draft over it; null takes a setting back to what is inherited."""
    return {name: value for name, value in {**layer, **draft}.items() if value is not None}


async def _main(database_url: str, worker: str) -> int:
    engine = make_engine(database_url, application="simulator-config-test", pool_size=2)
    try:
        await work(engine, worker, _log_end)
    except Exception as error:  # noqa: BLE001  the very top: the run is taken up again
        _log.exception("config_test_worker_failed", error=str(error)[:200])
        return 1
    finally:
        await engine.dispose()
    return 0


def _log_end(run: UUID, state: str, decisions: int, error: Exception | None) -> None:
    if error is None:
        _log.info("config_test_ended", run_id=str(run), state=state, decisions=decisions)
    else:
        _log.error("config_test_failed", run_id=str(run), decisions=decisions, exc_info=error)


def _end_with_parent() -> None:
    """Wait until the parent's end of our standard input closes, then end at once."""
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> NoReturn:
    """Run the worker."""
    os.nice(NICE)
    worker = os.environ.get(WORKER_VARIABLE) or f"config-test-{uuid4()}"
    configure("simulator", "config-test", "json", "INFO")
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    code = uvloop.run(_main(os.environ["DATABASE_URL"], worker))
    sys.stdout.flush()
    os._exit(code)  # the thread still waits for the parent


if __name__ == "__main__":
    main()
