"""A copy of a tape whose logs are raw ones in `logs.jsonl`, as a recorder of a node would have left them."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

from services.sandbox.chain import Chain
from services.sandbox.faults import Faults
from services.sandbox.playback import TapeExchange
from services.sandbox.tape import Head
from services.sandbox.timeline import Timeline

LAST_MS = 2**52


def with_raw_logs(tape: Path, folder: Path) -> Path:
    """Write a copy of `tape` with the logs that the sandbox derives from its rows, and return its folder."""
    shutil.copytree(tape, folder)
    start_ms: list[int] = []

    def timeline_of(head: Head) -> Timeline:
        start_ms.append(head.start_ms)
        return Timeline(start_ms=head.start_ms, speed=Fraction(1), key=head.name, clock=lambda: start_ms[0])

    exchange = TapeExchange(folder, timeline_of)
    try:
        exchange.timeline.play()  # at the tape's own start, so that its times are those of the wall
        exchange.advance(exchange.timeline.now())
        chain = Chain(exchange, Faults())
        with (folder / "logs.jsonl").open("w", encoding="utf-8") as lines:
            for log in exchange.history.logs_between((0, 0), LAST_MS):
                body = json.loads(chain.written(log, log.at_ms))
                lines.write(json.dumps({**body, "_at_ms": log.at_ms}) + "\n")
    finally:
        exchange.close()
    return folder
