"""Where the tape's clock stood on the wall: found from the event times of the run, then used for closes and books."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from tests.oracle.events import fill_rows
from tests.oracle.run import Run, Violation
from tests.oracle.tape import FillKey, Tape

CHECK = "clock"
SECOND = 1_000_000
DAY_MS = 86_400_000
SLACK = 2 * SECOND
"""Block times are whole seconds and a block may be a little late."""


@dataclass(frozen=True)
class Clock:
    """`start` is the wall time, in microseconds, at which play started."""

    start: int
    start_ms: int
    speed: Fraction

    def wall(self, tape_ms: int) -> int:
        """Return the wall time of a moment of the tape."""
        return self.start + int((tape_ms - self.start_ms) * 1000 / self.speed)


def _starts(tape: Tape, run: Run, speed: Fraction) -> list[int]:
    times: dict[FillKey, int] = {fill.key: fill.at_ms for fill in tape.fills}
    found = []
    for row in fill_rows(run):
        at_ms = times.get((row["tx_hash"], row["wallet"], row["asset_id"], row["side"], row["share_micros"]))
        if at_ms is not None:
            found.append(row["event_time"] - int((at_ms - tape.start_ms) * 1000 / speed))
    return found


def read_clock(tape: Tape, run: Run, speed: Fraction) -> Clock:
    """Return the clock; every event time was floored to its second, so the latest start fits best."""
    return Clock(max(_starts(tape, run, speed), default=0), tape.start_ms, speed)


def check_event_times(tape: Tape, run: Run, clock: Clock) -> Iterator[Violation]:
    """All event times must fit one start of play, within their second."""
    starts = _starts(tape, run, clock.speed)
    if starts and max(starts) - min(starts) > SECOND + SLACK:
        yield Violation(
            CHECK, "event times", f"fit no single start of play: {(max(starts) - min(starts)) / SECOND:.3f} s apart"
        )
    for row in run["events"]:
        if row["detect_time"] < row["event_time"] - SLACK:
            yield Violation(CHECK, f"event {row['id']}", "seen before it happened")


def check_closes(tape: Tape, run: Run, clock: Clock) -> Iterator[Violation]:
    """A recorded close is one that the tape's market had; a date without a time of day is not judged."""
    for row in run["markets"]:
        market = tape.markets.get(row["condition_id"])
        closes = [state.close_ms for state in market.states] if market else []
        stated = [clock.wall(each) for each in closes if each is not None and each % DAY_MS]
        if row["close_time"] is None or len(stated) < len(closes) or not stated:
            continue
        if min(abs(row["close_time"] - each) for each in stated) > SLACK:
            yield Violation(CHECK, f"market {row['condition_id']}", f"closes at {row['close_time']}, not at {stated}")


def check_books_in_force(tape: Tape, run: Run, clock: Clock) -> Iterator[Violation]:
    """A decision's book is the version in force when it was fetched."""
    for row in run["attempts"]:
        book = tape.books.get((row["asset_id"], row["book_hash"]))
        if book is None or row["book_fetched_at"] is None:
            continue
        fetched, fits = row["book_fetched_at"], False
        versions = tape.book_times[row["asset_id"]]
        for place, (at_ms, book_hash) in enumerate(versions):
            ended = clock.wall(versions[place + 1][0]) if place + 1 < len(versions) else None
            in_force = clock.wall(at_ms) - SLACK <= fetched and (ended is None or fetched <= ended + SLACK)
            fits = fits or (book_hash == row["book_hash"] and (in_force or place == 0))
        if not fits:
            yield Violation(CHECK, f"attempt {row['id']}", f"book {row['book_hash']} was not in force at {fetched}")
