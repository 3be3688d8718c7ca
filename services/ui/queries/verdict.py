"""From facts about the stack to one answer: is everything working, and if not, what is the worst of it. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal

from services.ui.queries.health import LAG_SECONDS_MAX, MARK_SECONDS_MAX, HealthFacts
from services.ui.queries.portfolio import Frozen

Kind = Literal["ok", "warn", "bad", "idle"]
RANK: Final[dict[Kind, int]] = {"idle": 0, "ok": 0, "warn": 1, "bad": 2}
WAITING_MAX: Final = 1_000
"""Messages waiting on the bus beyond which the stack is behind."""
_WITHOUT: Final = {
    "ingest": "New trades are not seen until it is back; it then catches up by itself.",
    "grouper": "New trades are seen, but wait for their decision.",
    "simulator": "New trades are seen, but wait for their decision.",
    "ledger": "Decisions wait to be booked, so figures stand still.",
    "pricer": "Prices stand still; detection and copying continue.",
}


class Line(Frozen):
    """One line of the card: what, in which state, with a value or the moment it happened."""

    name: str
    kind: Kind
    value: str = ""
    at: datetime | None = None
    formula: str = ""


class Verdict(Frozen):
    """The answer. `problem` is a few words, `effect` what it means; both empty when all is well."""

    kind: Kind
    problem: str = ""
    effect: str = ""
    is_stale: bool = False
    lines: tuple[Line, ...] = ()


class Waiting(Frozen):
    """Messages on the bus that some group has not finished; None: the bus does not answer."""

    messages: int | None


def judge(facts: HealthFacts, waiting: Waiting, now: datetime, *, holds: bool) -> Verdict:
    """Return the verdict; `holds` says whether anything is held, else nothing needs a price."""
    lines = (
        _programs(facts),
        _feed(facts),
        _polls(facts),
        _lag(facts),
        _prices(facts, now, holds=holds),
        _bus(waiting),
        _dead(facts),
    )
    problems = _problems(facts, waiting, lines)
    worst = max((line.kind for line in lines), key=RANK.__getitem__)
    if not problems:
        return Verdict(kind="idle" if not facts.wallets else "ok", lines=lines)
    problem, effect = problems[0]
    is_stale = lines[4].kind == "warn"
    return Verdict(kind=worst, problem=problem, effect=effect, is_stale=is_stale, lines=lines)


def _problems(facts: HealthFacts, waiting: Waiting, lines: Sequence[Line]) -> list[tuple[str, str]]:
    """Return what is wrong, worst first."""
    found = [(f"{name} is not running", _WITHOUT[name]) for name in facts.missing]
    found += [(f"{process.instance} is not running", _WITHOUT[process.service]) for process in facts.down]
    if waiting.messages is None:
        found.append(("message bus away", "New trades are kept and are decided once it is back."))
    if lines[4].kind == "warn":
        found.append(("prices are stale", "Figures use the last known prices. Detection and copying continue."))
    if facts.dead_letters_open:
        found.append(("some messages failed", "They were set aside and wait for a look: shadowbook dlq list."))
    if lines[2].kind == "warn":
        found.append(("wallet polls are late", "Trades may be seen later than usual; none is lost."))
    if lines[1].kind == "warn":
        found.append(("chain feed lost", "Trades are found by polling until it is back, some seconds later."))
    if lines[3].kind == "warn":
        found.append(("trades are seen late", "Copies are decided on older prices than usual."))
    if lines[5].kind == "warn":
        found.append(("work is piling up", "Decisions and bookings come later than usual."))
    for process in facts.degraded:
        why = next(iter(process.faults.values()), "")
        found.append((f"{process.instance} is struggling", why))
    return found


def _programs(facts: HealthFacts) -> Line:
    running = len(facts.processes) - len(facts.down)
    total = len(facts.processes) + len(facts.missing)
    name = f"Programs, {running} of {total}"
    if running < total:
        return Line(name=name, kind="bad", value=f"{total - running} down")
    if facts.degraded:
        return Line(name=name, kind="warn", value=f"{len(facts.degraded)} struggling")
    return Line(name=name, kind="ok", at=min(process.beat_at for process in facts.processes))


def _feed(facts: HealthFacts) -> Line:
    formula = facts.feed.detail or "Websocket to the chain; without it fills are found by polling, a little later"
    kind: Kind = {"up": "ok", "down": "warn"}.get(facts.feed.state, "idle")  # type: ignore[assignment]
    value = {"up": "connected", "down": "reconnecting", "off": "off, polling only"}.get(facts.feed.state, "not known")
    return Line(name="Chain feed", kind=kind, value=value, formula=formula)


def _polls(facts: HealthFacts) -> Line:
    if not facts.wallets:
        return Line(name="Wallet polls", kind="idle", value="nobody followed")
    name = f"Wallet polls, {facts.wallets_fresh} of {facts.wallets}"
    every, aim = facts.poll_every_seconds, facts.poll_aim_seconds
    formula = f"Followed wallets read completely in the last {4 * every} s; each is read every {every} s"
    pace = "" if every <= aim else f"every {every} s ({aim} s is the aim)"
    if pace:
        formula += f"; {aim} s is the aim, but the request budget carries no more. The chain feed is not slowed"
    if facts.wallets_fresh < facts.wallets:
        return Line(name=name, kind="warn", value=f"late, {pace}" if pace else "late", formula=formula)
    if pace:
        return Line(name=name, kind="ok", value=pace, formula=formula)
    return Line(name=name, kind="ok", at=facts.oldest_poll_at, formula=formula)


def _lag(facts: HealthFacts) -> Line:
    name, formula = (
        "Detection lag p95",
        (
            f"95% of the {facts.lag_fills} fills the chain feed brought in the last hour were seen at most this long "
            "after their block time"
        ),
    )
    if facts.lag_p95_seconds is None:
        return Line(name=name, kind="idle", value="no fills in 1 h", formula=formula)
    kind: Kind = "warn" if facts.lag_p95_seconds > Decimal(LAG_SECONDS_MAX) else "ok"
    return Line(name=name, kind=kind, value=f"{facts.lag_p95_seconds:.1f} s", formula=formula)


def _prices(facts: HealthFacts, now: datetime, *, holds: bool) -> Line:
    formula = "When everything held was last given a price; every 30 s"
    if not holds:
        return Line(name="Prices", kind="idle", value="nothing held", formula=formula)
    if facts.marked_at is None:
        return Line(name="Prices", kind="warn", value="none yet", formula=formula)
    is_old = now - facts.marked_at > timedelta(seconds=MARK_SECONDS_MAX)
    name = f"Prices, {facts.unmarked} old" if facts.unmarked else "Prices"
    if facts.unmarked:
        formula += f". Of {facts.unmarked} held no price was to be had: each stands at its last one"
    return Line(name=name, kind="warn" if is_old else "ok", at=facts.marked_at, formula=formula)


def _bus(waiting: Waiting) -> Line:
    formula = "Messages on the bus that are not done yet"
    if waiting.messages is None:
        return Line(name="Messages waiting", kind="bad", value="bus away", formula=formula)
    kind: Kind = "warn" if waiting.messages > WAITING_MAX else "ok"
    value = f"{waiting.messages:,}" if waiting.messages else "none"
    return Line(name="Messages waiting", kind=kind, value=value, formula=formula)


def _dead(facts: HealthFacts) -> Line:
    if not facts.dead_letters_open:
        return Line(name="Dead letters", kind="ok", value="none")
    return Line(name="Dead letters", kind="warn", value=f"{facts.dead_letters_open:,}")
