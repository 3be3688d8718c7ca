"""`shadowbook replay`: decide recorded attempts again from what they stored, and report any that comes out different.

Exit 0 if none differs, 1 if one does, 2 if the request was wrong.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import orjson
import typer

from services.cli.options import DataDirOption, JsonOption, SinceOption, parse_since

if TYPE_CHECKING:
    from services.simulator.commands import Difference, Replayed

EXIT_DIFFERENT: Final = 1
DIFFERENCES_MAX: Final = 1_000
"""Differences told one by one; the others are counted."""
VALUE_WIDTH: Final = 300


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("replay")(replay)


@dataclass(slots=True)
class Tally:
    """What came out so far."""

    total: int = 0
    compared: int = 0
    different: int = 0
    book_gone: int = 0
    older: int = 0
    told: "list[Difference]" = field(default_factory=list)
    untold: int = 0
    fields: Counter[str] = field(default_factory=Counter)

    def add(self, replayed: "Replayed") -> None:
        """Count one attempt."""
        if replayed.book_is_gone or replayed.is_older:
            self.book_gone += replayed.book_is_gone
            self.older += replayed.is_older
            return
        self.compared += 1
        self.different += bool(replayed.differences)
        for each in replayed.differences:
            self.fields[each.name] += 1
            if len(self.told) < DIFFERENCES_MAX:
                self.told.append(each)
            else:
                self.untold += 1

    def document(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "ok": not self.different,
            "attempts": self.total,
            "compared": self.compared,
            "different": self.different,
            "book_gone": self.book_gone,
            "older_rules": self.older,
            "differences": [
                {"attempt_id": str(each.attempt_id), "field": each.name, "recorded": each.recorded,
                 "decided": each.decided}
                for each in self.told
            ],
            "differences_omitted": self.untold,
        }  # fmt: skip


def replay(
    user: Annotated[str | None, typer.Option("--user", help="Only groups of this followed user.")] = None,
    since: SinceOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> int:
    """Decide recorded attempts again; none may come out different.

    Compared are the outcome, every check, every fill and all values before the decision. Attempts whose book is no
    longer kept (30 days), or that an earlier release decided by other rules, are counted apart. Works with the stack
    up or down. Exit 0: none differs; 1: at least one does; 2: the request was wrong.

    JSON: ok, attempts, compared, different, book_gone, older_rules, differences (attempt_id, field, recorded,
    decided), differences_omitted.
    """
    from services.cli.stack import session
    from services.simulator import commands

    begin = parse_since(since, datetime.now(UTC))
    tally = Tally()
    with session(data_dir, command="replay") as visit, _Progress(show=not as_json) as progress:

        def see(total: int, replayed: "Replayed | None") -> None:
            tally.total = total
            if replayed is not None:
                tally.add(replayed)
            progress.show(total, advance=replayed is not None)

        asyncio.run(commands.watch_replay(visit.database_url, user, begin, see))
    if as_json:
        sys.stdout.write(orjson.dumps(tally.document(), default=str, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        _print(tally)
    return EXIT_DIFFERENT if tally.different else 0


class _Progress:
    """A bar on standard error, where that is a terminal."""

    def __init__(self, *, show: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        columns = (TextColumn("Deciding again"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not (show and console.is_terminal))
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> "_Progress":
        self._bar.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._bar.stop()

    def show(self, total: int, *, advance: bool) -> None:
        """Move the bar."""
        self._bar.update(self._task, total=total, advance=int(advance))


def _print(tally: Tally) -> None:
    write = sys.stdout.write
    last = None
    for each in tally.told:
        if each.attempt_id != last:
            write(f"attempt {each.attempt_id} comes out different:\n")
            last = each.attempt_id
        for name, recorded, decided in leaves(each.name, each.recorded, each.decided):
            write(f"  {name}\n    recorded  {_value(recorded)}\n    decided   {_value(decided)}\n")
    if tally.untold:
        write(f"... and {tally.untold:,} more differences.\n")
    write(f"{tally.compared:,} attempts decided again: {_verdict(tally)}\n")
    if tally.different:
        counted = ", ".join(f"{name} {many:,}" for name, many in tally.fields.most_common())
        write(f"By field: {counted}. See runbooks/explain-a-decision.md.\n")
    if tally.book_gone:
        write(f"{tally.book_gone:,} could not be: their book is no longer kept (30 days).\n")
    if tally.older:
        write(f"{tally.older:,} could not be: an earlier release decided them by other rules.\n")


def _verdict(tally: Tally) -> str:
    if not tally.different:
        return "none differs." if tally.compared else "there is nothing to compare."
    return f"{tally.different:,} DIFFER."


def leaves(name: str, recorded: Any, decided: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield what differs inside a value: `checks[3].value` instead of all checks."""
    if isinstance(recorded, dict) and isinstance(decided, dict):
        for key in dict.fromkeys((*recorded, *decided)):
            yield from leaves(f"{name}.{key}", recorded.get(key), decided.get(key))
    elif isinstance(recorded, list) and isinstance(decided, list) and len(recorded) == len(decided):
        for place, pair in enumerate(zip(recorded, decided, strict=True)):
            yield from leaves(f"{name}[{place}]", *pair)
    elif recorded != decided:
        yield name, recorded, decided


def _value(value: object) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    return text if len(text) <= VALUE_WIDTH else text[:VALUE_WIDTH] + " ..."
