"""`shadowbook skips`: what was not copied, why, and what each reason saved or cost."""

import asyncio
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from libs.common.domain.kinds import Scope
from services.cli.errors import CommandError
from services.cli.options import DataDirOption, JsonOption, SinceOption, parse_since

if TYPE_CHECKING:
    from rich.console import RenderableType

    from libs.common.domain.skips import ScopeSkips, Skips, SkipSum

CHOICES = {"global": Scope.EXEC_GLOBAL, "user": Scope.EXEC_USER}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("skips")(skips)


def skips(
    user: Annotated[str | None, typer.Option("--user", help="Only groups of this followed user.")] = None,
    since: SinceOption = None,
    scope: Annotated[
        str | None, typer.Option("--scope", help="global (EXEC_GLOBAL) or user (EXEC_USER); both if left out.")
    ] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show skips by reason, and what each reason saved or cost. At the latest marks; with the stack up or down.

    A skip with a book remembers what it would have filled without the checks that failed. That is valued like a
    position, net of the fee; what was never marked is counted apart. A skip with several reasons counts under each.

    JSON: since, user, scopes (scope, decisions, total, reasons); described in runbooks/explain-a-decision.md.
    """
    from services.cli.stack import session

    chosen = _scope(scope)
    begin = parse_since(since, datetime.now(UTC))
    with session(data_dir, command="skips") as visit:
        report = asyncio.run(_read(visit.database_url, user, begin, chosen))
    if as_json:
        sys.stdout.write(report.model_dump_json(indent=1) + "\n")
        return
    from services.cli.printing import show

    show(_text(report))


def _scope(text: str | None) -> Scope | None:
    if text is None:
        return None
    known = CHOICES | {each.value.lower(): each for each in CHOICES.values()}
    if text.lower() not in known:
        raise CommandError(f"--scope: expected global or user, got {text!r}")
    return known[text.lower()]


async def _read(database_url: str, user: str | None, since: datetime | None, scope: Scope | None) -> "Skips":
    from libs.common.db.engine import make_engine
    from libs.common.db.skips import read_skips

    engine = make_engine(database_url, application="shadowbook-skips", pool_size=1)
    try:
        async with engine.connect() as connection:
            return await read_skips(connection, user=user, since=since, scope=scope)
    finally:
        await engine.dispose()


def _text(report: "Skips") -> "list[RenderableType]":
    found: list[RenderableType] = []
    for each in report.scopes:
        found += [*([""] if found else []), *_table(each)]
    if any(len(each.reasons) for each in report.scopes):
        found += [
            "",
            "Worth now: what the copies not made would be worth at the latest marks, net of fees; + was missed,",
        ]
        found += ["- was saved. A skip with several reasons counts under each, so reasons sum to more than all skips."]
    return found


def _table(scope: "ScopeSkips") -> "list[RenderableType]":
    from rich.table import Table

    from services.cli.printing import plain_table

    title = f"{scope.scope}: {scope.total.skips:,} of {scope.decisions:,} decisions were skips"
    if not scope.total.skips:
        return [title]
    table: Table = plain_table("REASON", ">SKIPS", ">NO BOOK", ">NOT COPIED", ">FEES", ">UNMARKED", ">WORTH NOW", "")
    for each in scope.reasons:
        table.add_row(each.reason, *_cells(each))
    table.add_section()
    table.add_row("all skips", *_cells(scope.total), style="bold")
    return [title, table]


def _cells(row: "SkipSum") -> tuple[str, ...]:
    from libs.common.domain.wording import signed_usdc, usdc

    known = row.with_book - row.unmarked
    verdict = "" if not known or not row.pnl_micros else "missed" if row.pnl_micros > 0 else "saved"
    return (
        f"{row.skips:,}",
        f"{row.no_book:,}" if row.no_book else "-",
        usdc(row.notional_micros, 2) if row.with_book else "-",
        usdc(row.fee_micros, 2) if known else "-",
        f"{row.unmarked:,}" if row.unmarked else "-",
        signed_usdc(row.pnl_micros, 2) if known else "-",
        verdict,
    )
