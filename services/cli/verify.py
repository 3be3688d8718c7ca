"""`shadowbook verify`: whether the books add up, and with `--online` whether they hold what the exchange says.

Exit 0 if every invariant holds and nothing compared differs, 1 otherwise, also where the exchange did not tell what a
followed wallet holds; what cannot be compared yet differs nowhere.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.columns import columns
from services.cli.options import DataDirOption, JsonOption

if TYPE_CHECKING:
    from services.ingest.commands import Compared

EXIT_VIOLATED = 1
HEAD = ("USER", "TOKEN", "SHADOW", "EXCHANGE", "DIFFERENCE", "VERDICT")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify")(verify)


def verify(
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
    online: Annotated[
        bool, typer.Option("--online", help="Compare every shadow position with what the exchange reports instead.")
    ] = False,
) -> int:
    """Check every invariant of the books. Works with the stack up or down."""
    if online:
        return _verify_online(data_dir, as_json=as_json)
    from services.cli.stack import session
    from services.ledger import commands

    with session(data_dir, command="verify") as visit:
        report = asyncio.run(commands.verify(visit.database_url))
    if as_json:
        checks = [
            {"name": check.name, "compared": check.compared, "unit": check.unit, "violated": check.violated}
            for check in report.checks
        ]
        told = {"ok": report.ok, "checks": checks, "violations": list(report), "waiting": report.waiting}
        sys.stdout.write(json.dumps(told, indent=1) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in report.lines())
        sys.stdout.write("The books add up.\n" if report.ok else "The books do NOT add up.\n")
    return 0 if report.ok else EXIT_VIOLATED


def _verify_online(data_dir: Path | None, *, as_json: bool) -> int:
    from services.cli.stack import session
    from services.ingest import commands

    with session(data_dir, command="verify", require_up=True) as visit:
        redis_url = visit.redis_url or ""  # a stack that is up has one
        found = asyncio.run(commands.compare_positions(visit.database_url, redis_url, visit.data_api_url))
    compared = found.positions
    counts = Counter(each.verdict for each in compared)
    different = counts[commands.DIFFERENT]
    waiting = sum(counts.values()) - different - counts[commands.EQUAL] - counts[commands.SETTLED]
    if as_json:
        rows = [
            {
                "user_label": each.user_label,
                "asset_id": each.asset_id,
                "condition_id": each.condition_id,
                "shadow_share_micros": each.shadow_share_micros,
                "exchange_share_micros": each.exchange_share_micros,
                "difference_micros": each.difference_micros,
                "verdict": each.verdict,
            }
            for each in compared
        ]
        summary = {"ok": found.ok, "compared": len(compared), "different": different, "not_comparable": waiting}
        unread = [{"wallet": wallet, "error": error} for wallet, error in found.unread.items()]
        sys.stdout.write(json.dumps(summary | {"unread": unread, "positions": rows}, indent=1) + "\n")
    else:
        shown = [each for each in compared if each.verdict not in (commands.EQUAL, commands.SETTLED)]
        sys.stdout.writelines(f"{line}\n" for line in _table(shown))
        sys.stdout.writelines(f"{wallet} could not be read: {error}\n" for wallet, error in found.unread.items())
        sys.stdout.write(
            f"{counts[commands.EQUAL]:,} positions equal, {different:,} different, {waiting:,} not comparable yet, "
            f"{counts[commands.SETTLED]:,} settled.\n"
        )
    return 0 if found.ok else EXIT_VIOLATED


def _table(compared: "Sequence[Compared]") -> Iterator[str]:
    """Yield lines of a table, amounts in shares; nothing where there is nothing to show."""
    from libs.common.domain.wording import fixed_usdc

    if not compared:
        return
    rows = [HEAD] + [
        (
            each.user_label,
            each.asset_id,
            fixed_usdc(each.shadow_share_micros, 6),
            fixed_usdc(each.exchange_share_micros, 6),
            fixed_usdc(each.difference_micros, 6),
            each.verdict,
        )
        for each in compared
    ]
    yield from columns(rows, right=(2, 3, 4))
