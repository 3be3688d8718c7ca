"""`shadowbook gap`: why copying a user made another result than theirs, split to the micro."""

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from services.cli.columns import columns
from services.cli.options import DataDirOption, JsonOption, hours_up_to

if TYPE_CHECKING:
    from services.ledger.commands import UserGap

HOURS_MAX: Final = 24 * 366
HEAD: Final = ("USER", "COPY", "THEIRS", "OURS", "GAP", "= SIZE", "DRIFT", "SPREAD", "FEES", "OPENINGS")
WORDS: Final = {
    "CLAMP": "raised to the smallest or cut to the largest trade",
    "POSITION_CAP": "only as far as what we held, a cap or the cash allowed",
    "PARTIAL_OR_LOTS": "the book ended, whole lots, or our price bought another number of shares",
    "COPY_PCT_CHANGED": "decided under another copy share",
    "UNDECIDED": "not booked yet",
    "MINED_AGAIN": "moved to another block, never copied twice",
    "REVERSED": "copied, then taken back by a reorganisation",
    "CONVERSION": "conversions are not copied",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("gap")(gap)


def gap(
    user: Annotated[str | None, typer.Option("--user", help="Only this followed user; all if left out.")] = None,
    hours: Annotated[
        int | None,
        typer.Option(
            "--hours", parser=hours_up_to(HOURS_MAX), metavar="N", help="Only the last hours; since the follow without."
        ),
    ] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say why a copy is behind the wallet it follows. Tells size by cause, drift, spread and depth, fees, openings.

    gap = our PnL - copy share * their PnL; the parts sum to it. Amounts are in USDC; JSON has whole micros.
    """
    from services.cli.stack import session
    from services.ledger import commands

    with session(data_dir, command="gap") as visit:
        found = asyncio.run(commands.tracking_gaps(visit.database_url, user, hours))
    if as_json:
        sys.stdout.write(json.dumps([each.document() for each in found], indent=1) + "\n")
    elif found:
        sys.stdout.writelines(f"{line}\n" for line in _text(found))
    else:
        sys.stdout.write("No copy has a portfolio yet: the ledger opens it soon after the follow.\n")


def _text(found: Sequence["UserGap"]) -> Iterator[str]:
    yield from columns([HEAD, *(_row(each) for each in found)], right=range(1, len(HEAD)))
    for each in found:
        if not each.gap.size_micros:
            continue
        yield ""
        yield f"{each.label}: size, by cause"
        causes = sorted(each.gap.size_micros.items(), key=lambda pair: (-abs(pair[1]), pair[0]))
        width = max(len(cause) for cause, _ in causes)
        for cause, value in causes:
            yield f"  {cause.ljust(width)}  {_usdc(value):>12}  {WORDS.get(cause, 'skipped')}"


def _row(found: "UserGap") -> tuple[str, ...]:
    whole = found.gap
    parts = (
        sum(whole.size_micros.values()) + whole.residual_micros,
        whole.drift_micros,
        whole.spread_and_depth_micros,
        whole.fees_micros,
        whole.openings_micros,
    )
    values = (whole.theirs_micros, whole.ours_micros, whole.gap_micros, *parts)
    return found.label, f"{found.copy_pct.normalize():f}%", *(_usdc(each) for each in values)


def _usdc(micros: int) -> str:
    """Return an amount with its sign, to the hundredth of a cent."""
    from libs.common.domain.wording import fixed_usdc

    return f"{'+' if micros > 0 else ''}{fixed_usdc(micros, 4)}"
