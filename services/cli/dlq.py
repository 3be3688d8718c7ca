"""`shadowbook dlq list|show|replay|discard`: what the bus gave up on, and what to do about it.

A replay reaches only the group that failed; a repaired payload takes the place of the old one. Both ways out leave an
audit row.
"""

import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import UUID

import orjson
import typer

from libs.common.domain.dead_letter import DeadLetter, LetterStatus
from services.cli.errors import CommandError
from services.cli.options import DataDirOption, JsonOption
from services.cli.stack import session

T = TypeVar("T")
SHORT_ID_MIN = 4
SHOWN_ID = 8
ERROR_WIDTH = 90
LIST_MAX = 10_000

LetterArgument = Annotated[str, typer.Argument(metavar="ID", help="The letter's id, or its first few characters.")]
StreamOption = Annotated[str | None, typer.Option("--stream", help="Only letters of this stream.")]
GroupOption = Annotated[str | None, typer.Option("--group", help="Only letters of this group.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    dlq = typer.Typer(no_args_is_help=True, help="Look at dead letters, send them again, or discard them.")
    dlq.command("list")(list_letters)
    dlq.command("show")(show)
    dlq.command("replay")(replay)
    dlq.command("discard")(discard)
    app.add_typer(dlq, name="dlq")


def list_letters(
    stream: StreamOption = None,
    group: GroupOption = None,
    every: Annotated[bool, typer.Option("--all", help="Also replayed and discarded ones.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=LIST_MAX, help="At most this many.")] = 100,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """List open dead letters, newest first; also with the stack down."""

    async def work(letters: Any, _redis: Any) -> list[DeadLetter]:
        status = None if every else LetterStatus.OPEN
        found: list[DeadLetter] = await letters.find(stream=stream, group=group, status=status, limit=limit)
        return found

    found = _visit(data_dir, work, command="dlq list")
    if as_json:
        _print_json([_document(letter) for letter in found])
    elif not found:
        sys.stdout.write("No dead letters.\n")
    else:
        for letter in found:
            sys.stdout.write(_line(letter, every=every) + "\n")
        sys.stdout.write("See one with `shadowbook dlq show ID`, send it again with `shadowbook dlq replay ID`.\n")


def show(letter_id: LetterArgument, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Show one dead letter: payload, error and traceback. Also with the stack down."""

    async def work(letters: Any, _redis: Any) -> DeadLetter:
        return await _one(letters, letter_id)

    letter = _visit(data_dir, work, command="dlq show")
    if as_json:
        _print_json(_document(letter))
        return
    for name, value in _document(letter).items():
        if name not in {"payload", "traceback"} and value is not None:
            sys.stdout.write(f"{name:<14} {value}\n")
    sys.stdout.write(f"\npayload\n{letter.payload}\n")
    if letter.traceback:
        sys.stdout.write(f"\ntraceback\n{letter.traceback}\n")


def replay(
    letter_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="The letter's id, or its first few characters.")
    ] = None,
    payload: Annotated[str | None, typer.Option("--payload", help="Repaired payload, as JSON text.")] = None,
    payload_file: Annotated[
        Path | None, typer.Option("--payload-file", help="File with the repaired payload; - for standard input.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every open letter (see --stream, --group).")] = False,
    stream: StreamOption = None,
    group: GroupOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> int:
    """Send dead letters again, each to the group that failed. The stack must be up. Exit 1 if one was refused."""
    if (letter_id is None) != every:
        raise CommandError("expected either the ID of one letter or --all")
    repaired = _repaired(payload, payload_file)
    if every and repaired is not None:
        raise CommandError("a repaired payload goes with one ID, not with --all")

    async def work(letters: Any, redis: Any) -> tuple[list[DeadLetter], list[str]]:
        from libs.common.bus.replay import replay as send_again
        from libs.common.domain.errors import Rejected

        if letter_id is not None:
            letter = await _one(letters, letter_id)
            return [await send_again(redis, letters, letter.id, actor=_actor(), payload=repaired)], []
        done, refused = [], []
        for letter in await letters.find(stream=stream, group=group, status=LetterStatus.OPEN, limit=LIST_MAX):
            try:
                done.append(await send_again(redis, letters, letter.id, actor=_actor()))
            except Rejected as error:
                refused.append(str(error))
        return done, refused

    done, refused = _visit(data_dir, work, command="dlq replay", require_up=True)
    if as_json:
        _print_json({"replayed": [_document(letter) for letter in done], "refused": refused})
    else:
        for letter in done:
            sys.stdout.write(f"replayed {letter.id} on {letter.stream} to {letter.group}\n")
        for reason in refused:
            sys.stdout.write(f"refused: {reason}\n")
        if not done and not refused:
            sys.stdout.write("No open dead letters.\n")
    return 1 if refused else 0


def discard(
    letter_id: LetterArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why it will never be handled; kept in the audit log.")],
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a dead letter up for good; the stack must be up."""

    async def work(letters: Any, redis: Any) -> DeadLetter:
        from libs.common.bus.replay import discard as give_up

        letter = await _one(letters, letter_id)
        return await give_up(redis, letters, letter.id, actor=_actor(), reason=reason)

    letter = _visit(data_dir, work, command="dlq discard", require_up=True)
    if as_json:
        _print_json(_document(letter))
    else:
        sys.stdout.write(f"discarded {letter.id}: {letter.status_reason}\n")


def _visit(
    data_dir: Path | None, work: Callable[[Any, Any], Awaitable[T]], *, command: str, require_up: bool = False
) -> T:
    """Run `work(letters, redis)` against the stack; redis is None while the stack is down."""
    from libs.common.bus.connection import connect
    from libs.common.db.dead_letters import PostgresDeadLetters
    from libs.common.db.engine import make_engine

    async def run(database_url: str, redis_url: str | None) -> T:
        engine = make_engine(database_url, application="shadowbook-dlq", pool_size=1)
        redis = None if redis_url is None else connect(redis_url)
        try:
            return await work(PostgresDeadLetters(engine), redis)
        finally:
            if redis is not None:
                await redis.aclose()
            await engine.dispose()

    with session(data_dir, command=command, require_up=require_up) as stack:
        return asyncio.run(run(stack.database_url, stack.redis_url))


async def _one(letters: Any, letter_id: str) -> DeadLetter:
    """Return the letter with this id or the only one whose id begins so."""
    try:
        found: DeadLetter | None = await letters.get(UUID(letter_id))
    except ValueError:
        wanted = letter_id.lower()
        if len(wanted) < SHORT_ID_MIN:
            raise CommandError(f"ID {letter_id!r}: expected at least {SHORT_ID_MIN} characters of a UUID") from None
        matches = [letter for letter in await letters.find(limit=LIST_MAX) if str(letter.id).startswith(wanted)]
        if len(matches) > 1:
            raise CommandError(f"ID {letter_id!r} fits {len(matches)} dead letters: give more of it") from None
        found = matches[0] if matches else None
    if found is None:
        raise CommandError(f"there is no dead letter {letter_id}: see `shadowbook dlq list --all`")
    return found


def _repaired(payload: str | None, payload_file: Path | None) -> str | None:
    if payload is not None and payload_file is not None:
        raise CommandError("expected --payload or --payload-file, not both")
    if payload_file is None:
        return payload
    if str(payload_file) == "-":
        return sys.stdin.read()
    try:
        return payload_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--payload-file {payload_file}: cannot be read: {error}") from error


def _document(letter: DeadLetter) -> dict[str, Any]:
    return asdict(letter)


def _line(letter: DeadLetter, *, every: bool) -> str:
    status = f"{letter.status:<9} " if every else ""
    error = " ".join(letter.error.split())
    shown = error if len(error) <= ERROR_WIDTH else error[: ERROR_WIDTH - 1] + "…"
    when = f"{letter.last_at:%Y-%m-%d %H:%M:%S}"
    return f"{str(letter.id)[:SHOWN_ID]}  {when}  {status}{letter.stream:<20} {letter.group:<17} {shown}"


def _print_json(value: Any) -> None:
    sys.stdout.write(orjson.dumps(value, default=str).decode() + "\n")


def _actor() -> str:
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a user id without a name
        return "cli"
