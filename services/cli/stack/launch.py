"""`up`: from arguments to a stack that is ready to start.

Order: check everything that can be checked -> lock -> clear what a killed run left -> ports -> the stack's life.
"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from services.cli.errors import CommandError
from services.cli.stack import errands
from services.cli.stack.apart import Errand
from services.cli.stack.assembly import Assembly, assemble, choose_ports
from services.cli.stack.data_dir import DataDir, Memory, chosen_root, hold, load_secrets, open_data_dir
from services.cli.stack.endpoints import check_environment
from services.cli.stack.interrupts import Interrupts, StopRequested
from services.cli.stack.lifetime import Stack, say
from services.cli.stack.market import Market, MarketRequest, agreed_market
from services.cli.stack.places import collect_orphans
from services.cli.stack.ports import check_requested
from services.cli.stack.visit import UP, clear_leftovers, place_of


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What the command line asked for."""

    root: Path | None
    market: MarketRequest
    faults: Path | None
    config: Path | None
    exit_when_drained: bool
    port: int | None


def run(options: UpOptions) -> int:
    """Start a stack, keep it until it is drained or told to stop, stop it; returns the exit code."""
    root = chosen_root(options.root)
    with Interrupts() as interrupts:
        try:
            _check(options, root)
            return _hold_and_run(options, open_data_dir(root), interrupts)
        except StopRequested:
            return 0


def _hold_and_run(options: UpOptions, data_dir: DataDir, interrupts: Interrupts) -> int:
    with hold(data_dir, UP):
        memory = Memory(data_dir.root / "stack.json")
        market = agreed_market(options.market, memory.market, data_dir.root)
        stack = Stack(_assembled(data_dir, memory, market, options), interrupts)
        return stack.run(config=options.config, exit_when_drained=options.exit_when_drained)


def _check(options: UpOptions, root: Path) -> None:
    """Check everything that can be checked while nothing exists yet, so that a refusal changes nothing."""
    options.market.check()
    check_environment()
    used_before = (root / "stack.json").exists()
    remembered = Memory(root / "stack.json").market if used_before else None
    market = agreed_market(options.market, remembered, root)
    if options.exit_when_drained and market.kind != "tape":
        raise CommandError(
            f"--exit-when-drained needs a tape, because {market.describe()} does not end: add --tape DIR"
        )
    tape = Path(market.tape) if market.tape is not None else None
    Errand(errands.check_files, tape, options.faults, options.config).result()
    if not used_before and options.port is not None:
        check_requested(options.port)


def _assembled(data_dir: DataDir, memory: Memory, market: Market, options: UpOptions) -> Assembly:
    collect_orphans(time.time())
    secrets = load_secrets(data_dir)
    place = place_of(data_dir, memory)
    if killed := clear_leftovers(data_dir, memory, place):
        say(f"Ended {killed} processes that a killed run had left behind.")
    choose_ports(memory, live=market.kind == "live", requested=options.port)
    memory.remember(market=market.remembered())
    return assemble(data_dir, memory, secrets, market, place, _kept_faults(data_dir, options.faults))


def _kept_faults(data_dir: DataDir, given: Path | None) -> Path | None:
    """Return the faults of this play: those given now, else those given before; kept so that a restart finds them."""
    kept = data_dir.root / "faults.jsonl"
    if given is not None:
        shutil.copyfile(given, kept)
    return kept if kept.exists() else None
