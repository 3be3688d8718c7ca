"""`shadowbook up`: start everything, stay in the foreground, stop everything."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.options import DataDirOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("up")(up)


def up(
    tape: Annotated[Path | None, typer.Option("--tape", help="Play the tape in this folder.")] = None,
    speed: Annotated[float | None, typer.Option("--speed", help="Divide all recorded gaps by this (1).")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the synthetic market (1).")] = None,
    faults: Annotated[
        Path | None, typer.Option("--faults", help="Faults of the sandbox, one JSON object a line.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Config to apply: guardrails, sizing, bankroll.")
    ] = None,
    exit_when_drained: Annotated[
        bool,
        typer.Option(
            "--exit-when-drained",
            help="Stop when the tape has ended and all of it is decided, posted, marked; exit 3 with dead letters.",
        ),
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Follow the real exchange (SHADOWBOOK_RPC_WS_URL is optional).")
    ] = False,
    data_dir: DataDirOption = None,
    port: Annotated[int | None, typer.Option("--port", help="Port of the dashboard; a free one is remembered.")] = None,
) -> int:
    """Start everything; Ctrl-C stops all of it.

    That is the databases, the exchange or its sandbox, all services and the dashboard.
    """
    from services.cli.stack.launch import UpOptions, run
    from services.cli.stack.market import MarketRequest

    market = MarketRequest(tape=tape, speed=speed, seed=seed, live=live)
    return run(
        UpOptions(
            root=data_dir, market=market, faults=faults, config=config, exit_when_drained=exit_when_drained, port=port
        )
    )
