"""Starts the worker of configuration tests when one is asked for, and again when it died in the middle of one."""

import asyncio
import os
import sys
from typing import Final
from uuid import uuid4

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.common.db.engine import is_outage
from libs.common.domain.errors import Unavailable
from services.simulator.store.config_tests import WORKER_VARIABLE, RunStore

AGAIN_SECONDS: Final = 1.0
"""Rest after a worker that died."""
COMMAND: Final = (sys.executable, "-m", "services.simulator.config_test")

_log = structlog.get_logger()


class Workers:
    """One worker at a time per process; across processes the rows see to that."""

    def __init__(self, engine: AsyncEngine, database_url: str) -> None:
        self._engine = engine
        self._database_url = database_url
        self._wake = asyncio.Event()
        self._wake.set()  # for what was asked before this process began

    def wake(self) -> None:
        """Look whether somebody waits for a test."""
        self._wake.set()

    async def run(self) -> None:
        """Start workers whenever woken; forever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while await RunStore(self._engine, "").waits():
                    await self._one()
            except (Unavailable, SQLAlchemyError, OSError) as error:
                if not isinstance(error, Unavailable) and not is_outage(error):
                    raise
                _log.warning("config_tests_wait", error=str(error)[:200])
                await asyncio.sleep(AGAIN_SECONDS)
                self._wake.set()

    async def _one(self) -> None:
        """Let one worker do what waits; release what it leaves when it dies."""
        worker = f"config-test-{uuid4()}"
        environment = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG", "PYTHONPATH"}}
        environment |= {"DATABASE_URL": self._database_url, WORKER_VARIABLE: worker}
        process = await asyncio.create_subprocess_exec(*COMMAND, stdin=asyncio.subprocess.PIPE, env=environment)
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if code:
            _log.warning("config_test_worker_died", code=code)
            await RunStore(self._engine, worker).release()
            await asyncio.sleep(AGAIN_SECONDS)
