"""A process whose handler kills it, the way a crash in native code or the kernel does; run by the bus tests.

Arguments: Redis URL, deaths allowed. It ends by itself once nothing of its group is left to do.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace

from libs.common.bus import Bus
from libs.common.bus.groups import group_states
from libs.common.bus.streams import CONTROL_CHANGED
from libs.common.messages import ControlChanged
from tests.support.fakes_bus import QUICK, InMemoryDeadLetters, until

GROUP = "simulator-user"
HANDLED = "test:handled"
KILLER = "killer"


async def live(url: str, deaths_max: int) -> None:
    """Consume until nothing is left, unless a message is deadly."""
    bus = Bus(
        url,
        service="test",
        instance="suicidal-0",
        dead_letters=InMemoryDeadLetters(),
        policy=replace(QUICK, deaths_max=deaths_max),
    )

    async def handle(messages: Sequence[ControlChanged]) -> None:
        if any(message.key == KILLER for message in messages):
            os.kill(os.getpid(), signal.SIGKILL)
        await bus.redis.sadd(HANDLED, *(message.key for message in messages))

    async def nothing_left() -> bool:
        state = (await group_states(bus.redis, CONTROL_CHANGED.name)).get(GROUP)
        return state is not None and state.lag == 0 and state.pending == 0

    bus.consume(CONTROL_CHANGED, GROUP, handle)
    await bus.start()
    await until(nothing_left)
    await bus.stop()


if __name__ == "__main__":
    asyncio.run(live(sys.argv[1], int(sys.argv[2])))
