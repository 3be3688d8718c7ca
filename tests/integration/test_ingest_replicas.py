"""Two ingests share one request budget, as exchange and node count it; without Redis each keeps to an eighth."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Final

import pytest

from libs.common.bus.limiter import DATA, FALLBACK_SHARE, RPC, TOTAL, Bucket
from libs.common.db.checkpoints import save_checkpoint
from services.cli.stack import valkey
from services.cli.stack.ports import free_port
from services.cli.stack.valkey import ValkeyPlace
from services.ingest.commands import follow
from services.ingest.life import CHECKPOINT
from tests.support.databases import Database, bus_rules, fresh_passwords, open_folder
from tests.support.sandbox import RunningSandbox, running_sandbox
from tests.support.tapes import write_tape

pytestmark = [pytest.mark.integration, pytest.mark.timeout(150)]

REPLICAS: Final = 2
WALLETS: Final = 80
"""So many that their first polls want more than the budget for as long as the test lasts."""
LATE_SECONDS: Final = 0.7
"""How much later than it was granted a request may arrive on a busy machine."""
SAMPLE_SECONDS: Final = 0.1
LONG_AGO_BLOCKS: Final = 900
"""Ninety calls of ten blocks each: more than both replicas together can ask for while the test lasts."""
HEALED_CALLS: Final = 40


@dataclass(frozen=True, slots=True)
class Sample:
    """The exchange's count of requests, read between two instants."""

    before: float
    after: float
    data: int
    total: int
    rpc: int = 0


@dataclass
class Counter:
    """Reads the sandbox's counts again and again."""

    sandbox: RunningSandbox
    samples: list[Sample] = field(default_factory=list)

    async def read(self) -> Sample:
        """Take a sample."""
        before = time.monotonic()
        counts = (await self.sandbox.status())["requests"]
        total = sum(counts.get(name, 0) for name in ("data", "clob", "gamma"))
        self.samples.append(Sample(before, time.monotonic(), counts.get("data", 0), total, counts.get("rpc", 0)))
        return self.samples[-1]

    async def until_polled(self, requests: int, within_seconds: float = 60) -> None:
        """Read until the Data API has had so many requests."""
        await self.until(lambda sample: sample.data >= requests, within_seconds)

    async def until(self, met: Callable[[Sample], bool], within_seconds: float = 60) -> None:
        """Read until a sample is as wanted."""
        async with asyncio.timeout(within_seconds):
            while not met(await self.read()):  # noqa: ASYNC110  the count is behind HTTP
                await asyncio.sleep(SAMPLE_SECONDS)


def overdrawn(samples: list[Sample], bucket: Bucket, share: float = 1.0) -> list[str]:
    """Return the spans in which more requests came than a share of a bucket grants."""
    name, burst, rate = bucket.name, bucket.burst * share, bucket.rate * share
    found = []
    for place, first in enumerate(samples):
        for last in samples[place + 1 :]:
            came, seconds = getattr(last, name) - getattr(first, name), last.after - first.before + LATE_SECONDS
            if came > burst + rate * seconds:
                found.append(f"{came} {name} in {seconds:.2f} s")
    return found


@dataclass
class OwnValkey:
    """A Valkey that may be killed and started again on its port."""

    place: ValkeyPlace
    port: int
    password: str

    @property
    def url(self) -> str:
        """Return the operator's URL."""
        return valkey.url(self.port, self.password)

    @contextmanager
    def run(self) -> Iterator[Popen[bytes]]:
        """Run it for the length of a block."""
        with valkey.running(self.place, self.port, self.password, self.place.data.parent / "valkey.log") as process:
            yield process


@pytest.fixture
def own_valkey() -> Iterator[OwnValkey]:
    passwords, port = fresh_passwords(), free_port()
    with open_folder() as folder:
        place = ValkeyPlace(folder / "valkey")
        valkey.configure(place, port, passwords, bus_rules())
        yield OwnValkey(place, port, passwords["operator"])


