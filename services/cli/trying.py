"""`shadowbook test-config`: what a draft configuration would have done with what was recorded."""

import asyncio
import io
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from libs.common.domain.config_test import BANKROLL, HOURS_MAX
from services.cli.errors import CommandError
from services.cli.options import DataDirOption, JsonOption, SinceOption, hours_up_to, parse_since

if TYPE_CHECKING:
    from libs.common.domain.config_test import Compared, ConfigTestResult, RunView
    from services.cli.stack.visit import Session
    from services.simulator.trying import Wish

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130
BAR_PARTS: Final = 1000
WAITS_SECONDS: Final = 10.0
SHOWN_MAX: Final = 10
MONEY: Final = ("traded_notional_micros", "fee_micros", "pnl_micros")
COUNTS: Final = ("attempts", "executed", "partial", "skipped")
TITLES: Final = {"traded_notional_micros": "traded", "fee_micros": "fees", "pnl_micros": "PnL, marked now"}

TimeOption = datetime | None


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("test-config")(try_draft)


def try_draft(
    file: Annotated[Path, typer.Argument(help="A configuration, as `up --config` takes it; set over what is set now.")],
    user: Annotated[
        str | None, typer.Option("--user", help="The file holds this user's settings alone; only they are tested.")
    ] = None,
    hours: Annotated[
        int | None,
        typer.Option(
            "--hours", parser=hours_up_to(HOURS_MAX), metavar="N", help="How far back (24 if no range is given)."
        ),
    ] = None,
    since: SinceOption = None,
    until: Annotated[TimeOption, typer.Option("--until", help="Last moment, UTC; now if left out.")] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> int:
    """Try a draft on what was recorded, and compare with what ran. Nothing is changed.

    With the stack up the simulator does it, with the stack down this command. Ctrl-C calls it off. Exit 0 with an
    answer, 1 when it failed, 2 when the draft or the range is wrong.
    """
    from services.cli.stack import session
    from services.simulator.trying import Wish

    wish = Wish(file, user, hours, parse_since(since, datetime.now(UTC)), _utc(until))
    with session(data_dir, command="test-config") as visit:
        run = asyncio.run(_watch(visit, wish, show=not as_json))
    if as_json:
        sys.stdout.write(run.model_dump_json(indent=1) + "\n")
    if run.state in ("CANCELLED", "QUEUED"):
        sys.stderr.write("Called off; nothing was changed.\n")
        return EXIT_INTERRUPTED
    if as_json:
        return 0 if run.result else EXIT_FAILED
    if run.result is None:
        raise CommandError(f"the test failed: {run.error}")
    sys.stdout.writelines(f"{line}\n" for line in lines(run.result))
    return 0


def _utc(value: datetime | None) -> datetime | None:
    return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


async def _watch(visit: "Session", wish: "Wish", *, show: bool) -> "RunView":
    from services.simulator.trying import try_config

    cancelled = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, cancelled.set)
    seen: RunView | None = None
    hidden = None if show else io.StringIO()
    with typer.progressbar(length=BAR_PARTS, file=hidden or sys.stderr, label="reads the draft") as bar:
        async for run in try_config(visit.database_url, visit.redis_url, wish, cancelled):
            seen = run
            bar.label = _label(run)
            done = BAR_PARTS * run.done // run.total if run.total else 0
            bar.update(max(0, done - bar.pos))
    if seen is None:
        raise CommandError("the test was not seen")
    return seen


def _label(run: "RunView") -> str:
    """Say what goes on, and what to look at should nothing happen."""
    if run.cancel_requested_at is not None:
        return "being called off"
    if run.state != "QUEUED":
        return f"{run.done:,} of {run.total or 0:,} decisions"
    waited = (datetime.now(UTC) - run.requested_at).total_seconds()
    return "waits for a simulator (`shadowbook status`)" if waited > WAITS_SECONDS else "waits"


def lines(result: "ConfigTestResult") -> Iterator[str]:
    """Yield the answer for a person."""
    yield f"{result.groups:,} groups from {result.since:%Y-%m-%d %H:%M} to {result.until:%Y-%m-%d %H:%M} UTC"
    for compared in result.scopes:
        yield ""
        yield from _table(compared)
    yield ""
    yield f"{result.changed_total:,} decisions come out different."
    for change in result.changed[:SHOWN_MAX]:
        ran, draft = (
            f"{each.decision.value} {_usdc(each.filled_notional_micros)} {' '.join(each.reason_codes)}".rstrip()
            for each in (change.ran, change.draft)
        )
        yield f"  {change.decided_at:%m-%d %H:%M:%S} {change.scope.value} {change.user_label}: {ran} -> {draft}"
    if result.changed_total > SHOWN_MAX:
        yield f"  ... and {result.changed_total - SHOWN_MAX:,} more (--json lists up to {len(result.changed):,})"
    if late := [name for name in result.not_tested if name != BANKROLL]:
        yield f"Not tested, because the books were fetched when they were: {', '.join(late)}."
    if BANKROLL in result.not_tested:
        yield "The bankroll of the draft is not tested: portfolios keep what was deposited."
    if result.without_book:
        yield f"{result.without_book:,} decisions would have needed a book that nobody fetched: counted as skipped."
    if result.reconstruction_gaps:
        yield f"At {result.reconstruction_gaps:,} decisions the rebuilt portfolio differs from the real one: take care."


def _table(compared: "Compared") -> Iterator[str]:
    ran, draft, difference = (each.model_dump() for each in (compared.ran, compared.draft, compared.difference))
    yield f"{compared.scope.value:<28}{'ran':>16}{'draft':>16}{'difference':>16}"
    for name in COUNTS:
        yield f"  {name:<26}{ran[name]:>16,}{draft[name]:>16,}{difference[name]:>+16,}"
    for reason in sorted(ran["skipped_by_reason"].keys() | draft["skipped_by_reason"].keys()):
        counts = (ran["skipped_by_reason"].get(reason, 0), draft["skipped_by_reason"].get(reason, 0))
        yield f"    {reason:<24}{counts[0]:>16,}{counts[1]:>16,}{counts[1] - counts[0]:>+16,}"
    for name in MONEY:
        cells = "".join(f"{_usdc(each[name]):>16}" for each in (ran, draft, difference))
        yield f"  {TITLES[name]:<26}{cells}"
    if draft["unmarked"] or ran["unmarked"]:
        yield f"  positions without a mark, counted at cost: {ran['unmarked']} and {draft['unmarked']}"


def _usdc(micros: int) -> str:
    from libs.common.domain.wording import fixed_usdc

    return fixed_usdc(micros, 2)
