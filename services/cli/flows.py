"""`shadowbook deposit` and `withdraw`: paper money into and out of an executable portfolio."""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import typer

from services.cli.errors import CommandError
from services.cli.options import DataDirOption, JsonOption

PLAIN: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6}0*)?")

AmountArgument = Annotated[str, typer.Argument(metavar="USDC", help="Amount in USDC, at most six decimals.")]
UserOption = Annotated[
    str | None, typer.Option("--user", help="The portfolio that copies this user; the global one if left out.")
]
IdOption = Annotated[
    UUID | None, typer.Option("--id", help="Your own id of this command (a UUID): repeated, it posts once.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("deposit")(deposit)
    app.command("withdraw")(withdraw)


def deposit(
    amount: AmountArgument,
    user: UserOption = None,
    command_id: IdOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put paper money into an executable portfolio. It is no profit: PnL, losses and drawdown leave flows out."""
    _flow(amount, user, command_id, data_dir, withdraw=False, as_json=as_json)


def withdraw(
    amount: AmountArgument,
    user: UserOption = None,
    command_id: IdOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take cash out of an executable portfolio. At most what it has; positions are not sold for it."""
    _flow(amount, user, command_id, data_dir, withdraw=True, as_json=as_json)


def _flow(
    amount: str, user: str | None, command_id: UUID | None, data_dir: Path | None, *, withdraw: bool, as_json: bool
) -> None:
    from libs.common.domain.wording import usdc
    from services.cli.stack import session
    from services.ledger import commands

    micros = _micros(amount)
    with session(data_dir, command="withdraw" if withdraw else "deposit") as visit:
        flow = asyncio.run(
            commands.flow(visit.database_url, micros, withdraw=withdraw, user=user, command_id=command_id)
        )
    if as_json:
        values = {
            "command_id": str(flow.command_id),
            "entry_type": flow.entry_type,
            "amount_micros": flow.amount_micros,
            "cash_micros": flow.cash_micros,
            "new": flow.is_new,
        }
        sys.stdout.write(json.dumps(values) + "\n")
        return
    whose = f"the portfolio that copies {user}" if user else "the global portfolio"
    did = "Withdrew" if withdraw else "Deposited"
    done = (
        f"{did} {usdc(micros)} USDC" if flow.is_new else f"Command {flow.command_id} was done before; nothing changed"
    )
    sys.stdout.write(f"{done}; {whose} has {usdc(flow.cash_micros)} USDC of cash.\n")


def _micros(amount: str) -> int:
    """Return an amount in micros; what a person may have meant otherwise is refused rather than rounded or guessed."""
    from libs.common.domain.money import micros_from_wire

    micros = micros_from_wire(amount, what="amount") if PLAIN.fullmatch(amount) else 0
    if not micros:
        raise CommandError(f"amount: expected USDC above 0 with at most six decimals (250, 0.5), got {amount!r:.40}")
    return micros