@asynccontextmanager
async def replicas(database: Database, redis_url: str, sandbox: RunningSandbox) -> AsyncIterator[None]:
    """Run several ingests, each in a process of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SHADOWBOOK_")}
    own = {
        "DATABASE_URL": database.url("ingest"),
        "REDIS_URL": redis_url,
        "SHADOWBOOK_DATA_API_URL": sandbox.data_api_url,
        "SHADOWBOOK_GAMMA_URL": sandbox.gamma_url,
        "SHADOWBOOK_RPC_WS_URL": sandbox.rpc_ws_url,
        "SHADOWBOOK_LOG_LEVEL": "ERROR",
    }
    processes = []
    try:
        for number in range(REPLICAS):
            named = {"SHADOWBOOK_INSTANCE": f"ingest-{number}", "SHADOWBOOK_HTTP_PORT": str(free_port())}
            processes.append(
                await asyncio.create_subprocess_exec(sys.executable, "-m", "services.ingest", env=kept | own | named)
            )
        yield
        assert [process.returncode for process in processes] == [None] * REPLICAS, "an ingest ended by itself"
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def test_replicas_share_one_budget_and_keep_to_an_eighth_each_without_redis(
    database: Database, own_valkey: OwnValkey, tmp_path: Path
) -> None:
    async with running_sandbox(tape=write_tape(tmp_path / "tape")) as sandbox:
        for first in range(0, WALLETS, 10):
            wallets = [f"0x{number + 1:040x}" for number in range(first, first + 10)]
            await asyncio.gather(*(follow(database.url(), wallet, wallet[-8:]) for wallet in wallets))
        count = Counter(sandbox)
        with own_valkey.run() as server:
            async with replicas(database, own_valkey.url, sandbox):
                await count.until_polled(40)
                assert count.samples[-1].after - count.samples[0].before > (40 - DATA.burst) / DATA.rate - LATE_SECONDS
                server.kill()
                server.wait()
                await count.until_polled(count.samples[-1].data + int(DATA.burst))  # what had been granted has come
                away = len(count.samples)
                await count.until_polled(count.samples[-1].data + 12)
                without = count.samples[away:]
                with own_valkey.run():
                    await count.until_polled(count.samples[-1].data + 40)
        assert overdrawn(without, DATA, REPLICAS / FALLBACK_SHARE) == []
        assert overdrawn(without, TOTAL, REPLICAS / FALLBACK_SHARE) == []
        assert overdrawn(count.samples, DATA) == []
        assert overdrawn(count.samples, TOTAL) == []


async def test_replicas_that_heal_at_once_share_the_nodes_budget(
    database: Database, own_valkey: OwnValkey, tmp_path: Path
) -> None:
    async with running_sandbox(tape=write_tape(tmp_path / "tape")) as sandbox:
        await follow(database.url(), f"0x{1:040x}", "one")
        head = int((await sandbox.rpc("eth_blockNumber"))["result"], 16)
        async with database.engine().begin() as connection:
            await save_checkpoint(connection, "ingest", CHECKPOINT, {"block": head - LONG_AGO_BLOCKS})
        count = Counter(sandbox)
        before = await count.read()
        with own_valkey.run():
            async with replicas(database, own_valkey.url, sandbox):
                await count.until(lambda sample: sample.rpc > before.rpc + HEALED_CALLS)
        asked = (await sandbox.status())["requests"]
    assert overdrawn(count.samples, RPC) == []
    assert asked["rpc.eth_subscribe"] == REPLICAS
    assert HEALED_CALLS / 2 < asked["rpc.eth_getLogs"] < LONG_AGO_BLOCKS / 10 * REPLICAS, "both were still at it"


def test_an_overdrawn_budget_is_noticed() -> None:
    kept = [Sample(second, second, int(DATA.burst + DATA.rate * second), 0) for second in (0, 1, 5)]
    assert overdrawn([Sample(0, 0, 0, 0), *kept], DATA) == []
    twice = [Sample(each.before, each.after, each.data * REPLICAS, 0) for each in kept]
    assert overdrawn([Sample(0, 0, 0, 0), *twice], DATA) != []
