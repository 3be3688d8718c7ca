"""`shadowbook down`: stop a stack from another terminal, and clear away what a killed one left."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import typer

from services.cli.errors import CommandError, StackError
from services.cli.options import DataDirOption, JsonOption

PATIENCE_SECONDS = 60.0
HURRY_SECONDS = 30.0
LOOK_INTERVAL_SECONDS = 0.1


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("down")(down)


def down(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Stop the stack of a data directory. Nothing of it is left running."""
    outcome = _stop(data_dir)
    sys.stdout.write(json.dumps(outcome) + "\n" if as_json else _sentence(outcome))


def _stop(root: Path | None) -> dict[str, object]:
    from services.cli.stack.data_dir import Memory, chosen_root, existing_data_dir, hold, holder
    from services.cli.stack.visit import UP, clear_leftovers, place_of

    data_dir = existing_data_dir(chosen_root(root))
    held_by = holder(data_dir)
    was_up = held_by is not None and held_by["command"] == UP
    if held_by is not None and was_up:
        for patience in (PATIENCE_SECONDS, HURRY_SECONDS):
            _ask_to_stop(held_by["pid"], str(data_dir.root))
            deadline = time.monotonic() + patience
            while holder(data_dir) is not None and time.monotonic() < deadline:
                time.sleep(LOOK_INTERVAL_SECONDS)
            if holder(data_dir) is None:
                break
        else:
            raise StackError(
                f"process {held_by['pid']} did not stop: end it with `kill -9 {held_by['pid']}`, then `shadowbook down`"
            )
    with hold(data_dir, "down"):
        memory = Memory(data_dir.root / "stack.json")
        leftovers = clear_leftovers(data_dir, memory, place_of(data_dir, memory))
    return {"data_dir": str(data_dir.root), "was_up": was_up, "leftovers_ended": leftovers}


def _ask_to_stop(pid: int, root: str) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise CommandError(f"the stack in {root} belongs to another user: stop it as that user or as root") from error


def _sentence(outcome: dict[str, object]) -> str:
    if outcome["was_up"]:
        return "Stopped.\n"
    if outcome["leftovers_ended"]:
        return f"It was not running; ended {outcome['leftovers_ended']} processes that a killed run had left behind.\n"
    return "It was not running.\n"
